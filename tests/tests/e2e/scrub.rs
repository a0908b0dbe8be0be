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
