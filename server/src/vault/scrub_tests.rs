//! Bit rot: found, told, counted as missing, repaired where there is another copy, and healed.

use std::sync::Arc;

use unseen_common::id::{PackNumber, VaultId};
use unseen_common::log::chain::Record;
use unseen_common::packset::PackSet;
use unseen_common::time::Timestamp;
use unseen_common::vault::{PackUpload, Service, Vault, VaultError};

use super::rounds::{Hint, Rounds};
use super::scrub::{Broken, ScrubReport, Spot, Watch};
use super::{Core, Options};
use crate::store::Store;
use crate::store::blobs::Blobs;
use crate::store::journal_files::Journals;
use crate::store::key::Key;
use crate::store::memory::{self, MemBlobs, MemJournals};
use crate::testkit::faults::{self, Fault, Plan};
use crate::testkit::{Head, Owner, START, TestClock, snapshot_id};

/// A vault in memory with one snapshot of all its packs.
pub(crate) struct Scene {
    pub(crate) blobs: MemBlobs,
    pub(crate) journals: MemJournals,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) core: Core,
    pub(crate) owner: Owner,
    pub(crate) packs: Vec<(PackNumber, PackUpload)>,
    pub(crate) snapshot: Record,
}

pub(crate) const MANIFEST: &[u8] = b"the sealed manifest";

pub(crate) fn manifest_id() -> unseen_common::id::SnapshotId {
    snapshot_id(MANIFEST)
}

pub(crate) fn core(store: Store, clock: &Arc<TestClock>) -> Core {
    let options = Options { clock: Arc::<TestClock>::clone(clock), open_accounts: true };
    Core::with_store(store, [3; 32], options).unwrap()
}

impl Scene {
    pub(crate) async fn new(count: u64) -> Self {
        let (blobs, journals) = (MemBlobs::default(), MemJournals::default());
        let clock = Arc::new(TestClock::default());
        let core = core(memory::store(blobs.clone(), journals.clone()), &clock);
        let owner = Owner::new(1);
        core.create_account(owner.account(core.identity(), b"")).await.unwrap();
        let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
        let mut packs = Vec::new();
        for seed in 0..count {
            let pack = owner.machine.small_pack(seed);
            packs.push((device.put_pack(pack.clone()).await.unwrap(), pack));
        }
        let head = Head::of(owner.vault, &*device).await;
        let snapshot = device.commit(owner.machine.snapshot(&head, MANIFEST, &packs)).await;
        let snapshot = snapshot.unwrap();
        Self { blobs, journals, clock, core, owner, packs, snapshot }
    }

    pub(crate) fn pack_key(&self, at: usize) -> Key {
        let (number, pack) = &self.packs[at];
        Key::pack(self.owner.vault, *number, pack.id)
    }

    pub(crate) fn rot(&self, key: &Key, at: usize) {
        assert!(self.blobs.edit(key, |bytes| bytes[at] ^= 1), "{key}");
    }

    pub(crate) fn scrub(&self) -> ScrubReport {
        scrub(&self.core, self.owner.vault)
    }

    pub(crate) async fn device(&self) -> Arc<dyn Vault> {
        self.owner.log_in_device(&self.core, &self.owner.machine).await.unwrap()
    }

    pub(crate) fn restart(&mut self) {
        self.core = core(memory::store(self.blobs.clone(), self.journals.clone()), &self.clock);
    }

    pub(crate) async fn commit(&self, manifest: &[u8]) -> Result<Record, VaultError> {
        let device = self.device().await;
        let head = Head::of(self.owner.vault, &*device).await;
        device.commit(self.owner.machine.snapshot(&head, manifest, &self.packs)).await
    }
}

/// Lets everything pass.
pub(crate) struct Through;

impl Watch for Through {
    fn read(&mut self, _bytes: u64) -> bool {
        true
    }

    fn passed(&mut self, _spot: Spot) {}
}

pub(crate) fn scrub(core: &Core, id: VaultId) -> ScrubReport {
    core.account(id).unwrap().unwrap().scrub(Spot::default(), &mut Through).unwrap()
}

