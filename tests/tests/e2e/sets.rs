//! What is backed up together: sets by their paths.

use serde_json::Value;
use unseen_tests::trees::{self, build};
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

/// The lines of config.toml.
fn config(machine: &Machine) -> String {
    std::fs::read_to_string(machine.home.join(".config/unseen/config.toml")).unwrap()
}

#[test]
fn sets_are_made_listed_changed_and_removed() {
    let world = world!();
    let (machine, _) = world.local();
    let (one, two) = (world.folder("one"), world.folder("two"));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    let file = machine.home.join(".config/unseen/config.toml");
    std::fs::write(&file, format!("# mine\n{}", config(&machine))).unwrap();

    let ran = machine.ok(&["set", "add", "home", one, "-e", "*.tmp", "--tag", "a,b"]);
    assert!(ran.text().contains("default_excludes = true"), "{ran}");
    let rules = "left out by default, by 38 rules: `backup why PATH`";
    assert!(ran.err.contains(rules), "{ran}");
    machine.exits(2, &["set", "add", "home", two]);
    machine.exits(2, &["set", "add", "x", two, "-e", "[a"]);
    let ran = machine.ok(&["set", "add", "gone", "/nowhere/at/all", "--no-default-excludes"]);
    assert!(ran.err.contains("is not there"), "{ran}");
    machine.ok(&["set", "edit", "home", two, "-e", "*.bak", "--unset", "tags", "--after", "true"]);
    machine.exits(2, &["set", "edit", "home"]);
    machine.exits(2, &["set", "edit", "home", "--unset", "paths"]);
    machine.exits(2, &["set", "edit", "other", one]);
    machine.ok(&["set", "remove", "gone"]);
    machine.exits(2, &["set", "remove", "gone"]);

    let rows = machine.ok(&["set", "list", "--json"]).json_lines().pop().unwrap();
    assert_eq!(
        rows,
        serde_json::json!([{
            "name": "home",
            "paths": [one, two],
            "default_excludes": true,
            "exclude": ["*.tmp", "*.bak"],
            "after": "true",
        }])
    );
    let table = machine.ok(&["set"]).text();
    assert!(table.contains("home") && table.contains("default_excludes, exclude"), "{table}");
    assert!(config(&machine).starts_with("# mine\n[profile.default]"), "{}", config(&machine));
    machine.ok(&["--profile", "work", "set", "add", "home", one]);
    assert_eq!(machine.ok(&["set", "list"]).text(), table, "of another profile");
}

/// Without paths a run saves what is configured: each by its own rules, whatever the others do.
#[test]
fn a_run_saves_the_sets_that_are_configured() {
    let world = world!();
    let (machine, _) = world.local();
    let (one, two) = (world.folder("one"), world.folder("two"));
    machine.exits(2, &["run"]);
    machine.exits(2, &["run", "--set", "home"]);
    build::write(&one, "a.txt", "text");
    build::write(&one, "a.tmp", "rubbish");
    build::write(&one, "project/Cargo.toml", "");
    build::write(&one, "project/target/debug/out", "built");
    build::write(&two, "kept.tmp", "text");
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    machine.ok(&["set", "add", "home", one, "-e", "*.tmp", "--tag", "daily"]);
    machine.ok(&["set", "add", "two", two, "/nowhere/at/all", "--skip-if-unchanged"]);
    let mut dump = vec!["set", "add", "dump", "--stdin-filename", "db.sql"];
    dump.extend(["--stdin-from-command", "--", "sh", "-c", "echo dumped"]);
    machine.ok(&dump);

    let ran = machine.exits(3, &["run"]);
    let heads: Vec<usize> =
        ["set home\n", "set two\n", "set dump\n"].map(|head| ran.text().find(head).unwrap()).into();
    assert!(heads.is_sorted(), "{ran}");
    assert_eq!(sets(&machine, &[]), ["home", "two", "dump"]);
    let listed = machine.ok(&["ls", "latest", "--set", "home"]).text();
    assert!(listed.contains("a.txt") && listed.contains("Cargo.toml"), "{listed}");
    assert!(!listed.contains("a.tmp") && !listed.contains("project/target"), "{listed}");
    assert_eq!(rows(&machine, &["--set", "home"])[0]["tags"], serde_json::json!(["daily"]));
    let dumped = machine.ok(&["dump", "latest", "db.sql", "--set", "dump"]);
    assert_eq!(dumped.text(), "dumped\n");

    let ran = machine.ok(&["run", "--set", "home", "--json"]);
    let summary = ran.json_lines().pop().unwrap();
    assert_eq!((&summary["set"], &summary["files_new"]), (&"home".into(), &0.into()));
    machine.exits(2, &["run", "--set", "home", "-e", "x"]);

    // One that fails is told; the others are saved all the same.
    machine.ok(&["set", "edit", "dump", "--stdin-from-command", "--", "false"]);
    let ran = machine.exits(1, &["run", "--json"]);
    let done: Vec<Value> =
        ran.json_lines().into_iter().filter(|line| line["message_type"] == "summary").collect();
    assert_eq!(done.len(), 2, "{ran}");
    assert!(ran.err.contains("1 of 3 sets failed: dump"), "{ran}");
}

