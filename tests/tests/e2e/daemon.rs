//! The daemon as a user has it: it watches, it is asked, it is killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use unseen_client::daemon::control::{Answer, Call, Request};
use unseen_client::daemon::job::Summary;
use unseen_tests::machine::Machine;
use unseen_tests::{Server, World, trees, world};

/// Long enough for any machine; nothing waits for it but a test that fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A machine with a set `docs`, and a daemon that saves it.
pub(super) struct Lab {
    pub(super) machine: Machine,
    pub(super) docs: PathBuf,
    _world: World,
}

/// A daemon that runs.
pub(super) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    pub(super) said: Vec<String>,
}

impl Lab {
    /// The daemon waits a second, and looks at everything as seldom as this.
    pub(super) fn new(rescan: &str) -> Self {
        let world = world!();
        let (machine, _vault) = world.local();
        Self::with(world, machine, rescan)
    }

    pub(super) fn with(world: World, machine: Machine, rescan: &str) -> Self {
        let docs = world.folder("home/docs");
        std::fs::write(docs.join("first"), b"first").unwrap();
        let config = machine.home.join(".config/unseen/config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let daemon = format!(
            "\n[daemon]\nquiet = \"1s\"\nmax_wait = \"5s\"\nmin_interval = \"1s\"\n\
             rescan = \"{rescan}\"\nalerts.desktop = false\n\
             [[set]]\nname = \"docs\"\npaths = [\"~/docs\"]\nexclude = [\"*.tmp\"]\n"
        );
        std::fs::write(&config, text + &daemon).unwrap();
        let machine = machine.without_secrets();
        Self { machine, docs, _world: world }
    }

