use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use unseen_common::id::{PackNumber, SnapshotId};

use super::*;
use crate::browse::pieces::BLOCK;
use crate::browse::resolve::{Filter, parse, resolve};
use crate::progress::Recorder;
use crate::restore::{Kept, Select};
use crate::scan::exclude::{Case, Pattern};
use crate::testing::{Machine, World, noise};

pub(super) use crate::testing::picture;

/// A vault with one backup of `source`.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) machine: Machine,
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
}

impl Scene {
    pub(super) fn new() -> Self {
        let (world, machine) = World::new();
        let (source, target) = (world.folder("source"), world.dir.path().join("target"));
        Self { world, machine, source, target }
    }

    pub(super) fn backup(&mut self) -> SnapshotId {
        self.world.backup(&mut self.machine, &self.source)
    }

    /// Options that put the content of `source` into the target.
    pub(super) fn options(&self) -> RestoreOptions {
        RestoreOptions { target: self.target.clone(), workers: 2, ..RestoreOptions::default() }
    }

    pub(super) fn choose(&self, repo: &ReaderRepo, text: &str) -> Chosen {
        let wanted = parse(text).unwrap();
        let all = Filter::default();
        let found = resolve(repo, &wanted, &all);
        self.world.runtime.block_on(found).unwrap()
    }

    pub(super) fn try_restore(
        &self,
        text: &str,
        options: &RestoreOptions,
        listens: (&Recorder, &AtomicBool),
    ) -> Result<RestoreOutcome, RestoreError> {
        let (repo, index) = self.world.reader();
        let chosen = self.choose(&repo, text);
        let runtime = self.world.runtime.handle();
        let listens = (listens.0 as &dyn Monitor, listens.1);
        restore((&repo, &index), &chosen, options, listens, runtime)
    }

    pub(super) fn restore(&self, text: &str, options: &RestoreOptions) -> RestoreOutcome {
        let (recorder, go_on) = (Recorder::default(), AtomicBool::new(false));
        let done = self.try_restore(text, options, (&recorder, &go_on));
        done.unwrap()
    }

    /// `latest`, and the part of it that was the source.
    pub(super) fn latest(&self) -> String {
        format!("latest:{}", self.source.display())
    }
}

/// A tree with one of everything, and so many small files.
fn nasty(root: &Path, small: u64) {
    fs::create_dir_all(root.join("deep/er/and/deeper")).unwrap();
    fs::create_dir(root.join("empty dir")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("deep/er/and/deeper/file"), b"small").unwrap();
    fs::write(root.join("big"), noise(1, 5 << 20)).unwrap();
    fs::write(root.join("twice"), noise(1, 5 << 20)).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"\xff new\nline\x1b[31m");
    fs::write(root.join(odd), b"odd").unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(&noise(2, 100_000), 5 << 20).unwrap();
    sparse.set_len(64 << 20).unwrap();
    fs::File::create(root.join("hole")).unwrap().set_len(1 << 20).unwrap();
    fs::write(root.join("zeros"), vec![0; 300_000]).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    symlink("../..", root.join("deep/up")).unwrap();
    fs::write(root.join("z1"), noise(3, 5000)).unwrap();
    fs::hard_link(root.join("z1"), root.join("a1")).unwrap();
    fs::hard_link(root.join("z1"), root.join("deep/er/m1")).unwrap();
    fs::hard_link(root.join("empty"), root.join("empty too")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for n in 0..small {
        fs::write(root.join(format!("deep/{n}")), noise(n, 700)).unwrap();
    }
    fs::set_permissions(root.join("big"), PermissionsExt::from_mode(0o640)).unwrap();
    fs::set_permissions(root.join("deep/er"), PermissionsExt::from_mode(0o750)).unwrap();
    fs::set_permissions(root.join("empty dir"), PermissionsExt::from_mode(0o500)).unwrap();
}

#[test]
fn one_of_everything_comes_back() {
    let mut scene = Scene::new();
    nasty(&scene.source, 300);
    scene.backup();
    let (recorder, go_on) = (Recorder::default(), AtomicBool::new(false));
    let options = RestoreOptions { verify: true, ..scene.options() };
    let done = scene.try_restore(&scene.latest(), &options, (&recorder, &go_on));
    let done = done.unwrap();
    assert_eq!(done.problems, []);
    assert_eq!(picture(&scene.target), picture(&scene.source));
    assert_eq!((done.files, done.dirs, done.others), (312, 6, 3));
    assert_eq!(done.verified, done.files);
    let hole = fs::metadata(scene.target.join("sparse")).unwrap();
    assert!(hole.blocks() * 512 < 2 << 20, "{}", hole.blocks());
    // The 10 MiB of equal files are stored, and fetched, once.
    assert!(done.fetched < 9 << 20, "{}", done.fetched);
    let counts = recorder.counts();
    assert!(counts.scan_done);
    assert_eq!(counts.found.files, counts.files.total());
    assert_eq!(counts.transferred, done.fetched);
    assert_eq!(counts.planned, done.fetched);
}

