//! The program as an operator runs it: settings, health, reload, the end, and what is logged.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A server with plain HTTP on a free port of loopback, and metrics on a socket.
struct Running {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backup-server"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

fn start(listen: &str, more: &str, environment: &[(&str, &str)]) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let settings = format!(
        "data = \"{}\"\nbehind-proxy = true\nlisten = \"{listen}\"\nlog-level = \"trace\"\n\
         metrics-listen = \"unix:{}\"\n{more}",
        path(dir.path(), "data"),
        path(dir.path(), "ops")
    );
    fs::write(dir.path().join("server.toml"), settings).unwrap();
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let mut child = program(&["serve", "--config", &path(dir.path(), "server.toml")])
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let said = line.trim_end().strip_prefix("listening on http://");
    let address = said.unwrap_or_else(|| panic!("{line}\n{log}")).parse().unwrap();
    Running { child, address, dir }
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, fs::read_to_string(self.dir.path().join("log")).unwrap())
    }

    /// What the operator's listener answers.
    fn ops(&self, route: &str) -> String {
        let mut stream = UnixStream::connect(self.dir.path().join("ops")).unwrap();
        let ask = format!("GET {route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks until the answer is as it should become; each question waits for its answer.
    fn until(&self, route: &str, told: &str) {
        while !self.ops(route).contains(told) {}
    }

    fn config(&self) -> String {
        path(self.dir.path(), "server.toml")
    }

    /// Begins an upload: the head and a part of the body.
    fn upload(&self) -> std::net::TcpStream {
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        let id = "ab".repeat(32);
        let head = format!(
            "PUT /v1/packs/{id}?footer=4096 HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&[7; 1000]).unwrap();
        self.until("/metrics", "unseen_uploads_in_flight 1\n");
        stream
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn an_upload_finishes_after_the_server_was_told_to_end() {
    let server = start("127.0.0.1:0", "", &[]);
    let mut upload = server.upload();
    let health = program(&["health", "--config", &server.config()]).output().unwrap();
    assert_eq!(health.status.code(), Some(0), "{}", text(&health));
    server.signal(Signal::TERM);
    server.until("/readyz", "the server is ending\n");
    let health = program(&["health", "--config", &server.config()]).output().unwrap();
    assert_eq!(health.status.code(), Some(1));
    assert!(text(&health).contains("not ready: the server is ending"), "{}", text(&health));

    upload.write_all(&vec![7; 64_536]).unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).unwrap();
    // Nobody is logged in here; but the answer comes, whole.
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.ends_with('}'), "{answer}");
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("did not finish in time"), "{log}");
}

#[test]
fn the_deadline_ends_what_does_not_finish() {
    let server = start("127.0.0.1:0", "shutdown-deadline = \"1s\"", &[]);
    let mut upload = server.upload();
    server.signal(Signal::TERM);
    let mut answer = Vec::new();
    upload.read_to_end(&mut answer).ok();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("did not finish in time"), "{log}");
}

#[test]
fn no_address_is_logged() {
    // Its own address is another than that of its clients, so that the latter can be looked for.
    let server = start("127.9.8.7:0", "", &[]);
    asked(server.address, "GET /v1/server");
    asked(server.address, "GET /nowhere");
    asked(server.address, "nonsense");
    let answer = asked(server.address, "GET /v1/server");
    assert!(answer.contains("Not stored: network addresses."), "{answer}");
    server.signal(Signal::TERM);
    let (_, log) = server.end();
    for address in ["127.0.0.1", "192.0.2.77", "6.6.6.6"] {
        assert!(!log.contains(address), "{address}\n{log}");
    }
    assert!(log.contains("route=\"/v1/server\" status=200"), "{log}");
}

