mod maps;
mod mending;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use roaring::RoaringBitmap;
use unseen_common::id::{PackNumber, SnapshotId};
use unseen_common::log::entry::{Body, SnapshotIds};
use unseen_common::time::{Clock, SECONDS_A_DAY};

use super::*;
use crate::backup::{self, Source};
use crate::browse::packs::Packs;
use crate::maintain::room::packs_of;
use crate::maintain::{CheckOptions, CheckOutcome, Subset, check};
use crate::progress::{Amount, Monitor, Silent, Tally};
use crate::state::db::StateDb;
use crate::testing::{Machine, World, keys, noise, options};

const NOTHING_UNUSED: Limits = Limits { unused: Tolerated::Bytes(0), rewrite: u64::MAX };

struct Scene {
    world: World,
    machine: Machine,
    source: PathBuf,
}

impl Scene {
    /// Snapshots of a folder in which each time most files are new. Oldest first.
    fn new(rounds: u64) -> (Self, Vec<SnapshotId>) {
        let (world, machine) = World::new();
        let source = world.folder("source");
        let mut scene = Self { world, machine, source };
        let made = (1..=rounds).map(|round| {
            scene.change(round);
            scene.backup()
        });
        let made = made.collect();
        (scene, made)
    }

    fn change(&self, round: u64) {
        for n in 0..10 {
            let stays = n % 5 == 0;
            let seed = if stays { n } else { round * 100 + n };
            let dir = self.source.join(format!("{n:02}"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("tiny"), format!("{seed} ").repeat(300)).unwrap();
            fs::write(dir.join("noise"), noise(seed, 90_000)).unwrap();
        }
    }

    fn backup(&mut self) -> SnapshotId {
        self.world.backup(&mut self.machine, &self.source)
    }

    fn forget(&self, ids: &[SnapshotId]) {
        for ids in SnapshotIds::batches(ids.iter().copied()) {
            self.world.append(Body::Forget(ids));
        }
    }

    /// Plans and carries it out; `between` happens after the plan.
    fn compact_with(&mut self, limits: &Limits, between: impl FnOnce(&mut Self)) -> (Plan, Done) {
        let (repo, index) = self.world.reader();
        let runtime = self.world.runtime.handle().clone();
        let packs = Packs::new(&repo, &index, &Silent, &runtime);
        let go_on = AtomicBool::new(false);
        let survey = survey(&packs, (&Silent, &go_on)).unwrap();
        let plan = plan(&survey.packs, limits);
        let mut owner = self.world.owner_repo();
        between(self);
        let done = rewrite(&packs, &mut owner, (&survey, &plan), (&Silent, &go_on)).unwrap();
        (plan, done)
    }

    fn compact(&mut self) -> Done {
        self.compact_with(&NOTHING_UNUSED, |_| ()).1
    }

    fn check(&self) -> CheckOutcome {
        let (repo, index) = self.world.reader();
        let options = CheckOptions {
            read_data: Some(Subset::All),
            paths: 9,
            workers: 2,
            ..CheckOptions::default()
        };
        let listens = (&Silent as &dyn Monitor, &AtomicBool::new(false));
        check((&repo, &index), &options, listens, self.world.runtime.handle()).unwrap()
    }

    fn stored(&self) -> u64 {
        let (_, index) = self.world.reader();
        let lengths = index.live().iter().map(|n| index.pack(PackNumber(n)).unwrap().length);
        lengths.sum()
    }

    /// Everything that nothing needs has gone.
    fn sweep(&self) {
        for _ in 0..2 {
            self.world.clock.advance(16 * SECONDS_A_DAY);
            let swept = self.world.core.sweep(self.world.clock.now()).unwrap();
            assert!(swept.held.is_none() && swept.failed == 0);
        }
    }

    fn packs(&self, ids: &[SnapshotId]) -> RoaringBitmap {
        let owner = self.world.owner_repo();
        self.world.runtime.block_on(packs_of(&owner.vault, ids.iter().copied())).unwrap()
    }

    /// The same machine, started again.
    fn restart(&mut self) {
        self.machine = self.world.try_machine(World::secrets_of_desk(), "desk").unwrap();
    }

    /// Backs up; packs that were sent, and bytes of files that were read.
    fn run(&mut self) -> (u64, u64) {
        let reads = Reads::default();
        let outcome = backup::run(
            &mut self.machine.repo,
            Source::Paths(vec![self.source.clone()]),
            &options("default"),
            (&reads, &AtomicBool::new(false)),
            self.world.runtime.handle(),
        );
        let packs = outcome.unwrap().packs;
        self.world.clock.advance(60);
        (packs, reads.0.counts().read)
    }
}

#[derive(Debug, Default)]
struct Reads(Tally);

impl Monitor for Reads {
    fn scanned(&self, found: Amount) {
        self.0.scanned(found);
    }

