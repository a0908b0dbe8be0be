//! The suite over the core, and what survives kill, loss of power, damage and failing disks.

use std::path::Path;
use std::sync::Arc;

use unseen_common::codec::Canonical;
use unseen_common::id::PackNumber;
use unseen_common::log::chain::Record;
use unseen_common::log::entry::{Body, Policy};
use unseen_common::log::fold::{DEFAULT_POLICY, State};
use unseen_common::vault::{PackUpload, Result, Service, Vault, VaultError};

use super::rebuild::{Fate, rebuild};
use super::{Core, OpenError, Options};
use crate::store::Store;
use crate::store::key::Key;
use crate::store::memory::{self, MemBlobs, MemJournals};
use crate::testkit::faults::{self, Fault, Plan};
use crate::testkit::{Bench, Head, Owner, TestClock, conformance, snapshot_id};

fn options(clock: &Arc<TestClock>) -> Options {
    Options { clock: Arc::<TestClock>::clone(clock), open_accounts: false }
}

fn bench(core: Core, clock: Arc<TestClock>) -> Bench {
    Bench { service: Arc::new(core.clone()), clock, core }
}

fn in_memory(store: Store) -> Bench {
    let clock = Arc::new(TestClock::default());
    let core = Core::with_store(store, [3; 32], options(&clock)).unwrap();
    bench(core, clock)
}

