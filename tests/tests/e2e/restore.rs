//! What `restore` does to what is there already.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, World, world};

/// A snapshot of two files, restored once; then one copy is newer, the other older, and one more
/// file is there. Gives the machine, the target and the folder with the copies.
fn restored_and_changed(world: &World) -> (Machine, PathBuf, PathBuf) {
    let (machine, _) = world.local();
    let source = world.folder("source");
    for name in ["newer here", "older here"] {
        let path = build::write(&source, name, "of the snapshot");
        build::set_mtime(&path, 1_000_000, 5);
    }
    machine.back_up(&source, &[]);
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let copy = trees::beneath(&target, &source);
    build::set_mtime(&build::write(&copy, "newer here", "changed"), 2_000_000, 0);
    build::set_mtime(&build::write(&copy, "older here", "changed"), 500_000, 0);
    build::write(&copy, "not in the snapshot", "mine");
    (machine, target, copy)
}

#[test]
fn the_ways_to_overwrite() {
    const OLD: &str = "of the snapshot";
    const MINE: &str = "changed";
    let world = world!();
    let (machine, target, copy) = restored_and_changed(&world);
    let read = |name: &str| fs::read_to_string(copy.join(name)).unwrap();
    for (how, newer, older) in [
        ("never", MINE, MINE),
        ("if-newer", MINE, OLD),
        ("if-changed", OLD, OLD),
        ("always", OLD, OLD),
    ] {
        machine.restore("latest", &target, &["--overwrite", how]);
        assert_eq!((&*read("newer here"), &*read("older here")), (newer, older), "{how}");
        assert_eq!(read("not in the snapshot"), "mine", "{how}");
    }
}

#[test]
fn a_dry_run_changes_nothing_and_delete_deletes() {
    let world = world!();
    let (machine, target, copy) = restored_and_changed(&world);
    let before = trees::capture(&target);
    machine.restore("latest", &target, &["--dry-run", "--delete"]);
    trees::assert_same(&before, &trees::capture(&target));
    let summary = |options: &[&str]| {
        let mut words = vec!["restore", "latest", "--json", "--target"];
        let elsewhere = world.path("elsewhere");
        words.push(elsewhere.to_str().unwrap());
        words.extend(options);
        machine.ok(&words).json_lines().pop().unwrap()
    };
    let (dry, done) = (summary(&["-n"]), summary(&[]));
    assert!(done["dirs_restored"].as_u64().unwrap() > 0, "{done}");
    for count in ["dirs_restored", "files_restored", "bytes_restored"] {
        assert_eq!(dry[count], done[count], "{count}");
    }
    machine.restore("latest", &target, &["--delete", "--yes"]);
    assert!(!copy.join("not in the snapshot").exists());
    assert_eq!(fs::read_to_string(copy.join("newer here")).unwrap(), "of the snapshot");
}

/// A symbolic link in the target is never followed out of it.
#[test]
fn links_in_the_target_lead_nowhere() {
    let world = world!();
    let (machine, target, copy) = restored_and_changed(&world);
    let outside = world.folder("outside");
    build::write(&outside, "older here", "outside");
    fs::remove_dir_all(&copy).unwrap();
    std::os::unix::fs::symlink(&outside, &copy).unwrap();
    machine.run(&["restore", "latest", "--yes", "--target", target.to_str().unwrap()]);
    let kept = fs::read_to_string(outside.join("older here")).unwrap();
    assert_eq!(kept, "outside");
    assert_eq!(trees::files(&outside).len(), 1);
}

#[test]
fn in_place_brings_back_what_was_lost_and_leaves_the_rest() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build::contents(&source);
    let wanted = trees::capture(&source);
    machine.back_up(&source, &[]);
    fs::remove_dir_all(source.join("many")).unwrap();
    build::write(&source, "one", "overwritten");
    machine.ok(&["restore", "latest", "--in-place", "--yes"]);
    trees::assert_same(&wanted, &trees::capture(&source));
}

