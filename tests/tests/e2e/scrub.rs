//! Bit rot on the server: found by a scrub, told by file name, healed by the next backup.

use std::fs;
use std::path::{Path, PathBuf};

use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, World, world};

/// Changes one byte in the middle of the pack that came since `before`.
fn rot(data: &Path, before: &[(PathBuf, u64)]) {
    let packs = trees::packs(data);
    let (pack, size) = packs.iter().find(|pack| !before.contains(pack)).unwrap();
    let mut bytes = fs::read(pack).unwrap();
    bytes[usize::try_from(size / 2).unwrap()] ^= 1;
    build::chmod(pack, 0o600);
    fs::write(pack, bytes).unwrap();
}

/// The pack that came since `before`.
fn newest(data: &Path, before: &[(PathBuf, u64)]) -> PathBuf {
    let packs = trees::packs(data);
    packs.iter().find(|pack| !before.contains(pack)).unwrap().0.clone()
}

/// A file in one pack, then another in a second one. Gives the packs before the second, and both
/// snapshots.
fn two_backups(
    machine: &Machine,
    data: &Path,
    source: &Path,
) -> (Vec<(PathBuf, u64)>, [String; 2]) {
    build::write(source, "first", build::noise(1, 400_000));
    let first = machine.back_up(source, &[]).snapshot();
    let before = trees::packs(data);
    build::write(source, "second", build::noise(2, 400_000));
    (before, [first, machine.back_up(source, &[]).snapshot()])
}

/// Without reading anything, `check` finds that a file is gone, names what suffers and who heals;
/// the next run does, and all snapshots are whole again.
fn a_lost_file_is_found_and_healed(machine: &Machine, data: &Path, source: &Path) {
    let (before, snapshots) = two_backups(machine, data, source);
    let wanted = trees::capture(source);
    assert!(machine.ok(&["check"]).text().contains("no damage found"));
    fs::remove_file(newest(data, &before)).unwrap();
    let ran = machine.exits(20, &["check"]);
    assert!(ran.err.contains("it is missing"), "{ran}");
    // The folders of the second snapshot went with it.
    assert!(ran.text().contains("1 file or folder is lost\n  /\n"), "{ran}");
    assert!(
        ran.err.contains("the next `backup run` on ") && ran.err.contains("sends again"),
        "{ran}"
    );
    let json = machine.exits(20, &["check", "--json"]).json_lines();
    let summary = json.last().unwrap();
    assert_eq!((&summary["healing"]["packs"], &summary["files_lost"]), (&1.into(), &1.into()));
    assert!(machine.back_up(source, &[]).number("data_added") > 400_000);
    for snapshot in ["latest", &snapshots[1]] {
        machine.restores_to(snapshot, source, &wanted);
    }
    let after = machine.ok(&["check"]).text();
    assert!(after.contains("nothing is lost. 1 pack is damaged or gone"), "{after}");
}

#[test]
fn a_check_finds_a_lost_file_of_a_local_vault_and_the_next_run_heals() {
    let world = world!();
    let (machine, vault) = world.local();
    a_lost_file_is_found_and_healed(&machine, &vault, &world.folder("source"));
}

#[test]
fn a_check_finds_a_lost_file_of_a_server_and_the_next_run_heals() {
    let world = world!();
    let (server, machine, _) = world.remote();
    a_lost_file_is_found_and_healed(&machine, &server.data, &world.folder("source"));
}

/// Rot that `check --read-data` finds, or a restore, is sent again by the next run.
#[test]
fn what_a_check_or_a_restore_reads_and_finds_damaged_is_healed() {
    let world = world!();
    let (server, machine, _) = world.remote();
    let source = world.folder("source");
    let (before, _) = two_backups(&machine, &server.data, &source);
    let wanted = trees::capture(&source);
    rot(&server.data, &before);
    assert!(machine.ok(&["check"]).text().contains("no damage found"), "only reading can find it");
    let ran = machine.exits(20, &["check", "--read-data"]);
    assert!(ran.err.contains("the next `backup run` on "), "{ran}");
    assert!(machine.back_up(&source, &[]).number("data_added") > 400_000);
    machine.restores_to("latest", &source, &wanted);
    machine.ok(&["check", "--read-data"]);

    let before = trees::packs(&server.data);
    build::write(&source, "third", build::noise(3, 400_000));
    machine.back_up(&source, &[]);
    rot(&server.data, &before);
    let target = world.path("target");
    let words = ["restore", "latest", "--target", target.to_str().unwrap()];
    let ran = machine.exits(20, &words);
    assert!(ran.err.contains("the vault knows of 1 damaged pack now"), "{ran}");
    assert!(machine.back_up(&source, &[]).number("data_added") > 400_000);
    machine.restores_to("latest", &source, &trees::capture(&source));
}