/// The commands around a run know how it went.
#[test]
fn commands_run_around_a_set() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build::write(&source, "file", "x");
    let source = source.to_str().unwrap();
    let log = world.path("log");
    let tell = |what: &str| format!("echo \"{what}\" >> '{}'", log.display());
    let lines = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        std::fs::remove_file(&log).ok();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let words = "$UNSEEN_HOOK $UNSEEN_SET $UNSEEN_STATUS $UNSEEN_EXIT_CODE $UNSEEN_FILES \
                 <$BACKUP_RECOVERY_CODE$BACKUP_PASSPHRASE>";
    let (before, after, failed) = (tell("before"), tell(words), tell(words));
    let mut add = vec!["set", "add", "s", source, "--before", &before, "--after", &after];
    add.extend(["--failed", &failed]);
    machine.ok(&add);

    machine.ok(&["run", "--dry-run"]);
    assert!(lines().is_empty(), "a dry run starts nothing");
    machine.ok(&["run"]);
    assert_eq!(lines(), ["before", "after s complete 0 1 <>"]);
    machine.ok(&["run", "--skip-if-unchanged"]);
    assert_eq!(lines(), ["before", "after s unchanged 0 1 <>"]);

    machine.ok(&["set", "edit", "s", "--before", "echo not ready; exit 7"]);
    let ran = machine.exits(1, &["run"]);
    assert!(ran.err.contains("not ready\n") && ran.err.contains("exit code 7"), "{ran}");
    assert_eq!(lines(), ["failed s failed 1  <>"]);
    machine.ok(&["set", "edit", "s", "--before", "sleep 1000", "--hook-timeout", "1s"]);
    let ran = machine.exits(1, &["run"]);
    assert!(ran.err.contains("took longer than 1 s"), "{ran}");
    drop(lines());
    machine.ok(&["set", "edit", "s", "--unset", "before", "--after", "exit 5"]);
    let before = rows(&machine, &[]).len();
    let ran = machine.exits(1, &["run"]);
    assert!(ran.err.contains("is saved") && ran.err.contains("exit code 5"), "{ran}");
    assert_eq!(rows(&machine, &[]).len(), before + 1);
    assert!(lines().is_empty(), "a snapshot was made, so nothing failed");
}

/// Ctrl-C ends what runs before a set, with all that it has started, and what cleans up runs.
#[test]
fn an_interrupted_command_is_ended_with_its_children() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    let (begun, cleaned) = (world.path("begun"), world.path("cleaned"));
    trees::tool("mkfifo", &[&begun]);
    // Both hold the pipe: it comes to its end when both are gone.
    let before = format!("exec 5> '{}'; sleep 1000 & wait", begun.display());
    let failed = format!("echo $UNSEEN_STATUS > '{}'", cleaned.display());
    let source = source.to_str().unwrap();
    machine.ok(&["set", "add", "s", source, "--before", &before, "--failed", &failed]);
    let mut child = machine.spawn(&["run"]);
    let mut pipe = std::fs::File::open(&begun).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(std::io::Read::read_to_end(&mut pipe, &mut Vec::new()).unwrap(), 0);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_to_string(cleaned).unwrap(), "interrupted\n");
    assert!(rows(&machine, &[]).is_empty());
}