pub(crate) fn set(numbers: &[u32]) -> PackSet {
    numbers.iter().copied().map(PackNumber).collect()
}

#[tokio::test]
async fn what_is_whole_stays_as_it_is() {
    let scene = Scene::new(5).await;
    let report = scene.scrub();
    assert_eq!((report.packs, report.finished, report.repaired), (5, true, 0));
    assert!(report.bytes > 5 * 65536);
    assert!(report.found.0.is_empty() && report.broken.is_empty());
    let account = scene.core.account(scene.owner.vault).unwrap().unwrap();
    assert!(account.suffering().snapshots.is_empty());
}

#[tokio::test]
async fn bit_rot_is_quarantined_until_the_same_pack_comes_again() {
    let mut scene = Scene::new(4).await;
    scene.rot(&scene.pack_key(2), 30_000);
    let report = scene.scrub();
    assert_eq!((report.found, report.healed), (set(&[2]), set(&[])));
    for restarted in [false, true] {
        if restarted {
            scene.restart();
        }
        let device = scene.device().await;
        let root = scene.owner.log_in(&scene.core).await.unwrap();
        assert_eq!(device.live_packs().await.unwrap(), set(&[0, 1, 3]));
        assert_eq!(device.damaged_packs().await.unwrap(), set(&[2]));
        assert_eq!(root.damaged_packs().await.unwrap(), set(&[2]));
        let read = root.get_pack(PackNumber(2), Some(0..9)).await.unwrap();
        assert!(read.damaged);
        assert_eq!(read.bytes, scene.packs[2].1.bytes[..9]);
        assert!(!root.get_pack(PackNumber(1), None).await.unwrap().damaged);
        let refused = scene.commit(b"another").await;
        assert!(
            matches!(&refused, Err(VaultError::MissingPacks(gone)) if *gone == set(&[2])),
            "{refused:?}"
        );
        let account = scene.core.account(scene.owner.vault).unwrap().unwrap();
        let suffering = account.suffering();
        let seq = scene.snapshot.signed.entry().unwrap().seq;
        assert_eq!((suffering.packs, suffering.snapshots), (set(&[2]), vec![seq]));
        assert_eq!(scene.scrub().found, set(&[]), "it is told once");
    }
    let device = scene.device().await;
    assert_eq!(device.put_pack(scene.packs[2].1.clone()).await.unwrap(), PackNumber(2));
    for restarted in [false, true] {
        if restarted {
            scene.restart();
        }
        assert_eq!(scene.device().await.live_packs().await.unwrap(), set(&[0, 1, 2, 3]));
        assert_eq!(scene.device().await.damaged_packs().await.unwrap(), set(&[]));
        scene.commit(format!("whole {restarted}").as_bytes()).await.unwrap();
        assert_eq!(scene.scrub().healed, set(&[]));
    }
}

#[tokio::test]
async fn a_pack_that_is_gone_is_damaged_and_one_that_is_back_is_whole() {
    let scene = Scene::new(3).await;
    let bytes = scene.blobs.get(&scene.pack_key(1)).unwrap().unwrap();
    scene.blobs.delete(&scene.pack_key(1)).unwrap();
    assert_eq!(scene.scrub().found, set(&[1]));
    scene.blobs.put(&scene.pack_key(1), &[&bytes]).unwrap();
    assert_eq!(scene.scrub().healed, set(&[1]));
    assert_eq!(scene.device().await.live_packs().await.unwrap(), set(&[0, 1, 2]));
}