#[tokio::test]
async fn memory_conforms() {
    let store = memory::store(MemBlobs::default(), MemJournals::default());
    conformance::all(&in_memory(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folder_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let core = Core::open(dir.path(), options(&clock)).unwrap();
    conformance::all(&bench(core, clock)).await;
}

/// What was acknowledged, and must be there for ever.
#[derive(Debug, Default)]
struct Acked {
    packs: Vec<(PackNumber, PackUpload)>,
    snapshots: Vec<(Vec<u8>, Record)>,
    policies: Vec<Record>,
}

impl Acked {
    async fn check(&self, core: &Core, owner: &Owner) {
        let root = owner.log_in(core).await.unwrap();
        let live = root.live_packs().await.unwrap();
        for (number, pack) in &self.packs {
            assert!(live.0.contains(number.0));
            let read = root.get_pack(*number, None).await.unwrap();
            assert_eq!(read.bytes, pack.bytes);
        }
        let footers = root.footers(None, None).await.unwrap();
        assert_eq!(u64::try_from(footers.items.len()).unwrap(), live.0.len());
        let log = root.log(None).await.unwrap().records;
        let state = State::of(&log).unwrap();
        for (manifest, record) in &self.snapshots {
            assert!(log.contains(record));
            let id = snapshot_id(manifest);
            assert!(state.snapshots.contains_key(&id));
            assert_eq!(root.manifest(id).await.unwrap(), *manifest);
            root.packs_of(id).await.unwrap();
        }
        assert!(self.policies.iter().all(|record| log.contains(record)));
        assert_eq!(root.slots().await.unwrap(), owner.slots);
    }
}

/// A core and who is logged in.
#[derive(Debug)]
struct Life {
    core: Core,
    device: Option<Arc<dyn Vault>>,
    root: Option<Arc<dyn Vault>>,
}

impl Life {
    async fn new(core: Core, owner: &Owner) -> Self {
        Self {
            device: owner.log_in_device(&core, &owner.machine).await.ok(),
            root: owner.log_in(&core).await.ok(),
            core,
        }
    }
}

/// One step of a machine's life; notes what was acknowledged.
async fn step(life: &Life, owner: &Owner, acked: &mut Acked, number: u64) -> Result<()> {
    let machine = &owner.machine;
    let device = life.device.as_ref().ok_or(VaultError::Unauthorized)?;
    match number {
        0 | 1 | 2 | 4 | 5 => {
            let pack = machine.small_pack(number);
            let given = device.put_pack(pack.clone()).await?;
            acked.packs.push((given, pack));
        }
        6 => {
            let root = life.root.as_ref().ok_or(VaultError::Unauthorized)?;
            let head = Head::of(owner.vault, &**root).await;
            let policy = Policy { grace_days: 77, ..DEFAULT_POLICY };
            let record = root.append(owner.sign(&head, Body::Policy(policy))).await?;
            acked.policies.push(record);
        }
        _ => {
            let manifest = format!("manifest {number}").into_bytes();
            let head = Head::of(owner.vault, &**device).await;
            let mut packs = acked.packs.clone();
            packs.sort_by_key(|(number, _)| *number);
            let request = machine.snapshot(&head, &manifest, &packs);
            let record = device.commit(request).await?;
            acked.snapshots.push((manifest, record));
        }
    }
    Ok(())
}

const STEPS: u64 = 8;

async fn create(core: &Core, owner: &Owner) -> Result<()> {
    let account = owner.account(core.identity(), b"");
    core.create_account(account).await
}

fn open_core(store: Store) -> std::result::Result<Core, OpenError> {
    let options = Options { clock: Arc::new(TestClock::default()), open_accounts: true };
    Core::with_store(store, [3; 32], options)
}

/// Lives a whole life; opens the store anew whenever something failed, after a loss of power.
async fn live(
    blobs: &MemBlobs,
    journals: &MemJournals,
    plan: &Arc<Plan>,
) -> (Core, Owner, Acked, u32) {
    let owner = Owner::new(1);
    let mut acked = Acked::default();
    let mut failures = 0;
    let mut next = None;
    loop {
        if let Ok(core) = open_core(faults::store(blobs, journals, plan)) {
            let mut life = Life::new(core, &owner).await;
            while advance(&mut life, &owner, &mut acked, next).await.is_ok() {
                let number = next.map_or(0, |number| number + 1);
                if number == STEPS {
                    return (life.core, owner, acked, failures);
                }
                next = Some(number);
            }
        }
        failures += 1;
        assert!(failures < 9, "it never recovers");
        journals.lose_power();
    }
}

async fn advance(
    life: &mut Life,
    owner: &Owner,
    acked: &mut Acked,
    next: Option<u64>,
) -> Result<()> {
    if let Some(number) = next {
        return step(life, owner, acked, number).await;
    }
    create(&life.core, owner).await?;
    *life = Life::new(life.core.clone(), owner).await;
    Ok(())
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_wherever_the_disk_fails() {
    let never = Plan::new(u64::MAX, Fault::DiskFull);
    let (blobs, journals) = (MemBlobs::default(), MemJournals::default());
    let (core, owner, acked, failures) = live(&blobs, &journals, &never).await;
    assert_eq!(failures, 0);
    acked.check(&core, &owner).await;
    assert_eq!((acked.packs.len(), acked.snapshots.len()), (5, 2));
    let operations = never.count();
    assert!(operations > 20, "{operations}");

    for fault in Fault::ALL {
        for at in 0..operations {
            let plan = Plan::new(at, fault);
            let (blobs, journals) = (MemBlobs::default(), MemJournals::default());
            let (core, owner, acked, _) = live(&blobs, &journals, &plan).await;
            drop(core);
            journals.lose_power();
            let again = open_core(memory::store(blobs, journals)).unwrap();
            acked.check(&again, &owner).await;
            assert_eq!((acked.packs.len(), acked.snapshots.len()), (5, 2));
        }
    }
}

fn open_folder(dir: &Path) -> Core {
    let options = Options { clock: Arc::new(TestClock::default()), open_accounts: true };
    Core::open(dir, options).unwrap()
}

async fn lived(dir: &Path) -> (Owner, Acked) {
    let core = open_folder(dir);
    let (owner, mut acked) = (Owner::new(2), Acked::default());
    create(&core, &owner).await.unwrap();
    let life = Life::new(core, &owner).await;
    for number in 0..STEPS {
        step(&life, &owner, &mut acked, number).await.unwrap();
    }
    (owner, acked)
}

#[tokio::test]
async fn a_folder_opens_again_with_and_without_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, acked) = lived(dir.path()).await;
    acked.check(&open_folder(dir.path()), &owner).await;
    let index = dir.path().join("index");
    std::fs::remove_dir_all(&index).unwrap();
    acked.check(&open_folder(dir.path()), &owner).await;
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::write(&index, b"in the way").unwrap();
    acked.check(&open_folder(dir.path()), &owner).await;
}

#[tokio::test]
async fn an_index_of_another_journal_is_made_anew() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (owner, acked) = lived(dir.path()).await;
    let (_, others) = lived(other.path()).await;
    let core = open_folder(other.path());
    let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
    for seed in 200..203 {
        device.put_pack(owner.machine.small_pack(seed)).await.unwrap();
    }
    drop((core, device));
    drop(open_folder(other.path()).account(owner.vault).unwrap());
    let index = dir.path().join("index");
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::rename(other.path().join("index"), &index).unwrap();
    let core = open_folder(dir.path());
    let known = |core: &Core| core.0.shared.store.index.progress(owner.vault).map(|p| p.salt);
    let before = known(&core);
    acked.check(&core, &owner).await;
    let after = known(&core);
    assert!(before.is_some() && after.is_some() && before != after);
    let forgotten = core.0.shared.store.index.pack(owner.vault, PackNumber(7));
    assert_eq!(forgotten, None, "{others:?}");
}

