//! The server's core: one data folder, open in one process.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use unseen_common::id::{Hash, VaultId};
use unseen_common::limits::ServerLimits;
use unseen_common::lock::Lock;
use unseen_common::log::entry::PublicKey;
use unseen_common::log::fold::State;
use unseen_common::privacy::inventory;
use unseen_common::receipt::{Receipt, SignedReceipt};
use unseen_common::time::{Clock, Timestamp};
use unseen_common::vault::{
    Challenge, LoginRequest, NewAccount, PROTOCOL, Principal, Result, ServerInfo, Service, Vault,
    VaultError, login_message,
};

use super::account::{Account, storage_error};
use super::auth::Challenges;
use super::copy_onto::is_unfinished;
use super::create::INVITE_BYTES;
use super::damage::Words;
use super::folder::{self, has_accounts, identity_of, lock_folder};
use super::format;
use super::guard::Guard;
use super::ledger::Ledger;
use super::load::{self, LoadError, Shared};
use super::rebuild;
use super::session::Session;
use crate::clock::SystemClock;
use crate::ops::metrics::Metrics;
use crate::store::space::Disk;
use crate::store::{Store, durable, lock};

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is there.
    #[error("there is no data folder in {0}; `serve` makes one")]
    NoFolder(PathBuf),
    /// It is somebody's folder.
    #[error(
        "{folder} has other files in it, such as {name:?}: name a folder of the server's own, such \
         as {folder}/unseen; nothing was changed"
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// The name of one of the files.
        name: OsString,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    Busy(PathBuf),
    /// The folder cannot be made, read or written.
    #[error("the data folder {folder} cannot be used")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server's identity key cannot be read.
    #[error("{0} does not hold an identity key")]
    Identity(PathBuf),
    /// The folder is of a newer program.
    #[error(
        "{folder} has format {found} of a newer program, and this one knows up to {known}: install \
         the newer program again; nothing was changed"
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// The mark of the format cannot be read.
    #[error("{0} does not say which format the folder has")]
    Format(PathBuf),
    /// The identity key is gone, but accounts are there.
    #[error(
        "{0} is missing, but the folder was in use, and clients know the server by this key: put \
         it back from the backup of the server"
    )]
    IdentityLost(PathBuf),
    /// The server's journal cannot be read.
    #[error("the server's journal cannot be used")]
    Journal(#[source] LoadError),
    /// There are accounts, and no folder of journals.
    #[error(
        "{0} has packs and no journal; `backup-server rebuild --data {0}` makes it anew from what \
         is there, and deletes nothing"
    )]
    NoJournal(PathBuf),
    /// A copy that was cut off.
    #[error("{0} is a copy that was cut off: `backup-server copy --data … {0}` goes on with it")]
    Unfinished(PathBuf),
}

/// How a core behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the stamps come from.
    pub clock: Arc<dyn Clock>,
    /// Whoever reaches it may make an account, without an invite.
    pub open_accounts: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), open_accounts: false }
    }
}

/// A data folder that is open. Clones share it.
#[derive(Debug, Clone)]
pub struct Core(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) shared: Shared,
    pub(super) ledger: Ledger,
    pub(super) open_accounts: bool,
    /// Where everything is; nowhere for a store that was handed over.
    pub(super) folder: Option<PathBuf>,
    identity: SigningKey,
    challenges: Challenges,
    pub(super) metrics: Arc<Metrics>,
    /// Held by who reads packs again because somebody asked: one at a time, so that memory stays
    /// bounded.
    pub(super) verifying: Mutex<()>,
    /// Held by who writes the file of [`super::rounds`].
    pub(super) hints: Mutex<()>,
    pub(super) accounts: Mutex<HashMap<VaultId, Arc<Cell>>>,
    /// Those that could not be opened when that was last tried, as they are damaged.
    pub(super) unreadable: Mutex<BTreeSet<VaultId>>,
    /// Released when the last clone is dropped.
    _lock: Option<Lock>,
}

/// An account once it is open; locked while it is being opened.
pub(super) type Cell = Mutex<Option<Arc<Account>>>;

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("store", &self.shared.store).finish_non_exhaustive()
    }
}

impl Core {
    /// Opens a data folder, which is made if absent. Only one process can have it open. Blocks.
    pub fn open(dir: &Path, options: Options) -> std::result::Result<Self, OpenError> {
        let wrap = |source| OpenError::Io { folder: dir.to_owned(), source };
        durable::make_dirs(dir).map_err(wrap)?;
        if is_unfinished(dir) {
            return Err(OpenError::Unfinished(dir.to_owned()));
        }
        if let Some(name) = folder::foreign(dir).map_err(wrap)? {
            return Err(OpenError::Foreign { folder: dir.to_owned(), name });
        }
        let lock = lock_folder(dir)?;
        format::check(dir)?;
        if !dir.join("journal").exists() && has_accounts(dir).map_err(wrap)? {
            return Err(OpenError::NoJournal(dir.to_owned()));
        }
        let store = Store::folder(dir).map_err(wrap)?;
        let identity = identity_of(dir, &store)?;
        Self::assemble(store, identity, options, Some((lock, dir.to_owned())))
    }

