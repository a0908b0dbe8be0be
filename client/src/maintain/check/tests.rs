use std::fs;
use std::path::PathBuf;

use super::*;
use crate::browse::pieces::Pieces;
use crate::crypto::content_id::ChunkKind;
use crate::progress::Recorder;
use crate::testing::{Forge, Machine, World, entry, noise, silent};
use crate::tree::entry::{Content, Entry, Extent, Kind};
use crate::tree::manifest::Totals;
use crate::tree::object::Object;
use unseen_common::codec::Canonical;
use unseen_common::id::SnapshotId;
use unseen_common::log::entry::{Body, SnapshotIds};

struct Scene {
    world: World,
    machine: Machine,
    source: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let (world, machine) = World::new();
        let source = world.folder("source");
        Self { world, machine, source }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn backup(&mut self) -> SnapshotId {
        self.world.backup(&mut self.machine, &self.source)
    }

    fn check(&self, read_data: Option<Subset>) -> CheckOutcome {
        let (repo, index) = self.world.reader();
        self.check_with((&repo, &index), read_data, RoaringBitmap::new())
    }

    /// As the program does it: the vault is asked first which files are there.
    fn survey_and_check(&self) -> CheckOutcome {
        let (repo, _) = self.world.reader();
        let absent = self.world.runtime.block_on(heal::survey(&*repo.vault)).unwrap();
        drop(repo);
        let (repo, index) = self.world.reader();
        self.check_with((&repo, &index), None, absent)
    }

    fn check_with(
        &self,
        (repo, index): (&ReaderRepo, &ReaderIndex),
        read_data: Option<Subset>,
        absent: RoaringBitmap,
    ) -> CheckOutcome {
        let options = CheckOptions { read_data, absent, paths: 1000, workers: 2 };
        let (recorder, go_on) = (Recorder::default(), AtomicBool::new(false));
        let listens = (&recorder as &dyn Monitor, &go_on);
        let runtime = self.world.runtime.handle();
        let outcome = check((repo, index), &options, listens, runtime).unwrap();
        assert_eq!(recorder.counts().problems, outcome.damage_count);
        outcome
    }

    /// The path of a file in a snapshot.
    fn path(&self, name: &str) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        self.source.join(name).as_os_str().as_bytes().to_vec()
    }

    /// Damages the segment of this kind that comes first in the pack.
    fn damage(&self, number: u32, kind: ChunkKind) {
        let (repo, index) = self.world.reader();
        let packs = Packs::new(&repo, &index, silent(), self.world.runtime.handle());
        let pack = packs.open(PackNumber(number), &mut Pieces::default());
        let pack = pack.unwrap();
        let rows = (0..).zip(&pack.table.segments);
        let (place, _) = rows.into_iter().find(|(_, row)| row.kind == kind).unwrap();
        let start = usize::try_from(pack.range(place).unwrap().start).unwrap();
        self.world.damage(number, start + 20);
    }
}

#[test]
fn a_sound_vault_is_sound_and_each_tree_is_read_once() {
    let mut scene = Scene::new();
    for n in 0..20 {
        scene.write(&format!("dir{n}/file"), &noise(n, 3000));
    }
    scene.write("big", &noise(99, 3 << 20));
    scene.backup();
    let once = scene.check(None);
    assert!(once.is_sound(), "{:?}", once.damage);
    assert_eq!((once.snapshots, once.packs_read), (1, 0));
    scene.write("dir3/more", b"more");
    scene.backup();
    let twice = scene.check(Some(Subset::All));
    assert!(twice.is_sound(), "{:?}", twice.damage);
    // The changed directory and those above it.
    let above = u64::try_from(scene.source.components().count()).unwrap();
    assert_eq!(twice.trees, once.trees + above + 1);
    assert_eq!((twice.snapshots, twice.packs_read), (2, twice.packs));
}

