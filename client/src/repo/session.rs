//! Logging in, and what a logged-in client has at hand.

use std::path::PathBuf;
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use unseen_common::id::VaultId;
use unseen_common::log::fold::Device;
use unseen_common::time::Clock;
use unseen_common::vault::{Principal, Service, Vault, VaultError};

use super::RepoError;
use super::clocks::Clocks;
use super::log::{Keeping, Log};
use crate::crypto::device_file::DeviceKey;
use crate::remote::session::{Login, Signer, log_in};

/// Where a profile keeps its things.
#[derive(Debug, Clone)]
pub struct Folders {
    /// `device.key`, pins and what was sent: not to be lost.
    pub data: PathBuf,
    /// sled, the copy of the log, the spool: can be lost, costs time.
    pub state: PathBuf,
    /// The chunk index: can be lost, costs a download of tables of contents.
    pub cache: PathBuf,
    /// `device.key` as the service manager hands it over, in place of the one in `data`. It cannot
    /// be written.
    pub credential: Option<PathBuf>,
}

impl Folders {
    /// The device's secrets.
    pub fn device_key(&self) -> PathBuf {
        self.credential.clone().unwrap_or_else(|| self.data.join("device.key"))
    }

    /// The remembered head of the log.
    pub fn pin(&self) -> PathBuf {
        self.data.join("pins")
    }

    /// The snapshots that this device has sent.
    pub fn sent(&self) -> PathBuf {
        self.data.join("sent")
    }

    /// The copy of the log.
    pub fn log(&self) -> PathBuf {
        self.state.join("log")
    }

    /// What this device remembers of the snapshots that it made.
    pub fn own_snapshots(&self) -> PathBuf {
        self.state.join("snapshots")
    }

    /// A commit that was begun.
    pub fn pending_commit(&self) -> PathBuf {
        self.state.join("commit")
    }

    /// Packs on their way.
    pub fn spool(&self) -> PathBuf {
        self.state.join("spool")
    }

    /// The chunk index of this device's own packs.
    pub fn index(&self) -> PathBuf {
        self.cache.join("index")
    }

    /// The chunk index of all packs, for reading.
    pub fn reader_index(&self) -> PathBuf {
        self.cache.join("reader-index")
    }
}

/// A vault that this device is logged in to.
#[derive(Debug)]
pub struct Repository {
    /// The device's secrets.
    pub key: DeviceKey,
    /// The server.
    pub service: Arc<dyn Service>,
    /// The session of this device.
    pub vault: Arc<dyn Vault>,
    /// The log.
    pub log: Log,
    /// Where things are kept.
    pub folders: Folders,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Repository {
    /// Logs in as this device, and checks the log against what this machine remembers.
    pub async fn open(
        service: Arc<dyn Service>,
        key: DeviceKey,
        folders: Folders,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RepoError> {
        let principal = Principal::Device(key.secrets.device);
        let server = key.server_identity.to_bytes();
        let vault = login(&service, &server, key.vault, principal, &key.secrets.login).await?;
        let keeping = Keeping::new(&folders, Some(key.secrets.device));
        let log = Log::sync(keeping, &*vault).await?;
        check_owner(&log, &key)?;
        Ok(Self { key, service, vault, log, folders, clock })
    }

    /// The server's clock and this machine's.
    pub async fn clocks(&self) -> Result<Clocks, VaultError> {
        let who = (self.key.vault, Principal::Device(self.key.secrets.device));
        Clocks::read(&*self.service, who, &*self.clock).await
    }

    /// This device as the log has it.
    pub fn device(&self) -> Result<&Device, RepoError> {
        let id = self.key.secrets.device;
        self.log.state.active_device(id).map_err(|_e| RepoError::Revoked(id))
    }
}

fn check_owner(log: &Log, key: &DeviceKey) -> Result<(), RepoError> {
    let state = &log.state;
    let same = state.vault == key.vault
        && state.root_key == key.root_verify.to_bytes()
        && state.vault_key_hash == key.vault_public.hash();
    if same { Ok(()) } else { Err(RepoError::OtherOwner) }
}

/// Logs in by signing a challenge, and again whenever the server has forgotten the session.
/// `identity` is the server's pinned identity key: a signature for another server is of no use to
/// this one.
pub async fn login(
    service: &Arc<dyn Service>,
    identity: &[u8; 32],
    account: VaultId,
    principal: Principal,
    key: &SigningKey,
) -> Result<Arc<dyn Vault>, VaultError> {
    let key = key.clone();
    let signer: Signer = Arc::new(move |message| key.sign(message).to_bytes());
    let login = Login { account, principal, identity: *identity, signer };
    log_in(Arc::clone(service), login).await
}