    pub(super) fn start(&self) -> Daemon {
        let mut command = self.machine.command(&["daemon", "run"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = channel();
        let err = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut daemon = Daemon { child, lines, said: Vec::new() };
        daemon.says("watching");
        daemon
    }

    pub(super) fn sockets(&self) -> Vec<PathBuf> {
        vec![self.machine.state().join("daemon.sock")]
    }

    pub(super) fn ask(&self, request: &Request) -> Call {
        Call::send(&self.sockets(), request).unwrap()
    }

    fn status(&self) -> serde_json::Value {
        self.machine.ok(&["status", "--json"]).json_lines().remove(0)
    }

    /// All runs from now on; one that is under way among them.
    pub(super) fn listen(&self) -> Runs {
        Runs(self.ask(&Request::Progress))
    }

    /// Changes a line of config.toml, as an editor does: in one step.
    pub(super) fn edit(&self, from: &str, to: &str) {
        let config = self.machine.home.join(".config/unseen/config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        assert!(text.contains(from), "{text}");
        let new = config.with_extension("new");
        std::fs::write(&new, text.replace(from, to)).unwrap();
        std::fs::rename(new, config).unwrap();
    }

    /// So much to send at such a rate that a run takes long.
    fn much_to_send(&self) {
        for n in 0..6_u64 {
            self.write(&format!("big{n}"), trees::build::noise(n, 4 << 20));
        }
        self.edit("[profile.default]", "[profile.default]\nlimit_upload = \"8M\"");
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.docs.join(name), content).unwrap();
    }

    /// The snapshot holds what the folder holds now.
    pub(super) fn holds(&self, snapshot: &str) {
        let machine = self.machine.clone().by_passphrase();
        machine.restores_to(snapshot, &self.docs, &trees::capture(&self.docs));
    }
}

pub(super) struct Runs(Call);

impl Runs {
    /// The next run that makes a snapshot.
    fn saved(&mut self) -> Summary {
        loop {
            let answer = self.0.answer().unwrap().expect("the daemon goes on");
            if let Answer::Ended { result, .. } = answer {
                let summary = result.unwrap_or_else(|trouble| panic!("{trouble:?}"));
                if summary.snapshot.is_some() {
                    return summary;
                }
            }
        }
    }

    /// Waits until something has been sent.
    pub(super) fn sends(&mut self) {
        loop {
            match self.0.answer().unwrap().expect("the daemon goes on") {
                Answer::Progress { counts, .. } if counts.transferred > 0 => return,
                Answer::Ended { result, .. } => panic!("{result:?}"),
                _ => {}
            }
        }
    }

    fn snapshot(&mut self) -> String {
        self.saved().snapshot.unwrap().to_string()
    }
}

impl Daemon {
    /// Waits for a line with these words.
    pub(super) fn says(&mut self, words: &str) {
        self.says_either(words, words);
    }

    /// Waits for a line with one or the other.
    fn says_either(&mut self, words: &str, other: &str) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said.push(line);
            if [words, other].iter().any(|words| self.said.last().unwrap().contains(words)) {
                return;
            }
        }
        panic!("it never said {words:?}: {:#?}", self.said);
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(super) fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{:#?}", self.said);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn what_changes_is_saved_by_itself() {
    let lab = Lab::new("1h");
    let daemon = lab.start();
    let mut runs = lab.listen();
    let first = lab.machine.ok(&["run", "--json"]).json_lines();
    let summary = first.iter().rfind(|line| line["message_type"] == "summary").unwrap();
    assert!(summary["total_files_processed"].as_u64() == Some(1), "{summary}");
    lab.write("second", "second");
    std::fs::create_dir_all(lab.docs.join("deep/er")).unwrap();
    lab.write("deep/er/third", "third");
    let snapshot = loop {
        let snapshot = runs.saved();
        // The first scan, and perhaps a run between two changes.
        if snapshot.files == 3 {
            break snapshot.snapshot.unwrap().to_string();
        }
    };
    lab.holds(&snapshot);
    let why = |name: &str| {
        let path = lab.docs.join(name);
        lab.machine.run(&["why", "--json", path.to_str().unwrap()]).json_lines().remove(0)
    };
    assert_eq!(why("deep/er/third")["watched"]["at_once"], true);
    assert_eq!(why("left.tmp")["watched"], serde_json::Value::Null);
    daemon.stop();
    assert_eq!(why("deep/er/third")["watched"], serde_json::Value::Null);
}

#[test]
fn it_can_be_paused_and_asked() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    let paused = lab.machine.ok(&["daemon", "pause", "1h"]);
    assert!(paused.text().starts_with("paused until 2"), "{paused}");
    assert!(lab.status()["daemon"]["paused_until"].is_string());
    lab.write("second", "second");
    let mut runs = lab.listen();
    lab.machine.ok(&["daemon", "now", "docs"]);
    lab.holds(&runs.snapshot());
    drop(lab.machine.exits(2, &["daemon", "now", "other"]));
    drop(lab.machine.exits(2, &["daemon", "pause", "0s"]));
    lab.machine.ok(&["daemon", "resume"]);
    assert!(lab.status()["daemon"]["paused_until"].is_null());
    lab.write("third", "third");
    lab.holds(&runs.snapshot());
    // The configuration is read again.
    let config = lab.machine.home.join(".config/unseen/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let more = "\n[[set]]\nname = \"more\"\npaths = [\"~/more\"]\n";
    std::fs::create_dir(lab.machine.home.join("more")).unwrap();
    std::fs::write(&config, text + more).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.says("more: snapshot");
    assert_eq!(lab.status()["sets"].as_array().unwrap().len(), 2);
    daemon.stop();
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_in_the_way() {
    let lab = Lab::new("1h");
    drop(lab.machine.exits(1, &["daemon", "status"]));
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    daemon.signal(rustix::process::Signal::KILL);
    daemon.child.wait().unwrap();
    assert!(lab.sockets()[0].exists());
    drop(lab.machine.exits(1, &["daemon", "status"]));
    assert!(lab.status()["daemon"].is_null());
    lab.write("meanwhile", "meanwhile");
    lab.machine.back_up(&lab.docs, &[]);
    let mut again = lab.start();
    again.says("docs: snapshot");
    let ran = lab.machine.ok(&["daemon", "status"]);
    assert!(ran.text().contains("docs: saved just now"), "{ran}");
    again.stop();
    assert!(!lab.sockets()[0].exists());
}

#[test]
fn there_is_one_and_other_commands_work_beside_it() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    let second = lab.machine.exits(11, &["daemon", "run"]);
    assert!(second.err.contains("running already"), "{second}");
    lab.machine.ok(&["snapshots"]);
    lab.machine.clone().by_passphrase().ok(&["check"]);
    lab.write("second", "second");
    lab.machine.ok(&["daemon", "pause", "1h"]);
    // A path of its own: not the daemon's business.
    lab.machine.back_up(&lab.docs, &["--tag", "mine"]);
    let ran = lab.machine.ok(&["run", "--set", "docs"]);
    assert!(ran.err.contains("by way of the daemon"), "{ran}");
    assert!(ran.text().contains("snapshot ") && ran.text().contains(" saved"), "{ran}");
    let status = lab.machine.ok(&["status"]);
    assert!(status.text().contains("docs        saved just now"), "{status}");
    daemon.stop();
}

/// A job of cron, or a shell by `su`, has no runtime folder, or another one.
#[test]
fn it_is_found_from_another_environment() {
    let mut lab = Lab::new("1h");
    let elsewhere = lab.machine.clone();
    let runtime = lab.machine.home.join("run");
    lab.machine = lab.machine.with("BACKUP_RUNTIME_DIR", &runtime);
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    assert!(runtime.join("default.sock").exists() && !lab.sockets()[0].exists());
    let other = elsewhere.clone().with("XDG_RUNTIME_DIR", elsewhere.home.join("other"));
    for machine in [&elsewhere, &other] {
        assert!(machine.ok(&["status"]).text().contains("watching since"));
        machine.ok(&["daemon", "pause", "1h"]);
        let ran = machine.ok(&["run"]);
        assert!(ran.err.contains("by way of the daemon"), "{ran}");
        machine.ok(&["daemon", "resume"]);
    }
    std::fs::remove_file(runtime.join("default.sock")).unwrap();
    let status = elsewhere.exits(1, &["status"]);
    let words = format!("runs, but its socket cannot be reached at {}", runtime.display());
    assert!(status.text().contains(&words), "{status}");
    let paused = elsewhere.exits(1, &["daemon", "pause", "1h"]);
    assert!(paused.err.contains(&words), "{paused}");
    let ran = elsewhere.ok(&["run"]);
    assert!(ran.err.contains("going on without the daemon"), "{ran}");
    daemon.stop();
    let status = elsewhere.ok(&["status"]);
    assert!(status.text().contains("not running"), "{status}");
}

/// What is left out of a set makes no snapshot, nor does what the program itself writes.
#[test]
fn what_is_left_out_wakes_nobody() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    std::fs::create_dir(lab.docs.join("x.tmp")).unwrap();
    lab.write("y", "y");
    daemon.says("docs: snapshot");
    for n in 0..20 {
        lab.write("x.tmp/file", n.to_string());
    }
    lab.write("z", "z");
    daemon.says("docs: snapshot");
    let backups = daemon.said.iter().filter(|line| line.contains("backing up")).count();
    assert!((3..=5).contains(&backups), "{:#?}", daemon.said);
    assert_eq!(lab.status()["sets"][0]["pending"], 0);
    let newest = lab.machine.ok(&["snapshots", "--json"]).json_lines().remove(0);
    let newest = newest.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let listed = lab.machine.clone().by_passphrase().ok(&["ls", &newest]);
    assert!(listed.text().contains("/z") && !listed.text().contains("x.tmp"), "{listed}");
    daemon.stop();
}

/// A first backup may take a day: nobody waits for it.
#[test]
fn a_long_run_makes_way_for_other_commands() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    // It is saved for as long as somebody lets it, and says when that has begun.
    let begun = lab.machine.home.join("begun");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &begun,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let endless = "echo x > begun; while echo x; do sleep 1; done";
    let words = ["set", "add", "endless", "--stdin-from-command", "--", "sh", "-c", endless];
    lab.machine.ok(&words);
    assert_eq!(std::fs::read(&begun).unwrap(), b"x\n");
    let listed = lab.machine.ok(&["snapshots"]);
    assert!(listed.err.contains("makes way"), "{listed}");
    daemon.says("another command comes first");
    lab.machine.ok(&["set", "remove", "endless"]);
    lab.write("second", "second");
    daemon.says("docs: snapshot");
    daemon.stop();
}

