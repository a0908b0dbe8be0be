//! Runs that are told what may have changed make the snapshots of runs that look at everything.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::backup::Depth;
use crate::crypto::content_id::ChunkId;
use crate::progress::Silent;
use crate::progress::{Counts, Recorder};
use crate::scan::exclude::{Case, Options, Pattern};
use crate::state::records::{DirKey, Header, RecordReader};
use crate::testing::{Machine, World, noise, options};
use roaring::RoaringBitmap;
use unseen_common::time::Timestamp;

struct Scene {
    world: World,
    desk: Machine,
    /// Looks at everything.
    other: Machine,
    source: PathBuf,
}

/// A snapshot, as far as two runs can be compared.
#[derive(Debug, PartialEq)]
struct Made {
    root: ChunkId,
    packs: RoaringBitmap,
    totals: Totals,
}

impl Scene {
    fn new() -> Self {
        Self::in_world(World::new())
    }

    fn in_world((world, desk): (World, Machine)) -> Self {
        let other = world.enrol(77, "other");
        let source = world.folder("source");
        Self { world, desk, other, source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn changes(&self, of: &[(&str, Depth)]) -> Changes {
        let mut changes = Changes::default();
        for (name, depth) in of {
            // An empty name would leave a slash at the end.
            let path = if name.is_empty() { self.source.clone() } else { self.path(name) };
            changes.add(&path, *depth);
        }
        changes
    }

    fn run(&mut self, options: &RunOptions) -> (Outcome, Recorder) {
        let recorder = Recorder::default();
        let outcome = run(
            &mut self.desk.repo,
            Source::Paths(vec![self.source.clone()]),
            options,
            (&recorder, &AtomicBool::new(false)),
            self.world.runtime.handle(),
        );
        self.world.clock.advance(60);
        (outcome.unwrap(), recorder)
    }

    fn run_with(&mut self, changes: impl Into<Option<Changes>>) -> (Outcome, Recorder) {
        let changes = changes.into();
        self.run(&RunOptions { changes, workers: 1, ..options("s") })
    }

    fn made(&self, outcome: &Outcome) -> Made {
        let state = StateDb::open(&self.desk.repo.folders.state).unwrap();
        let (root, id) = state.last("s").unwrap().unwrap();
        assert_eq!(Some(id), outcome.snapshot);
        let packs = self.world.runtime.block_on(self.desk.repo.vault.packs_of(id)).unwrap();
        Made { root, packs: packs.0, totals: outcome.totals }
    }

    /// Everything is looked at, and then everything is read: both make the same.
    fn is_whole(&mut self, outcome: &Outcome) {
        let made = self.made(outcome);
        for force in [false, true] {
            let (again, _) = self.run(&RunOptions { force, workers: 1, ..options("s") });
            assert_eq!(again.packs, 0, "something was missing, force: {force}");
            assert_eq!(self.made(&again), made, "force: {force}");
        }
    }

    /// What another machine, which looks at everything, has of the source.
    fn is_as_elsewhere(&mut self, outcome: &Outcome) {
        let theirs = self.world.run(&mut self.other, &options("s"), &self.source);
        assert_eq!(outcome.totals, theirs.totals);
        let (ours, theirs) = (header(&self.desk, &self.source), header(&self.other, &self.source));
        assert_eq!(ours.tree, theirs.tree);
        assert_eq!(ours.summary.contents, theirs.summary.contents);
    }
}

fn header(machine: &Machine, path: &Path) -> Header {
    let state = StateDb::open(&machine.repo.folders.state).unwrap();
    let key = DirKey::of(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    let reader = RecordReader::open(&state, key).unwrap().unwrap();
    Header::clone(&reader.header)
}

fn names(recorder: &Recorder, source: &Path) -> Vec<String> {
    let done = recorder.events().done.into_iter();
    let strip = |(path, _): (Vec<u8>, _)| {
        let path =
            PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&path));
        path.strip_prefix(source).ok().map(|path| path.display().to_string())
    };
    done.filter_map(strip).filter(|name| !name.is_empty()).collect()
}

#[test]
fn only_what_may_have_changed_is_looked_at() {
    let mut scene = Scene::new();
    for name in ["a/1", "a/deep/2", "b/3", "b/deep/4", "b/deep/5", "b/other/6", "c/7"] {
        scene.write(name, &noise(1, 1000 + name.len()));
    }
    scene.run_with(None);
    scene.write("b/deep/4", b"new");
    // Nobody said that this changed, so nobody finds out.
    scene.write("c/7", b"unheard of");
    let (outcome, recorder) = scene.run_with(scene.changes(&[("b/deep", Depth::Listing)]));
    assert_eq!(names(&recorder, &scene.source), ["b/3", "b/deep/4", "b/deep/5", "b/deep", "b"]);
    let Counts { read, files, dirs, found, .. } = recorder.counts();
    assert_eq!((read, files.changed, files.unmodified), (3, 1, 6));
    assert_eq!((found.files, dirs.total()), (7, 7));
    assert_eq!((outcome.totals.files, outcome.packs, outcome.status), (7, 1, Status::Complete));

    let everywhere = scene.changes(&[("", Depth::Everything)]);
    let (outcome, recorder) = scene.run_with(everywhere);
    assert_eq!(recorder.counts().read, 10, "c/7 alone");
    scene.is_whole(&outcome);
    let (same, recorder) = scene.run_with(scene.changes(&[]));
    assert_eq!(names(&recorder, &scene.source), Vec::<String>::new());
    assert_eq!((same.packs, same.totals), (0, outcome.totals));
}

#[test]
fn other_rules_mean_that_everything_is_looked_at() {
    let mut scene = Scene::new();
    scene.write("a/keep", b"1");
    scene.write("a/leave", b"2");
    let (all, _) = scene.run_with(None);
    let pattern = Pattern::parse(b"leave", Case::Sensitive).unwrap();
    let without = |changes| {
        let rules = Rules::new(Options { patterns: vec![pattern.clone()], ..Options::default() });
        RunOptions { rules, changes, ..options("s") }
    };
    let (fewer, _) = scene.run(&without(Some(Changes::default())));
    assert_eq!((all.totals.files, fewer.totals.files), (2, 1));
    let (again, recorder) = scene.run(&without(Some(Changes::default())));
    assert_eq!(again.totals, fewer.totals);
    assert_eq!(names(&recorder, &scene.source), Vec::<String>::new());
    let (back, _) = scene.run_with(Some(Changes::default()));
    assert_eq!(back.totals, all.totals);
    scene.is_whole(&back);
}

#[test]
fn an_ignore_file_rules_what_is_beneath_it() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path(".git")).unwrap();
    scene.write(".gitignore", b"*.o\n");
    scene.write("a/b/x.o", b"1");
    scene.write("a/b/x.c", b"2");
    let git = |changes| {
        let rules = Rules::new(Options { git_ignore: true, ..Options::default() });
        RunOptions { rules, changes, ..options("s") }
    };
    let (first, _) = scene.run(&git(None));
    let (same, recorder) = scene.run(&git(Some(scene.changes(&[]))));
    assert_eq!((same.totals, recorder.counts().read), (first.totals, 0));
    scene.write(".gitignore", b"*.c\n*.o\n");
    let (fewer, _) = scene.run(&git(Some(scene.changes(&[("", Depth::Listing)]))));
    assert_eq!(fewer.totals.files + 1, first.totals.files);
    scene.write(".gitignore", b"\n");
    let (more, _) = scene.run(&git(Some(scene.changes(&[("", Depth::Listing)]))));
    assert_eq!(more.totals.files, first.totals.files + 1);
}