#[tokio::test]
async fn either_copy_of_a_footer_repairs_the_other() {
    let scene = Scene::new(66).await;
    let segment = Key::footers(scene.owner.vault, PackNumber(0));
    let written = scene.blobs.get(&segment).unwrap().expect("the range was closed");
    let open = Key::footers(scene.owner.vault, PackNumber(64));
    assert_eq!(scene.blobs.get(&open).unwrap(), None);
    let listed = scene.device().await.footers(None, None).await.unwrap();
    assert_eq!((listed.items.len(), listed.more), (66, false));

    let pack = scene.packs[7].1.bytes.clone();
    for at in [0, 40, 1244, 65536 - 4000, 65535] {
        scene.rot(&scene.pack_key(7), at);
        let again = scene.device().await.footers(None, None).await.unwrap();
        assert_eq!(again, listed, "listed from the second copies");
        let report = scene.scrub();
        assert_eq!((report.repaired, report.found), (1, set(&[])), "byte {at}");
        assert_eq!(scene.blobs.get(&scene.pack_key(7)).unwrap().unwrap(), pack);
    }
    assert!(scene.blobs.edit(&scene.pack_key(7), |bytes| bytes.truncate(65000)));
    assert_eq!(scene.scrub().repaired, 1, "a torn end too");

    for damage in [30, 100, 2000, written.len() - 1] {
        scene.rot(&segment, damage);
        assert_eq!(scene.scrub().repaired, 1, "byte {damage}");
        assert_eq!(scene.blobs.get(&segment).unwrap().unwrap(), written);
    }
    scene.blobs.delete(&segment).unwrap();
    assert_eq!(scene.scrub().repaired, 1);
    assert_eq!(scene.blobs.get(&segment).unwrap().unwrap(), written);

    // Both copies at once: nothing is left to repair it from.
    scene.rot(&segment, 28 + 20 + 84 + 10);
    scene.rot(&scene.pack_key(0), 65000);
    let report = scene.scrub();
    assert_eq!(report.found, set(&[0]));
    assert_eq!(scene.scrub().repaired, 0, "what can be had is kept, once");
    let left = scene.device().await.footers(None, None).await.unwrap();
    assert!(left.items.iter().skip(1).eq(listed.items.iter().skip(1)));
}

#[tokio::test]
async fn the_footer_of_a_damaged_pack_is_still_told() {
    let scene = Scene::new(64).await;
    let listed = scene.device().await.footers(None, None).await.unwrap();
    scene.rot(&scene.pack_key(9), 30_000);
    scene.rot(&scene.pack_key(9), 65_000);
    assert_eq!(scene.scrub().found, set(&[9]));
    assert_eq!(scene.scrub().repaired, 0, "its second copy is kept");
    assert_eq!(scene.device().await.footers(None, None).await.unwrap(), listed);
    let one = scene.device().await.footers(None, Some(PackNumber(62))).await.unwrap();
    assert_eq!(one.items, listed.items[63..]);
}

#[tokio::test]
async fn what_is_there_twice_is_repaired_and_what_is_lost_is_told() {
    let scene = Scene::new(2).await;
    let vault = scene.owner.vault;
    let log = |seq| scene.blobs.get(&Key::log(vault, seq)).unwrap();
    let before = (log(0), log(2));
    scene.rot(&Key::log(vault, 0), 5);
    scene.blobs.delete(&Key::log(vault, 2)).unwrap();
    assert_eq!(scene.scrub().repaired, 2);
    assert_eq!((log(0), log(2)), before);

    let seq = scene.snapshot.signed.entry().unwrap().seq;
    let id = snapshot_id(MANIFEST);
    let slots = unseen_common::vault::slot_set_hash(&scene.owner.slots);
    let keys = [Key::manifest(vault, id), Key::packset(vault, id), Key::slots(vault, slots)];
    let both = || {
        keys.clone()
            .map(|key| [key.clone(), key.second()].map(|key| scene.blobs.get(&key).unwrap()))
    };
    let before = both();
    assert!(before.iter().flatten().all(Option::is_some));
    for copy in [|key: &Key| key.clone(), Key::second] {
        for key in &keys {
            scene.rot(&copy(key), 3);
        }
        let report = scene.scrub();
        assert_eq!((report.repaired, report.broken), (3, Vec::new()));
        assert_eq!(both(), before);
        for key in &keys {
            scene.blobs.delete(&copy(key)).unwrap();
        }
        assert_eq!(scene.scrub().repaired, 3);
        assert_eq!(both(), before);
    }
    for key in keys.iter().flat_map(|key| [key.clone(), key.second()]) {
        scene.rot(&key, 4);
    }
    let report = scene.scrub();
    assert_eq!(report.broken, [Broken::Manifest(seq), Broken::Packset(seq), Broken::Slots]);
    assert_eq!((report.repaired, report.finished), (0, true));
}

