use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::*;
use crate::browse::chunks::Chunks;
use crate::browse::ls::{FindError, Found, find_path};
use crate::browse::packs::Packs;
use crate::browse::resolve::{Filter, parse, parse_path, resolve};
use crate::progress::{Amount, Counts, Item, Silent, Stored, Tally};
use crate::remote::limit::{Bucket, Limited};
use crate::testing::{Machine, World, noise, options};
use crate::tree::entry::Entry;
use std::sync::Arc;

/// When the user loses patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Raise {
    Never,
    /// So many new bytes have been stored.
    Stored(u64),
    /// Nothing more is found.
    Walked,
    /// The vault has the first pack after that.
    PackAfterWalk,
}

/// Counts, and raises the flag.
#[derive(Debug)]
struct Finger {
    raise: Raise,
    flag: AtomicBool,
    walked: AtomicBool,
    tally: Tally,
}

impl Finger {
    fn new(raise: Raise) -> Self {
        Self {
            raise,
            flag: AtomicBool::new(false),
            walked: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    fn counts(&self) -> Counts {
        self.tally.counts()
    }

    fn point(&self, at: Raise) {
        if self.raise == at {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
}

impl Monitor for Finger {
    fn scanned(&self, found: Amount) {
        self.tally.scanned(found);
    }
    fn done(&self, item: Item<'_>) {
        self.tally.done(item);
    }
    fn unvisited(&self, amount: Amount) {
        self.tally.unvisited(amount);
    }
    fn scan_done(&self) {
        self.tally.scan_done();
        self.walked.store(true, Ordering::Relaxed);
        self.point(Raise::Walked);
    }
    fn stored(&self, stored: Stored) {
        self.tally.stored(stored);
        if matches!(self.raise, Raise::Stored(bytes) if self.counts().stored.raw >= bytes) {
            self.point(self.raise);
        }
    }
    fn transferred(&self, bytes: u64) {
        self.tally.transferred(bytes);
        if self.walked.load(Ordering::Relaxed) {
            self.point(Raise::PackAfterWalk);
        }
    }
}

pub(super) struct Scene {
    pub(super) world: World,
    pub(super) machine: Machine,
    pub(super) source: PathBuf,
}

impl Scene {
    pub(super) fn new() -> Self {
        let (world, machine) = World::new();
        let source = world.folder("source");
        Self { world, machine, source }
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.source.join(name), bytes).unwrap();
    }

    fn try_run(&mut self, options: &RunOptions, finger: &Finger) -> Result<Outcome, BackupError> {
        self.watched(options, (finger, &finger.flag))
    }

    pub(super) fn watched(
        &mut self,
        options: &RunOptions,
        listens: (&dyn Monitor, &AtomicBool),
    ) -> Result<Outcome, BackupError> {
        let source = Source::Paths(vec![self.source.clone()]);
        let runtime = self.world.runtime.handle();
        let ended = run(&mut self.machine.repo, source, options, listens, runtime);
        self.world.clock.advance(60);
        ended
    }

    fn run(&mut self, options: &RunOptions, raise: Raise) -> (Outcome, Counts) {
        let finger = Finger::new(raise);
        let outcome = self.try_run(options, &finger).unwrap();
        (outcome, finger.counts())
    }

    /// Which of these names are in the last snapshot.
    fn saved(&self, names: &[&str]) -> Vec<bool> {
        names.iter().map(|name| self.look(name, |_, _| ()).is_some()).collect()
    }

    /// Looks at an entry of the last snapshot, if it is there.
    pub(super) fn look<T>(
        &self,
        name: &str,
        each: impl FnOnce(&Entry, &mut Chunks<'_>) -> T,
    ) -> Option<T> {
        let (repo, index) = self.world.reader();
        let all = Filter::default();
        let wanted = parse("latest").unwrap();
        let chosen = self.world.runtime.block_on(resolve(&repo, &wanted, &all)).unwrap();
        let packs = Packs::new(&repo, &index, &Silent, self.world.runtime.handle());
        let within = packs.wait(repo.vault.packs_of(chosen.snapshot.id)).unwrap().0;
        let mut chunks = Chunks::new(&packs, Arc::new(within));
        let path = parse_path(self.source.join(name).as_os_str().as_bytes()).unwrap();
        match find_path(&mut chunks, chosen.manifest.root, &path) {
            Ok(Found::Entry(entry)) => Some(each(&entry, &mut chunks)),
            Err(FindError::NotThere { .. }) => None,
            other => panic!("{other:?}"),
        }
    }
}

const MIB: u64 = 1024 * 1024;

/// Long segments, which end where the pack ends: next to nothing of a full pack is left empty.
#[test]
fn packs_of_what_compresses_are_full() {
    let mut scene = Scene::new();
    for n in 0..6 {
        // Hexadecimal digits: half of it is there to be saved, and nothing repeats.
        let digits = data_encoding::HEXLOWER.encode(&noise(n, 4 << 20));
        scene.write(&format!("long {n}"), digits.as_bytes());
    }
    // What several workers leave over depends on who read what.
    let options = RunOptions { workers: 1, ..options("s") };
    let (outcome, counted) = scene.run(&options, Raise::Never);
    let packed = counted.stored.packed;
    assert!(packed < 60 * counted.stored.raw / 100, "{packed} bytes");
    // One of 16 MiB, and what is left over in shorter ones, of which the last is not full.
    let most = packed + packed / 100 + MIB;
    assert!(outcome.packs >= 2, "{} packs", outcome.packs);
    assert!(outcome.uploaded <= most, "{}, {packed}", outcome.uploaded);
}

/// What is cut off within a long file counts, though the file is not in the checkpoint.
#[test]
fn a_long_file_is_left_in_the_middle_and_only_its_rest_is_sent_later() {
    let mut scene = Scene::new();
    let long = 20 * MIB;
    scene.write("a", b"short");
    scene.write("b", &noise(1, usize::try_from(long).unwrap()));
    let (first, counted) = scene.run(&options("s"), Raise::Stored(8 * MIB));
    assert!(first.interrupted);
    assert_eq!((first.status, first.problem_count), (Status::Checkpoint, 0));
    assert!(counted.stored.raw < 12 * MIB, "read on: {}", counted.stored.raw);
    assert_eq!(scene.saved(&["a", "b"]), [true, false]);

    let (second, then) = scene.run(&options("s"), Raise::Never);
    assert_eq!(second.status, Status::Complete);
    let (sum, least) = (counted.stored.raw + then.stored.raw, long + 5);
    assert!((least..least + MIB / 4).contains(&sum), "{sum} bytes of {least}");
    assert_eq!(scene.saved(&["a", "b"]), [true, true]);
}

#[test]
fn the_wish_counts_when_the_walk_is_over() {
    for raise in [Raise::Walked, Raise::PackAfterWalk] {
        let mut scene = Scene::new();
        let names = ["a", "b", "c", "d"];
        for (seed, name) in (1..).zip(names) {
            scene.write(name, &noise(seed, 2 << 20));
        }
        let (first, counted) = scene.run(&options("s"), raise);
        assert!(first.interrupted && counted.scan_done, "{raise:?}");
        assert_eq!((first.status, first.problem_count), (Status::Checkpoint, 0));
        assert!(first.snapshot.is_some());

        let (second, then) = scene.run(&options("s"), Raise::Never);
        assert_eq!(second.status, Status::Complete);
        let (sum, least) = (counted.stored.raw + then.stored.raw, 8 * MIB);
        assert!((least..least + MIB / 4).contains(&sum), "{raise:?}: {sum} bytes of {least}");
        assert_eq!(scene.saved(&names), [true; 4]);
    }
}

/// A vault that hangs cannot take a checkpoint; what is sealed waits in the spool.
#[test]
fn a_vault_that_hangs_is_left_and_the_spool_sent_by_the_next_run() {
    let mut scene = Scene::new();
    scene.write("a", &noise(1, 24 << 20));
    let vault = Arc::clone(&scene.machine.repo.vault);
    // The first pack passes; the next would have to wait for hours.
    let trickle = Some(Arc::new(Bucket::new(1)));
    scene.machine.repo.vault = Arc::new(Limited::new(Arc::clone(&vault), trickle, None));
    let options = RunOptions { spool: true, patience: Duration::ZERO, ..options("s") };
    let finger = Finger::new(Raise::Stored(20 * MIB));
    let ended = scene.try_run(&options, &finger);
    assert!(matches!(ended, Err(BackupError::Interrupted)), "{ended:?}");
    let spool = scene.machine.repo.folders.spool();
    let waiting = || fs::read_dir(&spool).unwrap().count();
    assert!(waiting() > 0, "nothing was kept");

    // Whoever waits for one file does not wait for that.
    let left = waiting();
    scene.machine.repo.vault = Arc::clone(&vault);
    let file = scene.source.join("b");
    let all = std::mem::replace(&mut scene.source, file);
    fs::write(&scene.source, b"one file").unwrap();
    let ahead = RunOptions { ahead: true, ..options.clone() };
    let (one, sent) = scene.run(&ahead, Raise::Never);
    assert_eq!((one.status, waiting()), (Status::Complete, left));
    assert!(sent.transferred < MIB, "{} bytes were sent", sent.transferred);
    fs::remove_file(&scene.source).unwrap();
    scene.source = all;

    let (second, then) = scene.run(&options, Raise::Never);
    assert_eq!(second.status, Status::Complete);
    assert_eq!(waiting(), 0);
    assert!(then.stored.raw < 5 * MIB, "{} bytes were stored again", then.stored.raw);
    assert_eq!(scene.saved(&["a"]), [true]);
}

#[test]
fn a_stream_is_whole_or_absent() {
    let mut scene = Scene::new();
    let finger = Finger::new(Raise::Stored(8 * MIB));
    let stream = StreamSource {
        name: Name::new(b"dump").unwrap(),
        source: Box::new(std::io::Cursor::new(noise(3, 16 << 20))),
        meta: Meta::default(),
    };
    let ended = run(
        &mut scene.machine.repo,
        Source::Stream(Some(stream)),
        &options("s"),
        (&finger, &finger.flag),
        scene.world.runtime.handle(),
    );
    assert!(matches!(ended, Err(BackupError::Interrupted)), "{ended:?}");
    assert!(scene.machine.repo.log.state.snapshots.is_empty());
}

fn touch(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Folders above a source are the way to it: their times are other people's business.
#[test]
fn a_new_time_of_a_folder_above_is_no_change() {
    let mut scene = Scene::new();
    scene.source = scene.source.join("in/here");
    fs::create_dir_all(&scene.source).unwrap();
    scene.write("a", b"a");
    let above = scene.source.parent().unwrap().to_path_buf();
    touch(&above, 1_000);
    let (first, _) = scene.run(&options("s"), Raise::Never);
    assert!(first.packs > 0);

    touch(&above, 2_000);
    let (second, _) = scene.run(&options("s"), Raise::Never);
    assert!(second.snapshot.is_some());
    assert_eq!((second.packs, second.uploaded), (0, 0));

    touch(&above, 3_000);
    let skip = RunOptions { skip_if_unchanged: true, ..options("s") };
    assert_eq!(scene.run(&skip, Raise::Never).0.snapshot, None);
    // Of the source itself the time counts, and of what is above the mode.
    fs::set_permissions(&above, fs::Permissions::from_mode(0o711)).unwrap();
    assert!(scene.run(&skip, Raise::Never).0.snapshot.is_some());
    touch(&scene.source, 4_000);
    assert!(scene.run(&skip, Raise::Never).0.snapshot.is_some());
    assert_eq!(scene.run(&skip, Raise::Never).0.snapshot, None);
}