/// Whether a path is saved, by which rule not, and since when: without a secret.
#[test]
fn why_tells_which_rule_and_which_snapshot() {
    let world = world!();
    let (machine, _) = world.local();
    let machine = machine.without_secrets();
    let (source, other) = (world.folder("source"), world.folder("other"));
    let kept = build::write(&source, "kept", "text");
    let rubbish = build::write(&source, "deep/a.tmp", "x");
    build::write(&source, "p/package.json", "{}");
    let module = build::write(&source, "p/node_modules/m/index.js", "x");
    let elsewhere = build::write(&other, "file", "x");
    machine.ok(&["set", "add", "home", source.to_str().unwrap(), "-e", "deep"]);
    let why = |code: i32, path: &std::path::Path| {
        let ran = machine.exits(code, &["why", path.to_str().unwrap()]);
        let json = machine.exits(code, &["why", path.to_str().unwrap(), "--json"]);
        (ran.text(), json.json_lines().pop().unwrap())
    };
    let (text, json) = why(0, &kept);
    assert!(text.contains("is in the set home"), "{text}");
    assert_eq!(json["sets"][0]["verdict"], "in");
    let (text, json) = why(1, &rubbish);
    let deep = source.join("deep");
    assert!(text.contains("pattern deep (exclude of config.toml)"), "{text}");
    assert_eq!(json["sets"][0]["excluded_by"]["at"], deep.to_str().unwrap());
    let (text, _) = why(1, &module);
    assert!(text.contains("made again from package.json (default_excludes"), "{text}");
    let (text, json) = why(1, &elsewhere);
    assert!(text.contains("is in no set"), "{text}");
    assert_eq!(json["sets"], serde_json::json!([]));
    let (text, _) = why(0, source.parent().unwrap());
    assert!(text.contains("on the way"), "{text}");
    why(1, &machine.state());

    // The times of new files prove nothing; the second run reads them again.
    let id = machine.ok(&["run", "--json"]).json_lines().pop().unwrap();
    let id = id["snapshot_id"].as_str().unwrap()[..8].to_owned();
    let (text, json) = why(0, &kept);
    assert!(text.contains(&id), "{text}");
    let state = json["sets"][0]["saved"]["state"].clone();
    assert!(["perhaps", "as_it_is"].contains(&state.as_str().unwrap()), "{json}");
    build::write(&source, "kept", "longer text");
    let (text, json) = why(0, &kept);
    assert!(text.contains("changed since it was saved") && text.contains(&id), "{text}");
    assert_eq!(json["sets"][0]["saved"]["state"], "changed");
    let new = build::write(&source, "new", "x");
    assert_eq!(why(0, &new).1["sets"][0]["saved"]["state"], "not_yet");
    std::fs::remove_file(&kept).unwrap();
    assert_eq!(why(0, &kept).1["sets"][0]["saved"]["state"], "gone");

    // What a run was told on the command line is remembered, too.
    machine.ok(&["run", other.to_str().unwrap()]);
    let (text, json) = why(1, &elsewhere);
    assert!(text.contains("which is not in config.toml"), "{text}");
    assert!(text.contains("no run saves it by itself"), "{text}");
    assert_eq!(json["sets"][0]["verdict"], "unknown");
    machine.exits(2, &["why"]);
}

/// One record of a folder serves all runs: whatever the last of them was told, what is said is true.
#[test]
fn why_tells_the_newest_snapshot_whatever_its_run_was_told() {
    let world = world!();
    let (machine, _) = world.local();
    let machine = machine.without_secrets();
    let source = world.folder("source");
    let file = build::write(&source, "a", "1");
    build::write(&source, "b", "1");
    machine.ok(&["set", "add", "home", source.to_str().unwrap()]);
    let run = |options: &[&str]| {
        let ran = machine.ok(&[&["run", "--json"], options].concat());
        ran.json_lines().pop().unwrap()["snapshot_id"].as_str().map(str::to_owned)
    };
    let is_in = |id: &Option<String>, set: &str| {
        let path = file.to_str().unwrap();
        let text = machine.ok(&["why", path]).text();
        let json = machine.ok(&["why", "--json", path]).json_lines().remove(0);
        let saved = &json["sets"][0]["saved"];
        let state = saved["state"].as_str().unwrap();
        assert!(["perhaps", "as_it_is"].contains(&state), "{json}");
        assert_eq!((saved["snapshot"].as_str(), &saved["set"]), (id.as_deref(), &set.into()));
        assert_eq!(json["sets"].as_array().unwrap().len(), 1, "{json}");
        assert_eq!(text.matches("snapshot ").count(), 1, "{text}");
        assert!(text.contains(&id.as_ref().unwrap()[..8]), "{text}");
    };
    let all = run(&[]);
    is_in(&all, "home");
    build::write(&source, "a", "second");
    let one = run(&[file.to_str().unwrap()]);
    let set = file.to_str().unwrap();
    is_in(&one, set);
    // As the daemon does it: with nothing new, there is no snapshot.
    build::write(&source, "b", "second");
    let both = run(&["--skip-if-unchanged"]);
    is_in(&both, "home");
    assert_eq!(run(&["--skip-if-unchanged"]), None);
    is_in(&both, "home");
    let again = run(&[file.to_str().unwrap()]);
    is_in(&again, set);
    std::fs::remove_file(&file).unwrap();
    run(&[]);
    let gone = machine.ok(&["why", set]).text();
    assert!(gone.contains(&again.unwrap()[..8]), "{gone}");
}

