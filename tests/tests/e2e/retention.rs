//! What the owner lets go, and what comes back.

use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::Value;
use unseen_tests::eager::Eager;
use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, world};

/// Snapshots of a folder in which each has one file more. Oldest first.
fn snapshots(machine: &Machine, source: &Path, numbers: RangeInclusive<u64>) -> Vec<String> {
    let one = |number: u64| {
        build::write(source, format!("file-{number}"), build::noise(number, 300_000));
        machine.back_up(source, &["--tag", &format!("t{number}")]).snapshot()
    };
    numbers.map(one).collect()
}

fn document(machine: &Machine, words: &[&str]) -> Value {
    let mut all = words.to_vec();
    all.push("--json");
    machine.ok(&all).json_lines().pop().unwrap()
}

fn listed(machine: &Machine, words: &[&str]) -> Vec<String> {
    let rows = document(machine, words);
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_forgotten_is_told_and_comes_back() {
    let world = world!();
    let (machine, _) = world.local();
    forget_and_undelete(&machine, &world.folder("source"));
}

#[test]
fn what_is_forgotten_on_a_server_comes_back() {
    let world = world!();
    let (_server, machine, _) = world.remote();
    forget_and_undelete(&machine, &world.folder("source"));
}

fn forget_and_undelete(machine: &Machine, source: &Path) {
    let first = snapshots(machine, source, 1..=1).remove(0);
    let wanted = trees::capture(source);
    let mut all = vec![first.clone()];
    all.extend(snapshots(machine, source, 2..=4));
    let rules = ["forget", "--keep-last", "2", "--keep-tag", "t2"];

    let mut dry = rules.to_vec();
    dry.push("-n");
    let told = document(machine, &dry);
    assert_eq!(
        (&told["kept"], &told["forgotten"], &told["pinned"]),
        (&3.into(), &1.into(), &1.into())
    );
    assert_eq!(listed(machine, &["snapshots"]), all, "-n changes nothing");

    let table = machine.ok(&rules).text();
    for line in ["forget  ", "no rule keeps it", "tag t2", "newest complete", "forgot 1 snapshot"] {
        assert!(table.contains(line), "{line}: {table}");
    }
    assert_eq!(listed(machine, &["snapshots"]), all[1..]);
    assert_eq!(listed(machine, &["snapshots", "--all"]), all);
    assert_eq!(listed(machine, &["undelete"]), std::slice::from_ref(&first));

    let refused = machine.exits(1, &["restore", &first, "--target", "nowhere"]);
    assert!(refused.err.contains("was forgotten") && refused.err.contains("backup undelete"));
    let refused = machine.exits(1, &["forget", &all[1]]);
    assert!(refused.err.contains("pinned") && refused.err.contains("backup unpin"), "{refused}");

    machine.ok(&["undelete", &first[..8]]);
    assert_eq!(listed(machine, &["snapshots"]), all);
    assert!(listed(machine, &["undelete"]).is_empty());
    machine.restores_to(&first, source, &wanted);
    let there = machine.exits(1, &["undelete", &first]);
    assert!(there.err.contains("is there"), "{there}");
}

#[test]
fn latest_is_never_one_that_went() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let older = snapshots(&machine, &source, 1..=1);
    let wanted = trees::capture(&source);
    snapshots(&machine, &source, 2..=2);
    machine.ok(&["forget", "latest"]);
    machine.restores_to("latest", &source, &wanted);
    assert_eq!(listed(&machine, &["snapshots", "latest"]), older);
}