/// A daemon in the middle of a first backup of 40 MB, at a rate at which a pack takes minutes.
pub(super) fn sending_slowly(world: World) -> (Server, Lab, Daemon) {
    let (server, machine, _kit) = world.remote();
    let lab = Lab::with(world, machine, "1h");
    for n in 0..400_u64 {
        lab.write(&format!("f{n}"), trees::build::noise(n, 100_000));
    }
    lab.edit("[profile.default]", "[profile.default]\nlimit_upload = \"60K\"");
    let mut daemon = lab.start();
    daemon.says("backing up docs");
    lab.listen().sends();
    (server, lab, daemon)
}

/// At a rate at which a pack takes minutes, reading waits for nothing, and stopping for seconds: what
/// has arrived can be restored, and the rest is sent later.
#[test]
fn a_slow_link_holds_nobody_up() {
    let world = world!();
    let (_server, lab, mut daemon) = sending_slowly(world);
    let begun = std::time::Instant::now();
    lab.machine.ok(&["snapshots"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(lab.status()["daemon"]["running"], "docs");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.says("docs: checkpoint");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0), "{:#?}", daemon.said);
    let listed = lab.machine.clone().by_passphrase().ok(&["ls", "latest"]);
    let saved = listed.text().lines().filter(|line| line.contains("/docs/f")).count();
    assert!((1..=200).contains(&saved), "{listed}");
    let told = lab.machine.ok(&["status"]).text();
    assert!(told.contains("not saved as a whole yet"), "{told}");
    assert!(told.contains("a part of it just now, checkpoint "), "{told}");
    lab.edit("limit_upload = \"60K\"", "");
    let mut again = lab.start();
    again.says("docs: snapshot");
    lab.holds("latest");
    again.stop();
}

