//! A small world for tests: a vault in a folder, a machine enrolled in it, files to back up.

mod clocks;
mod files;
mod forge;
mod gate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use unseen_common::codec::Canonical;
use unseen_common::id::{DeviceId, Hash, SnapshotId, VaultId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{
    Author, Body, DeviceAdd, DeviceRevoke, Entry as LogEntry, Genesis, Slots, Status,
};
use unseen_common::time::{Clock, Timestamp};
use unseen_common::vault::{NewAccount, Principal, Service, Vault, slot_set_hash};
use unseen_server::vault::{Core, Options};

use crate::backup::commit::{Committed, Committer, Wish, prepare, send};
use crate::backup::{self, BackupError, Outcome, RunOptions, Source};
use crate::compress::Encoding;
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::crypto::device::DeviceSecrets;
use crate::crypto::device_file::DeviceKey;
use crate::crypto::introduction::Introduction;
use crate::crypto::kdf::KdfParams;
use crate::crypto::recovery::RecoveryCode;
use crate::crypto::rng::Hedged;
use crate::crypto::rng::testing::rng;
use crate::crypto::schedule::Unlocked;
use crate::crypto::slot::{Slot, SlotSecret};
use crate::pack::builder::{BufferPool, PackBuilder, SealedPack, Sealer};
use crate::pack::table::{ChunkRow, SegmentRow};
use crate::progress::{Monitor, Silent};
use crate::repo::reader::Place;
use crate::repo::session::login;
use crate::repo::{Folders, KitHead, OwnerRepo, ReaderIndex, ReaderRepo, RepoError, Repository};
use crate::scan::exclude::Rules;
use crate::state::db::StateDb;
use crate::state::kinds::Kinds;
use crate::tree::entry::{Entry, Kind, Meta, Name};
use crate::tree::manifest::{Manifest, Totals};
use crate::tree::object::Object;
use crate::tree::run_rules::RunRules;

pub(crate) use clocks::{ServerClock, SetClock};
pub(crate) use files::picture;
pub(crate) use forge::Forge;
pub(crate) use gate::Gate;

const VAULT: VaultId = VaultId::from_bytes([0x55; 16]);
const START: Timestamp = Timestamp(1_800_000_000);

/// A vault in a folder with one owner. Its keys follow from a seed.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) server_clock: Arc<ServerClock>,
    pub(crate) core: Core,
    pub(crate) slots: Vec<Vec<u8>>,
    start: Timestamp,
}

/// A machine enrolled in a [`World`].
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) repo: Repository,
}

impl World {
    /// A vault with one machine, called `desk`.
    pub(crate) fn new() -> (Self, Machine) {
        Self::at(START)
    }

    /// The same, made at this time.
    pub(crate) fn at(start: Timestamp) -> (Self, Machine) {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(SetClock::new(start));
        let machines = Arc::clone(&clock);
        let server_clock = Arc::new(ServerClock::new(machines));
        let core = open_core(dir.path(), &server_clock);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let code = RecoveryCode::generate(&mut rng(2));
        let secret = SlotSecret::Code(&code);
        let slot = Slot::seal(&keys(), &secret, KdfParams::FLOOR, &mut rng(3)).expect("sealed");
        let slots = vec![slot.as_bytes().to_vec()];
        let world = Self { dir, runtime, clock, server_clock, core, slots, start };
        let secrets = Self::secrets_of_desk();
        world.make_account(&secrets);
        let machine = world.machine(secrets, "desk");
        (world, machine)
    }

    fn make_account(&self, secrets: &DeviceSecrets) {
        let owner = keys().owner_keys();
        let genesis = Genesis {
            root_key: owner.root_verify().to_bytes(),
            vault_key_hash: public_key().hash(),
            owner_login: owner.login.verifying_key().to_bytes(),
            server_identity: self.core.identity(),
            slots: Slots { hash: slot_set_hash(&self.slots), login_keys: Vec::new() },
        };
        let first = self.sign(0, Hash::from_bytes([0; 32]), Body::Genesis(genesis), &owner.root);
        let record = Record { signed: first.clone(), received: self.start };
        let add = Body::DeviceAdd(introduce(secrets, "desk"));
        let account = NewAccount {
            invite: Vec::new(),
            entries: vec![first, self.sign(1, record.hash(), add, &owner.root)],
            slots: self.slots.clone(),
        };
        let made = self.core.create_account(account);
        self.runtime.block_on(made).expect("an account");
    }

    fn sign(&self, seq: u64, prev: Hash, body: Body, key: &SigningKey) -> SignedEntry {
        let time = self.start;
        let entry = LogEntry { vault: VAULT, seq, prev, author: Author::Root, time, body };
        SignedEntry::sign(&entry, key)
    }

    /// Another machine of the same owner.
    pub(crate) fn enrol(&self, seed: u8, name: &str) -> Machine {
        let secrets = DeviceSecrets::generate(&mut rng(seed));
        self.append(Body::DeviceAdd(introduce(&secrets, name)));
        self.machine(secrets, name)
    }