#[test]
fn pins_are_shown_and_end() {
    let world = world!();
    let (machine, _) = world.local();
    let ids = snapshots(&machine, &world.folder("source"), 1..=2);
    let pinned = || {
        let rows = document(&machine, &["snapshots"]);
        rows.as_array().unwrap().iter().map(|row| row["pinned"] == true).collect::<Vec<_>>()
    };
    machine.ok(&["pin", &ids[0], "-n"]);
    assert_eq!(pinned(), [false, false]);
    machine.ok(&["pin", &ids[0]]);
    assert_eq!(pinned(), [true, false]);
    assert!(machine.ok(&["snapshots"]).text().contains("pinned"));
    machine.ok(&["forget", "--keep-last", "1"]);
    assert_eq!(listed(&machine, &["snapshots"]), ids, "a pin goes before the rules");
    let id = &ids[0][..8];
    let told = machine.ok(&["unpin", "-n", id]).text();
    let stay = "stay: no keep rule: everything stays";
    assert_eq!(told, format!("snapshot {id} would no longer be pinned, and {stay}\n"));
    assert_eq!(pinned(), [true, false]);
    let told = machine.ok(&["unpin", id]).text();
    assert!(told.starts_with(&format!("snapshot {id} is no longer pinned, and stays: ")), "{told}");
    for words in [&["unpin", "-n", id][..], &["unpin", id]] {
        assert_eq!(machine.ok(words).text(), format!("snapshot {id} is not pinned\n"));
    }
    machine.ok(&["forget", "--keep-last", "1"]);
    assert_eq!(listed(&machine, &["snapshots"]), ids[1..]);
}

/// What protects less waits, every run says so, and it can be stopped.
#[test]
fn a_weaker_policy_waits_and_is_cancelled() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    snapshots(&machine, &source, 1..=1);
    let policy = || document(&machine, &["policy"]);

    machine.ok(&["policy", "set", "--keep-daily", "7", "--floor", "3d", "-n"]);
    assert_eq!(policy()["policy"]["keep"]["daily"], 0, "-n changes nothing");
    machine.ok(&["policy", "set", "--keep-daily", "7", "--floor", "3d"]);
    let set = source.to_str().unwrap();
    let ran = machine.ok(&["policy", "set", "--set", set, "--keep-last", "all"]);
    assert!(!ran.err.contains("no snapshot"), "{ran}");
    let ran = machine.ok(&["policy", "set", "--set", "phtos", "--keep-last", "1", "-n"]);
    assert!(ran.err.contains("no snapshot is of the set phtos yet"), "{ran}");
    let stronger = policy();
    assert_eq!(stronger["policy"]["keep"]["daily"], 7);
    assert_eq!(stronger["policy"]["floor_days"], 3);
    assert!(machine.ok(&["policy"]).text().contains(&format!("keep of set {set}  last all")));
    assert_eq!(stronger["waiting"], Value::Null);

    let told = machine.ok(&["policy", "set", "--grace", "2d"]).text();
    assert!(told.contains("takes effect on"), "{told}");
    assert_eq!(policy()["policy"]["grace_days"], 30);
    assert_eq!(policy()["waiting"]["policy"]["grace_days"], 2);
    let ran = machine.ok(&["run", source.to_str().unwrap()]);
    assert!(ran.err.contains("grace: 30 days -> 2 days") && ran.err.contains("policy cancel"));

    // Whatever is changed meanwhile is added to what waits, and says so.
    let told = machine.ok(&["policy", "set", "--silent-after", "9d"]).text();
    assert!(told.contains("the change that waited is part of this one"), "{told}");
    let told = machine.ok(&["privacy", "level", "none"]).text();
    assert!(told.contains("a change of the policy waits until then"), "{told}");
    let waiting = policy()["waiting"]["policy"].clone();
    assert_eq!(
        (&waiting["grace_days"], &waiting["silent_days"], &waiting["disclosure"]),
        (&2.into(), &9.into(), &"none".into())
    );

    machine.ok(&["policy", "cancel"]);
    assert_eq!(policy(), stronger);
    let told = machine.ok(&["policy", "set", "--floor", "0d", "--keep-last", "1", "-n"]).text();
    assert!(told.contains("the keep rules wait with it, and those in force take"), "{told}");
    let told = machine.ok(&["policy", "set", "--floor", "0d", "-n"]).text();
    assert!(!told.contains("the keep rules wait"), "{told}");
    let ran = machine.ok(&["run", source.to_str().unwrap()]);
    assert!(!ran.err.contains("policy"), "{ran}");
    machine.exits(1, &["policy", "cancel"]);
    machine.exits(2, &["policy", "set", "--grace", "1d"]);
}

