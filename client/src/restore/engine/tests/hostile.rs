//! Snapshots that no backup would make: what a hostile device can put into a vault.

use super::*;
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::testing::{Forge, entry};
use crate::tree::entry::{Content, DeviceNumber, Entry, Extent};

fn file(name: &str, chunk: ChunkId, length: u32) -> Entry {
    let content = Content::Inline(vec![Extent::Data { chunk, length }]);
    let size = length.into();
    entry(name, Kind::File { size, content })
}

fn link(name: &str, target: &str) -> Entry {
    let target = target.as_bytes().to_vec();
    entry(name, Kind::Symlink { target })
}

fn restored(scene: &mut Scene, forge: Forge, root: ChunkId) -> RestoreOutcome {
    let id = forge.commit(&scene.world, &mut scene.machine, root);
    scene.restore(&id.short(), &scene.options())
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let mut scene = Scene::new();
    let mut forge = Forge::new();
    let chunk = forge.chunk(ChunkKind::Data, b"owned");
    // The same tree with bad names in the place of a good one of the same length.
    let mut roots = Vec::new();
    for bad in [&b"../x"[..], b"/etc", b"a/bc", b"a\0bc"] {
        let good = forge_bytes(&[file("good", chunk, 5)]);
        let at = good.windows(4).position(|w| w == b"good").unwrap();
        let mut bytes = good;
        bytes[at..at + 4].copy_from_slice(bad);
        roots.push(forge.chunk(ChunkKind::Tree, &bytes));
    }
    let dirs: Vec<Entry> = ["a", "b", "c", "d"]
        .iter()
        .zip(roots)
        .map(|(name, tree)| entry(name, Kind::Directory { tree }))
        .collect();
    let root = forge.dir(&dirs);
    let done = restored(&mut scene, forge, root);
    assert_eq!((done.files, done.dirs, done.problem_count), (0, 4, 4));
    for problem in &done.problems {
        assert!(problem.what.contains("breaks the rules"), "{}", problem.what);
    }
    assert_eq!(picture(&scene.target).len(), 4);
}

fn forge_bytes(entries: &[Entry]) -> Vec<u8> {
    use unseen_common::codec::Canonical;
    crate::tree::object::Object::Leaf(entries.to_vec()).to_bytes()
}

#[test]
fn a_link_is_never_followed() {
    let mut scene = Scene::new();
    let outside = scene.world.folder("outside");
    let mut forge = Forge::new();
    let chunk = forge.chunk(ChunkKind::Data, b"owned");
    let inner = forge.dir(&[file("passwd", chunk, 5)]);
    // A link, and a directory of the same name: in one tree it is refused as unsorted.
    let both = forge.dir(&[
        link("evil", &outside.display().to_string()),
        entry("evil", Kind::Directory { tree: inner }),
    ]);
    let honest = forge.dir(&[entry("evil", Kind::Directory { tree: inner })]);
    let root = forge.dir(&[
        entry("both", Kind::Directory { tree: both }),
        entry("honest", Kind::Directory { tree: honest }),
    ]);
    // And at the target there is a link already.
    fs::create_dir_all(scene.target.join("honest")).unwrap();
    symlink(&outside, scene.target.join("honest/evil")).unwrap();
    let done = restored(&mut scene, forge, root);
    assert_eq!(done.problem_count, 1);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let kept = fs::read(scene.target.join("honest/evil/passwd")).unwrap();
    assert_eq!(kept, b"owned");
    let made = fs::symlink_metadata(scene.target.join("honest/evil")).unwrap();
    assert!(made.is_dir());
    assert!(!scene.target.join("both/evil").exists());
}

#[test]
fn power_is_left_out() {
    let mut scene = Scene::new();
    let mut forge = Forge::new();
    let chunk = forge.chunk(ChunkKind::Data, b"#!/bin/sh");
    let mut setuid = file("setuid", chunk, 9);
    setuid.meta.mode = 0o6755;
    let number = DeviceNumber { major: 1, minor: 3 };
    let root = forge.dir(&[
        entry("block", Kind::BlockDevice(number)),
        entry("char", Kind::CharDevice(number)),
        setuid,
        entry("socket", Kind::Socket),
    ]);
    let done = restored(&mut scene, forge, root);
    assert_eq!((done.files, done.skipped, done.problem_count), (1, 0, 0));
    let left = done.left_out.iter().map(|left| (left.count, left.first[0].as_slice()));
    assert_eq!(left.collect::<Vec<_>>(), [(2, &b"/block"[..]), (1, b"/setuid"), (1, b"/socket")]);
    assert_eq!(picture(&scene.target).len(), 1);
    let mode = fs::metadata(scene.target.join("setuid")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn a_group_of_unlike_things_is_no_group() {
    let mut scene = Scene::new();
    let secret = scene.world.folder("outside").join("secret");
    fs::write(&secret, b"secret").unwrap();
    let mut forge = Forge::new();
    let chunk = forge.chunk(ChunkKind::Data, b"one");
    let other = forge.chunk(ChunkKind::Data, b"two");
    let mut entries = [
        link("a", &secret.display().to_string()),
        file("b", chunk, 3),
        file("c", other, 3),
        link("d", &secret.display().to_string()),
    ];
    for entry in &mut entries {
        entry.meta.hard_link = Some(7);
    }
    let root = forge.dir(&entries);
    let done = restored(&mut scene, forge, root);
    assert_eq!(done.problems, []);
    assert_eq!(fs::read(scene.target.join("b")).unwrap(), b"one");
    assert_eq!(fs::read(scene.target.join("c")).unwrap(), b"two");
    let links = |name: &str| fs::symlink_metadata(scene.target.join(name)).unwrap();
    assert!(links("a").is_symlink() && links("d").is_symlink());
    assert_eq!(links("a").ino(), links("d").ino());
    assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
}

#[test]
fn chunks_and_trees_that_lie_are_not_believed() {
    let mut scene = Scene::new();
    let mut forge = Forge::new();
    let good = forge.chunk(ChunkKind::Data, b"good");
    let lie = ChunkId([9; 32]);
    forge.chunk_named(ChunkKind::Data, lie, b"a lie");
    // A file whose bytes are a tree, under the id that they have as a file.
    let posing = forge_bytes(&[file("x", good, 4)]);
    let posing_id = forge.chunk(ChunkKind::Data, &posing);
    let missing = ChunkId([8; 32]);
    let root = forge.dir(&[
        entry("dir", Kind::Directory { tree: posing_id }),
        file("good", good, 4),
        file("lie", lie, 5),
        file("longer", good, 5),
        file("missing", missing, 5),
        file("shorter", good, 3),
    ]);
    let done = restored(&mut scene, forge, root);
    assert_eq!(done.files, 1);
    let mut lost: Vec<_> =
        done.problems.iter().map(|p| String::from_utf8(p.path.clone()).unwrap()).collect();
    lost.sort();
    assert_eq!(lost, ["/dir", "/lie", "/longer", "/missing", "/shorter"]);
    let names: Vec<_> = picture(&scene.target).into_keys().collect();
    assert_eq!(names, ["dir", "good"].map(PathBuf::from));
}

#[test]
fn a_tree_deeper_than_any_path_is_cut() {
    let mut scene = Scene::new();
    let mut forge = Forge::new();
    let mut tree = forge.dir(&[]);
    for _ in 0..300 {
        tree = forge.dir(&[entry("d", Kind::Directory { tree })]);
    }
    let done = restored(&mut scene, forge, tree);
    assert_eq!((done.dirs, done.problem_count), (300, 0));
}
