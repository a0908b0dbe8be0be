//! Damaged, missing and wrong packs: exactly what is in them alone is lost.

use super::*;
use crate::browse::packs::Packs;
use crate::browse::pieces::Pieces;
use crate::crypto::content_id::ChunkKind;
use crate::testing::silent;
use unseen_common::id::PackNumber;

/// Where the first segment of this kind is: pack and offset.
fn segment(scene: &Scene, kind: ChunkKind) -> (u32, usize) {
    let (repo, index) = scene.world.reader();
    let packs = Packs::new(&repo, &index, silent(), scene.world.runtime.handle());
    for number in index.live() {
        let pack = packs.open(PackNumber(number), &mut Pieces::default()).unwrap();
        for (place, row) in (0..).zip(&pack.table.segments) {
            if row.kind == kind {
                let range = pack.range(place).unwrap();
                return (number, usize::try_from(range.start).unwrap());
            }
        }
    }
    panic!("no such segment");
}

fn names(done: &RestoreOutcome) -> Vec<String> {
    let paths = done.problems.iter().map(|p| p.path.rsplit(|b| *b == b'/').next().unwrap());
    let mut names: Vec<_> = paths.map(|p| String::from_utf8(p.to_vec()).unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_flipped_bit_costs_the_files_of_that_segment() {
    let mut scene = Scene::new();
    // Large chunks have a segment each.
    for name in ["a", "b", "c"] {
        let seed = u64::from(name.as_bytes()[0]);
        fs::write(scene.source.join(name), noise(seed, 400_000)).unwrap();
    }
    scene.backup();
    let (number, offset) = segment(&scene, ChunkKind::Data);
    scene.world.damage(number, offset + 1000);
    let done = scene.restore(&scene.latest(), &scene.options());
    assert_eq!((done.files, done.problem_count), (2, 1));
    let lost = names(&done);
    assert!(
        done.problems[0].what.contains("pack 0: a seal does not hold"),
        "{}",
        done.problems[0].what
    );
    for name in ["a", "b", "c"] {
        let there = fs::read(scene.target.join(name)).ok();
        let whole = fs::read(scene.source.join(name)).unwrap();
        assert_eq!(there == Some(whole), lost != [name], "{name}");
    }
    assert_eq!(picture(&scene.target).len(), 2, "no half file is left");
}

#[test]
fn all_names_of_a_lost_file_are_told() {
    let mut scene = Scene::new();
    fs::write(scene.source.join("a"), noise(1, 400_000)).unwrap();
    fs::hard_link(scene.source.join("a"), scene.source.join("b")).unwrap();
    scene.backup();
    let (number, offset) = segment(&scene, ChunkKind::Data);
    scene.world.damage(number, offset);
    let done = scene.restore(&scene.latest(), &scene.options());
    assert_eq!(names(&done), ["a", "b"]);
    assert!(picture(&scene.target).is_empty());
}

#[test]
fn another_copy_is_found() {
    let mut scene = Scene::new();
    fs::write(scene.source.join("a"), noise(1, 3 << 20)).unwrap();
    fs::write(scene.source.join("b"), noise(2, 10_000)).unwrap();
    // The other machine does not know what this one has, and stores its own copy.
    let mut other = scene.world.enrol(30, "other");
    scene.world.backup_as(&mut other, "copies", &scene.source);
    let newest = scene.backup();
    let (repo, _) = scene.world.reader();
    let packs = scene.world.runtime.block_on(repo.vault.packs_of(newest));
    for number in packs.unwrap().numbers() {
        let file = scene.world.pack_file(number.0);
        let length = usize::try_from(fs::metadata(file).unwrap().len()).unwrap();
        for at in (2000..length - 5000).step_by(60_000) {
            scene.world.damage(number.0, at);
        }
    }
    let text = format!("{}:{}", newest.short(), scene.source.display());
    let done = scene.restore(&text, &scene.options());
    assert_eq!(done.problems, []);
    assert_eq!(picture(&scene.target), picture(&scene.source));
}

#[test]
fn a_pack_that_goes_missing_costs_what_only_it_had() {
    let mut scene = Scene::new();
    fs::write(scene.source.join("old"), noise(1, 400_000)).unwrap();
    scene.backup();
    fs::write(scene.source.join("new"), noise(2, 400_000)).unwrap();
    scene.backup();
    let (repo, index) = scene.world.reader();
    let chosen = scene.choose(&repo, &scene.latest());
    // It goes after its table of contents was read.
    fs::remove_file(scene.world.pack_file(0)).unwrap();
    let (recorder, go_on) = (Recorder::default(), AtomicBool::new(false));
    let runtime = scene.world.runtime.handle();
    let listens = (&recorder as &dyn Monitor, &go_on);
    let done = restore((&repo, &index), &chosen, &scene.options(), listens, runtime).unwrap();
    assert_eq!(names(&done), ["old"]);
    assert_eq!(done.files, 1);
    assert!(done.problems[0].what.contains("it is missing"), "{}", done.problems[0].what);
    let wrong = fs::read(scene.target.join("new")).unwrap() == noise(2, 400_000);
    assert!(wrong);
}

#[test]
fn a_damaged_directory_is_told_and_the_others_come_back() {
    let mut scene = Scene::new();
    for name in ["a", "b"] {
        fs::create_dir(scene.source.join(name)).unwrap();
        fs::write(scene.source.join(name).join("f"), name).unwrap();
    }
    scene.backup();
    let (number, offset) = segment(&scene, ChunkKind::Tree);
    scene.world.damage(number, offset + 3);
    // All trees of so small a backup are in one segment: not even the root can be read.
    let (recorder, go_on) = (Recorder::default(), AtomicBool::new(false));
    let error = scene.try_restore(&scene.latest(), &scene.options(), (&recorder, &go_on));
    assert!(matches!(error, Err(RestoreError::Find(_))), "{error:?}");
    let done = scene.restore("latest", &scene.options());
    assert_eq!((done.files, done.problem_count), (0, 1));
}

#[test]
fn a_full_disk_ends_it() {
    let scene = Scene::new();
    let (repo, index) = scene.world.reader();
    let packs = Packs::new(&repo, &index, silent(), scene.world.runtime.handle());
    let dirs = Dirs::new(None, policy(&scene.options()));
    let (recorder, go_on) = (Recorder::default(), AtomicBool::new(false));
    let links = Links::new(index.folder(), 0);
    let run = Run::new(&packs, &dirs, (&recorder, &go_on), false, links);
    let error = |source| crate::restore::error::TargetError::of("write", None, source);
    run.trouble(b"/one".to_vec(), error(rustix::io::Errno::ACCESS));
    assert!(!run.stopped());
    run.trouble(b"/two".to_vec(), error(rustix::io::Errno::NOSPC));
    assert!(run.stopped());
    let ended = run.finish();
    assert!(matches!(ended, Err(RestoreError::Full { path, .. }) if path == b"/two"));
    assert_eq!(recorder.counts().problems, 1);
}