    /// The same, for a folder that is there: nothing is made in one that was mistyped. Blocks.
    pub fn open_existing(dir: &Path, options: Options) -> std::result::Result<Self, OpenError> {
        Self::is_there(dir)?;
        Self::open(dir, options)
    }

    /// Refuses a folder that is no data folder.
    pub fn is_there(dir: &Path) -> std::result::Result<(), OpenError> {
        if is_unfinished(dir) {
            return Err(OpenError::Unfinished(dir.to_owned()));
        }
        if folder::is_in_use(dir) {
            return Ok(());
        }
        Err(OpenError::NoFolder(dir.to_owned()))
    }

    /// Opens a local vault folder: who can open it may make an account in it. Blocks.
    pub fn open_local(dir: &Path) -> std::result::Result<Self, OpenError> {
        let options = Options { open_accounts: true, ..Options::default() };
        Self::open(dir, options)
    }

    /// Opens any store, with the identity key given; nothing keeps others from opening it too.
    pub fn with_store(
        store: Store,
        identity: [u8; 32],
        options: Options,
    ) -> std::result::Result<Self, OpenError> {
        Self::assemble(store, SigningKey::from_bytes(&identity), options, None)
    }

    pub(super) fn assemble(
        store: Store,
        identity: SigningKey,
        options: Options,
        place: Option<(Lock, PathBuf)>,
    ) -> std::result::Result<Self, OpenError> {
        let ledger = Ledger::open(&*store.journals).map_err(OpenError::Journal)?;
        let (lock, folder) = place.unzip();
        let local = folder.as_deref().filter(|_| options.open_accounts);
        let shared = Shared {
            store,
            disk: Arc::default(),
            clock: Arc::new(Guard::new(options.clock, ledger.clock(), options.open_accounts)),
            failed: watch::channel(false).0,
            words: local.map_or_else(Words::remote, Words::local),
        };
        Ok(Self(Arc::new(Inner {
            shared,
            ledger,
            open_accounts: options.open_accounts,
            folder,
            identity,
            challenges: Challenges::new(),
            metrics: Arc::default(),
            verifying: Mutex::default(),
            hints: Mutex::default(),
            accounts: Mutex::default(),
            unreadable: Mutex::default(),
            _lock: lock,
        })))
    }

    /// The server's identity key.
    pub fn identity(&self) -> PublicKey {
        self.0.identity_key()
    }

    /// What this server counts about itself.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Makes an invite that is good for one account and so many seconds; gives its secret. Blocks.
    pub fn invite(&self, quota: Option<u64>, seconds: u64) -> Result<[u8; INVITE_BYTES]> {
        self.0.invite(quota, seconds)
    }

    /// The server's time.
    pub fn now(&self) -> Timestamp {
        self.0.shared.clock.now()
    }

    /// The ids of all accounts, of those without a journal too. Blocks.
    pub fn accounts(&self) -> io::Result<Vec<VaultId>> {
        self.0.account_ids()
    }

    /// Whether anything of an account is stored; not known of a store that was handed over.
    pub fn has_blobs(&self) -> bool {
        self.0.folder.as_deref().is_some_and(|dir| has_accounts(dir).unwrap_or(false))
    }

    /// An account, opened if need be; `None` if there is none of this id. Blocks.
    pub fn account(&self, id: VaultId) -> Result<Option<Arc<Account>>> {
        self.0.account(id)
    }

    /// The disk that everything is on, for those who watch it.
    pub fn disk(&self) -> &Disk {
        &self.0.shared.disk
    }

    /// Ends when a journal could not be made durable: then the process must end.
    pub async fn failed(&self) {
        let mut failed = self.0.shared.failed.subscribe();
        // The sender lives as long as this core.
        drop(failed.wait_for(|failed| *failed).await);
    }

    /// Whether a journal could not be made durable.
    pub fn has_failed(&self) -> bool {
        *self.0.shared.failed.borrow()
    }

    /// Logs in under the host name that the client saw.
    pub async fn login_at(&self, host: String, request: LoginRequest) -> Result<Session> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.login(&host, &request)).await
    }
}