/// What is written through one name of a file is heard of in one folder only.
#[test]
fn a_file_with_several_names_is_always_looked_at() {
    let mut scene = Scene::new();
    scene.write("a/deep/one", b"before");
    scene.write("b/plain", b"plain");
    fs::create_dir(scene.path("c")).unwrap();
    fs::hard_link(scene.path("a/deep/one"), scene.path("c/two")).unwrap();
    scene.run_with(None);
    scene.write("c/two", b"after it");
    let (outcome, recorder) = scene.run_with(scene.changes(&[("c", Depth::Listing)]));
    assert!(!names(&recorder, &scene.source).contains(&"b/plain".to_owned()));
    scene.is_whole(&outcome);
    fs::remove_file(scene.path("c/two")).unwrap();
    let (outcome, _) = scene.run_with(scene.changes(&[("c", Depth::Listing)]));
    scene.is_whole(&outcome);
    let (_, recorder) = scene.run_with(scene.changes(&[]));
    assert_eq!(names(&recorder, &scene.source), Vec::<String>::new(), "one name is left");
}

/// A file that was saved as soon as it was written may have been written again since.
#[test]
fn what_was_racy_is_read_again_once() {
    let folder = tempfile::tempdir().unwrap();
    let written = fs::metadata(folder.path()).unwrap().ctime();
    let start = Timestamp(u64::try_from(written).unwrap() - 100);
    let mut scene = Scene::in_world(World::at(start));
    scene.write("a/b/racy", &noise(3, 700));
    scene.run_with(None);
    assert!(header(&scene.desk, &scene.source).summary.again);
    assert!(!header(&scene.desk, &scene.source).summary.again_here);
    scene.world.clock.advance(1_000_000);
    for read in [700, 0] {
        let (outcome, recorder) = scene.run_with(scene.changes(&[]));
        assert_eq!((recorder.counts().read, outcome.packs), (read, 0));
    }
    let (_, recorder) = scene.run_with(scene.changes(&[]));
    assert_eq!(names(&recorder, &scene.source), Vec::<String>::new());
}

