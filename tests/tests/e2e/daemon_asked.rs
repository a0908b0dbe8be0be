//! Commands that go by way of the daemon do what they do without it, and say so when they cannot.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use unseen_client::daemon::control::{Answer, Request};
use unseen_tests::{Ran, world};

use super::daemon::{Lab, PATIENCE, sending_slowly};

/// No file of this machine can be read less: the kernel refuses even root.
const UNREADABLE: &str = "/proc/sys/vm/compact_memory";

fn summary(ran: &Ran) -> Value {
    let lines = ran.json_lines();
    lines.into_iter().rfind(|line| line["message_type"] == "summary").unwrap()
}

/// What fails, what is said and what is saved is the same both ways.
#[test]
fn a_run_is_the_same_with_a_daemon_and_without() {
    let lab = Lab::new("1h");
    std::fs::create_dir(lab.machine.home.join("more")).unwrap();
    lab.edit("[[set]]", "[[set]]\nname = \"gone\"\npaths = [\"~/nowhere\"]\n[[set]]");
    lab.edit("exclude =", "before = 'echo made ready'\nafter = 'echo too late; exit 3'\nexclude =");
    let more = "\n[[set]]\nname = \"more\"\npaths = [\"~/more\"]\n";
    lab.edit("[\"*.tmp\"]\n", &format!("[\"*.tmp\"]\n{more}"));
    let alone = lab.machine.exits(1, &["run"]);
    let mut daemon = lab.start();
    daemon.says("more: nothing has changed");
    // Nobody reads of it in the log with every run that the daemon makes by itself.
    assert!(!daemon.said.join("\n").contains("same disk"), "{:#?}", daemon.said);
    let asked = lab.machine.exits(1, &["run"]);
    assert!(!alone.err.contains("by way of the daemon"), "{alone}");
    assert!(asked.err.contains("backing up gone, by way of the daemon"), "{asked}");
    let late = "the set docs is saved, but what runs after it failed: `echo too late; exit 3` ended \
                with exit code 3";
    for ran in [&alone, &asked] {
        let heads = ["set gone\n", "\nset docs\n", "\nset more\n"];
        let heads: Vec<usize> = heads.map(|head| ran.text().find(head).unwrap()).into();
        assert!(heads.is_sorted(), "{ran}");
        assert_eq!(ran.text().matches(" saved\n").count(), 2, "{ran}");
        assert!(ran.err.contains("2 of 3 sets failed: gone, docs"), "{ran}");
        assert!(ran.err.contains(late), "{ran}");
        // Of the vault, and so once for all sets.
        assert_eq!(ran.err.matches("warning: the vault is on the same disk").count(), 1, "{ran}");
        assert!(ran.err.contains("made ready\n") && ran.err.contains("too late\n"), "{ran}");
    }
    // By the log, too: when, of which set, and which command.
    daemon.says("  docs: before: made ready");
    daemon.says("  docs: after: too late");
    daemon.says(late);
    let one = lab.machine.exits(1, &["run", "--set", "docs"]);
    assert!(one.err.contains(late) && one.text().contains(" saved\n"), "{one}");
    daemon.stop();
}

/// Who asks for a snapshot gets one, unless it is said otherwise, wherever it is said.
#[test]
fn a_run_that_is_asked_for_makes_a_snapshot_also_of_what_has_not_changed() {
    let lab = Lab::new("1h");
    let run = |options: &[&str]| {
        let ran = lab.machine.ok(&[&["run", "--json", "--set", "docs"], options].concat());
        summary(&ran)["snapshot_id"].as_str().map(str::to_owned)
    };
    run(&[]);
    let alone = run(&[]).unwrap();
    let mut daemon = lab.start();
    daemon.says("docs: nothing has changed");
    let asked = run(&[]).unwrap();
    assert_ne!(alone, asked);
    assert_eq!(run(&["--skip-if-unchanged"]), None);
    daemon.says("docs: snapshot");
    lab.machine.ok(&["daemon", "now", "--full"]);
    daemon.says("docs: nothing has changed");
    lab.machine.ok(&["set", "edit", "docs", "--skip-if-unchanged"]);
    assert_eq!(run(&[]), None);
    daemon.stop();
    assert_eq!(run(&[]), None);
    let shown = lab.machine.ok(&["status"]);
    assert!(shown.text().contains("docs        saved just now"), "{shown}");
}

/// What it is asked meanwhile is not done when it goes on.
#[test]
fn a_daemon_that_hangs_is_told_and_does_nothing_of_it_later() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    // The run that made the snapshot is no later one that found nothing.
    let shown = lab.machine.ok(&["status"]);
    assert!(!shown.text().contains("nothing had changed"), "{shown}");
    daemon.signal(Signal::STOP);
    let refused = lab.machine.exits(1, &["daemon", "pause", "1h"]);
    let (silent, hint) = ("has not answered for 5 s", "hint: if it was stopped, `kill -CONT ");
    assert!(refused.err.contains(silent) && refused.err.contains(hint), "{refused}");
    let shown = lab.machine.exits(1, &["status"]);
    assert!(shown.text().contains(silent) && shown.text().contains("kill -CONT"), "{shown}");
    daemon.signal(Signal::CONT);
    for _ in 0..3 {
        match lab.ask(&Request::Status).only().unwrap() {
            Answer::Status(status) => assert_eq!(status.paused_until, None),
            other => panic!("{other:?}"),
        }
    }
    lab.write("second", "second");
    daemon.says("docs: snapshot");
    daemon.stop();
}

