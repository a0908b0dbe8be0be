//! Restores to where the files came from, and parts of a snapshot to where the user says.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use unseen_tests::trees::{self, Facts, build};
use unseen_tests::{Machine, Ran, World, is_root, world};

/// A machine and its source: `a/b/` with everything that a folder can have, `a/beside` and
/// `other/file`.
fn prepared(world: &World) -> (Machine, PathBuf) {
    let (machine, _) = world.local();
    let source = world.folder("source");
    let folder = source.join("a/b");
    build::write(&folder, "file", "of the snapshot");
    build::write(&folder, "beside", "of the snapshot");
    build::write(&folder, "deep/er/file", "deep");
    build::attributes(&folder.join("attributes"));
    build::write(&source, "a/beside", "x");
    build::write(&source, "other/file", "x");
    shell(&folder, "setfattr -n user.mark -v snapshot . deep file; setfacl -m u:12345:r-x . file");
    if is_root() {
        shell(&folder, "chown 12345:54321 . deep; chown 12345 file");
    }
    shell(&source, "chmod 750 a/b; chmod 711 a; chmod 640 a/b/file");
    for (n, path) in ["a/b/file", "a/b/deep/er", "a/b/deep", "a/b", "a", "other"].iter().enumerate()
    {
        build::set_mtime(&source.join(path), 1_000_000 + i64::try_from(n).unwrap(), 123_456_789);
    }
    machine.back_up(&source, &[]);
    (machine, source)
}

fn shell(folder: &Path, words: &str) {
    trees::tool("sh", &["-ec", &format!("cd '{}'; {words}", folder.display())]);
}

fn restore_in_place(machine: &Machine, path: &Path, options: &[&str]) -> Ran {
    let wanted = format!("latest:{}", path.display());
    machine.ok(&[&["restore", &wanted, "--in-place", "--yes"], options].concat())
}

/// What is known of one path.
fn facts(source: &Path, path: &str) -> Facts {
    trees::capture(source)[path.as_bytes()].clone()
}

#[test]
fn a_file_comes_back_and_nothing_beside_it_changes() {
    let world = world!();
    let (machine, source) = prepared(&world);
    let before = trees::capture(&source);
    let folder = source.join("a/b");
    shell(&folder, "echo changed > file; echo changed > beside; touch extra; chmod 600 file");
    shell(&folder, "setfattr -x user.mark file; setfacl -b file; setfattr -n user.x -v 1 file");
    build::set_mtime(&source.join("a"), 5, 5);
    let tampered = trees::capture(&source);
    let told = restore_in_place(&machine, &folder.join("file"), &["--delete"]).text();
    assert!(told.contains("restored 1 file, 0 folders"), "{told}");
    let after = trees::capture(&source);
    assert_eq!(after[&b"/a/b/file"[..]], before[&b"/a/b/file"[..]]);
    // Not even the folder that it is in, but for its time.
    for (path, facts) in &tampered {
        let path = path.as_slice();
        if ![&b"/a/b/file"[..], b"/a/b"].contains(&path) {
            assert_eq!(after.get(path), Some(facts), "{}", String::from_utf8_lossy(path));
        }
    }
    assert_eq!(after.len(), tampered.len());
}

#[test]
fn a_folder_comes_back_with_all_that_it_has_and_delete_stays_within() {
    let world = world!();
    let (machine, source) = prepared(&world);
    let (folder, pristine) = (source.join("a/b"), world.path("pristine"));
    trees::copy(&folder, &pristine);
    let before = trees::capture(&folder);
    shell(&folder, "chmod 777 . deep; setfacl -b .; setfacl -d -m u:4711:rwx deep; rm beside");
    shell(&folder, "setfattr -n user.mark -v other .; setfattr -n user.x -v 1 . deep; touch extra");
    shell(&folder, "rm -r deep/er; touch ../extra; chmod 700 ../beside");
    if is_root() {
        shell(&folder, "chown 0:0 . deep; chown 4711:4711 file");
    }
    let (above, other) = (facts(&source, "/a"), facts(&source, "/a/beside"));
    restore_in_place(&machine, &folder, &["--delete", "--verify"]);
    assert_eq!(trees::rsync_differences(&pristine, &folder), "");
    trees::assert_same(&before, &trees::capture(&folder));
    assert_eq!((facts(&source, "/a"), facts(&source, "/a/beside")), (above, other));
    assert!(source.join("a/extra").exists());
    // And once more: there is nothing to do.
    let told = restore_in_place(&machine, &folder, &["--delete"]).text();
    assert!(told.contains("restored 0 files"), "{told}");
    trees::assert_same(&before, &trees::capture(&folder));
}

