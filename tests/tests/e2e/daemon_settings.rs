//! What a daemon goes by may change under it, and may be wrong for a while.

use std::io::Write;
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use unseen_tests::{trees, world};

use super::daemon::{Lab, PATIENCE};

/// `status` tells what the daemon does, and what is wrong with the file that it will not take.
#[test]
fn a_mistake_in_the_configuration_hides_nothing() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    lab.edit("[daemon]", "[daemon]\n  quit = 1");
    daemon.says("the old configuration stays");
    let line = "column 3: unknown field `quit`";
    let shown = lab.machine.exits(1, &["status"]);
    assert!(shown.text().contains("Vault       file:///"), "{shown}");
    assert!(shown.text().contains("Daemon      watching since"), "{shown}");
    assert!(shown.text().contains("docs        saved just now"), "{shown}");
    assert!(shown.text().contains(line), "{shown}");
    assert!(shown.text().contains("goes on with the settings it read before"), "{shown}");
    assert_eq!(shown.text().matches("quit").count(), 1, "once is enough\n{shown}");
    assert_eq!(shown.err, "", "what is mailed has it");
    let json = lab.machine.exits(1, &["status", "--json"]).json_lines().remove(0);
    assert!(json["config"]["line"].is_u64() && json["config"]["column"] == 3, "{json}");
    assert!(json["vault"].as_str().unwrap().starts_with("file:///"), "{json}");
    assert_eq!(json["sets"][0]["name"], "docs");
    // What is asked of the daemon needs no configuration.
    for words in
        [["daemon", "pause", "1h"].as_slice(), &["daemon", "resume"], &["daemon", "status"]]
    {
        lab.machine.ok(words);
    }
    lab.write("second", "second");
    daemon.says("docs: snapshot");
    daemon.stop();
    let shown = lab.machine.exits(1, &["status"]);
    assert!(shown.text().contains("docs        saved just now"), "{shown}");
    assert!(shown.text().contains("config.toml may name another place"), "{shown}");
    assert!(
        shown.text().contains(line) && shown.text().contains("Nothing is backed up until"),
        "{shown}"
    );
    assert!(!shown.text().contains("goes on"), "{shown}");
    lab.edit("\n  quit = 1", "");
    let shown = lab.machine.ok(&["status"]);
    assert!(shown.text().contains("docs        saved just now"), "{shown}");
}

/// A set more is a scan of that set.
#[test]
fn a_set_that_comes_leaves_the_others_alone() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    std::fs::create_dir(lab.machine.home.join("more")).unwrap();
    lab.machine.ok(&["set", "add", "more", "more"]);
    daemon.says("more: snapshot");
    lab.write("second", "second");
    daemon.says("docs: snapshot");
    let scans = daemon.said.iter().filter(|line| line.contains("docs: everything")).count();
    assert_eq!(scans, 1, "{:#?}", daemon.said);
    // `… docs: snapshot ID saved`.
    let newest = daemon.said.last().and_then(|line| line.rsplit(' ').nth(1)).unwrap().to_owned();
    lab.holds(&newest);
    daemon.stop();
}

/// Whoever is to hear of failures hears of this one, too.
#[test]
fn a_set_that_cannot_be_made_ready_has_failed() {
    let lab = Lab::new("1h");
    let hooks = "before = 'exit 3'\nfailed = 'echo \"told that it $UNSEEN_STATUS\"'";
    lab.edit("exclude = [", &format!("{hooks}\nexclude = ["));
    let mut daemon = lab.start();
    daemon.says("told that it failed");
    lab.edit("before = 'exit 3'\n", "");
    daemon.says("docs: snapshot");
    daemon.stop();
}

#[test]
fn a_vault_that_has_moved_is_found_without_a_new_start() {
    let world = world!();
    let (mut server, machine, _kit) = world.remote();
    let lab = Lab::with(world, machine, "1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    server.stop();
    std::fs::remove_dir_all(server.data.join("tls")).unwrap();
    server.restart_with(&["--tls-allow-new-key"]);
    lab.write("second", "second");
    daemon.says("its TLS key is not the pinned one");
    let log = std::fs::read_to_string(&server.log).unwrap();
    let shown = log.lines().rev().find_map(|line| line.strip_prefix("address  ")).unwrap();
    let moved = lab.machine.ok(&["connect", "--moved", shown]);
    assert!(moved.err.contains("the daemon uses it from its next run on"), "{moved}");
    daemon.says("docs: snapshot");
    let machine = lab.machine.clone().by_passphrase();
    let docs = lab.machine.home.join("docs");
    machine.restores_to("latest", &docs, &trees::capture(&docs));
    daemon.stop();
}

/// Whoever sends nothing more, and does not end either, is not waited for after Ctrl-C. What was not
/// sent by then is sent by the next run, whatever that saves: it may be the same again.
#[test]
fn a_silent_pipe_can_be_interrupted() {
    let world = world!();
    let (_server, machine, _kit) = world.remote();
    let mut command = machine.command(&["run", "--stdin-filename", "x"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // More than any pipe holds: when it is written, the program has begun to read.
    pipe.write_all(&trees::build::noise(1, 40 << 20)).unwrap();
    let pid = Pid::from_child(&child);
    let end = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let limit = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap(), tv_nsec: 0 };
    if poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&limit)).unwrap() == 0 {
        child.kill().unwrap();
        panic!("it did not end");
    }
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    drop(pipe);
    let snapshots = machine.ok(&["snapshots", "--json"]).json_lines().remove(0);
    assert_eq!(snapshots.as_array().map(Vec::len), Some(0), "{snapshots}");
    machine.types("echo short | backup run --stdin-filename x");
    let spool = machine.state().join("spool");
    let left = std::fs::read_dir(&spool).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{}", spool.display());
}