/// Snapshots count nowhere in their first hour: `-n` says what goes when they do, and shows every
/// snapshot with its reason.
#[test]
fn what_goes_later_is_told_beforehand() {
    let world = world!();
    let (mut server, machine, _) = world.remote();
    let source = world.folder("source");
    let ids = snapshots(&machine, &source, 1..=8);
    let dry = ["policy", "set", "--keep-last", "1", "-n"];
    let told = machine.ok(&dry).text();
    let line =
        "as things stand, none would go by it at once; 7 would once the newest are an hour old";
    assert!(told.contains(line), "{told}");
    for (n, id) in ids.iter().enumerate() {
        let row = told.lines().find(|line| line.contains(&id[..8])).unwrap();
        let why = "younger than an hour; then no rule keeps it";
        let (fate, why) = if n < 7 { ("later", why) } else { ("keep", "last 1; newest complete") };
        assert!(row.starts_with(fate) && row.contains(why), "{row}");
    }
    let told = document(&machine, &dry);
    let count = |key: &str| told[key].as_array().unwrap().len();
    assert_eq!((count("would_expire"), count("would_expire_later"), count("snapshots")), (0, 7, 8));

    server.stop();
    let eager = env!("CARGO_BIN_EXE_unseen-test-eager-server");
    let mut eager = Eager::start(Path::new(eager), &server.data, server.address);
    machine.ok(&["policy", "set", "--keep-last", "1", "--yes"]);
    let told = machine.ok(&["policy"]).text();
    assert!(told.contains("none go by it at once; 7 go once the newest are an hour old"), "{told}");
    assert_eq!(eager.tidy(), (0, 0));
    eager.stamp_ahead(2 * 3600);
    assert_eq!(eager.tidy(), (7, 0), "as it was told");
}

/// The server carries out the owner's rules: what it writes is taken by the client, can be brought
/// back until the grace is over, and is gone then.
#[test]
fn the_rules_of_the_owner_are_carried_out_by_the_server() {
    let world = world!();
    let (mut server, machine, _) = world.remote();
    let source = world.folder("source");
    let first = snapshots(&machine, &source, 1..=1).remove(0);
    let wanted = trees::capture(&source);
    // What is in the second alone goes with it.
    build::write(&source, "passing", build::noise(99, 2_000_000));
    let second = snapshots(&machine, &source, 2..=2).remove(0);
    std::fs::remove_file(source.join("passing")).unwrap();
    let last = snapshots(&machine, &source, 3..=3).remove(0);
    server.stop();
    let eager = env!("CARGO_BIN_EXE_unseen-test-eager-server");
    let mut eager = Eager::start(Path::new(eager), &server.data, server.address);
    machine.ok(&["policy", "set", "--keep-last", "1", "--yes"]);
    assert_eq!(eager.tidy(), (0, 0), "a snapshot counts nowhere in its first hour");
    assert_eq!(listed(&machine, &["snapshots"]).len(), 3);

    eager.stamp_ahead(2 * 3600);
    assert_eq!(eager.tidy(), (2, 0));
    assert_eq!(eager.tidy(), (0, 0));
    // The client folds the record that the server wrote: it names what the rules say, or exit 21.
    assert_eq!(listed(&machine, &["snapshots"]), std::slice::from_ref(&last));
    assert_eq!(listed(&machine, &["undelete"]), [first.clone(), second.clone()]);
    assert!(machine.ok(&["snapshots", "--all"]).text().contains(" expired"));
    let refused = machine.exits(1, &["restore", &first, "--target", "nowhere"]);
    assert!(refused.err.contains("expired by the rules"), "{refused}");

    machine.ok(&["undelete", &first]);
    machine.restores_to(&first, &source, &wanted);
    assert_eq!(eager.tidy(), (0, 0), "what came back stays: it is pinned");
    let told = machine.ok(&["unpin", "-n", &first]).text();
    assert!(told.contains(" would no longer be pinned, and go: no rule keeps it\n"), "{told}");
    assert!(told.contains("`backup undelete` would bring back what goes, until "), "{told}");
    let told = document(&machine, &["unpin", "-n", &first]);
    assert_eq!(told["would_expire"], serde_json::json!([first]));

    assert!(eager.sweep() > 0, "what the second alone needed");
    let late = machine.exits(1, &["undelete", &second]);
    assert!(late.err.contains("grace"), "{late}");
    machine.restores_to(&first, &source, &wanted);
    machine.ok(&["check", "--read-data"]);
    machine.back_up(&source, &[]);
}

