//! The program itself: starts, invites, ends.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use unseen_common::wire::address::{ServerAddress, Target};

fn program(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backup-server"));
    command.args(arguments).arg("--data").arg(data);
    command.env_remove("UNSEEN_DATA").env_remove("UNSEEN_CONFIG");
    command
}

fn serve(data: &Path) -> (Child, u16) {
    let mut child = program(data, &["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.as_mut().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let port = line
        .trim_end()
        .strip_prefix("listening on https://127.0.0.1:")
        .unwrap_or_else(|| panic!("{line}"));
    (child, port.parse().unwrap())
}

fn end(mut child: Child) -> i32 {
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    child.wait().unwrap().code().unwrap()
}

fn invite(data: &Path, more: &[&str]) -> Output {
    let arguments = [&["invite"], more].concat();
    program(data, &arguments).output().unwrap()
}

fn address(output: &Output) -> ServerAddress {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let quoted = text.strip_prefix("backup init '").unwrap();
    quoted.strip_suffix("'\n").unwrap().parse().unwrap()
}

#[test]
fn serves_invites_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let unknown = invite(&data, &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(!data.exists(), "nothing is made in a folder that was mistyped");
    for wrong in [&["--public-address", "no port"][..], &["--public-address", "nas:0"]] {
        assert_eq!(invite(&data, wrong).status.code(), Some(2), "{wrong:?}");
        assert!(!data.exists(), "nothing is made for an invite that cannot be written");
    }
    let no_file = ["--public-address", "nas:1", "--tls-cert", "nowhere.pem"];
    assert_eq!(invite(&data, &no_file).status.code(), Some(1));
    assert!(!data.exists(), "nor for one whose certificate is not there");

    let (child, port) = serve(&data);
    let online = address(&invite(&data, &["--quota", "500GB", "--expires", "2d"]));
    assert_eq!((online.host.as_str(), online.port), ("127.0.0.1", port));
    assert!(matches!(&online.target, Target::Invite(secret) if secret.len() == 18));
    let second = program(&data, &["serve", "--listen", "127.0.0.1:0"]).output();
    assert_eq!(second.unwrap().status.code(), Some(11));
    assert_eq!(end(child), 0);
    assert!(!data.join("admin.sock").exists());

    let offline = address(&invite(&data, &["--public-address", "nas.home:8443"]));
    assert_eq!(offline.host, "nas.home");
    assert_eq!(offline.pin, online.pin);
    assert_ne!(offline.target, online.target);
    let (child, _) = serve(&data);
    let later = address(&invite(&data, &[]));
    assert_eq!(later.pin, online.pin, "keys outlive a restart");
    assert_eq!(end(child), 0);
}

#[test]
fn wrong_usage_is_two() {
    let dir = tempfile::tempdir().unwrap();
    let odd = invite(dir.path(), &["--quota", "lots"]);
    assert_eq!(odd.status.code(), Some(2));
    let proxy = program(dir.path(), &["serve", "--behind-proxy", "--listen", "0.0.0.0:0"]);
    let refused = { proxy }.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("not a loopback address"), "{text}");
    let portless = invite(dir.path(), &["--public-address", "nas.example"]);
    assert_eq!(portless.status.code(), Some(2), "{portless:?}");
}

#[test]
fn a_server_that_cannot_listen_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let refused = program(&data, &["serve", "--listen", &listen]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains(&listen));
    assert!(!data.exists());
}
