//! Things that happen at the worst moment: to a long file between two of its pieces, to a path that
//! was named, and to a checkpoint when the walk is over.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use super::super::long_file::PIECE;
use super::tests::Scene;
use super::*;
use crate::backup::spool::Spool;
use crate::browse::dump::dump;
use crate::crypto::content_id::ChunkKind;
use crate::progress::{Item, Problem as Told};
use crate::scan::holes::{Span, extents};
use crate::testing::{Forge, noise, options};
use crate::tree::entry::Kind;

/// A moment of a run with one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The piece of this number is about to be opened.
    Before(usize),
    /// It has been read.
    After(usize),
}

/// Does something at each moment, and keeps what is told.
struct Meddler<'a> {
    act: &'a (dyn Fn(Moment) + Sync),
    begun: AtomicUsize,
    read: AtomicUsize,
    told: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Meddler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddler")
    }
}

impl Monitor for Meddler<'_> {
    fn file_started(&self, _path: &[u8]) {
        (self.act)(Moment::Before(self.begun.fetch_add(1, Ordering::Relaxed)));
    }
    fn bytes_read(&self, bytes: u64) {
        if bytes > 1024 * 1024 {
            (self.act)(Moment::After(self.read.fetch_add(1, Ordering::Relaxed)));
        }
    }
    fn problem(&self, problem: &Told) {
        let path = String::from_utf8_lossy(&problem.path).into_owned();
        self.told.lock().unwrap().push(format!("{path}: {}", problem.what));
    }
}

/// Two pieces and a bit.
const LONG: u64 = 2 * PIECE + (8 << 20);

/// A long file with data on both sides of each border between pieces.
fn long_file(path: &Path, seed: u64) {
    let file = File::create(path).unwrap();
    file.set_len(LONG).unwrap();
    for (n, at) in [0, PIECE - 8192, 2 * PIECE - 4096, LONG - 300_000].into_iter().enumerate() {
        let bytes = noise(seed * 100 + n as u64, 200_000);
        file.write_all_at(&bytes, at).unwrap();
    }
}

/// One run, in the midst of which something happens to the file `long`. Gives the outcome and what
/// was told.
fn meddled(scene: &mut Scene, act: &(dyn Fn(Moment) + Sync)) -> (Outcome, Vec<String>) {
    let meddler = Meddler {
        act,
        begun: AtomicUsize::new(0),
        read: AtomicUsize::new(0),
        told: Mutex::default(),
    };
    let options = RunOptions { workers: 1, ..options("s") };
    let outcome = scene.watched(&options, (&meddler, &AtomicBool::new(false))).unwrap();
    (outcome, meddler.told.into_inner().unwrap())
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Writes zeros as holes.
struct Sparse<'a>(&'a File, u64);

impl Write for Sparse<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if ZEROS.get(..bytes.len()) != Some(bytes) {
            self.0.write_all_at(bytes, self.1)?;
        }
        self.1 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether the last snapshot has `long` as this file is, byte for byte.
fn is_saved_as(scene: &Scene, wanted: &Path) -> bool {
    let saved = tempfile::tempfile().unwrap();
    let looked = scene.look("long", |entry, chunks| {
        let Kind::File { size, content } = &entry.kind else { panic!("no file") };
        let mut out = Sparse(&saved, 0);
        dump(chunks, (content, *size), &mut out).unwrap();
        assert_eq!(out.1, *size, "its content is as long as it says");
        saved.set_len(*size).unwrap();
    });
    looked.expect("it is in the snapshot");
    let wanted = File::open(wanted).unwrap();
    let (size, wanted_size) = (saved.metadata().unwrap().len(), wanted.metadata().unwrap().len());
    size == wanted_size && covers(&saved, &wanted, size) && covers(&wanted, &saved, size)
}

/// Whether one file has the data of the other.
fn covers(one: &File, other: &File, size: u64) -> bool {
    extents(other, 0..size).all(|span| match span.unwrap() {
        Span::Hole { .. } => true,
        Span::Data { offset, len } => {
            let read = |file: &File| {
                let mut bytes = vec![0; usize::try_from(len).unwrap()];
                file.read_exact_at(&mut bytes, offset).unwrap();
                bytes
            };
            read(one) == read(other)
        }
    })
}

fn scene() -> (Scene, PathBuf, PathBuf) {
    let scene = Scene::new();
    let (long, as_was) = (scene.source.join("long"), scene.world.folder("else").join("as was"));
    long_file(&long, 1);
    long_file(&as_was, 1);
    scene.write("quiet", b"quiet");
    (scene, long, as_was)
}

/// It changed: told once, though three pieces saw it.
fn told_once(ended: &(Outcome, Vec<String>), long: &Path) {
    let (outcome, told) = ended;
    let text = format!("{}: it changed while it was read; saved as it was read", long.display());
    assert_eq!(*told, [text]);
    assert_eq!((outcome.status, outcome.problem_count), (Status::Partial, 1));
}

/// The next run reads it again, and is quiet.
fn next_run_is_whole(scene: &mut Scene, long: &Path) {
    let (outcome, told) = meddled(scene, &|_| {});
    assert_eq!((outcome.status, told), (Status::Complete, Vec::new()));
    assert!(is_saved_as(scene, long));
}

#[test]
fn a_long_file_that_nobody_touches_is_whole() {
    let (mut scene, long, as_was) = scene();
    next_run_is_whole(&mut scene, &long);
    assert!(is_saved_as(&scene, &as_was));
}