/// The owner sees it on every machine, from the log alone.
#[test]
fn a_device_that_has_gone_quiet_is_told() {
    let world = world!();
    let (mut server, machine, _) = world.remote();
    let source = world.folder("source");
    snapshots(&machine, &source, 1..=2);
    server.stop();
    let eager = env!("CARGO_BIN_EXE_unseen-test-eager-server");
    let mut eager = Eager::start(Path::new(eager), &server.data, server.address);
    machine.ok(&["policy", "set", "--keep-last", "1", "--silent-after", "1d", "--yes"]);
    let calm = machine.ok(&["snapshots"]);
    assert!(!calm.err.contains("no backup since"), "{calm}");
    // The newest record is a day younger than the newest snapshot.
    eager.stamp_ahead(25 * 3600);
    assert_eq!(eager.tidy(), (1, 0));
    let machine = machine.without_secrets();
    for words in [&["snapshots"][..], &["privacy"]] {
        let told = machine.ok(words);
        assert!(told.err.contains("device this machine ("), "{told}");
        assert!(told.err.contains("no backup since") && told.err.contains("after 1 day"), "{told}");
    }
    let silent = document(&machine, &["privacy"])["silent"].clone();
    assert_eq!(silent.as_array().unwrap().len(), 1);
}

/// Deciding asks for the secret each time; looking does not.
#[test]
fn deciding_needs_the_secret() {
    let world = world!();
    let (machine, _) = world.local();
    let ids = snapshots(&machine, &world.folder("source"), 1..=1);
    let machine = machine.without_secrets();
    for words in [
        &["forget", &ids[0]][..],
        &["forget", "-n", "--keep-last", "1"],
        &["policy", "set", "--keep-last", "1"],
        &["policy", "cancel"],
        &["undelete", &ids[0]],
        &["pin", &ids[0]],
        &["unpin", &ids[0]],
    ] {
        machine.exits(12, words);
    }
    for words in [&["policy"][..], &["undelete"], &["snapshots", "--all"]] {
        machine.ok(words);
    }
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let world = world!();
    let machine = world.machine("home");
    for (words, hint) in [
        (&["forget"][..], "keep-daily"),
        (&["forget", "--keep-tag", "x"], "--keep-last 1"),
        (&["forget", "--keep-last", "0"], "keep-daily"),
        (&["policy", "set"], "keep-daily"),
        (&["policy", "set", "--set", "x"], "--keep-everything"),
        (&["policy", "set", "--keep-last", "0"], "--keep-everything"),
        (&["forget", "latest", "--keep-last", "1"], "cannot be used with"),
        (&["pin"], "SNAPSHOT"),
    ] {
        let ran = machine.exits(2, words);
        assert!(ran.err.contains(hint), "{ran}");
    }
}

/// It has no server that would do so: the end of a run does it, once a day.
#[test]
fn a_local_vault_tidies_up_once_a_day() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let note = machine.state().join("swept");
    snapshots(&machine, &source, 1..=1);
    let first = std::fs::read_to_string(&note).unwrap();
    snapshots(&machine, &source, 2..=2);
    assert_eq!(std::fs::read_to_string(&note).unwrap(), first);
    let earlier = first.parse::<u64>().unwrap() - 2 * 86_400;
    std::fs::write(&note, earlier.to_string()).unwrap();
    snapshots(&machine, &source, 3..=3);
    assert!(std::fs::read_to_string(&note).unwrap().parse::<u64>().unwrap() > earlier + 86_400);
}