#[test]
fn packs_that_went_are_made_again() {
    let mut scene = Scene::new();
    for (seed, name) in (1..).zip(["a/1", "a/deep/2", "b/3"]) {
        scene.write(name, &noise(seed, 300_000));
    }
    let (first, _) = scene.run_with(None);
    let lost = scene.made(&first).packs;
    scene.write("c/4", &noise(9, 300_000));
    let (second, _) = scene.run_with(scene.changes(&[("", Depth::Listing)]));
    assert_eq!(second.totals.files, 4);
    {
        let folders = &scene.desk.repo.folders;
        let index = Index::open(&folders.index(), scene.desk.repo.key.vault).unwrap();
        index.forget_packs(&lost).unwrap();
    }
    let (third, recorder) = scene.run_with(scene.changes(&[]));
    assert_eq!(recorder.counts().read, 900_000, "and c is left alone");
    let made = scene.made(&third);
    assert!((&made.packs & &lost).is_empty(), "{:?} of {lost:?}", made.packs);
    assert_eq!(made.root, scene.made(&third).root);
    scene.is_whole(&third);
}

/// What a run that was stopped left out is not taken for gone.
#[test]
fn a_folder_that_was_not_finished_is_looked_at_again() {
    let mut scene = Scene::new();
    for name in ["a/1", "b/2", "c/3"] {
        scene.write(name, name.as_bytes());
    }
    let stopped = AtomicBool::new(true);
    let source = Source::Paths(vec![scene.source.clone()]);
    let listens = (&Silent as &dyn Monitor, &stopped);
    let runtime = scene.world.runtime.handle();
    let ended = run(&mut scene.desk.repo, source, &options("s"), listens, runtime);
    assert!(ended.is_err() || ended.is_ok_and(|outcome| outcome.interrupted));
    let (outcome, _) = scene.run_with(scene.changes(&[]));
    assert_eq!(outcome.totals.files, 3);
    scene.is_whole(&outcome);
}

/// A first backup may begin with what is small.
#[test]
fn long_files_may_wait_for_a_second_pass() {
    let mut scene = Scene::new();
    scene.write("a/long", &noise(1, 50_001));
    scene.write("b/short", &noise(2, 50_000));
    let pass = |at_most| RunOptions { at_most, ..options("s") };
    let (first, recorder) = scene.run(&pass(Some(50_000)));
    assert_eq!((first.status, first.left_out, first.interrupted), (Status::Checkpoint, 1, false));
    assert_eq!((first.totals.files, recorder.counts().found.bytes), (1, 50_000));
    let (second, recorder) =
        scene.run(&RunOptions { changes: Some(scene.changes(&[])), ..pass(None) });
    assert_eq!((second.status, second.left_out), (Status::Complete, 0));
    assert_eq!((second.totals.files, recorder.counts().read), (2, 50_001));
    scene.is_whole(&second);
    let (third, recorder) = scene.run(&pass(Some(10)));
    assert_eq!(
        (third.status, third.totals, recorder.counts().read),
        (second.status, second.totals, 0)
    );
}

/// What a watcher would have to say: by what was there before and is there now.
#[derive(Debug, Clone, PartialEq)]
struct Was {
    is_dir: bool,
    links: u64,
    inode: u64,
    stamps: (u64, u32, [i64; 4]),
}