#[test]
fn the_parts_of_a_pack_are_fetched_once() {
    let mut scene = Scene::new();
    fs::write(scene.source.join("long"), noise(9, 20 << 20)).unwrap();
    scene.backup();
    let (_, index) = scene.world.reader();
    let packs = index.live().iter().filter_map(|number| index.pack(PackNumber(number)));
    let stored: u64 = packs.map(|pack| pack.length).sum();
    drop(index);
    let done = scene.restore(&scene.latest(), &scene.options());
    assert_eq!((done.files, done.problems.len()), (1, 0));
    assert_eq!(picture(&scene.target), picture(&scene.source));
    // The walk read the trees for itself: both ends of their pack and a block between.
    let trees = 3 * BLOCK;
    assert!(done.fetched > 20 << 20, "{}", done.fetched);
    assert!(done.fetched <= stored + trees, "{} of {stored}", done.fetched);
}

#[test]
fn the_smallest_windows_give_the_same() {
    let mut scene = Scene::new();
    nasty(&scene.source, 12);
    scene.backup();
    let (repo, index) = scene.world.reader();
    let chosen = scene.choose(&repo, &scene.latest());
    let (recorder, go_on) = (Recorder::default(), AtomicBool::new(false));
    for (things, wants, spread, links) in [(1, 1, 1, 0), (7, 5, 2, 300)] {
        let limits = Limits { things, wants, spread, links };
        let options = scene.options();
        let listens = (&recorder as &dyn Monitor, &go_on);
        let runtime = scene.world.runtime.handle();
        let prepared = Prepared::new((&repo, &index), &chosen, &options, listens.0, runtime);
        let done = prepared.unwrap().open().unwrap().run_within(limits, listens.1);
        assert_eq!(done.unwrap().problems, []);
        assert_eq!(picture(&scene.target), picture(&scene.source));
        fs::remove_dir_all(&scene.target).unwrap();
    }
}

#[test]
fn the_whole_snapshot_keeps_its_path_and_a_file_its_name() {
    let mut scene = Scene::new();
    fs::create_dir(scene.source.join("a")).unwrap();
    fs::write(scene.source.join("a/file"), b"x").unwrap();
    symlink("file", scene.source.join("a/link")).unwrap();
    scene.backup();
    scene.restore("latest", &scene.options());
    let inside = scene.source.strip_prefix("/").unwrap();
    let restored = scene.target.join(inside);
    assert_eq!(picture(&restored), picture(&scene.source));
    fs::remove_dir_all(&scene.target).unwrap();
    for name in ["file", "link"] {
        scene.restore(&format!("{}/a/{name}", scene.latest()), &scene.options());
    }
    assert_eq!(picture(&scene.target), picture(&scene.source.join("a")));
    let nowhere = format!("{}/b", scene.latest());
    let (recorder, go_on) = (Recorder::default(), AtomicBool::new(false));
    let error = scene.try_restore(&nowhere, &scene.options(), (&recorder, &go_on));
    assert!(matches!(error, Err(RestoreError::Find(_))));
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    let read = |text: &&str| Pattern::parse(text.as_bytes(), Case::Sensitive).unwrap();
    texts.iter().map(read).collect()
}

#[test]
fn only_what_is_asked_for_is_restored() {
    let mut scene = Scene::new();
    for path in ["a/x.txt", "a/y.c", "b/x.txt", "b/deep/z.c", "c/y.c"] {
        let path = scene.source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }
    scene.backup();
    let deep = format!("{}/b/deep", scene.source.display());
    let options = RestoreOptions {
        select: Select::new(patterns(&["*.txt", &deep]), patterns(&["a"])),
        ..scene.options()
    };
    scene.restore(&scene.latest(), &options);
    let names: Vec<_> = picture(&scene.target).into_keys().collect();
    let expected = ["b", "b/deep", "b/deep/z.c", "b/x.txt"].map(PathBuf::from);
    assert_eq!(names, expected);
}

fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn what_is_there_is_treated_as_asked() {
    let mut scene = Scene::new();
    for name in ["same", "changed", "newer", "touched"] {
        fs::write(scene.source.join(name), b"snapshot").unwrap();
        set_time(&scene.source.join(name), 1000);
    }
    scene.backup();
    let text = |name: &str| fs::read_to_string(scene.target.join(name)).unwrap();
    for (existing, expected) in [
        (Existing::Always, ["snapshot", "snapshot", "snapshot", "snapshot"]),
        (Existing::IfChanged, ["snapshot", "snapshot", "snapshot", "tampered"]),
        (Existing::IfNewer, ["snapshot", "snapshot", "here now", "tampered"]),
        (Existing::Never, ["snapshot", "here now", "here now", "tampered"]),
    ] {
        fs::remove_dir_all(&scene.target).ok();
        fs::create_dir(&scene.target).unwrap();
        // The last one has the time and the size of the snapshot's, and another content.
        for (name, content, time) in [
            ("same", "snapshot", 1000),
            ("changed", "here now", 500),
            ("newer", "here now", 2000),
            ("touched", "tampered", 1000),
        ] {
            fs::write(scene.target.join(name), content).unwrap();
            set_time(&scene.target.join(name), time);
        }
        let options = RestoreOptions { existing, ..scene.options() };
        let inode = |name: &str| fs::metadata(scene.target.join(name)).unwrap().ino();
        let before = inode("same");
        let done = scene.restore(&scene.latest(), &options);
        let found = ["same", "changed", "newer", "touched"].map(text);
        assert_eq!(found, expected, "{existing:?}");
        assert_eq!(inode("same"), before, "{existing:?}");
        assert_eq!(done.files + done.unmodified + done.skipped, 4);
    }
}

#[test]
fn a_second_restore_writes_nothing_and_sets_the_metadata() {
    let mut scene = Scene::new();
    nasty(&scene.source, 300);
    scene.backup();
    scene.restore(&scene.latest(), &scene.options());
    let big = scene.target.join("big");
    fs::set_permissions(&big, PermissionsExt::from_mode(0o777)).unwrap();
    // As if a crash had left a file half done.
    fs::remove_file(scene.target.join("deep/7")).unwrap();
    let done = scene.restore(&scene.latest(), &scene.options());
    assert_eq!(picture(&scene.target), picture(&scene.source));
    assert_eq!((done.files, done.unmodified), (1, 314));
    assert!(done.fetched < 3 << 20, "{}", done.fetched);
}

#[test]
fn delete_removes_what_the_snapshot_lacks_and_nothing_outside() {
    let mut scene = Scene::new();
    fs::create_dir_all(scene.source.join("a/b")).unwrap();
    fs::write(scene.source.join("a/b/f"), b"x").unwrap();
    fs::write(scene.source.join("a/was a file"), b"x").unwrap();
    scene.backup();
    let inside = scene.target.join(scene.source.strip_prefix("/").unwrap());
    fs::create_dir_all(inside.join("a/was a file/with more")).unwrap();
    fs::create_dir_all(inside.join("a/gone/deep")).unwrap();
    fs::create_dir_all(inside.join("a/b")).unwrap();
    fs::write(inside.join("a/b/gone"), b"x").unwrap();
    fs::write(inside.join("a/b/zz keep.me"), b"x").unwrap();
    // Beside what was backed up: no business of this snapshot.
    fs::write(scene.target.join("beside"), b"x").unwrap();
    fs::write(inside.parent().unwrap().join("beside"), b"x").unwrap();
    let options = RestoreOptions {
        delete: true,
        dry_run: true,
        select: Select::new(Vec::new(), patterns(&["*.me"])),
        ..scene.options()
    };
    let before = picture(&scene.target);
    let planned = scene.restore("latest", &options);
    assert_eq!((planned.deleted, planned.files), (5, 2));
    assert_eq!(picture(&scene.target), before);
    let options = RestoreOptions { dry_run: false, ..options };
    let done = scene.restore("latest", &options);
    assert_eq!(done.deleted, 5);
    assert_eq!(done.problems, []);
    fs::remove_file(inside.join("a/b/zz keep.me")).unwrap();
    assert!(scene.target.join("beside").exists());
    assert!(inside.parent().unwrap().join("beside").exists());
    let names = |root: &Path| picture(root).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&inside), names(&scene.source));
    assert!(inside.join("a/was a file").is_file());
}

/// A snapshot has neither the keys of this machine nor its vault: they were left out.
#[test]
fn delete_keeps_the_programs_own_folders() {
    let mut scene = Scene::new();
    fs::create_dir_all(scene.source.join("home")).unwrap();
    fs::write(scene.source.join("home/clash"), b"x").unwrap();
    scene.backup();
    let home = scene.target.join(scene.source.strip_prefix("/").unwrap()).join("home");
    let own = ["share/unseen/default", "clash/vault"].map(|own| home.join(own));
    for own in &own {
        fs::create_dir_all(own).unwrap();
        fs::write(own.join("device.key"), b"k").unwrap();
    }
    fs::write(home.join("gone"), b"x").unwrap();
    let kept = Kept::new(&own);
    let done = scene.restore("latest", &RestoreOptions { delete: true, kept, ..scene.options() });
    assert_eq!(done.deleted, 1);
    assert!(!home.join("gone").exists());
    assert!(own.iter().all(|own| own.join("device.key").exists()));
    // The file could not be put where a vault is.
    assert!(done.problem_count > 0);
}