    fn bytes_read(&self, bytes: u64) {
        self.0.bytes_read(bytes);
    }
}

#[test]
fn what_is_needed_is_kept_and_the_rest_becomes_free() {
    let (mut scene, made) = Scene::new(5);
    let before = scene.stored();
    scene.forget(&[made[0], made[1], made[3]]);
    let left = [made[2], made[4]];
    let old = scene.packs(&left);
    let done = scene.compact();
    assert!(done.removed > 0 && done.packs > 0 && !done.interrupted, "{done:?}");
    assert_eq!((done.snapshots, done.damaged), (2, 0));
    let new = scene.packs(&left);
    assert!((&old & &new).len() < old.len());
    assert!(scene.check().is_sound());

    scene.sweep();
    assert!(scene.check().is_sound());
    assert!(scene.stored() < before * 3 / 4, "{} of {before}", scene.stored());
    assert_eq!(scene.compact(), Done::default(), "nothing is left to do");

    // An unchanged tree is neither read nor sent, though most of its records named old packs.
    scene.restart();
    assert_eq!(scene.run(), (0, 0));
    assert_eq!(scene.run(), (0, 0));
    assert!(scene.packs(&left).is_superset(&scene.packs(&[*scene.latest()])));
    assert!(scene.check().is_sound());
}

impl Scene {
    fn latest(&self) -> &SnapshotId {
        let snapshots = &self.machine.repo.log.state.snapshots;
        snapshots.iter().max_by_key(|(_, snapshot)| snapshot.seq).unwrap().0
    }
}

#[test]
fn a_device_without_its_index_takes_what_the_owner_signed_for_its_own() {
    let (mut scene, made) = Scene::new(4);
    scene.forget(&made[..3]);
    assert!(scene.compact().removed > 0);
    scene.sweep();
    let cache = scene.world.folders("desk").cache;
    drop(scene.machine);
    fs::remove_dir_all(cache).unwrap();
    scene.machine = scene.world.try_machine(World::secrets_of_desk(), "desk").unwrap();
    assert_eq!(scene.run(), (0, 0));
}

/// The owner sent packs while the device was sending others: their numbers were passed over.
#[test]
fn numbers_that_were_passed_over_are_looked_for_after_a_compaction() {
    let (mut scene, made) = Scene::new(3);
    scene.forget(&made[..2]);
    assert!(scene.compact().removed > 0);
    let folders = scene.world.folders("desk");
    let state = StateDb::open(&folders.state).unwrap();
    state.set_synced(Some(PackNumber(1_000_000))).unwrap();
    state.flush().unwrap();
    drop(state);
    assert_eq!(scene.run(), (0, 0));
    // What compactions removed is known however the log was read.
    let removed = scene.machine.repo.log.removed.clone();
    assert!(!removed.is_empty());
    scene.restart();
    assert_eq!(scene.machine.repo.log.removed, removed);
    fs::remove_file(folders.log()).unwrap();
    scene.restart();
    assert_eq!(scene.machine.repo.log.removed, removed);
}

#[test]
fn a_snapshot_made_after_the_plan_keeps_its_packs() {
    let (mut scene, made) = Scene::new(4);
    scene.forget(&made[..1]);
    let mut late = None;
    let (_, done) = scene.compact_with(&NOTHING_UNUSED, |scene| {
        scene.change(9);
        late = Some((scene.backup(), scene.packs(&[*scene.latest()])));
        // And one that goes in the meantime is not named.
        scene.forget(&made[1..2]);
    });
    assert_eq!(done.snapshots, 2, "{done:?}");
    let (late, packs) = late.unwrap();
    assert_eq!(scene.packs(&[late]), packs);
    assert!(scene.check().is_sound());
    scene.sweep();
    assert!(scene.check().is_sound());
}

#[test]
fn a_run_that_began_before_looks_again_and_needs_no_old_pack() {
    let (mut scene, made) = Scene::new(4);
    scene.forget(&made[..3]);
    // Its log and its index are those from before.
    let old = scene.packs(&made[3..]);
    assert!(scene.compact().removed > 0);
    let removed = &old - scene.packs(&made[3..]);
    assert!(!removed.is_empty());
    let (packs, read) = scene.run();
    assert_eq!((packs, read), (0, 0));
    assert!(scene.packs(&[*scene.latest()]).is_disjoint(&removed));
    scene.sweep();
    assert!(scene.check().is_sound());
}

#[test]
fn packs_stay_with_their_devices() {
    let (mut scene, made) = Scene::new(3);
    let mut other = scene.world.enrol(30, "other");
    let elsewhere = scene.world.folder("elsewhere");
    let mut theirs = Vec::new();
    for round in 0..3 {
        fs::write(elsewhere.join("stays"), noise(500, 200_000)).unwrap();
        fs::write(elsewhere.join("changes"), noise(600 + round, 700_000)).unwrap();
        theirs.push(scene.world.backup_as(&mut other, "theirs", &elsewhere));
    }
    scene.forget(&[&made[..2], &theirs[..2]].concat());
    let (plan, done) = scene.compact_with(&NOTHING_UNUSED, |_| ());
    assert!(plan.devices.values().all(|share| !share.rewrite.is_empty()), "{plan:?}");
    assert_eq!(done.snapshots, 2);
    let (_, index) = scene.world.reader();
    let devices = |ids: &[SnapshotId]| {
        let numbers = scene.packs(ids);
        numbers.iter().map(|n| index.pack(PackNumber(n)).unwrap().device).collect::<BTreeSet<_>>()
    };
    let (mine, others) = (devices(&made[2..]), devices(&theirs[2..]));
    assert_eq!((mine.len(), others.len()), (1, 1));
    assert_ne!(mine, others);
    drop(index);
    assert!(scene.check().is_sound());
}

#[test]
fn a_damaged_pack_stays_as_it_is() {
    let (mut scene, made) = Scene::new(4);
    scene.forget(&made[..3]);
    let before = scene.packs(&made[3..]);
    let bad = before.min().unwrap();
    let (_, index) = scene.world.reader();
    let pack = index.pack(PackNumber(bad)).unwrap();
    drop(index);
    // In all of its segments.
    for at in (1300..usize::try_from(pack.body).unwrap()).step_by(20_000) {
        scene.world.damage(bad, at);
    }
    let done = scene.compact();
    assert_eq!((done.damaged, done.removed), (1, 0), "{done:?}");
    assert_eq!(scene.packs(&made[3..]), before);
    let found = scene.check();
    assert_eq!(found.damage_count, 1, "{:?}", found.damage);
}

#[test]
fn a_snapshot_that_cannot_be_read_keeps_all_its_packs() {
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[2000] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    for harm in [&flip as &dyn Fn(&Path), &remove] {
        let (mut scene, made) = Scene::new(3);
        scene.forget(&made[..1]);
        for copy in ["manifests", "manifests2"] {
            let manifest = format!("vault/accounts/{}/{copy}/{}", keys().vault, made[1]);
            harm(&scene.world.dir.path().join(manifest));
        }
        let kept = scene.packs(&made[1..2]);
        let (repo, index) = scene.world.reader();
        let packs = Packs::new(&repo, &index, &Silent, scene.world.runtime.handle());
        let found = survey(&packs, (&Silent, &AtomicBool::new(false))).unwrap();
        assert_eq!(found.damaged, 1);
        assert!(!found.packs.is_empty());
        assert!(found.packs.iter().all(|pack| !kept.contains(pack.number.0)));
        drop(packs);
        drop(index);
        assert_eq!(scene.compact(), Done::default());
        assert_eq!(scene.packs(&made[1..2]), kept);
    }
}

#[test]
fn what_is_interrupted_changes_nothing() {
    let (scene, made) = Scene::new(4);
    scene.forget(&made[..3]);
    let (repo, index) = scene.world.reader();
    let packs = Packs::new(&repo, &index, &Silent, scene.world.runtime.handle());
    let survey = survey(&packs, (&Silent, &AtomicBool::new(false))).unwrap();
    let plan = plan(&survey.packs, &NOTHING_UNUSED);
    let mut owner = scene.world.owner_repo();
    let (head, before) = (owner.log.state.head_seq, scene.packs(&made[3..]));
    let stop = AtomicBool::new(true);
    let done = rewrite(&packs, &mut owner, (&survey, &plan), (&Silent, &stop)).unwrap();
    assert_eq!(done, Done { interrupted: true, ..Done::default() });
    assert_eq!(scene.world.owner_repo().log.state.head_seq, head);
    assert_eq!(scene.packs(&made[3..]), before);
}

#[test]
fn small_packs_are_joined() {
    let (world, machine) = World::new();
    let source = world.folder("source");
    let mut scene = Scene { world, machine, source };
    let mut made = Vec::new();
    for day in 0..20 {
        fs::write(scene.source.join(format!("day{day}")), noise(day, 20_000)).unwrap();
        made.push(scene.backup());
    }
    let before = scene.packs(&made).len();
    assert!(before >= 20);
    let limits = Limits { unused: Tolerated::Millionths(50_000), rewrite: u64::MAX };
    let (_, done) = scene.compact_with(&limits, |_| ());
    assert!(done.removed >= 20 && done.packs < 4, "{done:?}");
    assert!(done.bytes < done.removed_bytes, "{done:?}");
    assert!(scene.packs(&made).len() < before / 4);
    assert!(scene.check().is_sound());
    scene.restart();
    assert_eq!(scene.run(), (0, 0));
}
