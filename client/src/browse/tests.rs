use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use unseen_common::id::{Hash, SnapshotId};
use unseen_common::log::entry::{Body, DeviceAdd};

use super::chunks::Chunks;
use super::dump::dump;
use super::ls::{FindError, Found, Lister, find_path};
use super::packs::Packs;
use super::resolve::{Filter, ResolveError, parse, parse_path, resolve};
use super::snapshots::{list_snapshots, packs_hold, rows};
use crate::repo::unlock::{UnlockSecret, unlock};
use crate::repo::{ReaderIndex, ReaderRepo, RepoError};
use crate::testing::{World, code, copy_folder, keys, noise, silent};
use crate::tree::entry::{Entry, Kind, Name};

fn chunks<'a>(packs: &'a Packs<'a>, snapshot: SnapshotId) -> Chunks<'a> {
    let within = packs.wait(packs.repo.vault.packs_of(snapshot)).unwrap().0;
    Chunks::new(packs, Arc::new(within))
}

fn root_of(world: &World, repo: &ReaderRepo) -> crate::crypto::content_id::ChunkId {
    let wanted = parse("latest").unwrap();
    let chosen = world.runtime.block_on(resolve(repo, &wanted, &Filter::default()));
    chosen.unwrap().manifest.root
}

fn names_of(path: &std::path::Path) -> Vec<Name> {
    parse_path(path.as_os_str().as_bytes()).unwrap()
}

fn entry(found: Found) -> Entry {
    match found {
        Found::Entry(entry) => *entry,
        Found::Root(_) => panic!("an entry"),
    }
}

#[test]
fn a_backup_is_found_listed_and_read() {
    let (world, mut machine) = World::new();
    let source = world.folder("source");
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::write(source.join("a/b/file"), b"hello").unwrap();
    fs::write(source.join("z"), noise(1, 3 << 20)).unwrap();
    let id = world.backup(&mut machine, &source);

    let (repo, index) = world.reader();
    let packs = Packs::new(&repo, &index, silent(), world.runtime.handle());
    let mut chunks = chunks(&packs, id);
    let root = root_of(&world, &repo);
    let path = names_of(&source);
    let found = entry(find_path(&mut chunks, root, &path).unwrap());
    let Kind::Directory { tree } = found.kind else {
        panic!("a directory");
    };
    let mut lister = Lister::new(tree, true);
    let mut seen = Vec::new();
    while let Some(line) = lister.next(&mut chunks).unwrap() {
        seen.push(String::from_utf8(line.path).unwrap());
    }
    assert_eq!(seen, ["a", "a/b", "a/b/file", "z"]);
    let mut shallow = Lister::new(tree, false);
    assert_eq!(shallow.next(&mut chunks).unwrap().unwrap().path, b"a");
    assert_eq!(shallow.next(&mut chunks).unwrap().unwrap().path, b"z");
    assert_eq!(shallow.next(&mut chunks).unwrap(), None);

    let below = |rest: &str| [path.clone(), parse_path(rest.as_bytes()).unwrap()].concat();
    let file = entry(find_path(&mut chunks, root, &below("a/b/file")).unwrap());
    let Kind::File { size: 5, content } = &file.kind else {
        panic!("a file of 5 bytes");
    };
    let mut bytes = Vec::new();
    dump(&mut chunks, (content, 5), &mut bytes).unwrap();
    assert_eq!(bytes, b"hello");
    let file = entry(find_path(&mut chunks, root, &below("z")).unwrap());
    let Kind::File { size, content } = &file.kind else {
        panic!("a file");
    };
    bytes.clear();
    dump(&mut chunks, (content, *size), &mut bytes).unwrap();
    assert!(bytes == noise(1, 3 << 20));
    assert!(dump(&mut chunks, (content, size + 1), &mut bytes).is_err());

    let missing = find_path(&mut chunks, root, &below("a/x/y")).unwrap_err();
    assert!(matches!(&missing, FindError::NotThere { path } if *path == below("a/x")));
    let through = find_path(&mut chunks, root, &below("z/y")).unwrap_err();
    assert!(matches!(&through, FindError::NotADirectory { path } if *path == below("z")));
    assert_eq!(find_path(&mut chunks, root, &[]).unwrap(), Found::Root(root));
}

