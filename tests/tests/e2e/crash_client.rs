//! The client is killed at many points of a run: what was sent is used, and nothing is spoilt.

use std::path::{Path, PathBuf};

use unseen_tests::trees::{self, build};
use unseen_tests::{Machine, World, watch, world};

/// What a run in the middle of which the client dies works on.
fn source(world: &World) -> PathBuf {
    let source = world.folder("source");
    for n in 0..30 {
        build::write(&source, format!("{n:02}/noise"), build::noise(n, 700_000));
        build::write(&source, format!("{n:02}/text"), format!("{n} ").repeat(3000));
    }
    source
}

/// Kills runs after ever more events until one gets through, and says how many were killed.
/// Between them the tree changes a little, so that each run has something to do at its end.
fn kill_until_one_gets_through(machine: &Machine, source: &Path, watched: &[PathBuf]) -> usize {
    let mut killed = 0;
    let mut count = 1;
    loop {
        build::write(source, "changing", build::noise(900 + killed as u64, 30_000));
        let mut child = machine.spawn(&["run", source.to_str().unwrap()]);
        let Some(_) = watch::kill_after(&mut child, watched, count) else {
            return killed;
        };
        killed += 1;
        assert!(killed < 60, "runs never get through");
        count += 1 + count / 3;
    }
}

fn survives(machine: &Machine, source: &Path, watched: &[PathBuf]) {
    let killed = kill_until_one_gets_through(machine, source, watched);
    assert!(killed >= 5, "only {killed} runs were killed");
    let wanted = trees::capture(source);
    let snapshot = machine.back_up(source, &[]).snapshot();
    machine.restores_to(&snapshot, source, &wanted);
    machine.ok(&["check", "--read-data"]);
}

/// The vault, the journal and the index are this process's own: all die with it.
#[test]
fn killed_at_many_points_with_a_local_vault() {
    let world = world!();
    let (machine, vault) = world.local();
    let source = source(&world);
    // Makes the folders that are watched.
    machine.back_up(&build::write(&world.path("first"), "file", "x"), &[]);
    survives(&machine, &source, &[vault, machine.state(), machine.cache()]);
}

#[test]
fn killed_at_many_points_with_a_server() {
    let world = world!();
    let (server, machine, _) = world.remote();
    let source = source(&world);
    machine.back_up(&build::write(&world.path("first"), "file", "x"), &[]);
    let watched = [server.data.join("accounts"), machine.state(), machine.cache()];
    survives(&machine, &source, &watched);
}

/// A run that is killed in the middle is not done again from the start.
#[test]
fn what_was_sent_before_the_kill_is_not_sent_again() {
    let world = world!();
    let (server, machine, _) = world.remote();
    machine.back_up(&build::write(&world.path("first"), "file", "x"), &[]);
    let source = world.folder("source");
    for n in 0..30 {
        build::write(&source, format!("{n:02}/noise"), build::noise(n, 2_000_000));
    }
    let wanted = trees::capture(&source);
    let shelf = trees::packs(&server.data)[0].0.parent().unwrap().to_path_buf();
    let mut child = machine.spawn(&["run", source.to_str().unwrap()]);
    let killed = watch::kill_after(&mut child, &[shelf], 10);
    assert!(killed.is_some(), "the run was over before it was killed");
    let sent: u64 = trees::packs(&server.data).iter().map(|pack| pack.1).sum();
    let snapshot = machine.back_up(&source, &[]).snapshot();
    let all: u64 = trees::packs(&server.data).iter().map(|pack| pack.1).sum();
    assert!(sent > 8 << 20, "nothing had been sent");
    let data = 30 * 2_000_000;
    assert!(all < data + data / 5, "{all} bytes are stored of {data}");
    machine.restores_to(&snapshot, &source, &wanted);
}

/// A restore that is killed goes on where it stopped; what it left half done does not stay.
#[test]
fn a_restore_killed_at_many_points_goes_on() {
    let world = world!();
    let (machine, _) = world.local();
    let source = source(&world);
    let wanted = trees::capture(&source);
    machine.back_up(&source, &[]);
    let target = world.path("target");
    machine.restore("latest", &target, &[]);
    let copy = trees::beneath(&target, &source);
    // The folders stay, to be watched.
    for (file, _) in trees::files(&copy) {
        std::fs::remove_file(file).unwrap();
    }
    let words = ["restore", "latest", "--target", target.to_str().unwrap()];
    // Where a file can be without a name until it is whole, nothing half done is ever seen: only the
    // empty one that tells whether it can.
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR;
    let unnamed = rustix::fs::open(&copy, flags, rustix::fs::Mode::RWXU).is_ok();
    let unnamed = unnamed && rustix::process::geteuid().is_root();
    let mut killed = 0;
    for count in [1, 2, 5, 12, 20, 30] {
        let mut child = machine.spawn(&words);
        let watched = std::slice::from_ref(&copy);
        killed += usize::from(watch::kill_after(&mut child, watched, count).is_some());
        for (file, length) in trees::files(&copy) {
            let path = file.strip_prefix(&copy).unwrap();
            if path.file_name().unwrap().as_encoded_bytes().starts_with(b".unseen-") {
                assert!(!unnamed || length == 0, "{length} bytes of a file that is not whole");
            } else {
                let same =
                    std::fs::read(&file).unwrap() == std::fs::read(source.join(path)).unwrap();
                assert!(same, "{} is not whole", path.display());
            }
        }
    }
    assert!(killed >= 4, "only {killed} restores were killed");
    machine.ok(&words);
    trees::assert_same(&wanted, &trees::capture(&copy));
}

/// Two runs at once: one is told that the other is busy, and neither is spoilt.
#[test]
fn a_second_run_at_the_same_time_is_busy() {
    let world = world!();
    let (machine, _) = world.local();
    let pipe = world.path("pipe");
    trees::tool("mkfifo", &[&pipe]);
    let read = format!("cat '{}'", pipe.display());
    let mut first = machine.spawn(&[
        "run",
        "--stdin-filename",
        "slow",
        "--stdin-from-command",
        "--",
        "sh",
        "-c",
        &read,
    ]);
    // Opens only once the reader is there: the first run is in the middle of its work.
    let writer = std::fs::File::options().write(true).open(&pipe).unwrap();
    let path = build::write(&world.path("source"), "file", "x");
    machine.exits(11, &["run", path.to_str().unwrap()]);
    drop(writer);
    assert!(first.wait().unwrap().success());
    machine.back_up(&path, &[]);
}