/// What a script goes by: the exit code is that of what is worst.
#[test]
fn status_ends_as_the_worst_of_what_it_shows() {
    let lab = Lab::new("1h");
    let status = |code: i32| {
        let json = lab.machine.exits(code, &["status", "--json"]).json_lines().remove(0);
        assert_eq!(json["exit_code"], code, "{json}");
        (lab.machine.exits(code, &["status"]), json)
    };
    status(0);
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    status(0);
    let away = lab.docs.with_file_name("away");
    std::fs::rename(&lab.docs, &away).unwrap();
    lab.machine.ok(&["daemon", "now"]);
    daemon.says("docs: nothing of the set docs is there");
    let (shown, json) = status(1);
    assert!(shown.text().contains("failing since "), "{shown}");
    assert!(json["sets"][0]["failing"]["times"].as_u64() >= Some(1), "{json}");
    daemon.stop();
    status(1);
    // Whoever saves it by hand has ended that.
    std::fs::rename(&away, &lab.docs).unwrap();
    lab.machine.ok(&["run"]);
    status(0);
    if cfg!(target_os = "linux") {
        let unit = lab.machine.home.join(".config/systemd/user/unseen-backup.service");
        std::fs::create_dir_all(unit.parent().unwrap()).unwrap();
        std::fs::write(&unit, "[Service]\n").unwrap();
        let (shown, json) = status(1);
        assert!(shown.text().contains("not running, though it is installed"), "{shown}");
        assert!(shown.text().contains("systemctl --user start unseen-backup.service"), "{shown}");
        assert!(json["daemon_error"].is_string(), "{json}");
        let mut daemon = lab.start();
        daemon.says("docs: ");
        status(0);
        daemon.stop();
    }
}

/// What is not saved yet is never just silence.
#[test]
fn status_tells_what_waits_and_why() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    lab.machine.ok(&["daemon", "pause", "2h"]);
    lab.write("second", "second");
    let waits = loop {
        let json = lab.machine.ok(&["status", "--json"]).json_lines().remove(0);
        if json["sets"][0]["pending"].as_u64() > Some(0) {
            break json["sets"][0]["waits"].clone();
        }
    };
    assert_eq!(waits["reason"], "paused", "{waits}");
    assert!(waits["since"].is_string() && waits["next"].is_string(), "{waits}");
    for words in [&["status"][..], &["daemon", "status"]] {
        let shown = lab.machine.ok(words);
        assert!(shown.text().contains(" waiting since 2"), "{shown}");
        assert!(shown.text().contains(" for the end of the pause; next try in 2 hours"), "{shown}");
    }
    daemon.stop();
}

/// By the log it is known when, and of which set, a command has said what it said.
#[test]
fn what_a_source_says_beside_its_output_is_stamped_in_the_log() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    let words = ["set", "add", "dump", "--stdin-from-command", "--", "sh", "-c"];
    lab.machine.ok(&[&words[..], &["echo aside >&2; echo x"]].concat());
    daemon.says("  dump: aside");
    daemon.says("dump: snapshot");
    assert!(daemon.said.iter().any(|line| line.contains("nobody is told of trouble unasked")));
    let ran = lab.machine.ok(&["run", "--set", "dump"]);
    assert!(ran.err.lines().any(|line| line == "aside"), "{ran}");
    daemon.stop();
}

/// What this machine knows of its files is nobody else's, whatever the umask says.
#[test]
fn folders_are_private_whatever_the_umask_says() {
    let lab = Lab::new("1h");
    for folder in [lab.machine.state(), lab.machine.cache()] {
        std::fs::remove_dir_all(folder.parent().unwrap().parent().unwrap()).unwrap();
    }
    lab.machine.types("umask 0; backup run");
    for folder in [lab.machine.state(), lab.machine.cache()] {
        for folder in folder.ancestors().take(3) {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&folder.metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
        }
    }
}
