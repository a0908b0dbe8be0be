//! The user is told of trouble, until it arrives, and of nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use unseen_tests::eager::Eager;
use unseen_tests::{trees, world};

use super::daemon::{Lab, PATIENCE};

/// An address that takes messages. The first answers are these; afterwards all is well.
fn hook(refusals: Vec<&'static str>) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/secret-path", listener.local_addr().unwrap());
    let (tell, bodies) = channel();
    std::thread::spawn(move || {
        let mut refusals = refusals.into_iter();
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = refusals.next().unwrap_or("200 OK");
            if tell.send(exchange(stream, answer)).is_err() {
                return;
            }
        }
    });
    (address, bodies)
}

/// Takes one message.
fn exchange(stream: TcpStream, answer: &str) -> Value {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let head = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    reader.get_mut().write_all(head.as_bytes()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// A command that fails once, and then writes down what it is told.
fn command(lab: &Lab) -> String {
    let told = lab.machine.home.join("told");
    let again = lab.machine.home.join("again");
    format!(
        "if [ ! -e {again} ]; then touch {again}; echo not yet; exit 3; fi; \
         echo \"$UNSEEN_ALERT_KEY: $UNSEEN_ALERT ($UNSEEN_ALERT_HINT)\" >> {told}",
        again = again.display(),
        told = told.display()
    )
}

fn told(lab: &Lab) -> Vec<String> {
    let text = std::fs::read_to_string(lab.machine.home.join("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What was told, as soon as anything was.
fn hears(lab: &Lab) -> Vec<String> {
    let end = std::time::Instant::now() + PATIENCE;
    while told(lab).is_empty() && std::time::Instant::now() < end {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    told(lab)
}

fn alerts_by(lab: &Lab, command: &str, address: Option<&str>) {
    let keys = format!("alerts.desktop = false\nalerts.command = '''{command}'''");
    let address = address.map(|address| format!("\nalerts.webhook = \"{address}\""));
    lab.edit("alerts.desktop = false", &(keys + &address.unwrap_or_default()));
}

#[test]
fn what_did_not_arrive_is_told_again_and_nobody_is_told_of_success() {
    let lab = Lab::new("1h");
    let (address, bodies) = hook(vec!["503 Service Unavailable"]);
    alerts_by(&lab, &command(&lab), Some(&address));
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    lab.write("second", "second");
    daemon.says("docs: snapshot");
    assert!(told(&lab).is_empty() && bodies.try_recv().is_err(), "all is well");
    lab.edit("[daemon]", "[daemon]\nquit = 1");
    daemon.says("  warning: The daemon goes on with its old configuration");
    daemon.says("  hint: it takes the new one");
    let broken = [
        "the command of [daemon.alerts] does not work: ended with exit code 3",
        "the webhook of [daemon.alerts] does not work: ",
    ];
    let works = [
        "the command of [daemon.alerts] works again",
        "the webhook of [daemon.alerts] works again",
    ];
    let all = || broken.iter().chain(&works);
    while !all().all(|words| daemon.said.iter().any(|line| line.contains(words))) {
        daemon.says("[daemon.alerts]");
    }
    let log = daemon.said.join("\n");
    assert!(!log.contains("secret-path") && log.contains("[daemon.alerts]: not yet"), "{log}");
    assert!(all().all(|words| log.matches(words).count() == 1), "{log}");
    let [first, second] = [0; 2].map(|_| bodies.recv_timeout(PATIENCE).unwrap());
    assert_eq!(first, second);
    assert_eq!(first["key"], "config");
    assert!(first["text"].as_str().unwrap().contains("quit"), "{first}");
    let said = told(&lab);
    assert!(said.len() == 1 && said[0].starts_with("config: The daemon goes on"), "{said:?}");
    // When it is over nobody is told, nor when all goes well again.
    lab.edit("[daemon]\nquit = 1", "[daemon]");
    lab.machine.ok(&["run"]);
    lab.write("third", "third");
    daemon.says("docs: snapshot");
    assert_eq!((told(&lab).len(), bodies.try_recv().is_err()), (1, true));
    daemon.stop();
}

/// A restart loses no alert that has not arrived.
#[test]
fn what_has_not_arrived_is_told_by_the_next_daemon() {
    let lab = Lab::new("1h");
    alerts_by(&lab, "exit 7", None);
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    // There is no room for what is new.
    lab.edit("exclude =", "before = 'exit 3'\nexclude =");
    lab.edit("[daemon]", "[daemon]\nquit = 1");
    daemon.says("does not work: ended with exit code 7");
    let shown = lab.machine.exits(1, &["status"]);
    let blocked = "could not be told of trouble by the command of [daemon.alerts]: ended with";
    assert!(shown.text().contains(blocked), "{shown}");
    daemon.stop();
    let book = std::fs::read_to_string(lab.machine.state().join("daemon.json")).unwrap();
    let book: Value = serde_json::from_str(&book).unwrap();
    assert_eq!(book["outbox"]["config"]["left"], serde_json::json!(["command"]), "{book}");
}

fn listed(lab: &Lab) -> Vec<(String, bool)> {
    let rows = lab.machine.ok(&["snapshots", "--json"]).json_lines().remove(0);
    let row = |row: &Value| (row["id"].as_str().unwrap().to_owned(), row["held"] == true);
    rows.as_array().unwrap().iter().map(row).collect()
}

/// Somebody encrypts everything: what was good is held, the user hears of it, and no rule takes it.
#[test]
fn a_change_of_everything_holds_what_was_before() {
    let world = world!();
    let (mut server, machine, kit) = world.remote();
    let lab = Lab::with(world, machine, "1h");
    for n in 0..240_u64 {
        lab.write(&format!("letter{n}"), format!("dear {n}, all is well. ").repeat(40));
    }
    std::fs::write(lab.machine.home.join("again"), "").unwrap();
    alerts_by(&lab, &command(&lab), None);
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    // Nothing begins by itself, so that each step is one snapshot.
    lab.machine.ok(&["daemon", "pause", "1h"]);
    for n in 0..7 {
        lab.write("diary", format!("day {n}").repeat(10));
        lab.machine.ok(&["run", "--set", "docs"]);
    }
    let good: Vec<String> = listed(&lab).into_iter().rev().take(3).map(|(id, _)| id).collect();
    assert!(listed(&lab).iter().all(|(_, held)| !held) && told(&lab).is_empty());
    for n in 0..240_u64 {
        lab.write(&format!("letter{n}"), trees::build::noise(n, 900));
    }
    lab.machine.ok(&["run", "--set", "docs"]);
    // What holds them is a run of its own, which begins at once, also in a pause; then it is told.
    daemon.says("docs: nothing has changed");
    daemon.says("warning: Far more of docs has changed at once than ever before: 240 of ");
    let held: Vec<String> =
        listed(&lab).into_iter().rev().filter(|(_, held)| *held).map(|(id, _)| id).collect();
    assert_eq!(held, good);
    let said = hears(&lab);
    assert!(said.len() == 1 && said[0].starts_with("mass docs: Far more of docs"), "{said:?}");
    let ids: Vec<&str> = good.iter().rev().map(|id| &id[..8]).collect();
    let words = format!("do not expire: {}. (if it was not you, take this machine", ids.join(", "));
    assert!(said[0].contains(&words), "{words} {said:?}");
    lab.machine.exits(1, &["status"]);
    daemon.stop();
    assert!(lab.machine.exits(1, &["status"]).text().contains("Far more of docs"));
    expires_all_but(&lab, &mut server, (&kit.code, &held));
}

/// A family's folder: small, some MiB at most, and saved for the first time a moment ago.
#[test]
fn a_small_folder_that_is_encrypted_after_its_first_backup_is_noticed() {
    let world = world!();
    let (_server, machine, kit) = world.remote();
    let lab = Lab::with(world, machine, "1h");
    let letter = |n: u64| format!("Dear {n}, all is well, and the apples are ripe. ").repeat(150);
    let size: usize = (0..40).map(|n| letter(n).len()).sum();
    assert!((250_000..350_000).contains(&size), "{size}");
    for n in 0..40 {
        lab.write(&format!("letter{n}.txt"), letter(n));
    }
    // Photos are as dense as what is encrypted, and no reason for anything.
    let photo = |n: u64| [&b"\xff\xd8\xff\xe0"[..], &trees::build::noise(n, 20_000)].concat();
    for n in 0..30 {
        lab.write(&format!("photo{n}.jpg"), photo(n));
    }
    std::fs::write(lab.machine.home.join("again"), "").unwrap();
    alerts_by(&lab, &command(&lab), None);
    let mut daemon = lab.start();
    daemon.says("docs: snapshot");
    lab.machine.ok(&["daemon", "pause", "1h"]);
    for n in 0..60 {
        lab.write(&format!("photo{n}.jpg"), photo(100 + n));
    }
    lab.machine.ok(&["run", "--set", "docs"]);
    assert!(told(&lab).is_empty(), "{:?}", told(&lab));
    let good: Vec<String> = listed(&lab).into_iter().map(|(id, _)| id).collect();
    assert_eq!(good.len(), 2);
    for n in 0..40 {
        let (old, size) = (format!("letter{n}.txt"), letter(n).len());
        // One half in place, the other under other names.
        if n % 2 == 0 {
            lab.write(&old, trees::build::noise(n, size));
        } else {
            std::fs::remove_file(lab.docs.join(&old)).unwrap();
            lab.write(&format!("{old}.locked"), trees::build::noise(n, size));
        }
    }
    lab.machine.ok(&["run", "--set", "docs"]);
    daemon.says("docs: nothing has changed");
    daemon.says("warning: Far more of docs has changed at once than ever before: 40 of ");
    let held: Vec<String> =
        listed(&lab).into_iter().filter(|(_, held)| *held).map(|(id, _)| id).collect();
    assert_eq!(held, good);
    let said = hears(&lab);
    assert!(said.len() == 1 && said[0].contains("look encrypted now"), "{said:?}");
    // Also without its set it is shown, until the owner ends the hold.
    lab.machine.ok(&["set", "add", "other", &lab.machine.home.join("again").display().to_string()]);
    lab.machine.ok(&["set", "remove", "docs"]);
    daemon.says("watching");
    assert!(lab.machine.exits(1, &["status"]).text().contains("Far more of docs"));
    let owner = lab.machine.clone().with("BACKUP_RECOVERY_CODE", &kit.code);
    let ended = owner.ok(&["unpin", "--held"]);
    assert!(ended.err.contains("the alarm of docs is over"), "{ended}");
    assert!(listed(&lab).iter().all(|(_, held)| !held));
    let shown = lab.machine.ok(&["status"]);
    assert!(!shown.text().contains("Far more of docs"), "{shown}");
    assert!(owner.ok(&["unpin", "--held"]).text().contains("no snapshot is held"));
    daemon.stop();
}

/// The owner's rules take what is older than the newest, and nothing of what is held.
fn expires_all_but(lab: &Lab, server: &mut unseen_tests::Server, (code, held): (&str, &[String])) {
    server.stop();
    let eager = env!("CARGO_BIN_EXE_unseen-test-eager-server");
    let mut eager = Eager::start(Path::new(eager), &server.data, server.address);
    let owner = lab.machine.clone().with("BACKUP_RECOVERY_CODE", code);
    owner.ok(&["policy", "set", "--keep-last", "1", "--yes"]);
    let before = listed(lab);
    eager.stamp_ahead(2 * 3600);
    assert!(eager.tidy().0 > 0, "{before:?}");
    let left = listed(lab);
    let newest = &before.last().unwrap().0;
    assert!(left.len() == 4 && left.iter().any(|(id, _)| id == newest), "{left:?}");
    assert!(held.iter().all(|id| left.contains(&(id.clone(), true))), "{left:?}");
}