#[tokio::test]
async fn numbers_of_uploads_that_were_cut_off_are_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, acked) = lived(dir.path()).await;
    let stray = Key::pack(owner.vault, PackNumber(40), acked.packs[0].1.id);
    let folder = dir.path().join(stray.folder());
    std::fs::write(folder.join(stray.name()), b"cut off").unwrap();
    let core = open_folder(dir.path());
    let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
    let given = device.put_pack(owner.machine.small_pack(99)).await.unwrap();
    assert_eq!(given, PackNumber(41));
}

#[tokio::test]
async fn copies_of_records_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, acked) = lived(dir.path()).await;
    let copy = |seq| {
        let key = Key::log(owner.vault, seq);
        dir.path().join(key.folder()).join(key.name())
    };
    let before = std::fs::read(copy(3)).unwrap();
    assert_eq!(before, acked.policies[0].to_bytes());
    std::fs::remove_file(copy(3)).unwrap();
    std::fs::remove_file(copy(0)).unwrap();
    let core = open_folder(dir.path());
    acked.check(&core, &owner).await;
    assert_eq!(std::fs::read(copy(3)).unwrap(), before);
    assert!(copy(0).exists());
}

#[tokio::test]
async fn damage_is_told_and_stays_with_its_account() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, acked) = lived(dir.path()).await;
    let other = Owner::new(3);
    create(&open_folder(dir.path()), &other).await.unwrap();
    let journal = dir.path().join("journal").join(owner.vault.to_string());
    let good = std::fs::read(&journal).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&journal, &bad).unwrap();

    let core = open_folder(dir.path());
    acked.check(&core, &owner).await;
    let refused = write_to(&core, &owner).await;
    assert!(
        matches!(&refused, Err(VaultError::Damaged { what, .. }) if what.contains("is damaged at byte")),
        "{refused:?}"
    );
    write_to(&core, &other).await.unwrap();
    drop(core);
    assert_eq!(std::fs::read(&journal).unwrap(), bad, "damage is left as it is");

    // The last record was acknowledged: its copy proves that the end is not merely torn.
    std::fs::write(&journal, &good[..good.len() - 1]).unwrap();
    let core = open_folder(dir.path());
    acked.check(&core, &owner).await;
    let refused = write_to(&core, &owner).await;
    assert!(
        matches!(&refused, Err(VaultError::Damaged { what, .. }) if what.contains("acknowledged")),
        "{refused:?}"
    );
    drop(core);

    let fates = rebuild(dir.path(), None, &Options::default()).unwrap();
    let whole = |id| fates.iter().any(|(i, fate)| *i == id && matches!(fate, Fate::Whole));
    assert!(whole(other.vault) && !whole(owner.vault), "{fates:?}");
    let core = open_folder(dir.path());
    acked.check(&core, &owner).await;
    write_to(&core, &owner).await.unwrap();
}

async fn write_to(core: &Core, owner: &Owner) -> Result<PackNumber> {
    let device = owner.log_in_device(core, &owner.machine).await?;
    device.put_pack(owner.machine.small_pack(4711)).await
}

#[tokio::test]
async fn journal_and_index_are_made_anew_from_the_blob_folder_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, acked) = lived(dir.path()).await;
    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let refused = Core::open(dir.path(), Options::default());
    assert!(matches!(refused, Err(OpenError::NoJournal(at)) if at == dir.path()));
    assert!(!dir.path().join("journal").exists(), "nothing is made");
    std::fs::create_dir(dir.path().join("journal")).unwrap();
    let refused = open_folder(dir.path()).account(owner.vault).unwrap_err();
    assert!(matches!(refused, VaultError::Damaged { .. }), "{refused:?}");
    let fates = rebuild(dir.path(), Some(owner.vault), &Options::default()).unwrap();
    assert!(matches!(fates[..], [(_, Fate::Rebuilt(_))]), "{fates:?}");
    let core = open_folder(dir.path());
    acked.check(&core, &owner).await;
    let busy = rebuild(dir.path(), None, &Options::default());
    assert!(matches!(busy, Err(OpenError::Busy(_))));
    drop(core);

    // Another identity would be of no use to anybody: none is made, with a journal or without one.
    let key = dir.path().join("identity.key");
    std::fs::remove_file(&key).unwrap();
    for journals in [true, false] {
        if !journals {
            std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
        }
        let lost = rebuild(dir.path(), None, &Options::default());
        assert!(matches!(lost, Err(OpenError::IdentityLost(_))), "{lost:?}");
        let lost = Core::open(dir.path(), Options::default());
        assert!(matches!(lost, Err(OpenError::IdentityLost(_))), "{lost:?}");
        assert!(!key.exists());
    }
}