    /// Revokes a machine; what it wrote up to this entry stays trusted.
    pub(crate) fn revoke(&self, device: DeviceId, last_valid: u64) {
        let body = DeviceRevoke { device, last_valid };
        self.append(Body::DeviceRevoke(body));
    }

    /// Adds a root-signed entry to the log.
    pub(crate) fn append(&self, body: Body) {
        self.runtime.block_on(async {
            let vault = self.owner().await;
            let page = vault.log(None).await.expect("the log");
            let last = page.records.last().expect("a record");
            let seq = last.signed.entry().expect("an entry").seq + 1;
            let entry = self.sign(seq, last.hash(), body, &keys().owner_keys().root);
            vault.append(entry).await.expect("appended");
        });
    }

    /// A session of the owner.
    pub(crate) async fn owner(&self) -> Arc<dyn Vault> {
        let key = keys().owner_keys().login;
        let identity = self.core.identity();
        login(&self.service(), &identity, VAULT, Principal::Owner, &key).await.expect("logs in")
    }

    /// The vault opened to decide about it.
    pub(crate) fn owner_repo(&self) -> OwnerRepo {
        let folders = self.folders("owner");
        std::fs::create_dir_all(&folders.state).expect("a folder");
        std::fs::create_dir_all(&folders.data).expect("a folder");
        let identity = self.core.identity();
        let place = Place { account: VAULT, identity, folders: &folders, kit: None, device: None };
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let (service, unlocked) = (self.service(), keys());
        let opened = OwnerRepo::open(&service, place, &unlocked, clock);
        self.runtime.block_on(opened).expect("opens")
    }

    fn machine(&self, secrets: DeviceSecrets, name: &str) -> Machine {
        self.try_machine(secrets, name).expect("opens")
    }

    /// The keys of `desk`.
    pub(crate) fn secrets_of_desk() -> DeviceSecrets {
        DeviceSecrets::generate(&mut rng(10))
    }

    /// A machine with these keys, and what is in its folders.
    pub(crate) fn try_machine(
        &self,
        secrets: DeviceSecrets,
        name: &str,
    ) -> Result<Machine, RepoError> {
        self.machine_through(self.service(), secrets, name)
    }

    /// The same by way of another service, which leads to the vault.
    pub(crate) fn machine_through(
        &self,
        service: Arc<dyn Service>,
        secrets: DeviceSecrets,
        name: &str,
    ) -> Result<Machine, RepoError> {
        let unlocked = keys();
        let identity = self.core.identity();
        let key = DeviceKey {
            vault: VAULT,
            server: "file:///vault".into(),
            server_identity: crate::crypto::sign::verifying_key(&identity).expect("a key"),
            tls_pin: None,
            secrets,
            write_set: unlocked.write_set(),
            vault_public: public_key(),
            epoch: 0,
            root_verify: unlocked.owner_keys().root_verify(),
            share: None,
            inherited: Vec::new(),
        };
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let opened = Repository::open(service, key, self.folders(name), clock);
        Ok(Machine { repo: self.runtime.block_on(opened)? })
    }

    /// Where a machine of this name keeps its things.
    pub(crate) fn folders(&self, name: &str) -> Folders {
        let base = self.dir.path().join(name);
        let folder = |name| base.join(name);
        Folders {
            data: folder("data"),
            state: folder("state"),
            cache: folder("cache"),
            credential: None,
        }
    }

    /// A folder for files to back up, or to restore to.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// Backs up a folder as the set `set`.
    pub(crate) fn backup_as(&self, machine: &mut Machine, set: &str, path: &Path) -> SnapshotId {
        let outcome = self.run(machine, &options(set), path);
        self.clock.advance(60);
        outcome.snapshot.expect("a snapshot")
    }

    /// Backs up a folder as the set `default`.
    pub(crate) fn backup(&self, machine: &mut Machine, path: &Path) -> SnapshotId {
        self.backup_as(machine, "default", path)
    }

    pub(crate) fn run(&self, machine: &mut Machine, options: &RunOptions, path: &Path) -> Outcome {
        self.try_run(machine, options, Source::Paths(vec![path.to_path_buf()])).expect("backs up")
    }

    pub(crate) fn try_run(
        &self,
        machine: &mut Machine,
        options: &RunOptions,
        source: Source,
    ) -> Result<Outcome, BackupError> {
        let (repo, stop) = (&mut machine.repo, AtomicBool::new(false));
        backup::run(repo, source, options, (&Silent, &stop), self.runtime.handle())
    }

    pub(crate) fn service(&self) -> Arc<dyn Service> {
        Arc::new(self.core.clone())
    }

    /// The vault opened for reading, by a machine of this name.
    pub(crate) fn try_reader(
        &self,
        name: &str,
        kit: Option<(u64, Hash)>,
    ) -> Result<ReaderRepo, RepoError> {
        let folders = self.folders(name);
        let kit = kit.map(|(seq, hash)| KitHead::new(seq, hash));
        let identity = self.core.identity();
        let kit = kit.as_ref();
        let place = Place { account: VAULT, identity, folders: &folders, kit, device: None };
        let service = self.service();
        let opened = ReaderRepo::open(&service, place, keys());
        self.runtime.block_on(opened)
    }

