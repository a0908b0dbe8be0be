//! What is backed up together: sets by their paths.

use serde_json::Value;
use unseen_tests::trees::build;
use unseen_tests::{Machine, world};

fn rows(machine: &Machine, words: &[&str]) -> Vec<Value> {
    let mut all = vec!["snapshots", "--json"];
    all.extend(words);
    let document = machine.ok(&all).json_lines().pop().unwrap();
    document.as_array().unwrap().clone()
}

fn sets(machine: &Machine, words: &[&str]) -> Vec<String> {
    rows(machine, words).iter().map(|row| row["set"].as_str().unwrap().to_owned()).collect()
}

/// Rules, `latest` and `--skip-if-unchanged` are about one list of paths, not about all of them.
#[test]
fn other_paths_are_another_set() {
    let world = world!();
    let (machine, _) = world.local();
    let (one, two) = (world.folder("one"), world.folder("two"));
    let name = |folder: &std::path::Path| folder.to_str().unwrap().to_owned();
    build::write(&one, "a", b"1");
    build::write(&two, "b", b"2");
    let first = machine.back_up(&one, &[]).snapshot();
    let second = machine.back_up(&two, &[]).snapshot();
    assert_eq!(sets(&machine, &[]), [name(&one), name(&two)]);
    // Each is compared with the last one of its own.
    for folder in [&one, &two] {
        let summary = machine.back_up(folder, &["--skip-if-unchanged"]);
        assert_eq!(summary.0["snapshot_id"], Value::Null, "{}", summary.0);
    }
    // Both in either order are one more set.
    let both = [name(&two), name(&one)];
    machine.ok(&["run", &both[0], &both[1]]);
    let ran = machine.ok(&["run", "--skip-if-unchanged", &both[1], &both[0]]);
    assert!(ran.text().contains("nothing has changed"), "{ran}");
    let joined = format!("{}, {}", name(&one), name(&two));
    assert_eq!(sets(&machine, &["--set", &joined]), [joined]);

    let ran = machine.exits(2, &["restore", "latest", "--target", "t"]);
    assert!(ran.err.contains("snapshots of 3 sets") && ran.err.contains("--path"), "{ran}");
    assert!(ran.err.contains(&first[..8]) && ran.err.contains(&name(&two)), "{ran}");
    let listed = machine.ok(&["ls", "latest", "--set", &format!("{}/", name(&two))]).text();
    assert!(listed.contains("two/b"), "{listed}");
    let path = ["snapshots", "--json", "latest", "--path", &name(&one)];
    assert_eq!(machine.ok(&path).json_lines()[0].as_array().unwrap().len(), 1);

    machine.ok(&["forget", "--keep-last", "1"]);
    let left = rows(&machine, &[]);
    assert_eq!(left.len(), 3, "each is the last of its set");
    assert!(left.iter().any(|row| row["id"] == second.as_str()));
}

/// The paths are in the table already, so a set that is called like them is not told twice.
#[test]
fn the_table_names_a_set_once() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let source = source.to_str().unwrap();
    machine.ok(&["run", source]);
    machine.ok(&["run", "--stdin-filename", "db.sql", "--stdin-from-command", "--", "echo", "x"]);
    let table = machine.ok(&["snapshots"]).text();
    assert!(!table.contains("Set") && table.matches(source).count() == 1, "{table}");
    assert_eq!(sets(&machine, &[])[1], "db.sql");
    machine.ok(&["run", "--set", "mine", source]);
    let table = machine.ok(&["snapshots"]).text();
    assert!(table.contains("Set") && table.contains("mine"), "{table}");
    assert_eq!(table.matches(source).count(), 2, "{table}");
    for bad in ["", "a\nb"] {
        machine.exits(2, &["run", "--set", bad, source]);
        machine.exits(2, &["snapshots", "--set", bad]);
    }
}

/// Two machines that back up the same paths and are called alike are told apart by their ids.
#[test]
fn machines_of_one_name_are_told_apart() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    let kit = unseen_tests::Kit::read(&machine.home.join("kit.txt"));
    let name = machine.back_up(&source, &[]).snapshot();
    let other = world.machine("other").with("BACKUP_RECOVERY_CODE", &kit.code);
    other.ok(&["connect", "--local", vault.to_str().unwrap()]);
    let theirs = other.back_up(&source, &[]).snapshot();
    let ran = machine.exits(2, &["ls", "latest"]);
    let rows = rows(&machine, &["--tag", "none"]);
    assert!(rows.is_empty());
    for id in [name, theirs] {
        let line = ran.err.lines().find(|line| line.starts_with(&id[..8])).unwrap();
        let (_, device) = line.rsplit_once('(').unwrap_or_else(|| panic!("{ran}"));
        let device = device.trim_end_matches(')');
        let found = machine.ok(&["snapshots", "--json", "--device", device]).json_lines();
        assert_eq!(found[0][0]["id"], id.as_str(), "{ran}");
    }
}
