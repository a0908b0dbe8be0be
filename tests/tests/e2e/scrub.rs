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
    assert!(scrub(&world, &server.data, 0, &["--now"]).contains("read 2 packs"));
    assert_eq!(lost(&machine), [""; 0]);

    rot(&server.data, &before);
    let told = scrub(&world, &server.data, 20, &["--now"]);
    assert!(told.contains("damaged packs: 1"), "{told}");
    assert!(told.contains("by log record: 3"), "{told}");
    assert!(scrub(&world, &server.data, 20, &[]).contains("damaged packs: 1"));
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
    assert!(scrub(&world, &vault, 0, &["--now"]).contains("read 1 packs"));
    rot(&vault, &[]);
    assert!(scrub(&world, &vault, 20, &["--now"]).contains("1 newly found damaged"));
    assert_eq!(lost(&machine), ["file"]);
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
    assert!(told.text().starts_with("copied 1 accounts, "), "{told}");
    assert!(world.backup_server(&words).check(1).err.contains("is not empty"));
    server.stop();
    fs::rename(&data, world.path("original")).unwrap();
    fs::rename(&copy, &data).unwrap();
    server.restart();
    machine.restores_to("latest", &source, &wanted);
    build::write(&source, "more", "x");
    machine.back_up(&source, &[]);
    machine.ok(&["check", "--read-data"]);
}
