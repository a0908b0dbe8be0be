//! The server is killed at many points of an upload and a commit: nothing that it acknowledged is
//! lost, and the client's next run gets through.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use unseen_tests::trees::{self, build};
use unseen_tests::watch::Watch;
use unseen_tests::{Machine, Ran, Server, World, world};

fn enrolled(world: &World) -> (Server, Machine) {
    let (server, machine, _) = world.remote();
    // Makes the folders that are watched.
    machine.back_up(&build::write(&world.path("first"), "file", "x"), &[]);
    (server, machine)
}

fn change(source: &Path, round: u64) {
    for n in 0..4 {
        build::write(source, format!("{n}/noise"), build::noise(round * 10 + n, 400_000));
    }
}

/// Runs a backup, and kills the server after so many events. Tells whether the kill came before the
/// run was over. The server runs again afterwards.
fn run_and_kill(
    server: &mut Server,
    machine: &Machine,
    path: &str,
    (count, stays_away): (usize, bool),
) -> (Ran, bool) {
    let watch = Watch::new(std::slice::from_ref(&server.data), server.pid());
    let process = pidfd_open(server.pid(), PidfdFlags::empty()).unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let ran = machine.run(&["run", "--json", path]);
            // Ends the wait of a watch that still counts. Fails if the server is gone.
            pidfd_send_signal(&process, Signal::KILL).ok();
            ran
        });
        let was_killed = watch.signal_after(count, Signal::KILL);
        server.wait();
        let early = !stays_away && !run.is_finished();
        if early {
            server.restart();
        }
        let ran = run.join().unwrap();
        if !early {
            server.restart();
        }
        (ran, was_killed)
    })
}

/// After every kill the snapshots that were acknowledged are there, and restore.
#[test]
fn killed_at_many_points_nothing_acknowledged_is_lost() {
    let world = world!();
    let (mut server, machine) = enrolled(&world);
    let source = world.folder("source");
    let path = source.to_str().unwrap().to_owned();
    let mut acknowledged = Vec::new();
    let (mut round, mut count, mut killed, mut away) = (0, 1, 0, 0);
    loop {
        round += 1;
        assert!(round < 60, "runs never get through");
        change(&source, round);
        // Now and then the server stays away until the run gives up; else it is back at once, and
        // the run goes on.
        let stays_away = killed % 6 == 1;
        let (ran, was_killed) = run_and_kill(&mut server, &machine, &path, (count, stays_away));
        if ran.code == Some(0) {
            let id = ran.json_lines().pop().unwrap()["snapshot_id"].clone();
            acknowledged.push((id.as_str().unwrap().to_owned(), trees::capture(&source)));
        } else {
            assert!(matches!(ran.code, Some(24 | 1)), "{ran}");
        }
        if !was_killed {
            break;
        }
        away += usize::from(ran.code != Some(0));
        killed += 1;
        count += 1 + count / 3;
    }
    assert!(killed >= 5, "the server was killed only {killed} times");
    assert!((1..killed).contains(&away), "{away} of {killed} runs gave up");
    let listed = machine.ok(&["snapshots", "--json"]).text();
    for (id, _) in &acknowledged {
        assert!(listed.contains(&id[..8]), "{id} is lost:\n{listed}");
    }
    let (id, wanted) = acknowledged.last().unwrap();
    machine.restores_to(id, &source, wanted);
    let (id, wanted) = acknowledged.first().unwrap();
    machine.restores_to(id, &source, wanted);
    machine.ok(&["check", "--read-data"]);
}

/// sled is an index of the journal: without it the server makes it anew.
#[test]
fn a_lost_index_is_made_anew() {
    let world = world!();
    let (mut server, machine) = enrolled(&world);
    let source = world.folder("source");
    change(&source, 1);
    let wanted = trees::capture(&source);
    let snapshot = machine.back_up(&source, &[]).snapshot();
    let packs = trees::packs(&server.data);
    server.kill();
    fs::remove_dir_all(server.data.join("index")).unwrap();
    server.restart();
    machine.restores_to(&snapshot, &source, &wanted);
    let again = machine.back_up(&source, &[]);
    assert_eq!(again.number("data_uploaded"), 0);
    assert_eq!(trees::packs(&server.data), packs);
}

/// A power cut may leave half a frame, or zeros, at the end of the journal: they were never
/// acknowledged, and what stands before them counts.
#[test]
fn a_torn_end_of_the_journal_is_cut_off() {
    let world = world!();
    let (mut server, machine) = enrolled(&world);
    let source = world.folder("source");
    change(&source, 1);
    let wanted = trees::capture(&source);
    let snapshot = machine.back_up(&source, &[]).snapshot();
    for torn in [&[0_u8; 700][..], b"\x20\x00\x00\x00half a frame", b"\x01"] {
        server.kill();
        for journal in journals(&server.data) {
            let mut file = File::options().append(true).open(journal).unwrap();
            std::io::Write::write_all(&mut file, torn).unwrap();
        }
        server.restart();
        machine.restores_to(&snapshot, &source, &wanted);
        change(&source, 2);
        machine.back_up(&source, &[]);
        change(&source, 1);
    }
    machine.ok(&["check", "--read-data"]);
}

/// A changed byte in the middle is no torn end: the server says so and does not guess.
#[test]
fn a_damaged_journal_is_not_passed_over() {
    let world = world!();
    let (mut server, machine) = enrolled(&world);
    let source = world.folder("source");
    change(&source, 1);
    machine.back_up(&source, &[]);
    server.stop();
    let journals = journals(&server.data);
    let account = journals.iter().find(|path| !path.ends_with("server")).unwrap();
    let mut bytes = fs::read(account).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(account, bytes).unwrap();
    server.restart();
    let ran = machine.run(&["run", source.to_str().unwrap()]);
    assert!(!matches!(ran.code, Some(0 | 3)), "{ran}");
    let log = fs::read_to_string(&server.log).unwrap();
    assert!(log.contains("journal"), "{log}");
}

fn journals(data: &Path) -> Vec<PathBuf> {
    let files = trees::files(&data.join("journal"));
    files.into_iter().map(|(path, _)| path).collect()
}