#[test]
fn a_long_file_that_vanishes_between_its_pieces_is_whole() {
    let (mut scene, long, as_was) = scene();
    let vanish = |moment| {
        if moment == Moment::After(0) {
            fs::remove_file(&long).unwrap();
        }
    };
    told_once(&meddled(&mut scene, &vanish), &long);
    assert!(is_saved_as(&scene, &as_was));
    let (outcome, _) = meddled(&mut scene, &|_| {});
    assert_eq!(outcome.status, Status::Complete);
    assert!(scene.look("long", |_, _| ()).is_none());
}

#[test]
fn a_long_file_that_vanishes_before_it_is_opened_is_told_once() {
    let (mut scene, long, _) = scene();
    let vanish = |moment| {
        if moment == Moment::Before(0) {
            fs::remove_file(&long).unwrap();
        }
    };
    let (outcome, told) = meddled(&mut scene, &vanish);
    assert_eq!(told, [format!("{}: it vanished before it was read", long.display())]);
    assert_eq!(outcome.status, Status::Partial);
    assert!(scene.look("long", |_, _| ()).is_none());
    assert!(scene.look("quiet", |_, _| ()).is_some());
}

/// The pieces are of one file, never of two.
#[test]
fn a_long_file_that_is_replaced_between_its_pieces_is_the_old_one() {
    let (mut scene, long, as_was) = scene();
    let other = scene.world.folder("else").join("other");
    long_file(&other, 2);
    let replace = |moment| {
        if moment == Moment::After(0) {
            fs::rename(&other, &long).unwrap();
        }
    };
    told_once(&meddled(&mut scene, &replace), &long);
    assert!(is_saved_as(&scene, &as_was));
    next_run_is_whole(&mut scene, &long);
}

#[test]
fn a_long_file_that_shrinks_between_its_pieces_is_as_long_as_it_was_then() {
    let (mut scene, long, as_was) = scene();
    let cut = |path: &Path| {
        File::options().write(true).open(path).unwrap().set_len(PIECE + 10_000).unwrap();
    };
    let shrink = |moment| {
        if moment == Moment::After(0) {
            cut(&long);
        }
    };
    told_once(&meddled(&mut scene, &shrink), &long);
    cut(&as_was);
    assert!(is_saved_as(&scene, &as_was));
    next_run_is_whole(&mut scene, &long);
}

#[test]
fn a_long_file_that_grows_between_its_pieces_is_as_long_as_it_was_listed() {
    let (mut scene, long, as_was) = scene();
    let grow = |moment| {
        if moment == Moment::After(1) {
            let file = File::options().write(true).open(&long).unwrap();
            file.write_all_at(&noise(9, 50_000), LONG + PIECE).unwrap();
        }
    };
    told_once(&meddled(&mut scene, &grow), &long);
    assert!(is_saved_as(&scene, &as_was));
    next_run_is_whole(&mut scene, &long);
}

/// What comes back at its old place is saved at that place.
#[test]
fn a_long_file_that_is_short_for_one_piece_has_a_hole_there() {
    let (mut scene, long, _) = scene();
    let change = |moment| {
        let file = File::options().write(true).open(&long).unwrap();
        match moment {
            Moment::Before(0) => file.set_len(1000).unwrap(),
            Moment::After(0) => {
                file.set_len(LONG).unwrap();
                file.write_all_at(&noise(7, 50_000), PIECE + 4096).unwrap();
            }
            _ => {}
        }
    };
    told_once(&meddled(&mut scene, &change), &long);
    assert!(is_saved_as(&scene, &long));
    next_run_is_whole(&mut scene, &long);
}

/// Has the tree wait until nothing more is found and a pack is sent; then a checkpoint is due.
#[derive(Debug, Default)]
struct Slow {
    /// Whether a pack is sent, and whether all is found.
    come: Mutex<(bool, bool)>,
    changed: Condvar,
    checkpoints: AtomicUsize,
}

impl Slow {
    fn set(&self, set: impl FnOnce(&mut (bool, bool))) {
        set(&mut self.come.lock().unwrap());
        self.changed.notify_all();
    }
}

impl Monitor for Slow {
    fn scan_done(&self) {
        self.set(|come| come.1 = true);
    }
    fn transferred(&self, _bytes: u64) {
        self.set(|come| come.0 = true);
    }
    fn done(&self, item: Item<'_>) {
        // Whoever builds the tree waits here.
        if item.path.ends_with(b"/first") {
            let come = self.come.lock().unwrap();
            drop(self.changed.wait_while(come, |come| *come != (true, true)).unwrap());
        }
    }
    fn checkpoint(&self, _snapshot: &SnapshotId) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
    }
}

/// A worker that has come to its end seals nothing more, and nobody waits for it.
#[test]
fn a_checkpoint_that_is_due_when_the_walk_is_over_is_left_to_the_snapshot() {
    let mut scene = Scene::new();
    // What is sent first, so that there is something to keep: a pack that an earlier run left.
    let mut forge = Forge::new();
    forge.chunk(ChunkKind::Data, &noise(1, 10_000));
    let spool = Spool::open(&scene.machine.repo.folders.spool()).unwrap();
    spool.put(&forge.sealed(&scene.machine)).unwrap();
    scene.write("first", &noise(2, 300_000));
    for n in 0..2000 {
        fs::create_dir(scene.source.join(format!("folder {n:04}"))).unwrap();
    }
    let slow = Slow::default();
    let often = RunOptions { checkpoint_every: Duration::ZERO, spool: true, ..options("s") };
    let outcome = scene.watched(&often, (&slow, &AtomicBool::new(false))).unwrap();
    assert_eq!((outcome.status, outcome.problem_count), (Status::Complete, 0));
    assert_eq!(outcome.totals.dirs, 2001);
    let made = slow.checkpoints.load(Ordering::Relaxed);
    assert!(made < 10, "{made} checkpoints, of which each has the workers seal what they have");
}
