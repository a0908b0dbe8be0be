//! Backs up a folder into a vault of its own and restores it, for measuring.
//!
//! `world backup WORK SOURCE`, then `world restore WORK TARGET [verify]`, `world check WORK [read]`

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use unseen_client::backup::{RunOptions, Source, run};
use unseen_client::browse::resolve::{Filter, parse, resolve};
use unseen_client::compress::Level;
use unseen_client::crypto::device::DeviceSecrets;
use unseen_client::crypto::device_file::DeviceKey;
use unseen_client::crypto::envelope::SealTo;
use unseen_client::crypto::introduction::Introduction;
use unseen_client::crypto::kdf::KdfParams;
use unseen_client::crypto::recovery::RecoveryCode;
use unseen_client::crypto::rng::{Entropy, Hedged};
use unseen_client::crypto::schedule::Unlocked;
use unseen_client::crypto::secret::Secret;
use unseen_client::crypto::sign::verifying_key;
use unseen_client::crypto::slot::{Slot, SlotSecret};
use unseen_client::maintain::{CheckOptions, Subset, check};
use unseen_client::progress::{Monitor, Tally};
use unseen_client::repo::reader::Place;
use unseen_client::repo::{Folders, ReaderRepo, Repository};
use unseen_client::restore::{RestoreOptions, restore};
use unseen_client::scan::exclude::Rules;
use unseen_common::id::{Hash, VaultId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{Author, Body, DeviceAdd, Entry, Genesis, Slots};
use unseen_common::time::{Clock, Timestamp};
use unseen_common::vault::{NewAccount, Service, slot_set_hash};
use unseen_server::vault::{Core, Options};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const VAULT: VaultId = VaultId::from_bytes([0x77; 16]);
const NOW: Timestamp = Timestamp(1_800_000_000);

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// Makes the same keys at every start. Never to be used for anything but measuring.
#[derive(Debug)]
struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&mut self, out: &mut [u8; 32]) {
        out.fill(7);
    }

    fn now_nanos(&mut self) -> u64 {
        0
    }
}

fn seeded(seed: u8) -> Hedged {
    Hedged::with_entropy(&Secret::from_bytes([seed; 32]), NoEntropy)
}

fn keys() -> Unlocked {
    Unlocked::generate(VAULT, &mut seeded(1))
}

fn folders(work: &Path, name: &str) -> Folders {
    let base = work.join(name);
    Folders {
        data: base.join("data"),
        state: base.join("state"),
        cache: base.join("cache"),
    }
}

fn open(work: &Path) -> Result<Core> {
    let options = Options {
        clock: Arc::new(Fixed),
        open_accounts: true,
    };
    Ok(Core::open(&work.join("vault"), options)?)
}

fn sign(seq: u64, prev: Hash, body: Body) -> SignedEntry {
    let entry = Entry {
        vault: VAULT,
        seq,
        prev,
        author: Author::Root,
        time: NOW,
        body,
    };
    SignedEntry::sign(&entry, &keys().owner_keys().root)
}

async fn enrol(core: &Core, secrets: &DeviceSecrets) -> Result<()> {
    let unlocked = keys();
    let owner = unlocked.owner_keys();
    let public = unlocked.root.vault_key(VAULT).public().clone();
    let code = RecoveryCode::generate(&mut seeded(2));
    let secret = SlotSecret::Code(&code);
    let slot = Slot::seal(&unlocked, &secret, KdfParams::FLOOR, &mut seeded(3))?;
    let slots = vec![slot.as_bytes().to_vec()];
    let genesis = Genesis {
        root_key: owner.root_verify().to_bytes(),
        vault_key_hash: public.hash(),
        owner_login: owner.login.verifying_key().to_bytes(),
        server_identity: core.identity(),
        slots: Slots {
            hash: slot_set_hash(&slots),
            login_keys: Vec::new(),
        },
    };
    let first = sign(0, Hash::from_bytes([0; 32]), Body::Genesis(genesis));
    let record = Record {
        signed: first.clone(),
        received: NOW,
    };
    let write_set = unlocked.write_set();
    let to = SealTo {
        vault: VAULT,
        epoch: 0,
        device: secrets.device,
        public: &public,
        psk: &write_set.writer_psk,
    };
    let introduction = Introduction {
        name: "world".into(),
        index_key: secrets.index_key.duplicate(),
    };
    let add = DeviceAdd {
        device: secrets.device,
        manifest_key: secrets.manifest.verifying_key().to_bytes(),
        login_key: secrets.login.verifying_key().to_bytes(),
        sealed: introduction.seal(&to, &mut Hedged::fresh())?.to_vec(),
        backup_only: false,
        replaces: None,
    };
    let account = NewAccount {
        invite: Vec::new(),
        entries: vec![first, sign(1, record.hash(), Body::DeviceAdd(add))],
        slots,
    };
    Ok(core.create_account(account).await?)
}