/// Nobody else reads a local vault again: a run does, when the last time was long ago.
#[test]
fn a_run_into_a_local_vault_reads_some_of_it_again_now_and_then() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = world.folder("source");
    let (before, _) = two_backups(&machine, &vault, &source);
    rot(&vault, &before);
    let hint = vault.join("scrub.json");
    let run = || machine.ok(&["run", source.to_str().unwrap()]);
    assert!(!run().err.contains("damaged"), "the vault is young");
    assert!(!hint.exists());
    let journals = fs::read_dir(vault.join("journal")).unwrap();
    let account = journals
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.len() == 32)
        .unwrap();
    fs::write(&hint, format!(r#"{{"{account}":{{"finished":1000,"next":0}}}}"#)).unwrap();
    let ran = run();
    assert!(ran.err.contains("1 pack of the vault turned out to be damaged"), "{ran}");
    let after = fs::read_to_string(&hint).unwrap();
    assert!(!after.contains(r#""finished":1000"#), "{after}");
    machine.exits(20, &["check"]);
    let healing = run();
    assert!(!healing.err.contains("damaged"), "{healing}");
    machine.ok(&["check"]);
}

/// The files that `check` names, by the ends of their paths.
fn lost(machine: &Machine) -> Vec<String> {
    let ran = machine.run(&["check"]);
    assert!(matches!(ran.code, Some(0 | 20)), "{ran}");
    let text = ran.text();
    let named = text.lines().filter_map(|line| line.strip_prefix("  /"));
    named.filter_map(|path| path.rsplit('/').next()).map(str::to_owned).collect()
}

fn scrub(world: &World, data: &Path, code: i32, more: &[&str]) -> String {
    let mut words = vec!["scrub", "--data", data.to_str().unwrap()];
    words.extend(more);
    world.backup_server(&words).check(code).text()
}

#[test]
fn a_scrub_finds_rot_check_names_the_files_and_the_next_run_heals() {
    let world = world!();
    let server = world.server("server");
    let machine = world.machine("home");
    machine.init_remote(&server.invite(&[]));
    let source = world.folder("source");
    build::write(&source, "first", build::noise(1, 400_000));
    machine.back_up(&source, &[]);
    let before = trees::packs(&server.data);
    build::write(&source, "second", build::noise(2, 400_000));
    let old = machine.back_up(&source, &[]).snapshot();
    let wanted = trees::capture(&source);
    assert!(scrub(&world, &server.data, 0, &["--now"]).contains("2 packs, "));
    assert_eq!(lost(&machine), [""; 0]);

    rot(&server.data, &before);
    let told = scrub(&world, &server.data, 20, &["--now"]);
    assert!(told.contains("damaged: pack 1\n"), "{told}");
    assert!(told.contains("needed by the snapshot of log record 3\n"), "{told}");
    assert!(scrub(&world, &server.data, 20, &[]).contains("damaged: pack 1\n"));
    assert_eq!(lost(&machine), ["second"]);

    let healing = machine.back_up(&source, &[]);
    assert!(healing.number("data_added") > 400_000, "{:?}", healing.0);
    machine.restores_to("latest", &source, &wanted);
    // Its own pack is damaged; the chunks are found in the one that came since.
    machine.restores_to(&old, &source, &wanted);
    assert_eq!(lost(&machine), [""; 0]);
    let third = machine.back_up(&source, &[]);
    assert!(third.number("data_added") < 100_000, "nothing is sent twice: {:?}", third.0);
}

#[test]
fn a_scrub_works_while_no_server_runs() {
    let world = world!();
    let machine = world.machine("home");
    let vault = world.path("vault");
    machine.init_local(&vault);
    let source = world.folder("source");
    build::write(&source, "file", build::noise(1, 400_000));
    machine.back_up(&source, &[]);
    assert!(scrub(&world, &vault, 0, &["--now"]).contains("just now"));
    rot(&vault, &[]);
    assert!(scrub(&world, &vault, 20, &["--now"]).contains("1 pack newly found damaged"));
    assert_eq!(lost(&machine), ["file"]);
    for kind in ["manifests", "manifests2"] {
        let one = trees::files(&vault.join("accounts"))
            .into_iter()
            .find(|(path, _)| path.parent().is_some_and(|folder| folder.ends_with(kind)));
        fs::remove_file(one.unwrap().0).unwrap();
    }
    scrub(&world, &vault, 20, &["--now"]);
    let told = scrub(&world, &vault, 20, &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told[0]["damaged_packs"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told[0]["lost"].as_array().unwrap().len(), 1, "{told}");
    let account = &told[0]["account"].as_str().unwrap()[..6];
    assert!(scrub(&world, &vault, 20, &["--account", account]).contains("lost: 1 manifests"));
    scrub(&world, &vault, 1, &["--account", "0000000000"]);
    let missing = world.path("mistyped");
    scrub(&world, &missing, 1, &["--now"]);
    assert!(!missing.exists());
}

/// Journal and index are lost; what is left is the blob folder and the identity. A bare machine with
/// nothing but the recovery code gets everything back, and the old machine goes on.
#[test]
fn a_rebuilt_server_gives_everything_to_a_bare_machine_with_the_recovery_code() {
    let world = world!();
    let mut server = world.server("server");
    let machine = world.machine("home");
    let kit = machine.init_remote(&server.invite(&[]));
    let source = world.folder("source");
    build::write(&source, "file", build::noise(1, 3_000_000));
    machine.back_up(&source, &[]);
    let wanted = trees::capture(&source);
    let data = server.data.to_str().unwrap().to_owned();
    let busy = world.backup_server(&["rebuild", "--data", &data]).check(11);
    assert!(busy.err.contains("in use"), "{busy}");
    server.stop();
    fs::remove_dir_all(server.data.join("journal")).unwrap();
    fs::remove_dir_all(server.data.join("index")).unwrap();
    let told = world.backup_server(&["rebuild", "--data", &data]).check(0);
    assert!(told.text().contains("rebuilt, 3 log records"), "{told}");
    let again = world.backup_server(&["rebuild", "--data", &data]).check(0);
    assert!(again.text().contains("left as it is"), "{again}");
    let json = |options: &[&str], code| {
        let mut words = vec!["rebuild", "--data", &data, "--json"];
        words.extend(options);
        world.backup_server(&words).check(code).json_lines().pop().unwrap()
    };
    let told = json(&[], 0);
    let name = told[0]["account"].as_str().unwrap().to_owned();
    assert_eq!(told[0]["fate"], "whole");
    fs::remove_dir_all(server.data.join("journal")).unwrap();
    let told = json(&["--account", &name[..4]], 0);
    assert_eq!((&told[0]["fate"], &told[0]["log_records"]), (&"rebuilt".into(), &3.into()));
    assert_eq!((&told[0]["account"], &told[0]["missing_packs"]), (&name.into(), &0.into()));
    server.restart();
    let bare = world.machine("bare").with("BACKUP_RECOVERY_CODE", &kit.code);
    bare.ok(&["connect", &kit.address]);
    bare.restores_to("latest", &source, &wanted);
    build::write(&source, "more", build::noise(2, 300_000));
    machine.back_up(&source, &[]);
    machine.ok(&["check", "--read-data"]);
}

#[test]
fn a_copy_of_a_running_server_serves_in_its_place() {
    let world = world!();
    let mut server = world.server("server");
    let machine = world.machine("home");
    machine.init_remote(&server.invite(&[]));
    let source = world.folder("source");
    build::write(&source, "file", build::noise(1, 300_000));
    machine.back_up(&source, &[]);
    let wanted = trees::capture(&source);
    let data = server.data.clone();
    let copy = world.path("copy");
    let words = ["copy", "--data", data.to_str().unwrap(), copy.to_str().unwrap()];
    let told = world.backup_server(&words).check(0);
    assert!(told.text().starts_with("copied: accounts 1, "), "{told}");
    build::write(&source, "later", build::noise(9, 300_000));
    machine.back_up(&source, &[]);
    let wanted_later = trees::capture(&source);
    let told = world.backup_server(&words).check(0).text();
    assert!(told.contains(", 6 of them new\n"), "an older copy takes what changed: {told}");
    let taken = world.folder("taken");
    build::write(&taken, "letter", "dear");
    let refused = ["copy", "--data", data.to_str().unwrap(), taken.to_str().unwrap()];
    let refused = world.backup_server(&refused).check(1);
    assert!(refused.err.contains("is not empty and no copy"), "{refused}");
    let other = world.path("other");
    let words = ["copy", "--json", "--data", data.to_str().unwrap(), other.to_str().unwrap()];
    let of_running = world.backup_server(&words).check(0).json_lines().pop().unwrap();
    assert_eq!((&of_running["accounts"], &of_running["missing_files"]), (&1.into(), &0.into()));
    assert_eq!(of_running["left_out"], serde_json::json!([]));
    server.stop();
    fs::remove_dir_all(&other).unwrap();
    let of_stopped = world.backup_server(&words).check(0).json_lines().pop().unwrap();
    assert_eq!(of_stopped["files"], of_running["files"]);
    fs::rename(&data, world.path("original")).unwrap();
    fs::rename(&copy, &data).unwrap();
    server.restart();
    machine.restores_to("latest", &source, &wanted_later);
    machine.restores_to("latest~1", &source, &wanted);
    build::write(&source, "more", "x");
    machine.back_up(&source, &[]);
    machine.ok(&["check", "--read-data"]);
}
