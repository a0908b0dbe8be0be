//! A server in a process of its own, and what it takes of the machine.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use unseen_common::wire::address::ServerAddress;

use crate::client::Target;

/// Runs until it is dropped.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    certificate: PathBuf,
    pub(crate) data: PathBuf,
}

impl Process {
    /// The real one, as it is without any settings.
    pub(crate) fn server(program: &Path, data: &Path) -> Self {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        Self::start(command, data)
    }

    /// This program as the bare handler.
    pub(crate) fn bare(data: &Path) -> Self {
        std::fs::create_dir(data).expect("a new folder");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("bare").arg(data);
        Self::start(command, data)
    }

    fn start(mut command: Command, data: &Path) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut said = String::new();
        let out = child.stdout.as_mut().expect("it is piped");
        BufReader::new(out).read_line(&mut said).expect("it says where it listens");
        let address = said.trim().rsplit("//").next().and_then(|text| text.parse().ok());
        let address = address.unwrap_or_else(|| unreachable!("it said {said:?}"));
        Self { child, address, certificate: data.join("tls/cert.pem"), data: data.to_owned() }
    }

    pub(crate) fn target(&self) -> Target {
        Target::new(self.address, &self.certificate)
    }

    /// Time of the processor that it has had.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // Behind the name, which may hold anything, the 12th and 13th are ticks of a hundredth.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
        Duration::from_millis(10 * ticks)
    }

    /// Its largest resident set, in MB.
    pub(crate) fn peak_mb(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = line
            .and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse().ok())
            .expect("the system tells");
        kib * 1024 / 1_000_000
    }

    fn proc(&self, what: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{what}", self.child.id())).expect("it runs")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An invitation by the server on this folder.
pub(crate) fn invite(program: &Path, data: &Path) -> ServerAddress {
    let made = Command::new(program).args(["invite", "--data"]).arg(data).output();
    let said = String::from_utf8(made.expect("the program runs").stdout).expect("text");
    let address = said.split('\'').find_map(|part| part.parse().ok());
    address.unwrap_or_else(|| unreachable!("no invitation: {said}"))
}