fn backup(work: &Path, source: PathBuf, runtime: &Runtime) -> Result<()> {
    let core = open(work)?;
    let secrets = DeviceSecrets::generate(&mut seeded(4));
    // Sealing must not repeat itself from run to run.
    let secrets = DeviceSecrets {
        hedge: Hedged::fresh().secret(),
        ..secrets
    };
    if core.accounts()?.is_empty() {
        runtime.block_on(enrol(&core, &secrets))?;
    }
    let unlocked = keys();
    let key = DeviceKey {
        vault: VAULT,
        server: "file:///".into(),
        server_identity: verifying_key(&core.identity())?,
        tls_pin: None,
        secrets,
        write_set: unlocked.write_set(),
        vault_public: unlocked.root.vault_key(VAULT).public().clone(),
        epoch: 0,
        root_verify: unlocked.owner_keys().root_verify(),
        share: None,
        inherited: Vec::new(),
    };
    let service: Arc<dyn Service> = Arc::new(core);
    let opened = Repository::open(service, key, folders(work, "device"), Arc::new(Fixed));
    let mut repo = runtime.block_on(opened)?;
    let options = RunOptions {
        set: "world".into(),
        host: "host".into(),
        user: "user".into(),
        tags: Vec::new(),
        rules: Rules::default(),
        one_file_system: false,
        force: false,
        dry_run: false,
        skip_if_unchanged: false,
        compression: Level::Default,
        checkpoint_every: Duration::from_secs(3600),
        spool: false,
        workers: 2,
        uploads: 2,
    };
    let tally = Tally::default();
    let listens = (&tally as &dyn Monitor, &AtomicBool::new(false));
    let source = Source::Paths(vec![source]);
    let outcome = run(&mut repo, source, &options, listens, runtime.handle())?;
    say(&format!("{outcome:?}"))
}

fn reader(work: &Path, core: &Core, runtime: &Runtime) -> Result<ReaderRepo> {
    let folders = folders(work, "reader");
    let place = Place {
        account: VAULT,
        identity: core.identity(),
        folders: &folders,
        kit: None,
    };
    Ok(runtime.block_on(ReaderRepo::open(core, place, keys()))?)
}

fn restore_to(work: &Path, target: PathBuf, verify: bool, runtime: &Runtime) -> Result<()> {
    let core = open(work)?;
    let begin = Instant::now();
    let repo = reader(work, &core, runtime)?;
    let index = runtime.block_on(repo.open_index(&repo.folders.reader_index()))?;
    say(&format!("opened after {:?}", begin.elapsed()))?;
    let chosen = runtime.block_on(resolve(&repo, &parse("latest")?, &Filter::default()))?;
    let options = RestoreOptions {
        target,
        verify,
        ..RestoreOptions::default()
    };
    let tally = Tally::default();
    let listens = (&tally as &dyn Monitor, &AtomicBool::new(false));
    let done = restore(
        (&repo, &index),
        &chosen,
        &options,
        listens,
        runtime.handle(),
    )?;
    say(&format!("{done:?}"))?;
    say(&format!("restored after {:?}", begin.elapsed()))
}

fn check_all(work: &Path, read: bool, runtime: &Runtime) -> Result<()> {
    let core = open(work)?;
    let begin = Instant::now();
    let repo = reader(work, &core, runtime)?;
    let index = runtime.block_on(repo.open_index(&repo.folders.reader_index()))?;
    let options = CheckOptions {
        read_data: read.then_some(Subset::All),
        workers: 0,
    };
    let tally = Tally::default();
    let listens = (&tally as &dyn Monitor, &AtomicBool::new(false));
    let outcome = check((&repo, &index), options, listens, runtime.handle())?;
    say(&format!("{outcome:?}"))?;
    say(&format!("checked after {:?}", begin.elapsed()))
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["backup", work, source] => backup(Path::new(work), source.into(), &runtime),
        ["restore", work, target] => restore_to(Path::new(work), target.into(), false, &runtime),
        ["restore", work, target, "verify"] => {
            restore_to(Path::new(work), target.into(), true, &runtime)
        }
        ["check", work] => check_all(Path::new(work), false, &runtime),
        ["check", work, "read"] => check_all(Path::new(work), true, &runtime),
        _ => Err("see the head of the source".into()),
    }
}