#[test]
fn snapshots_are_resolved_by_time_id_and_filter() {
    let (world, mut desk) = World::new();
    let (one, two) = (world.folder("one"), world.folder("two"));
    fs::write(one.join("f"), b"1").unwrap();
    let first = world.backup(&mut desk, &one);
    fs::write(one.join("f"), b"2").unwrap();
    let second = world.backup(&mut desk, &one);
    let (repo, index) = world.reader();
    let find = |repo: &ReaderRepo, text: &str, filter: &Filter| {
        let wanted = parse(text).unwrap();
        let found = world.runtime.block_on(resolve(repo, &wanted, filter));
        found.map(|chosen| chosen.snapshot.id)
    };
    let all = Filter::default();
    assert_eq!(find(&repo, "latest", &all).unwrap(), second);
    assert_eq!(find(&repo, "latest~1", &all).unwrap(), first);
    assert_eq!(find(&repo, &first.short(), &all).unwrap(), first);
    let far = find(&repo, "latest~2", &all).unwrap_err();
    assert!(matches!(far, ResolveError::TooFarBack { whole: 2 }));
    drop((repo, index));

    let mut lap = world.enrol(20, "lap");
    let third = world.backup_as(&mut lap, "photos", &two);
    let (repo, index) = world.reader();
    let several = find(&repo, "latest", &all).unwrap_err();
    let ResolveError::SeveralSets { newest } = several else {
        panic!("{several}");
    };
    let sets: Vec<_> = newest.iter().map(|l| l.manifest.as_ref().unwrap().set.clone()).collect();
    assert_eq!(sets, ["photos", "default"]);
    let set = Filter { set: Some("default".into()), ..Filter::default() };
    assert_eq!(find(&repo, "latest", &set).unwrap(), second);
    let device = Filter { device: Some("lap".into()), ..Filter::default() };
    assert_eq!(find(&repo, "latest", &device).unwrap(), third);
    let path = Filter {
        path: Some(one.as_os_str().as_bytes().to_vec()),
        host: Some("host".into()),
        tags: vec![vec!["no such".into()], vec!["tag".into()]],
        ..Filter::default()
    };
    assert_eq!(find(&repo, "latest", &path).unwrap(), second);
    let none = Filter { tags: vec![vec!["tag".into(), "other".into()]], ..Filter::default() };
    let error = find(&repo, "latest", &none).unwrap_err();
    assert!(matches!(error, ResolveError::None { filtered: true }));
    // An id is there whatever else was said, and that is told.
    assert_eq!(find(&repo, &first.short(), &path).unwrap(), first);
    let other = Filter { path: Some(b"/elsewhere".to_vec()), ..device };
    let error = find(&repo, &first.short(), &other).unwrap_err();
    let wanted =
        format!("snapshot {} is there, but does not match --device and --path", first.short());
    assert_eq!(error.to_string(), wanted);
    let unknown = find(&repo, &"f".repeat(64), &other).unwrap_err();
    assert!(matches!(unknown, ResolveError::Unknown(_)));

    all_are_listed(&world, &repo, &index);
}

fn all_are_listed(world: &World, repo: &ReaderRepo, index: &ReaderIndex) {
    let listed = world.runtime.block_on(list_snapshots(repo));
    let names: Vec<_> = listed.iter().map(|l| l.row.device_name.as_deref()).collect();
    assert_eq!(names, [Some("desk"), Some("desk"), Some("lap")]);
    for listed in listed {
        assert!(listed.manifest.is_ok());
        let packs = repo.vault.packs_of(listed.row.id);
        let packs = world.runtime.block_on(packs).unwrap();
        assert!(packs_hold(repo, index, &listed.row, &packs.0));
        let other = [packs.0.min().unwrap()].into_iter().collect();
        assert_eq!(packs_hold(repo, index, &listed.row, &other), packs.0.len() == 1);
    }
}

#[test]
fn what_a_revoked_machine_wrote_later_is_marked_and_not_the_latest() {
    let (world, mut desk) = World::new();
    let source = world.folder("source");
    let good = world.backup(&mut desk, &source);
    let seq = desk.repo.log.state.head_seq;
    fs::write(source.join("f"), b"x").unwrap();
    let bad = world.backup(&mut desk, &source);
    world.revoke(desk.repo.key.secrets.device, seq);
    let (repo, _) = world.reader();
    let marked: Vec<_> = rows(&repo).iter().map(|row| (row.id, row.trusted)).collect();
    assert_eq!(marked, [(good, true), (bad, false)]);
    let latest = parse("latest").unwrap();
    let all = Filter::default();
    let found = resolve(&repo, &latest, &all);
    let found = world.runtime.block_on(found).unwrap();
    assert_eq!(found.snapshot.id, good);
}