fn look(dir: &Path, found: &mut BTreeMap<PathBuf, Was>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        let was = Was {
            is_dir: meta.is_dir(),
            links: meta.nlink(),
            inode: meta.ino(),
            stamps: (meta.len(), meta.mode(), times),
        };
        if meta.is_dir() {
            look(&path, found);
        }
        found.insert(path, was);
    }
}

fn difference(before: &BTreeMap<PathBuf, Was>, after: &BTreeMap<PathBuf, Was>) -> Changes {
    let mut changes = Changes::default();
    for path in before.keys().chain(after.keys()) {
        let (old, new) = (before.get(path), after.get(path));
        if old == new {
            continue;
        }
        if let (Some(old), Some(new)) = (old, new)
            && old.inode == new.inode
            && !old.is_dir
            && old.links > 1
        {
            // Written through another name, perhaps: the engine must find out.
            continue;
        }
        changes.add(path.parent().unwrap(), Depth::Listing);
        if let Some(new) = new.filter(|new| new.is_dir)
            && old.is_none_or(|old| old.inode != new.inode)
        {
            changes.add(path, Depth::Everything);
        }
    }
    changes
}

#[derive(Debug, Clone)]
enum Edit {
    Write(PathBuf, u64),
    Folder(PathBuf),
    Remove(PathBuf),
    Move(PathBuf, PathBuf),
    Hard(PathBuf, PathBuf),
    Soft(PathBuf),
    Mode(PathBuf, u32),
}

fn edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    let path = || {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 1..4)
            .prop_map(|parts| parts.iter().collect::<PathBuf>())
    };
    let edit = prop_oneof![
        6 => (path(), 0_u64..9).prop_map(|(path, seed)| Edit::Write(path, seed)),
        5 => path().prop_map(Edit::Folder),
        2 => path().prop_map(Edit::Remove),
        3 => (path(), path()).prop_map(|(from, to)| Edit::Move(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Edit::Hard(from, to)),
        1 => path().prop_map(Edit::Soft),
        1 => (path(), 0_u32..8).prop_map(|(path, mode)| Edit::Mode(path, 0o700 | mode)),
    ];
    prop::collection::vec(edit, 1..most)
}

/// What does not fit is left undone.
fn apply(root: &Path, edit: &Edit) -> std::io::Result<()> {
    let at = |path: &PathBuf| root.join(path);
    match edit {
        Edit::Write(path, seed) => {
            let length = usize::try_from(*seed).unwrap() * 900;
            fs::write(at(path), noise(*seed, length))
        }
        Edit::Folder(path) => fs::create_dir(at(path)),
        Edit::Remove(path) => fs::remove_dir_all(at(path)).or_else(|_| fs::remove_file(at(path))),
        Edit::Move(from, to) => fs::rename(at(from), at(to)),
        Edit::Hard(from, to) => fs::hard_link(at(from), at(to)),
        Edit::Soft(path) => symlink("a/b", at(path)),
        Edit::Mode(path, mode) => fs::set_permissions(at(path), fs::Permissions::from_mode(*mode)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_snapshot_of_a_whole_walk(
        start in edits(40),
        steps in prop::collection::vec((edits(6), prop::option::of(edits(3))), 1..4),
    ) {
        let mut scene = Scene::new();
        for edit in &start {
            apply(&scene.source, edit).ok();
        }
        let mut before = BTreeMap::new();
        look(&scene.source, &mut before);
        let (mut last, _) = scene.run_with(None);
        for (step, more) in &steps {
            for edit in step {
                apply(&scene.source, edit).ok();
            }
            let mut after = BTreeMap::new();
            look(&scene.source, &mut after);
            let mut changes = difference(&before, &after);
            // More may be said to have changed than has.
            for edit in more.iter().flatten() {
                if let Edit::Folder(path) | Edit::Remove(path) | Edit::Write(path, _) = edit {
                    let depth = if matches!(edit, Edit::Folder(_)) {
                        Depth::Everything
                    } else {
                        Depth::Listing
                    };
                    changes.add(&scene.source.join(path), depth);
                }
            }
            before = after;
            (last, _) = scene.run_with(Some(changes));
            scene.is_as_elsewhere(&last);
        }
        scene.is_whole(&last);
    }
}
