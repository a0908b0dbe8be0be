//! Copies made while clients write, and what a copy file by file is worth.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use unseen_common::id::PackNumber;
use unseen_common::log::fold::State;
use unseen_common::vault::{PackUpload, Service, Vault, VaultError};

use super::copy::{Copied, CopyError};
use super::folder::{identity_of, lock_folder};
use super::rebuild::{Fate, rebuild};
use super::scrub::Spot;
use super::scrub_tests::{Through, set};
use super::{Core, Options};
use crate::store::Store;
use crate::store::blobs::FsBlobs;
use crate::store::index::Index;
use crate::store::journal_files::FsJournals;
use crate::store::key::Key;
use crate::testkit::faults::{self, Fault, Plan};
use crate::testkit::{Head, Owner, TestClock};

fn options() -> Options {
    Options { clock: Arc::new(TestClock::default()), open_accounts: true }
}

pub(super) fn open(dir: &Path) -> Core {
    Core::open(dir, options()).unwrap()
}

pub(super) async fn begun(dir: &Path) -> (Core, Owner, Arc<dyn Vault>) {
    let core = open(dir);
    let owner = Owner::new(1);
    core.create_account(owner.account(core.identity(), b"")).await.unwrap();
    let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
    (core, owner, device)
}

/// Stores some packs and a snapshot of them.
pub(super) async fn save(owner: &Owner, device: &dyn Vault, seeds: std::ops::Range<u64>) {
    let mut packs: Vec<(PackNumber, PackUpload)> = Vec::new();
    for seed in seeds.clone() {
        let pack = owner.machine.small_pack(seed);
        packs.push((device.put_pack(pack.clone()).await.unwrap(), pack));
    }
    let head = Head::of(owner.vault, device).await;
    let manifest = format!("manifest {seeds:?}");
    device.commit(owner.machine.snapshot(&head, manifest.as_bytes(), &packs)).await.unwrap();
}

/// Every snapshot in it is whole; how many there are.
pub(super) async fn is_whole(core: &Core, owner: &Owner) -> usize {
    let root = owner.log_in(core).await.unwrap();
    let account = core.account(owner.vault).unwrap().unwrap();
    let report = account.scrub(Spot::default(), &mut Through).unwrap();
    assert!(report.found.0.is_empty() && report.broken.is_empty(), "{report:?}");
    let state = State::of(&root.log(None).await.unwrap().records).unwrap();
    let live = root.live_packs().await.unwrap();
    for id in state.snapshots.keys() {
        assert!(root.packs_of(*id).await.unwrap().0.is_subset(&live.0));
        root.manifest(*id).await.unwrap();
    }
    root.slots().await.unwrap();
    state.snapshots.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_while_clients_write_is_a_whole_data_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (core, owner, device) = begun(&dir.path().join("data")).await;
    save(&owner, &*device, 0..70).await;
    let (writer, writing) = (owner.clone(), Arc::clone(&device));
    let (begin, begun) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        save(&writer, &*writing, 100..103).await;
        begin.send(()).unwrap();
        for round in 2_u64..12 {
            save(&writer, &*writing, round * 100..round * 100 + 3).await;
        }
    });
    begun.await.unwrap();
    let copies: Vec<_> = (0..3).map(|n| dir.path().join(format!("copy {n}"))).collect();
    for copy in &copies {
        let (core, copy) = (core.clone(), copy.clone());
        let copied = tokio::task::spawn_blocking(move || core.copy_to(&copy)).await.unwrap();
        let copied = copied.unwrap();
        assert_eq!((copied.accounts, copied.missing), (1, 0));
    }
    task.await.unwrap();
    let (identity, mut before) = (core.identity(), 2);
    for copy in &copies {
        let copied = open(copy);
        assert_eq!(copied.identity(), identity);
        let snapshots = is_whole(&copied, &owner).await;
        assert!(snapshots >= before, "what was acknowledged before is in it");
        before = snapshots;
        // It goes on by itself, and the original does not notice.
        let other = owner.log_in_device(&copied, &owner.machine).await.unwrap();
        save(&owner, &*other, 5000..5002).await;
    }
    assert_eq!(is_whole(&core, &owner).await, 12);
    assert!(device.live_packs().await.unwrap().0.len() == 70 + 33);
}

#[tokio::test]
async fn copies_replace_nothing_and_tell_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (core, owner, device) = begun(&data).await;
    save(&owner, &*device, 0..3).await;
    let taken = dir.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("something"), b"x").unwrap();
    assert!(matches!(core.copy_to(&taken), Err(CopyError::NotEmpty(path)) if path == taken));
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 1);

    let pack = Key::pack(owner.vault, PackNumber(1), owner.machine.small_pack(1).id);
    fs::remove_file(data.join(pack.folder()).join(pack.name())).unwrap();
    let copied = core.copy_to(&dir.path().join("copy")).unwrap();
    assert_eq!((copied.accounts, copied.missing), (1, 1));
    drop((core, device));

    let journal = data.join("journal").join(owner.vault.to_string());
    let mut bytes = fs::read(&journal).unwrap();
    bytes[100] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let copied = open(&data).copy_to(&dir.path().join("of damage")).unwrap();
    let wanted = Copied { damaged: vec![owner.vault], ..Copied::default() };
    assert_eq!(copied, wanted);
}