#[test]
fn reading_finds_bad_chunks_and_names_the_files() {
    let mut scene = Scene::new();
    scene.write("old", &noise(1, 400_000));
    let first = scene.backup();
    scene.write("new", &noise(2, 400_000));
    let second = scene.backup();
    fs::remove_file(scene.source.join("old")).unwrap();
    scene.backup();
    scene.damage(0, ChunkKind::Data);
    assert!(scene.check(None).is_sound(), "only reading can find it");
    let other = scene.check(Some(Subset::Part { part: 2, of: 2 }));
    assert!(other.is_sound() && other.packs_read > 0);
    let found = scene.check(Some(Subset::All));
    assert_eq!(found.damage_count, 1, "{:?}", found.damage);
    let Damage::Pack { number, what } = &found.damage[0] else {
        panic!("a pack");
    };
    assert_eq!(number.0, 0);
    assert!(what.contains("a seal does not hold"), "{what}");
    let old = scene.path("old");
    assert_eq!(lost(&found), [(first, vec![old.clone()]), (second, vec![old])]);
    let names: Vec<&String> = found.healing.devices.iter().collect();
    assert_eq!((found.healing.packs, found.healing.unknown, names.len()), (1, 0, 1));
    assert_eq!((found.as_sent, found.mended), (0, 0));
    // From now on the vault knows, and it is read by every check.
    assert_eq!(scene.check(None).affected, found.affected);
}

#[test]
fn a_copy_elsewhere_keeps_a_file_whole() {
    let mut scene = Scene::new();
    scene.write("file", &noise(1, 400_000));
    scene.backup();
    let mut other = scene.world.enrol(30, "other");
    scene.world.backup_as(&mut other, "copies", &scene.source);
    scene.damage(0, ChunkKind::Data);
    let found = scene.check(Some(Subset::All));
    assert_eq!((found.damage_count, found.affected.len()), (1, 0));
}

#[test]
fn missing_packs_and_damaged_tables_are_found_without_reading() {
    let mut scene = Scene::new();
    scene.write("old", &noise(1, 400_000));
    let first = scene.backup();
    scene.write("new", &noise(2, 400_000));
    let second = scene.backup();
    let pack = scene.world.pack_file(0);
    let bytes = fs::read(&pack).unwrap();
    for what in ["gone", "a bad table"] {
        fs::remove_dir_all(scene.world.dir.path().join("reader")).ok();
        if what == "gone" {
            fs::remove_file(&pack).unwrap();
        } else {
            let mut bad = bytes.clone();
            let at = bad.len() - 500;
            bad[at] ^= 1;
            fs::write(&pack, bad).unwrap();
        }
        let found = scene.check(None);
        let [Damage::Pack { number, .. }] = &found.damage[..] else {
            panic!("{what}: the pack, once: {:?}", found.damage);
        };
        assert_eq!(number.0, 0, "{what}");
        let of = lost(&found);
        let ids: Vec<_> = of.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [first, second], "{what}");
        assert!(of[1].1.contains(&scene.path("old")), "{what}: {of:?}");
        assert_eq!((found.healing.packs, found.healing.unknown), (1, 1), "{what}");
        let (repo, _) = scene.world.reader();
        let marked = scene.world.runtime.block_on(repo.vault.damaged_packs()).unwrap();
        assert_eq!(marked.0.iter().collect::<Vec<_>>(), [0], "{what}");
    }
}

/// Where one pack is lost, what the vault knows to be damaged and no snapshot names is no damage.
#[test]
fn a_pack_that_no_snapshot_names_is_not_counted_beside_one_that_is_lost() {
    let mut scene = Scene::new();
    scene.write("old", &noise(1, 400_000));
    let first = scene.backup();
    let live = |scene: &Scene| {
        let (repo, _) = scene.world.reader();
        let live = scene.world.runtime.block_on(repo.vault.live_packs()).unwrap();
        live.0
    };
    let before = live(&scene);
    fs::remove_file(scene.source.join("old")).unwrap();
    scene.write("new", &noise(2, 400_000));
    let second = scene.backup();
    let needed = (live(&scene) - &before).min().unwrap();
    let idle = before.min().unwrap();
    fs::remove_file(scene.world.pack_file(idle)).unwrap();
    assert_eq!(scene.survey_and_check().damage_count, 1);
    scene.world.append(Body::Forget(SnapshotIds::one([first]).unwrap()));
    assert!(scene.survey_and_check().is_sound(), "no snapshot needs it");

    fs::remove_file(scene.world.pack_file(needed)).unwrap();
    for _ in ["its contents known", "not even that"] {
        let found = scene.survey_and_check();
        let of: Vec<_> = lost(&found).into_iter().map(|(id, _)| id).collect();
        assert_eq!(of, [second]);
        assert!(
            matches!(&found.damage[..], [Damage::Pack { number, .. }] if number.0 == needed),
            "{:?}",
            found.damage
        );
        assert_eq!((found.damage_count, found.healing.packs), (1, 1));
        fs::remove_dir_all(scene.world.dir.path().join("reader")).unwrap();
    }
}

