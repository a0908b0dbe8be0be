//! The server deletes while devices back up: nothing that a snapshot needs ever goes.

use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use unseen_tests::eager::Eager;
use unseen_tests::trees::{self, Tree, build};
use unseen_tests::watch::Watch;
use unseen_tests::{Machine, Ran, World, world};

const EAGER: &str = env!("CARGO_BIN_EXE_unseen-test-eager-server");

/// A machine, what it backs up, and the snapshots that were acknowledged.
struct Device {
    machine: Machine,
    source: PathBuf,
    done: Vec<(String, Tree)>,
}

impl Device {
    fn new(machine: Machine, source: PathBuf) -> Self {
        Self { machine, source, done: Vec::new() }
    }

    /// Some files stay, some are new.
    fn change(&self, round: u64) {
        for n in 0..6 {
            let seed = if n < 2 { n } else { round * 10 + n };
            build::write(&self.source, format!("{n}/noise"), build::noise(seed, 300_000));
        }
    }

    fn begin(&self) -> (Child, Tree) {
        let words = ["run", "--json", self.source.to_str().unwrap()];
        (self.machine.spawn(&words), trees::capture(&self.source))
    }

    fn end(&mut self, (child, tree): (Child, Tree)) {
        let output = child.wait_with_output().unwrap();
        let code = output.status.code();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{errors}");
        if code == Some(0) {
            let last = said.lines().last().unwrap();
            let summary: serde_json::Value = serde_json::from_str(last).unwrap();
            let id = summary["snapshot_id"].as_str().unwrap().to_owned();
            self.done.push((id, tree));
        } else {
            // Not reached, or given up after three rounds: the next run goes on.
            assert!(matches!(code, Some(1 | 24)), "{code:?}\n{said}\n{errors}");
        }
    }
}

fn enrol(world: &World) -> (Eager, Vec<Device>, PathBuf) {
    let mut server = world.server("server");
    let devices = ["one", "two"].map(|name| {
        let machine = world.machine(name);
        machine.init_remote(&server.invite(&[]));
        // Makes the folders that are watched.
        machine.back_up(&build::write(&world.path(format!("first {name}")), "file", name), &[]);
        Device::new(machine, world.folder(format!("source {name}")))
    });
    server.stop();
    let eager = Eager::start(Path::new(EAGER), &server.data, server.address);
    (eager, devices.into(), server.data.clone())
}

fn stop_after(child: &Child, data: &Path, count: usize) -> bool {
    Watch::new(&[data.to_path_buf()], Pid::from_child(child)).signal_after(count, Signal::STOP)
}

/// Runs are stopped in the middle and go on when everything that they had sent was deleted; the
/// server is killed in the middle of others.
#[test]
fn deletion_beside_everything_else_loses_nothing() {
    let world = world!();
    let (mut eager, mut devices, data) = enrol(&world);
    let (mut deleted, mut stopped) = (0, 0);
    // Whether a run is caught in its middle is chance: six rounds, and more if none was.
    for round in 0..30_usize {
        if round >= 6 && stopped > 0 {
            break;
        }
        let running: Vec<_> = devices
            .iter()
            .map(|device| {
                device.change(round as u64 + 1);
                device.begin()
            })
            .collect();
        let first = &running[0].0;
        if round % 2 == 0 {
            if stop_after(first, &data, 4 + 3 * (round % 6)) {
                stopped += 1;
                deleted += eager.sweep();
                kill_process(Pid::from_child(first), Signal::CONT).unwrap();
            }
        } else if stop_after(first, &data, 5 * (round % 6)) {
            eager.kill_and_restart();
            deleted += eager.sweep();
            kill_process(Pid::from_child(first), Signal::CONT).unwrap();
        }
        for (device, run) in devices.iter_mut().zip(running) {
            device.end(run);
        }
        deleted += eager.sweep();
    }
    assert!(stopped > 0, "no run was stopped");
    for device in &mut devices {
        let run = device.begin();
        device.end(run);
        assert!(device.done.len() > 3, "{} runs got through", device.done.len());
        // What is forgotten goes, with the packs that it alone needs, once its grace is over. The
        // first has sent the files that stay beside its own; the second has packs of its own.
        let (gone, _) = device.done.remove(1);
        device.machine.ok(&["forget", &gone, "--yes"]);
    }
    assert!(eager.sweep() > 0, "no pack was deleted; {deleted} went before");
    for device in &mut devices {
        for (id, tree) in &device.done {
            device.machine.restores_to(id, &device.source, tree);
        }
        device.machine.ok(&["check", "--read-data"]);
    }
}

/// A client that slept for weeks in the middle of a run: its packs are gone, it is told which, and
/// sends them again.
#[test]
fn a_client_that_slept_for_weeks_sends_its_packs_again() {
    let world = world!();
    let (mut eager, mut devices, data) = enrol(&world);
    let device = &mut devices[0];
    // Packs of at least 64 KiB come before anything else that is written for this account. A run
    // that was through before it could be stopped shows nothing.
    let caught = (1..=30).find_map(|round| {
        device.change(round);
        let run = device.begin();
        if stop_after(&run.0, &data, 8) {
            return Some(run);
        }
        device.end(run);
        None
    });
    let run = caught.expect("one of thirty runs is stopped in time");
    device.done.clear();
    let deleted = eager.sweep();
    kill_process(Pid::from_child(&run.0), Signal::CONT).unwrap();
    device.end(run);
    assert_eq!(device.done.len(), 1, "it got through in the same run");
    let (id, tree) = &device.done[0];
    device.machine.restores_to(id, &device.source, tree);
    assert_eq!(eager.sweep(), 0, "{deleted} went before");
    device.machine.ok(&["check", "--read-data"]);
}

/// What whoever runs the server sees: nothing to do, and why nothing is deleted.
#[test]
fn gc_tells_what_it_did() {
    let world = world!();
    let server = world.server("server");
    let data = server.data.to_str().unwrap().to_owned();
    let machine = world.machine("home");
    machine.init_remote(&server.invite(&[]));
    let ran: Ran = world.backup_server(&["gc", "--data", &data]).check(0);
    assert!(ran.text().contains("deleted    0 packs, 0 B"), "{ran}");
    let ran = world.backup_server(&["gc", "--data", &data, "--json", "--confirm-clock"]).check(0);
    assert_eq!(ran.json_lines()[0]["packs"], 0);
    drop(server);
    // The folder alone, as for a local vault.
    let ran = world.backup_server(&["gc", "--data", &data]).check(0);
    assert!(ran.text().contains("expired    0 snapshots"), "{ran}");
    let ran = world.backup_server(&["gc", "--data", "nowhere"]).check(1);
    assert!(ran.err.contains("no data folder"), "{ran}");
}