#[test]
fn a_server_that_goes_away_and_comes_back_elsewhere_is_found() {
    let world = world!();
    let (mut server, machine, _kit) = world.remote();
    let lab = Lab::with(world, machine, "1h");
    lab.much_to_send();
    let mut daemon = lab.start();
    daemon.says("backing up docs");
    lab.listen().sends();
    server.kill();
    // It may be noticed before the server is back, or not.
    server.restart();
    daemon.says("docs: snapshot");
    let machine = lab.machine.clone().by_passphrase();
    machine.restores_to("latest", &lab.docs, &trees::capture(&lab.docs));
    let old = server.address.to_string();
    server.move_to_another_port();
    lab.write("second", "second");
    daemon.says("docs: the server cannot be reached");
    let told = lab.machine.ok(&["daemon", "status"]);
    assert!(told.text().contains("  failing since "), "{told}");
    lab.edit(&old, &server.address.to_string());
    daemon.says("docs: snapshot");
    machine.restores_to("latest", &lab.docs, &trees::capture(&lab.docs));
    daemon.stop();
}

#[test]
fn sets_that_are_added_changed_and_removed_are_taken_at_once() {
    let lab = Lab::new("1h");
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    std::fs::create_dir(lab.machine.home.join("more")).unwrap();
    let added = lab.machine.ok(&["set", "add", "more", "more"]);
    assert!(added.err.contains("the daemon saves more by itself"), "{added}");
    daemon.says("more: snapshot");
    lab.machine.ok(&["set", "edit", "docs", "-e", "*.log"]);
    lab.write("x.log", "x");
    let why = lab.machine.exits(1, &["why", lab.docs.join("x.log").to_str().unwrap()]);
    assert!(why.text().contains("left out"), "{why}");
    lab.machine.ok(&["set", "remove", "more"]);
    assert_eq!(
        lab.status()["sets"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|set| { set["pending"].is_number() })
            .count(),
        1
    );
    // What cannot be read changes nothing, and is told.
    lab.edit("[daemon]", "[daemon]\nquit = 1");
    daemon.says("the old configuration stays");
    match lab.ask(&Request::Status).only().unwrap() {
        Answer::Status(status) => assert!(status.alerts[0].text.contains("quit"), "{status:?}"),
        other => panic!("{other:?}"),
    }
    daemon.stop();
}

#[test]
fn ending_in_the_middle_keeps_what_was_done() {
    let lab = Lab::new("1h");
    for n in 0..40 {
        let path = lab.docs.join(format!("big{n}"));
        std::fs::write(&path, vec![n; 1 << 20]).unwrap();
    }
    let mut daemon = lab.start();
    daemon.says("backing up docs");
    daemon.stop();
    let mut again = lab.start();
    // Whether it was stopped before the end or after it.
    again.says_either("docs: snapshot", "docs: nothing has changed");
    assert_eq!(path_count(&lab.docs), 41);
    let machine = lab.machine.clone().by_passphrase();
    machine.restores_to("latest", &lab.docs, &trees::capture(&lab.docs));
    again.stop();
}

fn path_count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}