#[test]
fn a_pack_whose_file_is_gone_is_found_though_its_table_is_known() {
    let mut scene = Scene::new();
    scene.write("old", &noise(1, 400_000));
    let first = scene.backup();
    // The reader's index knows what is in it.
    assert!(scene.survey_and_check().is_sound());
    fs::remove_file(scene.world.pack_file(0)).unwrap();
    let found = scene.survey_and_check();
    assert!(
        matches!(&found.damage[..], [Damage::Pack { number, what }]
            if number.0 == 0 && what == "it is missing"),
        "{:?}",
        found.damage
    );
    assert_eq!(lost(&found)[0].0, first);
    assert_eq!((found.healing.packs, found.healing.unknown), (1, 0));

    // The next run sends again what is lost; then the pack is only a gap that costs nothing.
    scene.backup();
    let after = scene.survey_and_check();
    assert!(after.is_sound(), "{:?} {:?}", after.damage, after.affected);
    assert_eq!(after.spare, 1);
}

#[test]
fn a_lost_root_is_told_once() {
    let mut scene = Scene::new();
    for n in 0..30 {
        scene.write(&format!("file{n}"), b"x");
    }
    let id = scene.backup();
    scene.check(None);
    let (repo, _) = scene.world.reader();
    let live = scene.world.runtime.block_on(repo.vault.live_packs()).unwrap();
    drop(repo);
    for number in live.numbers() {
        fs::remove_file(scene.world.pack_file(number.0)).unwrap();
    }
    let found = scene.survey_and_check();
    assert_eq!(lost(&found), [(id, vec![b"/".to_vec()])]);
    assert_eq!(found.damage_count, live.0.len());
}

/// The paths that are lost, by snapshot.
fn lost(found: &CheckOutcome) -> Vec<(SnapshotId, Vec<Vec<u8>>)> {
    let all = found.affected.iter();
    all.map(|one| (one.snapshot, one.paths.iter().map(|lost| lost.path.clone()).collect()))
        .collect()
}

#[test]
fn a_changed_manifest_is_found() {
    let mut scene = Scene::new();
    scene.write("file", b"x");
    let id = scene.backup();
    let vault = scene.machine.repo.key.vault;
    let path = |copy| format!("vault/accounts/{vault}/{copy}/{id}");
    let [first, second] = ["manifests", "manifests2"].map(|c| scene.world.dir.path().join(path(c)));
    let mut bytes = fs::read(&first).unwrap();
    bytes[2000] ^= 1;
    fs::write(&first, &bytes).unwrap();
    assert!(scene.check(None).is_sound(), "there is a second copy");
    fs::write(&second, &bytes).unwrap();
    let found = scene.check(None);
    assert_eq!(found.damage_count, 1);
    assert!(matches!(&found.damage[0], Damage::Snapshot { snapshot, .. } if *snapshot == id));
    fs::remove_file(&first).unwrap();
    fs::remove_file(&second).unwrap();
    let found = scene.check(None);
    assert!(matches!(&found.damage[..], [Damage::Snapshot { .. }]));
}

fn file(name: &str, chunk: ChunkId, length: u32) -> Entry {
    let content = Content::Inline(vec![Extent::Data { chunk, length }]);
    entry(name, Kind::File { size: length.into(), content })
}