/// Of what is gone, and what no set has any more, it is told which snapshots may have it.
#[test]
fn why_names_the_snapshots_that_may_have_what_is_gone() {
    let world = world!();
    let (machine, _) = world.local();
    let bare = machine.clone().without_secrets();
    let source = world.folder("source");
    let file = build::write(&source, "deep/file", "1");
    let kept = build::write(&source, "kept", "1");
    bare.ok(&["set", "add", "home", source.to_str().unwrap()]);
    let run = || {
        let ran = bare.ok(&["run", "--json"]);
        ran.json_lines().pop().unwrap()["snapshot_id"].as_str().unwrap().to_owned()
    };
    let why = |code: i32, path: &std::path::Path| {
        let json = bare.exits(code, &["why", "--json", path.to_str().unwrap()]);
        let json = json.json_lines().remove(0);
        let ids = json["may_have"].as_array().unwrap().iter();
        let ids = ids.map(|one| one["snapshot"].as_str().unwrap().to_owned());
        (bare.exits(code, &["why", path.to_str().unwrap()]).text(), ids.collect::<Vec<_>>())
    };
    let (first, second) = (run(), run());
    // Its folder has another name now, and the record of it was left behind.
    std::fs::rename(source.join("deep"), source.join("other")).unwrap();
    assert!(why(0, &file).0.contains(&format!("it was there in snapshot {}", &second[..8])));
    let third = run();
    let (text, ids) = why(1, &file);
    assert!(text.contains(&format!("nor in the newest snapshot, {}", &third[..8])), "{text}");
    assert!(text.contains("2 snapshots of this machine may have it:"), "{text}");
    assert_eq!(ids, [second.clone(), first.clone()]);
    let named = format!("{}:{}", &second[..8], file.to_str().unwrap());
    assert!(text.contains(&format!("`backup ls {named}`")), "{text}");
    assert!(machine.by_passphrase().ok(&["ls", &named]).text().contains("deep/file"));

    bare.ok(&["set", "remove", "home"]);
    let (text, ids) = why(1, &file);
    assert!(text.contains("is in no set\n"), "{text}");
    assert!(ids.contains(&first) && ids.contains(&second), "{ids:?}");
    let (text, ids) = why(1, &kept);
    assert!(text.contains("saved as the set home, which is not in config.toml"), "{text}");
    assert!(text.contains(&third[..8]) && ids.is_empty(), "{text}");
    assert!(!text.contains("next run"), "{text}");
    let shown = bare.ok(&["status"]);
    assert!(shown.text().contains("; not in config.toml"), "{shown}");
}

/// Whoever was to save a set, a daemon that has died or a job of cron: days by the calendar count.
#[test]
fn status_tells_of_days_without_a_backup_where_no_daemon_counts_them() {
    let world = world!();
    let (machine, _) = world.local();
    let machine = machine.without_secrets();
    let source = world.folder("source");
    build::write(&source, "a", "1");
    machine.ok(&["set", "add", "home", source.to_str().unwrap()]);
    machine.ok(&["status"]);
    let config = machine.home.join(".config/unseen/config.toml");
    let new = config.metadata().unwrap().modified().unwrap();
    let old = new - std::time::Duration::from_secs(4 * 86_400);
    std::fs::File::options().append(true).open(config).unwrap().set_modified(old).unwrap();
    let shown = machine.exits(1, &["status"]);
    assert!(shown.text().contains("Warning     home has never been saved"), "{shown}");
    assert_eq!(shown.err, "", "a report on standard output has it");
    machine.ok(&["run"]);
    let shown = machine.ok(&["status"]);
    assert!(!shown.text().contains("Warning"), "{shown}");
}
