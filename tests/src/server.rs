//! A `backup-server` on loopback.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::machine::{Ran, line};

/// A server that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    child: Child,
    /// Its data folder.
    pub data: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it logs goes here, at the most talkative level.
    pub log: PathBuf,
}

impl Server {
    pub(crate) fn start(program: &Path, data: &Path, arguments: &[&str]) -> Self {
        Self::start_at(program, data, "127.0.0.1:0", arguments)
    }

    fn start_at(program: &Path, data: &Path, listen: &str, arguments: &[&str]) -> Self {
        let mut log = data.as_os_str().to_owned();
        log.push(".log");
        let log = PathBuf::from(log);
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let mut child = command(program)
            .args(["serve".as_ref(), "--data".as_ref(), data.as_os_str()])
            .args(["--listen", listen])
            .args(arguments)
            .env("UNSEEN_LOG_LEVEL", "trace")
            // Many run at a time.
            .env("UNSEEN_RESERVE", "1MiB")
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let said = first_line(&mut child);
        let Some(address) = said.trim().rsplit("//").next().and_then(|a| a.parse().ok()) else {
            child.kill().unwrap();
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("the server said {said:?} instead of its address\n{log}");
        };
        Self { program: program.to_path_buf(), child, data: data.to_path_buf(), address, log }
    }

    /// An invitation to a new account, as `init` takes it.
    pub fn invite(&self, options: &[&str]) -> String {
        invite(&self.program, &self.data, options)
    }

    /// The process, to be ended at a bad moment.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Waits until it ended.
    pub fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    /// Ends it as a power cut does, as far as the process goes.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
        self.wait();
    }

    /// Starts it again on the same folder and port.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// Ends it in an orderly way and starts it again on the same folder and another port.
    pub fn move_to_another_port(&mut self) {
        self.stop();
        let data = self.data.clone();
        let started = Self::start_at(&self.program, &data, "127.0.0.1:0", &[]);
        drop(std::mem::replace(self, started));
    }

    /// The same with more arguments.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        let listen = self.address.to_string();
        let data = self.data.clone();
        let started = Self::start_at(&self.program, &data, &listen, arguments);
        drop(std::mem::replace(self, started));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An invitation by the server on this folder, whether it runs or not.
pub fn invite(program: &Path, data: &Path, options: &[&str]) -> String {
    let mut words: Vec<&OsStr> = vec!["invite".as_ref(), "--data".as_ref(), data.as_os_str()];
    words.extend(options.iter().map(OsStr::new));
    let ran = run(program, &words).check(0);
    let text = ran.text();
    let link = text.split('\'').find(|part| part.starts_with("unseen://"));
    link.unwrap_or_else(|| panic!("no invitation:\n{ran}")).to_owned()
}

/// Runs `backup-server` to its end.
pub fn run<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Ran {
    let output = command(program).args(arguments).output().unwrap();
    Ran::of(line("backup-server", arguments), output)
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// The line that says where it listens. Empty if it ended before.
fn first_line(child: &mut Child) -> String {
    let mut said = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    BufReader::new(stdout).read_line(&mut said).unwrap();
    said
}
