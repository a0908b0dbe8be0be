//! What a principal may do. Checked against the folded log at every call, so that a revocation
//! works at once.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use unseen_common::id::{DeviceId, Hash, PackId, PackNumber, SnapshotId, VaultId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{Author, Body, Entry, PublicKey};
use unseen_common::log::fold::State;
use unseen_common::packset::PackSet;
use unseen_common::privacy::{Access, ObjectPage, Report};
use unseen_common::vault::{
    CommitRequest, CompactRequest, FooterPage, LogPage, PackBytes, PackSurvey, PackUpload,
    Principal, Result, Vault, VaultError,
};

use super::account::Account;
use super::core::{Inner, blocking};
use super::damage::manifest_lost;
use super::log::refusal;
use super::packs::Bringer;
use super::standing::Reservation;
use crate::store::lock;

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub struct Session {
    core: Arc<Inner>,
    account: Arc<Account>,
    principal: Principal,
    /// The key that the login was verified with.
    key: PublicKey,
}

/// Who a call is for.
#[derive(Debug, Clone, Copy)]
enum Need {
    Device,
    Owner,
    DeviceOrOwner,
    Slots,
}

impl Session {
    pub(super) fn new(
        core: Arc<Inner>,
        account: Arc<Account>,
        principal: Principal,
        key: PublicKey,
    ) -> Self {
        Self { core, account, principal, key }
    }

    /// The account.
    pub fn account(&self) -> VaultId {
        self.account.id()
    }

    /// Who it is.
    pub const fn principal(&self) -> Principal {
        self.principal
    }

    /// Refuses principals that the log no longer knows.
    pub(super) fn check_alive(&self) -> Result<()> {
        self.account.with_state(|state| self.alive(state))
    }

    /// Whether the account is gone.
    pub fn is_over(&self) -> bool {
        lock(&self.account.tables).standing.gone
    }

    fn alive(&self, state: &State) -> Result<()> {
        match self.principal {
            Principal::Device(id) => {
                state.active_device(id).map_err(|error| refusal(&error))?;
                Ok(())
            }
            Principal::Owner if state.owner_login == self.key => Ok(()),
            Principal::Slots(_) if state.slots.login_keys.contains(&self.key) => Ok(()),
            _ => Err(VaultError::Unauthorized),
        }
    }

    fn allow(&self, need: Need) -> Result<()> {
        if self.is_over() {
            return Err(VaultError::Unauthorized);
        }
        self.account.with_state(|state| {
            self.alive(state)?;
            let allowed = match (need, self.principal) {
                (Need::Slots, Principal::Device(id)) => {
                    state.devices.get(&id).is_some_and(|d| !d.add.backup_only)
                }
                (Need::Slots, _)
                | (Need::Device | Need::DeviceOrOwner, Principal::Device(_))
                | (Need::Owner | Need::DeviceOrOwner, Principal::Owner) => true,
                _ => false,
            };
            if allowed {
                Ok(())
            } else {
                Err(VaultError::Forbidden("not with this login".to_owned()))
            }
        })
    }

    /// Reserves quota and room for a pack before its bytes are taken; nothing if it is there.
    pub async fn reserve(&self, id: PackId, bytes: u64) -> Result<Option<Reservation>> {
        self.run(Need::DeviceOrOwner, move |s| s.account.reserve(id, bytes)).await
    }

    /// Stores a pack for which there may be a reservation.
    pub async fn put_reserved(
        &self,
        pack: PackUpload,
        reserved: Option<Reservation>,
    ) -> Result<PackNumber> {
        self.run(Need::DeviceOrOwner, move |s| {
            let bringer = match s.principal {
                Principal::Device(id) => Bringer::Device(id),
                _ => Bringer::Owner,
            };
            s.account.put_pack(bringer, &pack, reserved)
        })
        .await
    }

    /// Refuses writes to an account that is suspended.
    fn may_write(&self) -> Result<()> {
        lock(&self.account.tables).standing.may_write()
    }

    async fn run<T: Send + 'static>(
        &self,
        need: Need,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let session = self.clone();
        blocking(move || {
            session.allow(need)?;
            work(&session)
        })
        .await
    }

    fn device(&self) -> Result<DeviceId> {
        match self.principal {
            Principal::Device(id) => Ok(id),
            _ => Err(VaultError::Forbidden("not with this login".to_owned())),
        }
    }

    /// The devices whose tables of contents this principal may see; all with `None`.
    fn visible(&self, asked: Option<DeviceId>) -> Result<Option<Vec<DeviceId>>> {
        let Principal::Device(own) = self.principal else {
            return Ok(asked.map(|device| vec![device]));
        };
        let line = self.account.with_state(|state| state.lineage(own));
        match asked {
            None => Ok(Some(line)),
            Some(device) if line.contains(&device) => Ok(Some(vec![device])),
            Some(_) => {
                Err(VaultError::Forbidden("the table of contents of another device".to_owned()))
            }
        }
    }

    /// Refuses snapshots that this principal may not ask about.
    fn may_see(&self, snapshot: SnapshotId) -> Result<()> {
        let visible = self.visible(None)?;
        let maker = self.account.with_state(|state| {
            let gone = || state.gone.get(&snapshot).map(|gone| gone.snapshot.device);
            state.snapshots.get(&snapshot).map(|s| s.device).or_else(gone)
        });
        match maker {
            Some(device) if visible.is_none_or(|line| line.contains(&device)) => Ok(()),
            _ => Err(VaultError::NotFound(format!("snapshot {snapshot}"))),
        }
    }
}