#[tokio::test]
async fn what_was_deleted_or_erased_is_not_in_a_copy_and_not_missing() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let options = Options { clock: Arc::<TestClock>::clone(&clock), open_accounts: true };
    let core = Core::open(&dir.path().join("data"), options).unwrap();
    let owner = Owner::new(1);
    core.create_account(owner.account(core.identity(), b"")).await.unwrap();
    let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
    save(&owner, &*device, 0..3).await;
    device.put_pack(owner.machine.small_pack(9)).await.unwrap();
    clock.advance(31 * 24 * 60 * 60);
    fs::write(dir.path().join("data").join("reserve"), b"of no use in a copy").unwrap();
    assert_eq!(core.gc(true).unwrap().packs, 1);
    let copy = dir.path().join("copy");
    let copied = core.copy_to(&copy).unwrap();
    assert_eq!((copied.accounts, copied.missing), (1, 0));
    assert!(!copy.join("reserve").exists());
    assert_eq!(is_whole(&open(&copy), &owner).await, 1);

    core.account_erase(&owner.vault.short()).unwrap();
    let copy = dir.path().join("copy after");
    assert_eq!(core.copy_to(&copy).unwrap(), Copied::default());
    assert!(!copy.join("accounts").exists());
    assert!(open(&copy).erased(owner.vault).await.is_ok());
}

/// What is half a copy is no data folder, and the original does not notice.
#[tokio::test]
async fn wherever_a_copy_breaks_off_it_opens_nowhere_and_the_next_one_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (core, owner, device) = begun(&data).await;
    save(&owner, &*device, 0..3).await;
    drop((core, device));
    // Without an index, which takes its time to open.
    let opened = |plan: &Arc<Plan>| {
        let place = Some((lock_folder(&data).unwrap(), data.clone()));
        let journals = Arc::new(FsJournals::open(&data.join("journal")).unwrap());
        let (blobs, index) = (Arc::new(FsBlobs::new(&data)), Arc::new(Index::none()));
        let store = faults::over(Store { blobs, journals, index }, plan);
        let identity = identity_of(&data, &store).unwrap();
        let core = Core::assemble(store, identity, options(), place).unwrap();
        core.account(owner.vault).unwrap().unwrap();
        core
    };
    let (mut broken, mut halves) = (0, 0);
    for fault in Fault::ALL {
        for at in 0.. {
            let plan = Plan::quiet();
            let core = opened(&plan);
            plan.fail_after(at, fault);
            let target = dir.path().join(format!("{fault:?} {at}"));
            let told = core.copy_to(&target);
            drop(core);
            if told.is_err() {
                broken += 1;
                // Once the journals are there, it is whole, and only left-overs were to go.
                if target.join("journal").exists() {
                    assert_eq!(is_whole(&open(&target), &owner).await, 1, "{fault:?} at {at}");
                } else {
                    halves += 1;
                    assert!(Core::open(&target, options()).is_err(), "{fault:?} at {at}");
                }
                let copied = opened(&Plan::quiet()).copy_to(&target).unwrap();
                assert_eq!((copied.accounts, copied.missing), (1, 0));
            }
            if told.is_ok() || at % 4 == 0 {
                let snapshots = is_whole(&open(&target), &owner).await;
                assert_eq!(snapshots, 1, "{fault:?} at {at}: {told:?}");
            }
            if !plan.calm() {
                assert!(at > 12, "{at}");
                break;
            }
        }
    }
    assert!(broken > 30 && halves > 30, "{broken} {halves}");
    assert_eq!(is_whole(&open(&data), &owner).await, 1);
}

/// A copy file by file, with clients at work between one folder and the next.
async fn by_files(order: [&str; 2]) -> (tempfile::TempDir, Owner) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (_core, owner, device) = begun(&data).await;
    save(&owner, &*device, 0..3).await;
    let copy = dir.path().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(data.join("identity.key"), copy.join("identity.key")).unwrap();
    for folder in order {
        copy_tree(&data.join(folder), &copy.join(folder));
        save(&owner, &*device, 10..12).await;
        device.put_pack(owner.machine.small_pack(77)).await.unwrap();
    }
    (dir, owner)
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_copy_by_files_with_the_journal_first_is_whole_after_a_rebuild() {
    let (dir, owner) = by_files(["journal", "accounts"]).await;
    let copy = dir.path().join("copy");
    let core = open(&copy);
    let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
    let refused = device.put_pack(owner.machine.small_pack(500)).await;
    assert!(matches!(refused, Err(VaultError::Damaged { .. })), "{refused:?}");
    drop((core, device));
    let fates = rebuild(&copy, None, &options()).unwrap();
    assert!(matches!(fates[..], [(_, Fate::Rebuilt(_))]), "{fates:?}");
    assert_eq!(is_whole(&open(&copy), &owner).await, 2);
}

#[tokio::test]
async fn a_copy_by_files_with_the_journal_last_has_all_that_was_there_at_its_start() {
    let (dir, owner) = by_files(["accounts", "journal"]).await;
    let core = open(&dir.path().join("copy"));
    let account = core.account(owner.vault).unwrap().unwrap();
    let report = account.scrub(Spot::default(), &mut Through).unwrap();
    assert_eq!(report.found, set(&[3, 4, 5]), "what came meanwhile is lost, and told");
    let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
    assert_eq!(device.live_packs().await.unwrap(), set(&[0, 1, 2]));
    assert_eq!(report.broken.len(), 2, "manifest and list of the later snapshot");
}