#[test]
fn folders_above_that_are_missing_are_made_as_they_were() {
    let world = world!();
    let (machine, source) = prepared(&world);
    let before = trees::capture(&source);
    fs::remove_dir_all(source.join("a")).unwrap();
    fs::write(source.join("other/mine"), "x").unwrap();
    restore_in_place(&machine, &source.join("a/b/deep/er/file"), &[]);
    let after = trees::capture(&source);
    for path in ["/a", "/a/b", "/a/b/deep", "/a/b/deep/er", "/a/b/deep/er/file"] {
        assert_eq!(after[path.as_bytes()], before[path.as_bytes()], "{path}");
    }
    assert!(!source.join("a/b/file").exists() && !source.join("a/beside").exists());
    assert!(source.join("other/mine").exists());
}

#[test]
fn the_target_becomes_the_folder_that_was_chosen() {
    let world = world!();
    let (machine, source) = prepared(&world);
    let folder = source.join("a/b");
    let wanted = format!("latest:{}", folder.display());
    for target in ["new", "there already"] {
        let target = world.path(target);
        if target.ends_with("there already") {
            build::write(&target, "mine", "x");
            machine.restore(&wanted, &target, &["--delete", "--yes"]);
        } else {
            machine.restore(&wanted, &target, &[]);
        }
        assert_eq!(trees::rsync_differences(&folder, &target), "");
        trees::assert_same(&trees::capture(&folder), &trees::capture(&target));
    }
    let target = world.path("of a file");
    machine.restore(&format!("{wanted}/file"), &target, &[]);
    let restored = trees::capture(&target);
    assert_eq!(restored.len(), 2, "the target and the file");
    assert_eq!(restored[&b"/file"[..]], facts(&source, "/a/b/file"));
}

/// `/home` -> `/data/home`: the backup goes through it, and so does the restore.
#[test]
fn a_link_above_the_source_stays_a_link() {
    let world = world!();
    let (machine, _) = world.local();
    let (real, link) = (world.folder("data/home"), world.path("home link"));
    symlink(&real, &link).unwrap();
    build::contents(&real.join("anna"));
    let before = trees::capture(&real);
    machine.back_up(&link.join("anna"), &[]);
    for words in [vec!["latest"], vec!["latest", "--verify", "--delete"]] {
        fs::remove_dir_all(real.join("anna/many")).unwrap();
        let words = [&["restore", "--in-place", "--yes"], &words[..]].concat();
        machine.ok(&words);
        assert_eq!(fs::read_link(&link).unwrap(), real);
        trees::assert_same(&before, &trees::capture(&real));
    }
    fs::remove_dir_all(real.join("anna")).unwrap();
    restore_in_place(&machine, &link.join("anna/many/007"), &[]);
    assert_eq!(fs::read_to_string(real.join("anna/many/007/small")).unwrap().lines().count(), 7);
    if !is_root() {
        return;
    }
    // A link that somebody else made leads nowhere, and it is said what to do.
    std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
    let wanted = format!("latest:{}", link.join("anna/text").display());
    let ran = machine.exits(1, &["restore", &wanted, "--in-place", "--yes"]);
    assert!(ran.err.contains("is not followed: restore with --target"), "{ran}");
    assert!(!real.join("anna/text").exists());
}

/// What the policy leaves out is told with its path and the flag, and is no failure.
#[test]
fn what_is_left_out_is_told() {
    if !is_root() {
        return;
    }
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build::privileged(&source);
    machine.back_up(&source, &[]);
    let target = world.path("target");
    for dry in [&["--dry-run"][..], &[]] {
        let ran = machine.restore("latest", &target, dry);
        let bits = format!("left out: setuid and setgid bits of {}", source.display());
        assert!(ran.err.contains(&bits), "{ran}");
        for part in ["device node ", "capabilities of ", "/capable\n", "/trusted link"] {
            assert!(ran.err.contains(part), "{part}: {ran}");
        }
        let text = ran.text();
        assert!(text.contains("3 device nodes"), "{text}");
        assert!(text.contains("setuid and setgid bits of 4 files"), "{text}");
        assert!(text.contains("`--preserve-privileged` restores them"), "{text}");
    }
    let again = world.path("as json");
    let lines = machine.restore("latest", &again, &["--json"]).json_lines();
    let summary = lines.iter().find(|line| line["message_type"] == "summary").unwrap();
    let left = summary["left_out"].as_array().unwrap();
    let bits = left.iter().find(|left| left["what"] == "setuid and setgid bits").unwrap();
    assert_eq!(
        (&bits["count"], &bits["restored_by"]),
        (&4.into(), &"--preserve-privileged".into())
    );
    let first = bits["first"][0]["item"].as_str().unwrap();
    assert!(first.starts_with(source.to_str().unwrap()), "{first}");
    assert_eq!(summary["errors"], 0);
    // In place nothing is taken away from what has it rightfully.
    let before = trees::capture(&source);
    let ran = machine.ok(&["restore", "latest", "--in-place", "--yes"]);
    assert!(!ran.err.contains("setuid"), "{ran}");
    trees::assert_same(&before, &trees::capture(&source));
}