#[test]
fn a_dry_run_makes_nothing() {
    let mut scene = Scene::new();
    nasty(&scene.source, 300);
    scene.backup();
    let options = RestoreOptions { dry_run: true, ..scene.options() };
    let done = scene.restore(&scene.latest(), &options);
    assert_eq!((done.files, done.others, done.problem_count), (312, 3, 0));
    assert!(!scene.target.exists());
}

/// Whatever is there, and whatever is chosen: the same folders as the restore then counts.
#[test]
fn a_dry_run_counts_folders_as_the_restore_does() {
    let mut scene = Scene::new();
    for path in ["a/b/file.c", "a/b/deep/x", "a/empty/none", "other/y.c"] {
        let path = scene.source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"snapshot").unwrap();
    }
    fs::remove_file(scene.source.join("a/empty/none")).unwrap();
    scene.backup();
    let select = |include: &[&str]| Select::new(patterns(include), Vec::new());
    let above = scene.source.components().count() as u64 - 1;
    for (at, (path, options, dirs)) in [
        ("", scene.options(), 6),
        ("", RestoreOptions { select: select(&["*.c"]), ..scene.options() }, 4),
        ("", RestoreOptions { select: select(&["nothing"]), ..scene.options() }, 0),
        ("/a", scene.options(), 4),
        ("/a/b/file.c", scene.options(), 0),
        ("", RestoreOptions { in_place: true, ..scene.options() }, above + 5),
        ("/a/b/file.c", RestoreOptions { in_place: true, ..scene.options() }, above + 2),
    ]
    .into_iter()
    .enumerate()
    {
        let text =
            if path.is_empty() { scene.latest() } else { format!("{}{path}", scene.latest()) };
        // First into nothing, then over what is there then.
        let target = scene.world.dir.path().join(format!("counted {at}"));
        for existing in [Existing::Always, Existing::Always, Existing::Never] {
            let options = RestoreOptions { target: target.clone(), existing, ..options.clone() };
            let dry = RestoreOptions { dry_run: true, ..options.clone() };
            let planned = scene.restore(&text, &dry);
            let done = scene.restore(&text, &options);
            assert_eq!(planned.dirs, done.dirs, "{at}: {existing:?}");
            if !target.join("again").exists() && existing == Existing::Always {
                assert_eq!((done.dirs, done.problem_count), (dirs, 0), "{at}");
            }
            fs::create_dir_all(target.join("again")).unwrap();
        }
    }
}

#[test]
fn an_interrupt_ends_it_and_leaves_no_half_files() {
    let mut scene = Scene::new();
    nasty(&scene.source, 300);
    scene.backup();
    let stopping = AtomicBool::new(true);
    let done =
        scene.try_restore(&scene.latest(), &scene.options(), (&Recorder::default(), &stopping));
    assert!(done.unwrap().interrupted);
    let left = picture(&scene.target);
    let files = left.keys().filter(|path| scene.target.join(path).is_file());
    assert_eq!(files.count(), 0, "{left:?}");
}

/// Stops the restore at the first file that is done and not empty: links are made on the way.
#[derive(Debug, Default)]
struct Stopper(AtomicBool);

impl Monitor for Stopper {
    fn done(&self, item: crate::progress::Item<'_>) {
        if !item.is_dir && item.size > 0 {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

#[test]
fn an_interrupt_in_the_middle_keeps_whole_files_and_no_others() {
    let mut scene = Scene::new();
    nasty(&scene.source, 100);
    scene.backup();
    let (repo, index) = scene.world.reader();
    let chosen = scene.choose(&repo, &scene.latest());
    let stopper = Stopper::default();
    let limits = Limits { things: 4, wants: 4, spread: 1, links: 0 };
    let options = scene.options();
    let runtime = scene.world.runtime.handle();
    let prepared = Prepared::new((&repo, &index), &chosen, &options, &stopper, runtime);
    let done = prepared.unwrap().open().unwrap().run_within(limits, &stopper.0);
    assert!(done.unwrap().interrupted);
    let mut files = 0;
    for path in picture(&scene.target).keys() {
        let (from, to) = (scene.source.join(path), scene.target.join(path));
        if to.is_file() {
            files += 1;
            assert!(fs::read(from).unwrap() == fs::read(to).unwrap(), "{path:?}");
        }
    }
    assert!((1..100).contains(&files), "{files}");
    drop(index);
    let done = scene.restore(&scene.latest(), &options);
    assert!(done.unmodified > 0);
    assert_eq!(picture(&scene.target), picture(&scene.source));
}

mod damage;
mod deleting;
mod hostile;
mod in_place;
mod linked;