#[test]
fn addresses_are_logged_when_asked_for_and_told() {
    let server = start("127.0.0.1:0", "log-addresses = true", &[]);
    let answer = asked(server.address, "GET /v1/server");
    assert!(answer.contains("Logged: the network address"), "{answer}");
    assert!(!answer.contains("Not stored: network addresses."), "{answer}");
    server.signal(Signal::TERM);
    let (_, log) = server.end();
    // The proxy says who it is; what stands before its word, the client may have made up.
    assert!(log.contains("client=\"192.0.2.77\""), "{log}");
}

fn asked(address: SocketAddr, line: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let ask = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.77\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let heard = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    // So long that only the first beat comes.
    let environment =
        [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "3600000000")];
    let server = start("127.0.0.1:0", "", &environment);
    let mut first = [heard(), heard()];
    first.sort();
    assert_eq!(first, ["READY=1\n", "WATCHDOG=1\n"]);
    server.signal(Signal::HUP);
    assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(heard(), "READY=1\n");
    server.signal(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1\n");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_unix_socket_serves_a_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("server.sock");
    let listen = format!("unix:{}", socket.display());
    let arguments =
        ["serve", "--behind-proxy", "--listen", &listen, "--public-address", "nas.example:8443"];
    let mut child = program(&arguments)
        .env("UNSEEN_DATA", dir.path().join("data"))
        .env("UNSEEN_SOCKET_MODE", "0660")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, format!("listening on {listen}\n"));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /v1/server HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn config_check_says_what_is_in_force_and_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let write = |text: String| fs::write(&file, text).unwrap();
    let check = || {
        let mut command = program(&["config", "check", "--metrics-listen", "off"]);
        let output = command
            .env("UNSEEN_CONFIG", &file)
            .env("UNSEEN_SHUTDOWN_DEADLINE", "5s")
            .output()
            .unwrap();
        (output.status.code().unwrap(), text(&output))
    };
    write(format!("data = \"{}\"\nlisten = \"{address}\"\n", path(dir.path(), "data")));
    let (code, told) = check();
    assert_eq!(code, 1);
    assert!(told.contains(&format!("cannot listen on {address}")), "{told}");
    drop(taken);
    let (code, told) = check();
    assert_eq!(code, 0, "{told}");
    let line = |key: &str| {
        let found = told.lines().find(|line| line.trim_start().starts_with(key));
        found.unwrap_or_else(|| panic!("{told}")).to_owned()
    };
    assert!(line("listen ").ends_with("server.toml, line 2"), "{told}");
    assert!(line("shutdown-deadline").ends_with("UNSEEN_SHUTDOWN_DEADLINE"), "{told}");
    assert!(line("metrics-listen").ends_with("the command line"), "{told}");
    assert!(line("log-format").ends_with("default"), "{told}");
    assert!(!dir.path().join("data").exists(), "nothing is made");

    write("data = \"x\"\n\nlisen = \"y\"\n".to_owned());
    let (code, told) = check();
    assert_eq!(code, 2);
    assert!(told.contains("server.toml, line 3: there is no key lisen"), "{told}");
    // Every other command says it too, and does nothing.
    let invite = program(&["invite", "--config", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(invite.status.code(), Some(2));
    assert!(text(&invite).contains("lisen"), "{}", text(&invite));
}

/// The folder in the file is the folder of every command.
#[test]
fn other_commands_take_the_folder_from_the_file() {
    let server = start("127.0.0.1:0", "", &[]);
    let certificate = certificate(server.dir.path());
    let config = server.config();
    let arguments = ["invite", "--config", &config, "--tls-cert", &certificate];
    let invite = program(&arguments).output().unwrap();
    assert!(text(&invite).starts_with("backup init 'unseen://127.0.0.1:"), "{}", text(&invite));
    server.signal(Signal::TERM);
    assert_eq!(server.end().0, Some(0));
}

/// One that another server made for itself.
fn certificate(dir: &Path) -> String {
    let other: PathBuf = dir.join("other");
    unseen_server::http::tls::own(&other).unwrap();
    path(&other, "tls/cert.pem")
}