#[tokio::test]
async fn a_scrub_goes_on_where_it_broke_off_and_comes_again_in_time() {
    let scene = Scene::new(130).await;
    let dir = tempfile::tempdir().unwrap();
    let id = scene.owner.vault;
    let rounds = Rounds::new(scene.core.clone(), Some(dir.path()));
    assert_eq!(rounds.due(100).unwrap(), [id]);
    let mut reads = 0;
    let report = rounds
        .scrub(id, &mut |_| {
            reads += 1;
            reads < 70
        })
        .unwrap();
    assert_eq!((report.packs, report.finished), (70, false));
    drop(rounds);

    let rounds = Rounds::new(scene.core.clone(), Some(dir.path()));
    assert_eq!(
        rounds.hint(id),
        Hint { spot: Spot { next: 70, ..Spot::default() }, ..Hint::default() }
    );
    let report = rounds.scrub(id, &mut |_| true).unwrap();
    assert_eq!((report.packs, report.finished), (60, true));
    assert_eq!(rounds.hint(id), Hint { finished: Some(START), ..Hint::default() });
    scene.clock.advance(99);
    assert!(rounds.due(100).unwrap().is_empty());
    scene.clock.advance(1);
    assert_eq!(rounds.due(100).unwrap(), [id]);

    std::fs::write(dir.path().join(super::rounds::HINTS), b"torn").unwrap();
    let rounds = Rounds::new(scene.core.clone(), Some(dir.path()));
    assert_eq!(rounds.hint(id), Hint::default(), "a hint, no more");
    assert!(matches!(
        rounds.scrub(VaultId::from_bytes([9; 16]), &mut |_| true),
        Err(VaultError::NotFound(_))
    ));
}

