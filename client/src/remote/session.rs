//! Logging in, and logging in again when a session has ended.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::RwLock;
use unseen_common::id::{DeviceId, PackNumber, SnapshotId, VaultId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::PublicKey;
use unseen_common::packset::PackSet;
use unseen_common::privacy::{Access, ObjectPage, Report};
use unseen_common::vault::{
    CommitRequest, CompactRequest, FooterPage, LogPage, LoginRequest, PackBytes, PackSurvey,
    PackUpload, Principal, Result, Service, Vault, VaultError, login_message,
};

use super::retry::{Policy, SystemPause, retry};

/// Signs login messages with a login key.
pub type Signer = Arc<dyn Fn(&[u8]) -> [u8; 64] + Send + Sync>;

/// What it takes to log in.
#[derive(Clone)]
pub struct Login {
    /// The account.
    pub account: VaultId,
    /// Who logs in.
    pub principal: Principal,
    /// The identity key of the server that is meant: pinned, never what a server just said.
    pub identity: PublicKey,
    /// Signs with the principal's login key.
    pub signer: Signer,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("account", &self.account)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// Logs in, again if the server does not answer. A challenge is good for one answer, so both
    /// are asked for again.
    async fn patiently(&self, service: &dyn Service) -> Result<Arc<dyn Vault>> {
        if service.host().is_empty() {
            return self.answer(service).await;
        }
        retry(&Policy::HELLO, &SystemPause::default(), || self.answer(service)).await
    }

    /// Answers a challenge of the service.
    pub async fn answer(&self, service: &dyn Service) -> Result<Arc<dyn Vault>> {
        let challenge = service.challenge(self.account, self.principal).await?;
        let host = service.host();
        let (account, principal) = (self.account, self.principal);
        let message = login_message(&self.identity, &host, account, principal, &challenge);
        let request = LoginRequest {
            account,
            principal,
            nonce: challenge.nonce,
            signature: (self.signer)(&message),
        };
        match service.login(request).await {
            // One with another identity key refuses what is signed for the pinned one.
            Err(refused @ VaultError::Forbidden(_)) => match service.describe().await {
                Err(wrong @ VaultError::WrongServer(_)) => Err(wrong),
                _ => Err(refused),
            },
            done => done,
        }
    }
}

/// Logs in; the session logs in again by itself when the server has forgotten it.
pub async fn log_in(service: Arc<dyn Service>, login: Login) -> Result<Arc<dyn Vault>> {
    let current = login.patiently(&*service).await?;
    Ok(Arc::new(Lasting { service, login, current: RwLock::new(current) }))
}

#[derive(Debug)]
struct Lasting {
    service: Arc<dyn Service>,
    login: Login,
    current: RwLock<Arc<dyn Vault>>,
}

impl Lasting {
    /// A session in place of `ended`; of several that ask at a time, one logs in.
    async fn renew(&self, ended: &Arc<dyn Vault>) -> Result<Arc<dyn Vault>> {
        let mut current = self.current.write().await;
        if Arc::ptr_eq(&current, ended) {
            *current = self.login.patiently(&*self.service).await?;
        }
        Ok(Arc::clone(&current))
    }

    async fn run<T, F: Future<Output = Result<T>> + Send>(
        &self,
        call: impl Fn(Arc<dyn Vault>) -> F + Send,
    ) -> Result<T> {
        let session = Arc::clone(&*self.current.read().await);
        match call(Arc::clone(&session)).await {
            Err(VaultError::Unauthorized) => call(self.renew(&session).await?).await,
            done => done,
        }
    }
}

#[async_trait]
impl Vault for Lasting {
    async fn slots(&self) -> Result<Vec<Bytes>> {
        self.run(|v| async move { v.slots().await }).await
    }

    async fn put_slots(&self, slots: Vec<Bytes>, entry: SignedEntry) -> Result<Record> {
        self.run(|v| {
            let (slots, entry) = (slots.clone(), entry.clone());
            async move { v.put_slots(slots, entry).await }
        })
        .await
    }

    async fn log(&self, after: Option<u64>) -> Result<LogPage> {
        self.run(|v| async move { v.log(after).await }).await
    }

    async fn append(&self, entry: SignedEntry) -> Result<Record> {
        self.run(|v| {
            let entry = entry.clone();
            async move { v.append(entry).await }
        })
        .await
    }

    async fn put_pack(&self, pack: PackUpload) -> Result<PackNumber> {
        self.run(|v| {
            let pack = pack.clone();
            async move { v.put_pack(pack).await }
        })
        .await
    }

    async fn get_pack(&self, number: PackNumber, range: Option<Range<u64>>) -> Result<PackBytes> {
        self.run(|v| {
            let range = range.clone();
            async move { v.get_pack(number, range).await }
        })
        .await
    }

    async fn live_packs(&self) -> Result<PackSet> {
        self.run(|v| async move { v.live_packs().await }).await
    }

    async fn damaged_packs(&self) -> Result<PackSet> {
        self.run(|v| async move { v.damaged_packs().await }).await
    }

    async fn footers(
        &self,
        device: Option<DeviceId>,
        after: Option<PackNumber>,
    ) -> Result<FooterPage> {
        self.run(|v| async move { v.footers(device, after).await }).await
    }

    async fn survey_packs(&self, after: Option<PackNumber>) -> Result<PackSurvey> {
        self.run(|v| async move { v.survey_packs(after).await }).await
    }

    async fn verify_packs(&self, packs: PackSet) -> Result<PackSet> {
        self.run(|v| {
            let packs = packs.clone();
            async move { v.verify_packs(packs).await }
        })
        .await
    }

    async fn commit(&self, request: CommitRequest) -> Result<Record> {
        self.run(|v| {
            let request = request.clone();
            async move { v.commit(request).await }
        })
        .await
    }

    async fn compact(&self, request: CompactRequest) -> Result<Record> {
        self.run(|v| {
            let request = request.clone();
            async move { v.compact(request).await }
        })
        .await
    }

    async fn manifest(&self, snapshot: SnapshotId) -> Result<Bytes> {
        self.run(|v| async move { v.manifest(snapshot).await }).await
    }

    async fn packs_of(&self, snapshot: SnapshotId) -> Result<PackSet> {
        self.run(|v| async move { v.packs_of(snapshot).await }).await
    }

    async fn privacy(&self) -> Result<Report> {
        self.run(|v| async move { v.privacy().await }).await
    }

    async fn access(&self) -> Result<Vec<Access>> {
        self.run(|v| async move { v.access().await }).await
    }

    async fn objects(&self, after: Option<String>) -> Result<ObjectPage> {
        self.run(|v| {
            let after = after.clone();
            async move { v.objects(after).await }
        })
        .await
    }
}