/// Others have asked it so often meanwhile that nobody else gets as far as to be heard.
#[test]
fn a_daemon_that_hangs_with_a_full_waiting_room_keeps_nobody_waiting() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    daemon.signal(Signal::STOP);
    assert!(fill(&lab.sockets()[0]) > 0);
    let begun = Instant::now();
    let refused = lab.machine.exits(1, &["daemon", "pause", "1h"]);
    let (silent, hint) = ("has not answered for 5 s", "hint: if it was stopped, `kill -CONT`");
    assert!(refused.err.contains(silent) && refused.err.contains(hint), "{refused}");
    let shown = lab.machine.exits(1, &["status"]);
    assert!(shown.text().contains(silent), "{shown}");
    let ran = lab.machine.ok(&["run"]);
    assert!(ran.err.contains("going on without the daemon"), "{ran}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    daemon.signal(Signal::CONT);
    lab.write("second", "second");
    daemon.says("docs: snapshot");
    daemon.stop();
}

/// Connects until nobody else can, and how often that was. Those who hang up wait on: only the
/// daemon finds out that they are gone.
fn fill(socket: &Path) -> usize {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let address = SocketAddrUnix::new(socket).unwrap();
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    for made in 0.. {
        let one = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        match rustix::net::connect(one.unwrap(), &address) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, rustix::io::Errno::AGAIN);
                return made;
            }
        }
    }
    unreachable!("it has no end")
}

#[test]
fn why_tells_what_cannot_be_read_and_what_is_not_there() {
    let lab = Lab::new("1h");
    lab.edit("\"~/docs\"]", &format!("\"~/docs\", \"{UNREADABLE}\"]"));
    let missing = lab.docs.join("missing");
    let asks = || {
        let closed = lab.machine.exits(1, &["why", UNREADABLE]);
        assert!(closed.text().contains("cannot be read, so it is not saved: Perm"), "{closed}");
        assert!(!closed.text().contains("at once"), "{closed}");
        let json = lab.machine.exits(1, &["why", "--json", UNREADABLE]).json_lines().remove(0);
        assert!(json["unreadable"].is_string() && json["included"] == false, "{json}");
        let gone = lab.machine.exits(1, &["why", missing.to_str().unwrap()]);
        assert!(gone.text().contains("missing is not there"), "{gone}");
        assert!(gone.text().contains("the set docs would save it"), "{gone}");
        gone
    };
    asks();
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    let gone = asks();
    assert!(gone.text().contains("is not there, nor in the newest snapshot"), "{gone}");
    let first = lab.docs.join("first");
    lab.machine.ok(&["why", first.to_str().unwrap()]);
    std::fs::remove_file(&first).unwrap();
    let was = lab.machine.ok(&["why", first.to_str().unwrap()]);
    assert!(was.text().contains("it was there in snapshot"), "{was}");
    let shown = lab.machine.ok(&["status"]);
    assert!(shown.text().contains("1 file or folder could not be read"), "{shown}");
    daemon.stop();
}

/// However a path is called, it is one line.
#[test]
fn a_line_break_in_a_path_makes_no_line_of_its_own() {
    let lab = Lab::new("1h");
    std::fs::create_dir(lab.machine.home.join("two\nlines")).unwrap();
    lab.machine.ok(&["set", "add", "odd", "two\nlines"]);
    let listed = lab.machine.ok(&["set", "list"]);
    assert!(listed.text().contains("two\\nlines"), "{listed}");
    assert!(!listed.text().contains("\nlines"), "{listed}");
    let daemon = lab.start();
    for words in [&["status"][..], &["daemon", "status"]] {
        let shown = lab.machine.ok(words);
        assert!(!shown.text().contains("\nlines"), "{shown}");
    }
    daemon.stop();
}

/// Who asks for one file by hand does not wait until all that came before is sent.
#[test]
fn a_path_that_is_named_goes_ahead_of_a_slow_first_backup() {
    let world = world!();
    let (_server, lab, mut daemon) = sending_slowly(world);
    lab.write("wanted", "now");
    let begun = Instant::now();
    let wanted = lab.docs.join("wanted");
    let ran = lab.machine.ok(&["run", wanted.to_str().unwrap()]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(ran.err.contains("the daemon's backup makes way; it goes on later"), "{ran}");
    assert!(ran.err.contains("has left to send waits for this one: "), "{ran}");
    assert!(ran.text().contains(" saved\n"), "{ran}");
    let listed = lab.machine.clone().by_passphrase().ok(&[
        "ls",
        "latest",
        "--set",
        wanted.to_str().unwrap(),
    ]);
    assert!(listed.text().contains("/docs/wanted"), "{listed}");
    // The daemon goes on from where it stopped, and nothing of it is lost.
    lab.edit("limit_upload = \"60K\"", "");
    daemon.says("docs: snapshot");
    let said = daemon.said.last().unwrap();
    lab.holds(said.split_whitespace().rev().nth(1).unwrap());
    daemon.stop();
}