#[tokio::test]
async fn damaged_packs_are_served_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, acked) = lived(dir.path()).await;
    let path = |at: usize| {
        let (number, pack) = &acked.packs[at];
        let key = Key::pack(owner.vault, *number, pack.id);
        dir.path().join(key.folder()).join(key.name())
    };
    std::fs::write(path(0), &acked.packs[0].1.bytes[..5000]).unwrap();
    std::fs::remove_file(path(1)).unwrap();
    let core = open_folder(dir.path());
    let root = owner.log_in(&core).await.unwrap();
    let short = root.get_pack(acked.packs[0].0, None).await.unwrap();
    assert!(short.damaged);
    assert_eq!((short.bytes.len(), short.total), (5000, 65536));
    let gone = root.get_pack(acked.packs[1].0, None).await;
    assert!(matches!(gone, Err(VaultError::NotFound(_))));
    let page = root.footers(None, None).await.unwrap();
    assert_eq!(page.items.len(), 3, "the two are left out");
}

#[tokio::test]
async fn one_process_has_a_folder_and_keys_stay() {
    let dir = tempfile::tempdir().unwrap();
    let core = open_folder(dir.path());
    let again = Core::open(dir.path(), Options::default());
    assert!(matches!(again, Err(OpenError::Busy(_))));
    let identity = core.identity();
    drop(core);
    assert_eq!(open_folder(dir.path()).identity(), identity);
    std::fs::write(dir.path().join("identity.key"), b"zz").unwrap();
    let broken = Core::open(dir.path(), Options::default());
    assert!(matches!(broken, Err(OpenError::Identity(_))));
    std::fs::remove_file(dir.path().join("identity.key")).unwrap();
    let lost = Core::open(dir.path(), Options::default());
    assert!(matches!(lost, Err(OpenError::IdentityLost(_))));
    assert!(!dir.path().join("identity.key").exists());
}

#[tokio::test]
async fn invites_outlive_a_restart_and_stay_used() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let core = Core::open(dir.path(), options(&clock)).unwrap();
    let invite = core.invite(Some(500), 60).unwrap();
    drop(core);
    let core = Core::open(dir.path(), options(&clock)).unwrap();
    let owner = Owner::new(4);
    let account = owner.account(core.identity(), &invite);
    core.create_account(account.clone()).await.unwrap();
    assert_eq!(core.account(owner.vault).unwrap().unwrap().quota(), Some(500));
    drop(core);
    let core = Core::open(dir.path(), options(&clock)).unwrap();
    core.create_account(account).await.unwrap();
    let second = Owner::new(5).account(core.identity(), &invite);
    let refused = core.create_account(second).await;
    assert!(matches!(refused, Err(VaultError::NotFound(_))));
    assert_eq!(core.account(owner.vault).unwrap().unwrap().quota(), Some(500));
}

#[tokio::test]
async fn a_failed_journal_ends_the_process() {
    let never = Plan::new(u64::MAX, Fault::DiskFull);
    let (blobs, journals) = (MemBlobs::default(), MemJournals::default());
    let (_, owner, _, _) = live(&blobs, &journals, &never).await;
    // Opening syncs nothing; the pack's blob, its record, and then the sync that fails.
    let plan = Plan::new(2, Fault::DiskFull);
    let core = open_core(faults::store(&blobs, &journals, &plan)).unwrap();
    let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
    let failed = device.put_pack(owner.machine.small_pack(50)).await;
    assert!(matches!(failed, Err(VaultError::Server(_))), "{failed:?}");
    core.failed().await;
    let failed = device.put_pack(owner.machine.small_pack(51)).await;
    assert!(matches!(failed, Err(VaultError::Server(_))));
}