#[async_trait]
impl Service for Core {
    async fn describe(&self) -> Result<ServerInfo> {
        Ok(ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocols: vec![PROTOCOL],
            identity: Hash::from_bytes(self.identity()),
            privacy: PRIVACY.iter().map(|&line| line.to_owned()).collect(),
            policy: inventory::statement(),
            limits: Some(ServerLimits::current()),
        })
    }

    async fn create_account(&self, account: NewAccount) -> Result<()> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.create_account(&account)).await
    }

    async fn challenge(&self, account: VaultId, principal: Principal) -> Result<Challenge> {
        let now = self.0.shared.clock.now();
        Ok(self.0.challenges.make(account, principal, now))
    }

    async fn erased(&self, account: VaultId) -> Result<SignedReceipt> {
        let known = self.0.ledger.receipt(account);
        known.ok_or_else(|| VaultError::NotFound("a receipt for this account".to_owned()))
    }

    async fn login(&self, request: LoginRequest) -> Result<Arc<dyn Vault>> {
        let session = self.login_at(self.host(), request).await?;
        Ok(Arc::new(session))
    }

    fn host(&self) -> String {
        String::new()
    }
}

/// What the server records about people: each line one fact.
const PRIVACY: [&str; 6] = [
    "Stored: sealed packs, sealed manifests, unlock slots, the signed log with what its entries disclose.",
    "Stored: when each pack and log entry arrived, and which device sent it.",
    "Not stored: network addresses.",
    "Not stored: file names, paths, host and user names never reach the server.",
    "Request logs hold the time, the route, the status, bytes, duration and an account pseudonym.",
    "Out of reach: copies of the disk that the operator makes, file system snapshots, versions kept by an object store.",
];

impl Inner {
    pub(super) fn identity_key(&self) -> PublicKey {
        self.identity.verifying_key().to_bytes()
    }

    pub(super) fn account(&self, id: VaultId) -> Result<Option<Arc<Account>>> {
        if self.ledger.is_erased(id) {
            return Ok(None);
        }
        let cell = lock(&self.accounts).get(&id).cloned();
        if let Some(cell) = cell {
            return self.load(&cell, id);
        }
        if !self.has_journal(id).map_err(|error| storage_error(&error))? {
            return self.journal_is_there(id).map(|()| None);
        }
        let cell = Arc::clone(lock(&self.accounts).entry(id).or_default());
        let found = self.load(&cell, id)?;
        if self.ledger.is_erased(id) {
            // That happened meanwhile: what was read of it must not be written to.
            self.forget_account(id);
            return Ok(None);
        }
        Ok(found)
    }

    /// The account is not opened again; who has it keeps it for now.
    pub(super) fn forget_account(&self, id: VaultId) {
        lock(&self.accounts).remove(&id);
        lock(&self.unreadable).remove(&id);
    }

    pub(super) fn sign_receipt(&self, receipt: &Receipt) -> SignedReceipt {
        SignedReceipt::sign(receipt, &self.identity)
    }

    fn load(&self, cell: &Cell, id: VaultId) -> Result<Option<Arc<Account>>> {
        let mut cell = lock(cell);
        if cell.is_none() {
            let loaded = load::load(&self.shared, id).or_else(|error| {
                tracing::error!(account = id.short(), %error, "an account cannot be opened");
                let read_only = rebuild::read_only(&self.shared, id, &error);
                if read_only.is_none() && error.is_damage() {
                    lock(&self.unreadable).insert(id);
                }
                read_only.map(Some).ok_or_else(|| error.tell(&self.shared.words))
            })?;
            lock(&self.unreadable).remove(&id);
            *cell = loaded.map(Arc::new);
        }
        Ok(cell.clone())
    }

    fn login(self: &Arc<Self>, host: &str, request: &LoginRequest) -> Result<Session> {
        let LoginRequest { account, principal, nonce, signature } = *request;
        let now = self.shared.clock.now();
        let challenge = self.challenges.recall(account, principal, nonce, now)?;
        let message = login_message(&self.identity_key(), host, account, principal, &challenge);
        let found = self.account(account)?;
        let known = found.as_ref().and_then(|a| a.with_state(|state| login_key(state, principal)));
        // The same work whether or not there is such a key.
        let key = known.unwrap_or_else(|| self.identity_key());
        let signed = VerifyingKey::from_bytes(&key)
            .and_then(|key| key.verify_strict(&message, &Signature::from_bytes(&signature)));
        let (Some(found), Some(key), Ok(())) = (found, known, signed) else {
            return Err(VaultError::Forbidden("the login is not valid".to_owned()));
        };
        if !self.challenges.spend(&challenge, now) {
            return Err(VaultError::Unauthorized);
        }
        let session = Session::new(Arc::clone(self), found, principal, key);
        session.check_alive()?;
        Ok(session)
    }
}

/// The key that verifies logins of a principal; of a revoked device too, so that it can be told.
fn login_key(state: &State, principal: Principal) -> Option<PublicKey> {
    match principal {
        Principal::Device(id) => state.devices.get(&id).map(|device| device.add.login_key),
        Principal::Owner => Some(state.owner_login),
        Principal::Slots(name) => {
            let keys = &state.slots.login_keys;
            keys.iter().find(|key| Hash::of(*key) == name).copied()
        }
    }
}

/// Runs what blocks on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request broke off");
        Err(VaultError::Server("the request broke off".to_owned()))
    })
}