#[tokio::test]
async fn a_clock_that_jumps_ten_years_stops_no_scrub() {
    let scene = Scene::new(1).await;
    let id = scene.owner.vault;
    let ten_years = 10 * 365 * 24 * 3600;
    let rounds = Rounds::new(scene.core.clone(), None);
    scene.clock.advance(ten_years);
    rounds.scrub(id, &mut |_| true).unwrap();
    assert!(rounds.due(100).unwrap().is_empty());
    scene.clock.set(START);
    assert_eq!(rounds.due(100).unwrap(), [id], "the last one lies in the future");
    rounds.scrub(id, &mut |_| true).unwrap();
    assert!(rounds.due(100).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_and_a_scrub_side_by_side_quarantine_nothing() {
    let scene = Scene::new(3).await;
    let device = scene.device().await;
    let (core, id) = (scene.core.clone(), scene.owner.vault);
    let scrubbing = std::thread::spawn(move || {
        (0..40).map(|_| scrub(&core, id)).all(|r| r.found.0.is_empty() && r.broken.is_empty())
    });
    for seed in 100..180 {
        device.put_pack(scene.owner.machine.small_pack(seed)).await.unwrap();
    }
    assert!(scrubbing.join().unwrap());
    assert_eq!(scene.scrub().packs, 83);
    assert!(device.damaged_packs().await.unwrap().0.is_empty());
}

/// Rot in every kind of blob, then scrubs that fail at one operation after another; after a loss of
/// power each is repeated, and all come to the same end.
#[tokio::test]
async fn a_scrub_that_fails_anywhere_is_done_again() {
    let mut no_room = 0;
    for fault in [Fault::Half, Fault::Done, Fault::DiskFull] {
        let mut at = 0;
        loop {
            let scene = Scene::new(65).await;
            let vault = scene.owner.vault;
            scene.rot(&scene.pack_key(3), 30_000);
            scene.rot(&scene.pack_key(4), 65_000);
            scene.rot(&Key::log(vault, 1), 5);
            scene.rot(&Key::manifest(vault, manifest_id()), 2);
            scene.blobs.delete(&Key::packset(vault, manifest_id()).second()).unwrap();
            scene.rot(&Key::footers(vault, PackNumber(0)), 20_000);
            let plan = Plan::new(at, fault);
            let store = faults::store(&scene.blobs, &scene.journals, &plan);
            let faulty = core(store, &scene.clock);
            let account = faulty.account(vault).unwrap().unwrap();
            let scrubbed = account.scrub(Spot::default(), &mut Through);
            // That the disk is full is told, and everything is read all the same.
            let failed = match &scrubbed {
                Ok(report) => report.no_room > 0,
                Err(_) => true,
            };
            if let Ok(report) = scrubbed {
                assert_eq!((report.finished, report.found), (true, set(&[3])), "{fault:?} at {at}");
                assert!(report.no_room == 0 || fault == Fault::DiskFull, "{fault:?} at {at}");
                no_room += report.no_room;
            }
            drop((account, faulty));
            scene.journals.lose_power();
            let again =
                core(memory::store(scene.blobs.clone(), scene.journals.clone()), &scene.clock);
            let report = scrub(&again, vault);
            assert!(report.finished);
            let device = scene.owner.log_in_device(&again, &scene.owner.machine).await.unwrap();
            assert_eq!(device.damaged_packs().await.unwrap(), set(&[3]), "{fault:?} at {at}");
            let last = scrub(&again, vault);
            assert_eq!((last.repaired, last.found), (0, set(&[])), "{fault:?} at {at}");
            if !failed {
                assert!(at > 4, "it changed something {at} times");
                break;
            }
            at += 1;
        }
    }
    assert!(no_room > 3, "told {no_room} times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_late_uploads_heal_a_pack_once() {
    let scene = Scene::new(3).await;
    let device = scene.device().await;
    for late in [1, 2] {
        scene.rot(&scene.pack_key(1), 30_000);
        assert_eq!(scene.scrub().found, set(&[1]), "time {late}");
        let journal = scene.journals.open(&scene.owner.vault.to_string()).unwrap().unwrap();
        let before = journal.length().unwrap();
        let pack = &scene.packs[1].1;
        let (one, two) = tokio::join!(device.put_pack(pack.clone()), device.put_pack(pack.clone()));
        assert_eq!((one.unwrap(), two.unwrap()), (PackNumber(1), PackNumber(1)));
        assert_eq!(scene.blobs.get(&scene.pack_key(1)).unwrap().unwrap(), pack.bytes);
        assert_eq!(device.live_packs().await.unwrap(), set(&[0, 1, 2]));
        let record = journal.length().unwrap() - before;
        assert!(record < 60, "one of them healed it, the other was told: {record} bytes");
    }
}

#[tokio::test]
async fn stamps_never_decrease_when_the_clock_jumps_ten_years() {
    let mut scene = Scene::new(2).await;
    let ten_years = 10 * 365 * 24 * 3600;
    let first = scene.snapshot.received;
    assert_eq!(first, START);
    scene.clock.set(Timestamp(START.0 - ten_years));
    let back = scene.commit(b"ten years back").await.unwrap().received;
    assert_eq!(back, START);
    scene.clock.set(Timestamp(START.0 + ten_years));
    let ahead = scene.commit(b"ten years ahead").await.unwrap().received;
    assert_eq!(ahead, START, "by a clock that is wrong nothing is stamped");
    scene.core.gc(true).unwrap();
    let ahead = scene.commit(b"somebody said that it is right").await.unwrap().received;
    assert_eq!(ahead.0, START.0 + ten_years);
    scene.clock.set(START);
    scene.restart();
    let after = scene.commit(b"back again").await.unwrap().received;
    assert_eq!(after, ahead);
    scene.rot(&scene.pack_key(0), 30_000);
    assert_eq!(scene.scrub().found, set(&[0]));
    scene.restart();
    assert_eq!(scene.device().await.damaged_packs().await.unwrap(), set(&[0]));
}
