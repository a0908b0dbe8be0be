//! Passes that take only a part: of a first backup, of a bad day, and after a wish to stop.

use std::fs;
use std::sync::Mutex;

use super::tests::Scene;
use super::*;
use crate::browse::dump::dump;
use crate::progress::{Amount, Counts, Item, Stored, Tally};
use crate::remote::limit::{Bucket, Limited};
use crate::testing::{noise, options};
use crate::tree::entry::Kind;
use std::sync::Arc;

const MIB: u64 = 1024 * 1024;

/// Counts, keeps what was done in what order, and raises the flag when so much is stored.
#[derive(Debug, Default)]
struct Notes {
    tally: Tally,
    done: Mutex<Vec<String>>,
    flag: AtomicBool,
    stop_at: Option<u64>,
}

impl Notes {
    fn counts(&self) -> Counts {
        self.tally.counts()
    }

    fn note(&self, line: &str) {
        self.done.lock().unwrap().push(line.to_owned());
    }
}

impl Monitor for Notes {
    fn scanned(&self, found: Amount) {
        self.tally.scanned(found);
    }
    fn scan_done(&self) {
        self.tally.scan_done();
        self.note("all found");
    }
    fn bytes_read(&self, bytes: u64) {
        self.tally.bytes_read(bytes);
    }
    fn done(&self, item: Item<'_>) {
        self.tally.done(item);
        if !item.is_dir {
            let name = item.path.rsplit(|byte| *byte == b'/').next().unwrap();
            self.note(str::from_utf8(name).unwrap());
        }
    }
    fn stored(&self, stored: Stored) {
        self.tally.stored(stored);
        let raw = self.counts().stored.raw;
        if self.stop_at.is_some_and(|at| raw >= at) {
            self.flag.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    fn problem(&self, problem: &crate::progress::Problem) {
        self.tally.problem(problem);
    }
    fn checkpoint(&self, snapshot: &SnapshotId) {
        self.tally.checkpoint(snapshot);
        self.note("checkpoint");
    }
}

fn run(scene: &mut Scene, options: &RunOptions, stop_at: Option<u64>) -> (Outcome, Notes) {
    let notes = Notes { stop_at, ..Notes::default() };
    let outcome = scene.watched(options, (&notes, &notes.flag)).unwrap();
    (outcome, notes)
}

/// The bytes of a file in the last snapshot.
fn saved(scene: &Scene, name: &str) -> Option<Vec<u8>> {
    scene.look(name, |entry, chunks| {
        let Kind::File { size, content } = &entry.kind else { panic!("no file") };
        let mut bytes = Vec::new();
        dump(chunks, (content, *size), &mut bytes).unwrap();
        bytes
    })
}

/// What is on its way may take minutes, and whoever wants to stop has seconds.
#[test]
fn what_has_arrived_is_a_checkpoint_and_the_rest_is_sent_later() {
    let mut scene = Scene::new();
    let names: Vec<String> = (0..40).map(|n| format!("f{n:02}")).collect();
    for (seed, name) in (0..).zip(&names) {
        scene.write(name, &noise(seed, 1 << 20));
    }
    let vault = Arc::clone(&scene.machine.repo.vault);
    // The first pack passes; the next would have to wait for hours.
    let trickle = Some(Arc::new(Bucket::new(1)));
    scene.machine.repo.vault = Arc::new(Limited::new(Arc::clone(&vault), trickle, None));
    let patience = Duration::from_secs(3);
    let options = RunOptions { spool: true, patience, workers: 1, ..options("s") };
    let (first, notes) = run(&mut scene, &options, Some(30 * MIB));
    assert!(first.interrupted && first.snapshot.is_some(), "{first:?}");
    assert_eq!((first.status, first.problem_count), (Status::Checkpoint, 0));
    let mut there = 0;
    for (seed, name) in (0..).zip(&names) {
        if let Some(bytes) = saved(&scene, name) {
            assert!(bytes == noise(seed, 1 << 20), "what is in the checkpoint is whole");
            there += 1;
        }
    }
    assert_eq!(there, first.totals.files);
    assert!((1..=16).contains(&there), "one pack arrived: {there}");
    let spool = scene.machine.repo.folders.spool();
    assert!(fs::read_dir(&spool).unwrap().count() > 0, "nothing was kept");

    scene.machine.repo.vault = vault;
    let (second, then) = run(&mut scene, &options, None);
    assert_eq!(second.status, Status::Complete);
    let read = notes.counts().read + then.counts().read;
    assert!(read < 41 * MIB, "{read} bytes: what waits for the vault is not read again");
    for (seed, name) in (0..).zip(&names) {
        assert!(saved(&scene, name).unwrap() == noise(seed, 1 << 20));
    }
    assert_eq!(run(&mut scene, &options, None).1.counts().read, 0);
}

#[test]
fn a_first_backup_begins_with_what_is_small() {
    let mut scene = Scene::new();
    scene.write("a long", &noise(1, 3 << 20));
    scene.write("b short", &noise(2, 1 << 20));
    fs::create_dir(scene.source.join("c")).unwrap();
    scene.write("c/long", &noise(3, (1 << 20) + 1));
    scene.write("d short", b"d");
    let options = RunOptions {
        small_first: Some(SmallFirst { at_most: MIB, others: 4 * MIB }),
        ..options("s")
    };
    let (outcome, notes) = run(&mut scene, &options, None);
    assert_eq!((outcome.status, outcome.left_out), (Status::Complete, 0));
    let counts = notes.counts();
    assert_eq!(counts.read, outcome.totals.bytes, "nothing is read twice");
    assert_eq!((counts.found.files, counts.found.bytes), (4, outcome.totals.bytes));
    assert_eq!((counts.files.new, counts.files.total()), (4, 4));
    assert_eq!((counts.dirs.new, counts.dirs.total()), (2, 2));
    let mut order = notes.done.into_inner().unwrap();
    let found = order.iter().position(|line| line == "all found").unwrap();
    order.remove(found);
    assert_eq!(order, ["b short", "d short", "checkpoint", "a long", "long"]);
    assert_eq!(scene.machine.repo.log.state.snapshots.len(), 2);
    assert_eq!(saved(&scene, "c/long").unwrap(), noise(3, (1 << 20) + 1));
    // Later ones are made in one pass, and so are first ones of what is small.
    scene.write("e long", &noise(4, 2 << 20));
    assert_eq!(run(&mut scene, &options, None).1.counts().checkpoints, 0);
    assert_eq!(scene.machine.repo.log.state.snapshots.len(), 3);
    for long in [0, 1, 4 * MIB - 1] {
        let mut small = Scene::new();
        small.write("a", b"a");
        small.write("b", &vec![7; usize::try_from(long).unwrap()]);
        let (outcome, notes) = run(&mut small, &options, None);
        assert_eq!((outcome.status, notes.counts().checkpoints), (Status::Complete, 0));
        assert_eq!((notes.counts().read, notes.counts().files.new), (1 + long, 2));
        assert!(notes.counts().scan_done);
        assert_eq!(small.machine.repo.log.state.snapshots.len(), 1);
    }
}

#[test]
fn what_cannot_be_read_is_told_once_by_two_passes() {
    let mut scene = Scene::new();
    scene.write("long", &noise(1, 3 << 20));
    let missing = scene.world.folder("other").join("missing");
    let options =
        RunOptions { small_first: Some(SmallFirst { at_most: MIB, others: MIB }), ..options("s") };
    let notes = Notes::default();
    let source = Source::Paths(vec![scene.source.clone(), missing]);
    let runtime = scene.world.runtime.handle().clone();
    let listens = (&notes as &dyn Monitor, &notes.flag);
    let ended = super::run(&mut scene.machine.repo, source, &options, listens, &runtime);
    assert_eq!((notes.counts().problems, ended.unwrap().problem_count), (1, 1));
}

/// Not each file alone: all of them together.
#[test]
fn on_a_bad_day_the_sum_is_limited() {
    let mut scene = Scene::new();
    for n in 0..30 {
        scene.write(&format!("file {n:02}"), &noise(n, 100_000));
    }
    scene.write("long", &noise(99, 500_000));
    let options = |in_all| RunOptions { in_all, ..options("s") };
    let mut read = Vec::new();
    for files in [15, 30] {
        let (outcome, notes) = run(&mut scene, &options(Some(1_600_000)), None);
        assert_eq!((outcome.totals.files, outcome.left_out), (files, 31 - files));
        assert_eq!((outcome.status, outcome.interrupted), (Status::Checkpoint, false));
        assert!(outcome.uploaded <= 1_700_000 + MIB, "{}", outcome.uploaded);
        read.push(notes.counts().read);
    }
    assert_eq!(read, [1_500_000, 1_500_000]);
    let (outcome, notes) = run(&mut scene, &options(Some(1_600_000)), None);
    assert_eq!((outcome.status, notes.counts().read), (Status::Complete, 500_000));
    assert_eq!(saved(&scene, "long").unwrap(), noise(99, 500_000));
}