#[test]
fn the_index_survives_and_is_made_anew_when_it_is_damaged() {
    let (world, mut desk) = World::new();
    let source = world.folder("source");
    fs::write(source.join("f"), noise(1, 1 << 20)).unwrap();
    world.backup(&mut desk, &source);
    let known = |index: &ReaderIndex| {
        let live = index.live().iter();
        live.map(|n| index.pack(unseen_common::id::PackNumber(n)).unwrap()).collect::<Vec<_>>()
    };
    let (repo, index) = world.reader();
    let folder = repo.folders.reader_index();
    let before = known(&index);
    assert!(index.damaged().is_empty() && index.gone().is_empty());
    drop(index);
    // A second opening needs no table of contents, so it does not see that they are damaged.
    let pack = world.pack_file(0);
    let bytes = fs::read(&pack).unwrap();
    fs::write(&pack, b"").unwrap();
    let index = world.index(&repo);
    assert_eq!(known(&index), before);
    drop(index);
    fs::write(&pack, bytes).unwrap();
    fs::write(folder.join("packs"), b"junk").unwrap();
    let index = world.index(&repo);
    assert_eq!(known(&index), before);
    drop(index);
    for entry in fs::read_dir(folder.join("index")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "LOCK" {
            fs::write(path, b"junk").unwrap();
        }
    }
    let index = world.index(&repo);
    assert_eq!(known(&index), before);
    drop(index);
    repo.wipe_index(&folder).unwrap();
    repo.wipe_index(&folder).unwrap();
    assert!(!folder.join("packs").exists());
    assert_eq!(known(&world.index(&repo)), before);
}

#[test]
fn a_damaged_footer_is_told_and_the_rest_is_found() {
    let (world, mut desk) = World::new();
    let source = world.folder("source");
    fs::write(source.join("f"), b"1").unwrap();
    world.backup(&mut desk, &source);
    fs::write(source.join("f"), b"2").unwrap();
    world.backup(&mut desk, &source);
    let length = fs::metadata(world.pack_file(0)).unwrap().len();
    world.damage(0, usize::try_from(length).unwrap() - 100);
    let (repo, index) = world.reader();
    let damaged: Vec<u32> = index.damaged().iter().map(|d| d.number.0).collect();
    assert_eq!(damaged, [0]);
    assert!(matches!(index.damaged()[0].error, RepoError::Footer { number: 0, .. }));
    drop(index);
    fs::remove_file(world.pack_file(0)).unwrap();
    let index = world.index(&repo);
    assert!(index.damaged().is_empty());
    assert_eq!(index.gone().iter().collect::<Vec<_>>(), [0]);
    assert!(index.live().len() > 1 && index.pack(unseen_common::id::PackNumber(1)).is_some());
}

#[test]
fn a_rolled_back_server_is_caught_by_the_pin_and_by_the_kit() {
    let (mut world, mut desk) = World::new();
    let source = world.folder("source");
    world.backup(&mut desk, &source);
    let head = |repo: &ReaderRepo| (repo.log.state.head_seq, repo.log.state.head);
    let vault = world.dir.path().join("vault");
    let old = world.dir.path().join("old");
    copy_folder(&vault, &old);
    fs::write(source.join("f"), b"2").unwrap();
    world.backup(&mut desk, &source);
    let kit = head(&world.try_reader("here", None).unwrap());
    drop(desk);
    world.reopen(|vault| {
        fs::remove_dir_all(vault).unwrap();
        copy_folder(&old, vault);
    });
    let caught = world.try_reader("here", None).unwrap_err();
    let seq = kit.0;
    assert!(matches!(caught, RepoError::RolledBack { seq: s, missing: true } if s == seq));
    let caught = world.try_reader("bare", Some(kit)).unwrap_err();
    assert!(matches!(caught, RepoError::RolledBack { seq: s, missing: true } if s == seq));
    // Without a kit a bare machine cannot know; what it was refused before is no obstacle.
    let bare = world.try_reader("bare", None).unwrap();
    assert_eq!(bare.log.state.head_seq, kit.0 - 1);
    let other = (1, Hash::from_bytes([1; 32]));
    let forked = world.try_reader("bare", Some(other)).unwrap_err();
    assert!(matches!(forked, RepoError::RolledBack { seq: 1, missing: false }));
    let good = (bare.log.state.head_seq, bare.log.state.head);
    world.try_reader("bare", Some(good)).unwrap();
}

#[test]
fn the_recovery_code_opens_the_vault_that_its_slots_are_of() {
    let (world, _desk) = World::new();
    let repo = world.try_reader("reader", None).unwrap();
    let hash = repo.log.state.slots.hash;
    let secret = UnlockSecret::Code(code());
    let opened = unlock(&world.slots, &secret, Some(hash), None).unwrap();
    assert_eq!(opened, keys());
}

#[test]
fn a_forged_introduction_makes_a_stranger_of_the_device() {
    let (world, _desk) = World::new();
    let device = unseen_common::id::DeviceId::from_bytes([0xee; 16]);
    world.append(Body::DeviceAdd(DeviceAdd {
        device,
        manifest_key: keys().owner_keys().root_verify().to_bytes(),
        login_key: [1; 32],
        sealed: vec![7; 1424],
        backup_only: true,
        replaces: None,
    }));
    let repo = world.try_reader("reader", None).unwrap();
    let strangers: Vec<_> = repo.strangers().iter().map(|(id, _)| *id).collect();
    assert_eq!(strangers, [device]);
    assert_eq!(repo.devices().map(|(_, name)| name).collect::<Vec<_>>(), ["desk"]);
}
