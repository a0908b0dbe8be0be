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
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "sweep").unwrap();
        let line = self.line();
        let (packs, failed) = line.trim().split_once(' ').unwrap();
        assert_eq!(failed, "0", "an account could not be swept");
        packs.parse().unwrap()
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
