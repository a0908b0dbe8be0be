//! `restore --delete`, and what a restore asks before it replaces or deletes.

use std::fs;
use std::path::Path;

use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, world};

/// A folder with a file that nobody may read, root neither: it is there only to be written to.
const SYSTEM: &str = "/sys/bus/cpu";
const UNREADABLE: &str = "/sys/bus/cpu/uevent";
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";

fn words<'a>(target: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["restore", "latest", "--target", target.to_str().unwrap()];
    words.extend(more);
    words
}

#[test]
fn delete_spares_what_the_backup_left_out_and_could_not_read() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build::write(&source, "doc/file", "x");
    build::write(&source, "build/out", "only copy");
    build::write(&source, "large", "only copy ".repeat(600));
    build::write(&source, "cache/CACHEDIR.TAG", TAG);
    build::write(&source, "cache/thing", "only copy");
    let path = source.to_str().unwrap();
    let run = ["run", "-e", "build", "--exclude-larger-than", "5K", "--exclude-caches", path];
    machine.exits(3, &[&run[..], &[SYSTEM]].concat());

    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let copy = trees::beneath(&target, &source);
    for kept in ["build/out", "large", "cache/thing"] {
        fs::create_dir_all(copy.join(kept).parent().unwrap()).unwrap();
        fs::copy(source.join(kept), copy.join(kept)).unwrap();
    }
    let unread = trees::beneath(&target, Path::new(UNREADABLE));
    fs::write(&unread, "only copy").unwrap();
    build::write(&copy, "doc/new \u{1b}[31m", "x");
    build::write(&copy, "more/build/out", "only copy");
    build::write(&copy, "more/new", "x");

    let planned = machine.ok(&words(&target, &["--delete", "-n"]));
    let named = planned.text();
    let named: Vec<_> =
        named.lines().filter_map(|line| line.strip_prefix("would delete ")).collect();
    let at = |name: &str| copy.join(name).to_str().unwrap().to_owned();
    assert_eq!(named, [at("doc/new \\x1b[31m"), at("more/new")], "{planned}");
    assert!(copy.join("more/new").exists());

    let ran = machine.ok(&words(&target, &["--delete", "--yes", "--json"]));
    let summary = ran.json_lines().pop().unwrap();
    assert_eq!(summary["files_deleted"], 2, "{ran}");
    assert_eq!(summary["files_kept"]["left_out_by_the_backup"], 4, "{ran}");
    assert_eq!(summary["files_kept"]["unread_by_the_backup"], 1, "{ran}");
    for kept in ["build/out", "large", "cache/thing", "more/build/out", "doc/file"] {
        assert!(copy.join(kept).exists(), "{kept} is gone");
    }
    assert!(unread.exists());
    assert!(!copy.join("more/new").exists());
    let again = machine.ok(&words(&target, &["--delete"]));
    let kept = "kept 5 things that the snapshot does not have: 4 left out by the backup, \
                1 not readable for the backup";
    assert!(again.text().contains(kept), "{again}");
    assert!(!again.text().contains("deleted"), "{again}");
}

/// A machine with a snapshot of a file, and a target with another file of that name.
fn with_a_change(machine: &Machine, source: &Path, target: &Path) -> std::path::PathBuf {
    build::write(source, "file", "of the snapshot");
    machine.back_up(source, &[]);
    // Absent, then there and the same, as when it goes on: nothing is asked.
    machine.restore("latest", target, &[]);
    machine.restore("latest", target, &[]);
    build::write(&trees::beneath(target, source), "file", "changed since")
}

#[test]
fn files_that_differ_are_asked_about() {
    let world = world!();
    let (machine, _) = world.local();
    let (source, target) = (world.folder("source"), world.path("target"));
    let file = with_a_change(&machine, &source, &target);
    let read = || fs::read_to_string(&file).unwrap();
    let ran = machine.exits(2, &words(&target, &[]));
    assert!(ran.err.contains("would replace 1 file that differs"), "{ran}");
    assert!(ran.err.contains("hint: answer the question, or add --yes"), "{ran}");
    assert!(!ran.err.contains("restoring"), "it has not begun: {ran}");
    machine.ok(&words(&target, &["-n"]));
    machine.ok(&words(&target, &["--overwrite", "never"]));
    assert_eq!(read(), "changed since");
    machine.ok(&words(&target, &["--overwrite", "always"]));
    assert_eq!(read(), "of the snapshot");
    fs::write(&file, "changed again").unwrap();
    let ran = machine.ok(&words(&target, &["--yes"]));
    assert!(ran.err.contains("restoring snapshot"), "{ran}");
    assert_eq!(read(), "of the snapshot");
    // What is only in the target is in nobody's way, unless it is to be deleted.
    build::write(&target, "mine", "x");
    let extra = build::write(file.parent().unwrap(), "extra", "x");
    machine.ok(&words(&target, &[]));
    let ran = machine.exits(2, &words(&target, &["--delete", "--overwrite", "always"]));
    assert!(ran.err.contains("would delete 1 thing that it does not have"), "{ran}");
    assert!(extra.exists());
    let nothing = format!("latest:{}/nothing", source.display());
    let ran = machine.exits(1, &["restore", &nothing, "--target", target.to_str().unwrap()]);
    assert!(!ran.err.contains("restoring"), "it has not begun: {ran}");
}

#[test]
fn a_snapshot_with_too_many_rules_deletes_nothing() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build::write(&source, "file", "x");
    let rules = world.path("rules");
    fs::write(&rules, "no-such-name\n".repeat(5000)).unwrap();
    machine.back_up(&source, &["--exclude-file", rules.to_str().unwrap()]);
    let ran = machine.exits(2, &words(&world.path("target"), &["--delete", "--yes"]));
    assert!(ran.err.contains("--delete needs to know what the backup left out"), "{ran}");
    assert!(ran.err.contains("hint: leave --delete out"), "{ran}");
}