impl Session {
    /// A snapshot whose grace is over may still be in the log.
    fn no_manifest(&self, snapshot: SnapshotId) -> VaultError {
        if self.account.with_state(|state| state.snapshots.contains_key(&snapshot)) {
            return manifest_lost(snapshot);
        }
        VaultError::NotFound("the manifest".to_owned())
    }
}

/// What an owner may do to a vault that is suspended: shut somebody out, and leave.
fn works_while_suspended(entry: &SignedEntry) -> bool {
    let free = |body| matches!(body, Body::DeviceRevoke(_) | Body::Erase | Body::Cancel { .. });
    entry.entry().is_ok_and(|Entry { body, .. }| free(body))
}

#[async_trait]
impl Vault for Session {
    async fn slots(&self) -> Result<Vec<Bytes>> {
        self.run(Need::Slots, |s| {
            let hash: Hash = s.account.with_state(|state| state.slots.hash);
            s.core.slots_of(s.account(), hash)
        })
        .await
    }

    async fn put_slots(&self, slots: Vec<Bytes>, entry: SignedEntry) -> Result<Record> {
        self.run(Need::Owner, move |s| {
            s.may_write()?;
            s.account.put_slots(&slots, entry)
        })
        .await
    }

    async fn log(&self, after: Option<u64>) -> Result<LogPage> {
        self.run(Need::DeviceOrOwner, move |s| s.account.records_after(after)).await
    }

    async fn append(&self, entry: SignedEntry) -> Result<Record> {
        self.run(Need::DeviceOrOwner, move |s| {
            let author = match s.principal {
                Principal::Device(id) => Author::Device(id),
                _ => Author::Root,
            };
            if !works_while_suspended(&entry) {
                s.may_write()?;
            }
            s.account.append(author, entry)
        })
        .await
    }

    async fn put_pack(&self, pack: PackUpload) -> Result<PackNumber> {
        self.put_reserved(pack, None).await
    }

    async fn get_pack(&self, number: PackNumber, range: Option<Range<u64>>) -> Result<PackBytes> {
        self.run(Need::Owner, move |s| s.account.get_pack(number, range)).await
    }

    async fn live_packs(&self) -> Result<PackSet> {
        self.run(Need::DeviceOrOwner, |s| Ok(s.account.live_packs())).await
    }

    async fn damaged_packs(&self) -> Result<PackSet> {
        self.run(Need::DeviceOrOwner, |s| Ok(s.account.damaged_packs())).await
    }

    async fn footers(
        &self,
        device: Option<DeviceId>,
        after: Option<PackNumber>,
    ) -> Result<FooterPage> {
        self.run(Need::DeviceOrOwner, move |s| {
            let visible = s.visible(device)?;
            s.account.footers(visible.as_deref(), after)
        })
        .await
    }

    async fn survey_packs(&self, after: Option<PackNumber>) -> Result<PackSurvey> {
        self.run(Need::DeviceOrOwner, move |s| {
            let visible = s.visible(None)?;
            s.account.survey_packs(visible.as_deref(), after)
        })
        .await
    }

    async fn verify_packs(&self, packs: PackSet) -> Result<PackSet> {
        self.run(Need::Owner, move |s| s.account.verify_packs(&packs, &s.core.verifying)).await
    }

    async fn commit(&self, request: CommitRequest) -> Result<Record> {
        self.run(Need::Device, move |s| {
            s.may_write()?;
            s.account.commit(s.device()?, request)
        })
        .await
    }

    async fn compact(&self, request: CompactRequest) -> Result<Record> {
        self.run(Need::Owner, move |s| {
            s.may_write()?;
            s.account.compact(request)
        })
        .await
    }

    async fn manifest(&self, snapshot: SnapshotId) -> Result<Bytes> {
        self.run(Need::Owner, move |s| {
            s.may_see(snapshot)?;
            s.account.manifest(snapshot)?.ok_or_else(|| s.no_manifest(snapshot))
        })
        .await
    }

    async fn packs_of(&self, snapshot: SnapshotId) -> Result<PackSet> {
        self.run(Need::DeviceOrOwner, move |s| {
            s.may_see(snapshot)?;
            let packs = s.account.packs_of(snapshot)?;
            packs.ok_or_else(|| VaultError::NotFound("the packset".to_owned()))
        })
        .await
    }

    async fn privacy(&self) -> Result<Report> {
        self.run(Need::DeviceOrOwner, |s| s.core.report(&s.account)).await
    }

    async fn access(&self) -> Result<Vec<Access>> {
        self.run(Need::DeviceOrOwner, |s| Ok(s.account.access())).await
    }

    async fn objects(&self, after: Option<String>) -> Result<ObjectPage> {
        self.run(Need::Owner, move |s| s.account.objects(after.as_deref())).await
    }
}