#[test]
fn a_chunk_outside_of_the_snapshots_packs_is_damage() {
    let mut scene = Scene::new();
    let mut forge = Forge::new();
    let chunk = forge.chunk(ChunkKind::Data, b"elsewhere");
    let root = forge.dir(&[file("a", chunk, 9)]);
    forge.totals = Totals { files: 1, dirs: 0, bytes: 9 };
    forge.commit(&scene.world, &mut scene.machine, root);
    assert!(scene.check(None).is_sound());
    // Its packs are only those that it brings, though it needs one of the other snapshot as well.
    let mut forge = Forge::new();
    let inner = forge.dir(&[file("b", chunk, 9)]);
    let outer = forge.dir(&[
        entry("inner", Kind::Directory { tree: inner }),
        entry("whole", Kind::Directory { tree: root }),
    ]);
    let id = forge.commit(&scene.world, &mut scene.machine, outer);
    let found = scene.check(None);
    assert_eq!((found.damage_count, lost(&found).len()), (0, 1));
    let paths: Vec<_> = lost(&found)
        .into_iter()
        .filter(|(snapshot, _)| *snapshot == id)
        .flat_map(|(_, paths)| paths)
        .map(|path| String::from_utf8(path).unwrap())
        .collect();
    // The tree that is shared was found whole before, within other packs.
    assert_eq!(paths, ["/inner/b", "/whole", "/whole/a"]);
}

#[test]
fn a_manifest_that_counts_wrong_is_told() {
    let mut scene = Scene::new();
    let mut snapshots = Vec::new();
    let (files, bytes) = (2, 9);
    for (files, bytes) in [(files, bytes), (files - 1, bytes), (files, bytes + 1)] {
        let mut forge = Forge::new();
        let chunk = forge.chunk(ChunkKind::Data, b"something");
        let inner = forge.dir(&[file("b", chunk, 9), entry("c", Kind::Fifo)]);
        let root = forge.dir(&[entry("inner", Kind::Directory { tree: inner })]);
        forge.totals = Totals { files, dirs: 1, bytes };
        snapshots.push(forge.commit(&scene.world, &mut scene.machine, root));
    }
    let found = scene.check(None);
    let told: Vec<_> = found
        .damage
        .iter()
        .map(|damage| match damage {
            Damage::Snapshot { snapshot, what } => (*snapshot, what.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    let says = |said| format!("counts {said}, and its tree holds 2 files of 9 bytes");
    assert_eq!(told.len(), 2, "{told:?}");
    for (snapshot, said) in
        [(snapshots[1], says("1 file of 9 bytes")), (snapshots[2], says("2 files of 10 bytes"))]
    {
        assert!(told.iter().any(|(id, what)| *id == snapshot && what.contains(&said)), "{told:?}");
    }
}

#[test]
fn hostile_trees_are_told_and_end() {
    let mut scene = Scene::new();
    let mut forge = Forge::new();
    let chunk = forge.chunk(ChunkKind::Data, b"x");
    let junk = forge.chunk(ChunkKind::Tree, b"junk");
    let extents = Object::Extents(vec![Extent::Data { chunk, length: 1 }]);
    let list = forge.chunk(ChunkKind::Tree, &extents.to_bytes());
    let content = Content::List { depth: 1, objects: vec![list] };
    let long = entry("long", Kind::File { size: u64::MAX, content });
    let root = forge.dir(&[entry("junk", Kind::Directory { tree: junk }), long]);
    forge.commit(&scene.world, &mut scene.machine, root);
    let found = scene.check(None);
    assert!(!found.is_sound());
    let [(_, paths)] = &lost(&found)[..] else {
        panic!("{:?}", found.affected);
    };
    assert_eq!(paths[..], [b"/junk".to_vec(), b"/long".to_vec()]);
}

#[test]
fn an_interrupt_ends_it() {
    let mut scene = Scene::new();
    scene.write("file", b"x");
    scene.backup();
    let (repo, index) = scene.world.reader();
    let stop = AtomicBool::new(true);
    let listens = (silent(), &stop);
    let runtime = scene.world.runtime.handle();
    let outcome = check((&repo, &index), &CheckOptions::default(), listens, runtime);
    let outcome = outcome.unwrap();
    assert!(outcome.interrupted);
    assert_eq!(outcome.snapshots, 0);
}
