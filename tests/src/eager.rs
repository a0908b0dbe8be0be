//! A server that deletes when it is told to; see `eager_main.rs`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// It runs, and is killed when this is dropped.
#[derive(Debug)]
pub struct Eager {
    program: PathBuf,
    data: PathBuf,
    address: SocketAddr,
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Eager {
    /// Starts it on the folder of a server that has ended, at the same address.
    pub fn start(program: &Path, data: &Path, address: SocketAddr) -> Self {
        let mut child = Command::new(program)
            .arg(data)
            .arg(address.to_string())
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().expect("piped"));
        let (program, data) = (program.to_path_buf(), data.to_path_buf());
        let mut eager = Self { program, data, address, child, said };
        assert!(eager.line().starts_with("listening"), "it did not start");
        eager
    }

    /// Deletes what nothing needs, whatever its age; tells how many packs.
    pub fn sweep(&mut self) -> u64 {
        self.tell("sweep").1
    }

    /// Expires and deletes what is due; tells how many snapshots, and how many packs.
    pub fn tidy(&mut self) -> (u64, u64) {
        self.tell("tidy")
    }

    /// From now on everything is stamped so many seconds ahead of the true time.
    pub fn stamp_ahead(&mut self, seconds: u64) {
        self.tell(&format!("stamp {seconds}"));
    }

    fn tell(&mut self, command: &str) -> (u64, u64) {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{command}").unwrap();
        let line = self.line();
        let counts: Vec<u64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [expired, packs, failed] = counts[..] else { panic!("{command}: {line:?}") };
        assert_eq!(failed, 0, "an account could not be swept");
        (expired, packs)
    }

    /// Ends it as a power cut does, and starts it again.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        let again = Self::start(&self.program, &self.data, self.address);
        drop(std::mem::replace(self, again));
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Eager {
    fn drop(&mut self) {
        self.kill();
    }
}
