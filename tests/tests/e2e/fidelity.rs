//! Everything about a file comes back. `rsync` and our own reading must both find no difference.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, World, is_root, world};

/// A machine that can back up, and a folder for what it does.
fn prepared(world: &World) -> (Machine, PathBuf) {
    (world.local().0, world.folder("source"))
}

/// Backs up, restores, compares in both ways, and once more from a second snapshot.
fn comes_back(world: &World, machine: &Machine, source: &Path, options: &[&str]) {
    let wanted = trees::capture(source);
    for round in ["first", "second"] {
        machine.back_up(source, &[]);
        let target = world.path(format!("restored {round}"));
        machine.restore("latest", &target, options);
        let restored = trees::beneath(&target, source);
        let listed = trees::rsync_differences(source, &restored);
        assert_eq!(listed, "", "{round} snapshot: rsync lists differences");
        trees::assert_same(&wanted, &trees::capture(&restored));
    }
}

#[test]
fn the_edge_case_tree_comes_back_whole() {
    let world = world!();
    let (machine, source) = prepared(&world);
    build::contents(&source.join("contents"));
    build::holes(&source.join("holes"));
    build::names(&source.join("names"));
    build::links(&source.join("links"));
    build::modes(&source.join("modes"));
    build::attributes(&source.join("attributes"));
    if is_root() {
        build::owners(&source.join("owners"));
    }
    build::times(&source.join("times"));
    comes_back(&world, &machine, &source, &[]);
}

#[test]
fn privileged_things_come_back_on_request() {
    if !is_root() {
        return;
    }
    let world = world!();
    let (machine, source) = prepared(&world);
    build::privileged(&source);
    comes_back(&world, &machine, &source, &["--preserve-privileged"]);
}

/// Without `--preserve-privileged`: no setuid, no setgid, no capabilities, no devices.
#[test]
fn privileged_things_do_not_come_back_unasked() {
    if !is_root() {
        return;
    }
    let world = world!();
    let (machine, source) = prepared(&world);
    build::privileged(&source);
    build::write(&source, "harmless", "x");
    machine.back_up(&source, &[]);
    let target = world.path("target");
    machine.run(&["restore", "latest", "--target", target.to_str().unwrap()]);
    let restored = trees::capture(&trees::beneath(&target, &source));
    for (path, facts) in &restored {
        let path = String::from_utf8_lossy(path);
        assert_eq!(facts.mode & 0o6000, 0, "{path} is setuid or setgid");
        assert_eq!(facts.device, 0, "{path} is a device");
        let bad = |name: &&Vec<u8>| !name.starts_with(b"user.") && !name.starts_with(b"system.");
        assert_eq!(facts.xattrs.keys().find(bad), None, "{path}");
    }
    for kept in ["/harmless", "/program 4755", "/capable", "/setgid folder/in", "/trusted"] {
        assert!(restored.contains_key(kept.as_bytes()), "{kept} is missing");
    }
}

#[test]
fn paths_longer_than_path_max_come_back() {
    let world = world!();
    let (machine, source) = prepared(&world);
    build::deep(&source.join("deep"));
    let wanted = trees::capture(&source);
    let longest = wanted.keys().map(Vec::len).max().unwrap();
    assert!(longest > 4096, "only {longest} bytes");
    let snapshot = machine.back_up(&source, &[]).snapshot();
    machine.restores_to(&snapshot, &source, &wanted);
}

#[test]
fn holes_stay_holes() {
    let world = world!();
    let (machine, source) = prepared(&world);
    let files = build::holes(&source);
    let summary = machine.back_up(&source, &[]);
    assert!(summary.number("data_uploaded") < 4 << 20, "{summary:?}");
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    for file in files {
        let copy = trees::beneath(&target, &file);
        let allocated = |path: &Path| path.metadata().unwrap().blocks() * 512;
        let (before, after) = (allocated(&file), allocated(&copy));
        assert!(after <= before + 64 * 1024, "{}: {before}, {after}", file.display());
    }
}

#[test]
fn times_have_nanoseconds_links_and_folders_included() {
    let world = world!();
    let (machine, source) = prepared(&world);
    build::times(&source);
    build::links(&source.join("links"));
    build::set_mtime(&source, 999, 1);
    machine.back_up(&source, &[]);
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let stat =
        |path: &Path| trees::tool("stat", &["-c".as_ref(), "%F %.9Y".as_ref(), path.as_os_str()]);
    for path in ["", "before", "before/file", "nano/file", "later", "links/to a file"] {
        let path = source.join(path);
        let copy = trees::beneath(&target, &path);
        assert_eq!(stat(&path), stat(&copy), "{}", path.display());
    }
}

#[test]
fn acls_and_attributes_read_the_same() {
    let world = world!();
    let (machine, source) = prepared(&world);
    build::attributes(&source);
    machine.back_up(&source, &[]);
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let copy = trees::beneath(&target, &source);
    let read = |folder: &Path| {
        let inside = |words: &str| {
            let line = format!("cd '{}' && {words}", folder.display());
            trees::tool("sh", &["-c", &line])
        };
        (
            inside("find . | sort | xargs getfattr -h -d -m - --absolute-names"),
            inside("find . ! -type l | sort | xargs getfacl -n --absolute-names"),
        )
    };
    let (attributes, acls) = read(&source);
    assert!(attributes.contains("user.bytes") && acls.contains("default:user:12345:rwx"));
    assert_eq!(read(&copy), (attributes, acls));
}

/// A socket has no contents, and the program that made it makes it again.
#[test]
fn sockets_are_no_reason_to_fail() {
    let world = world!();
    let (machine, source) = prepared(&world);
    build::write(&source, "file", "x");
    let socket = source.join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    machine.back_up(&source, &[]);
    drop(listener);
    let target = world.path("target");
    machine.run(&["restore", "latest", "--target", target.to_str().unwrap()]);
    let restored = trees::capture(&trees::beneath(&target, &source));
    assert_eq!(restored[&b"/file"[..]].size, 1);
}

#[test]
fn a_path_within_a_snapshot_restores_alone() {
    let world = world!();
    let (machine, source) = prepared(&world);
    build::contents(&source);
    let snapshot = machine.back_up(&source, &[]).snapshot();
    let target = world.path("target");
    let part = source.join("many");
    machine.restore(&format!("{snapshot}:{}", part.display()), &target, &[]);
    trees::assert_same(&trees::capture(&part), &trees::capture(&target));
}

#[test]
fn includes_and_excludes_choose_what_comes_back() {
    let world = world!();
    let (machine, source) = prepared(&world);
    for name in ["a.txt", "b.dat", "sub/c.txt", "sub/d.dat", "skip/e.txt"] {
        build::write(&source, name, name);
    }
    machine.back_up(&source, &[]);
    let restored = |target: &str, options: &[&str]| {
        let target = world.path(target);
        machine.restore("latest", &target, options);
        let found = trees::files(&trees::beneath(&target, &source));
        let names = found.into_iter().map(|(path, _)| path);
        let names = names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(restored("one", &["--include", "*.txt"]), ["a.txt", "e.txt", "c.txt"]);
    assert_eq!(restored("two", &["--exclude", "skip", "-e", "*.dat"]), ["a.txt", "c.txt"]);
}