    /// The vault opened for reading on a bare machine, with its index.
    pub(crate) fn reader(&self) -> (ReaderRepo, ReaderIndex) {
        let repo = self.try_reader("reader", None).expect("opens");
        let index = self.index(&repo);
        (repo, index)
    }

    pub(crate) fn index(&self, repo: &ReaderRepo) -> ReaderIndex {
        let folder = repo.folders.reader_index();
        let opened = self.runtime.block_on(repo.open_index(&folder));
        opened.expect("an index")
    }

    /// The file that holds a pack on the server's disk.
    pub(crate) fn pack_file(&self, number: u32) -> PathBuf {
        let shard = format!("vault/accounts/{VAULT}/packs/{:05x}", number >> 12);
        let folder = self.dir.path().join(shard);
        let begins = format!("{number:08x}-");
        let entries = std::fs::read_dir(&folder).expect("packs");
        entries
            .map(|entry| entry.expect("an entry").path())
            .find(|path| {
                let name = path.file_name().expect("a name").to_string_lossy();
                name.starts_with(&begins)
            })
            .expect("the pack is there")
    }

    /// Changes one byte of a pack on the server's disk.
    pub(crate) fn damage(&self, number: u32, at: usize) {
        let path = self.pack_file(number);
        let mut bytes = std::fs::read(&path).expect("a pack");
        *bytes.get_mut(at).expect("within the pack") ^= 0x40;
        std::fs::write(&path, bytes).expect("damaged");
    }

    /// Opens the server's folder anew, as it lies on disk now.
    pub(crate) fn reopen(&mut self, change: impl FnOnce(&Path)) {
        let empty = tempfile::tempdir().expect("a folder");
        drop(std::mem::replace(&mut self.core, open_core(empty.path(), &self.server_clock)));
        change(&self.dir.path().join("vault"));
        self.core = open_core(self.dir.path(), &self.server_clock);
    }
}

/// The keys of the vault, made again from their seed.
pub(crate) fn keys() -> Unlocked {
    Unlocked::generate(VAULT, &mut rng(1))
}

/// The code that opens it.
pub(crate) fn code() -> RecoveryCode {
    RecoveryCode::generate(&mut rng(2))
}

/// How tests back up.
pub(crate) fn options(set: &str) -> RunOptions {
    RunOptions {
        set: set.into(),
        host: "host".into(),
        user: "user".into(),
        tags: vec!["tag".into()],
        rules: Rules::default(),
        changes: None,
        at_most: None,
        in_all: None,
        small_first: None,
        one_file_system: false,
        force: false,
        dry_run: false,
        skip_if_unchanged: false,
        compression: crate::compress::Level::Default,
        checkpoint_every: Duration::from_secs(3600),
        spool: false,
        ahead: false,
        workers: 2,
        uploads: 1,
        patience: Duration::from_secs(600),
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    let mut hasher = blake3::Hasher::new_derive_key("unseen test noise");
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// A handle that listens to nothing.
pub(crate) fn silent() -> &'static dyn Monitor {
    &Silent
}

fn open_core(dir: &Path, clock: &Arc<ServerClock>) -> Core {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let options = Options { clock, open_accounts: true };
    Core::open(&dir.join("vault"), options).expect("a vault")
}

fn public_key() -> crate::crypto::vault_key::VaultPublicKey {
    keys().root.vault_key(VAULT).public().clone()
}

fn introduce(secrets: &DeviceSecrets, name: &str) -> DeviceAdd {
    let unlocked = keys();
    let write_set = unlocked.write_set();
    let public = public_key();
    let to = crate::crypto::envelope::SealTo {
        vault: VAULT,
        epoch: 0,
        device: secrets.device,
        public: &public,
        psk: &write_set.writer_psk,
    };
    let introduction = Introduction { name: name.into(), index_key: secrets.index_key.duplicate() };
    let sealed = introduction.seal(&to, &mut Hedged::fresh());
    let key = |key: &SigningKey| key.verifying_key().to_bytes();
    DeviceAdd {
        device: secrets.device,
        manifest_key: key(&secrets.manifest),
        login_key: key(&secrets.login),
        sealed: sealed.expect("sealed").to_vec(),
        backup_only: false,
        replaces: None,
    }
}

/// An entry with plain metadata.
pub(crate) fn entry(name: &str, kind: Kind) -> Entry {
    Entry {
        name: Name::new(name.as_bytes()).expect("a name"),
        meta: Meta {
            mode: 0o755,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..Meta::default()
        },
        kind,
    }
}

/// Copies a folder and all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("copies");
    for entry in std::fs::read_dir(from).expect("copies") {
        let entry = entry.expect("copies");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("copies").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}