#[test]
fn dump_and_ls_show_what_was_saved() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let bytes = build::noise(8, 3_000_000);
    let path = build::write(&source, "sub/noise", &bytes);
    machine.back_up(&source, &[]);
    build::write(&source, "sub/noise", "changed");
    machine.back_up(&source, &[]);
    let path = path.to_str().unwrap();
    assert_eq!(machine.ok(&["dump", "latest", path]).out, b"changed");
    assert!(machine.ok(&["dump", "latest~1", path]).out == bytes);
    let listed = machine.ok(&["ls", "latest"]).text();
    assert!(listed.lines().any(|line| line == path), "{listed}");
    machine.exits(1, &["dump", "latest", "/no/such/file"]);
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let path = build::write(&source, "noise", build::noise(9, 3_000_000));
    machine.back_up(&source, &[]);
    for words in [vec!["dump", "latest", path.to_str().unwrap()], vec!["ls", "latest"]] {
        let mut command = machine.command(&words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Nobody reads: the pipe is closed before the first byte is in it.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {err}");
        assert!(!err.contains("error:"), "{words:?}: {err}");
    }
    let mut full = machine.command(&["dump", "latest", path.to_str().unwrap()]);
    full.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let output = full.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "what did not get out is told");
}

#[test]
fn links_and_pipes_that_are_equal_stay_and_others_are_made_anew() {
    use std::os::unix::fs::MetadataExt;
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build::write(&source, "file", "x");
    std::os::unix::fs::symlink("file", source.join("link")).unwrap();
    std::os::unix::fs::symlink("file", source.join("other")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(source.join("pipe")).status().unwrap();
    assert!(made.success());
    machine.back_up(&source, &[]);
    let wanted = trees::capture(&source);
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let copy = trees::beneath(&target, &source);
    let inode = |name: &str| fs::symlink_metadata(copy.join(name)).unwrap().ino();
    let names = ["file", "link", "pipe"];
    let before = names.map(inode);
    fs::remove_file(copy.join("other")).unwrap();
    std::os::unix::fs::symlink("elsewhere", copy.join("other")).unwrap();
    let told = machine.restore("latest", &target, &["--yes"]).text();
    assert!(told.contains("restored 1 file, "), "{told}");
    assert!(told.contains("3 the same already"), "{told}");
    assert_eq!(names.map(inode), before);
    trees::assert_same(&wanted, &trees::capture(&copy));
}

#[test]
fn an_include_that_matches_nothing_is_told() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build::write(&source, "a.txt", "x");
    machine.back_up(&source, &[]);
    let target = world.path("target");
    let ran = machine.restore("latest", &target, &["-i", "*.txt", "-i", "*.odt"]);
    assert!(ran.err.contains("warning: --include *.odt: nothing in the snapshot matches it"));
    assert!(!ran.err.contains("*.txt"), "{ran}");
    assert!(ran.text().contains("restored 1 file, "), "{ran}");
}

/// `--path` is about what was backed up as a whole. Who means a part of the snapshot is told how to
/// name it, and not that there is no snapshot.
#[test]
fn a_path_that_is_taken_for_a_part_of_a_snapshot_is_told_apart() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let part = build::write(&source, "sub/file", "x");
    let id = machine.back_up(&source, &[]).snapshot()[..8].to_owned();
    let (source, part) = (source.to_str().unwrap(), part.to_str().unwrap());
    let target = world.path("target");
    let restore = |snapshot: &str, options: &[&str]| {
        let mut words = vec!["restore", snapshot, "--target", target.to_str().unwrap()];
        words.extend(options);
        machine.run(&words)
    };
    let told = restore(&id, &["--path", part]).check(1);
    let wanted = format!("snapshot {id} is there, but does not match --path");
    assert!(told.err.contains(&wanted), "{told}");
    assert!(told.err.contains(&format!("a part of a snapshot is {id}:{part}")), "{told}");
    let told = restore("latest", &["--path", part]).check(1);
    assert!(told.err.contains("there is no snapshot that matches"), "{told}");
    assert!(told.err.contains(&format!("a part of a snapshot is latest:{part}")), "{told}");
    let told = restore(&id, &["--host", "another"]).check(1);
    assert!(told.err.contains("does not match --host"), "{told}");
    assert!(!target.exists());
    drop(restore(&format!("{id}:{part}"), &[]).check(0));
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "x");
    drop(restore(&id, &["--path", source, "-n"]).check(0));
}
