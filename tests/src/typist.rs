//! Somebody at a terminal. `script`, which is part of util-linux, makes the terminal.

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use crate::Machine;
use crate::machine::Ran;

/// A program that runs at a terminal of its own, and what it has said there. It is killed when
/// this is dropped.
#[derive(Debug)]
pub struct Typist {
    child: Child,
    line: String,
    said: String,
    /// How much of it has been waited for.
    read: usize,
}

impl Typist {
    /// Types this line into the shell of a machine whose `backup` is the one of the tests.
    pub fn start(machine: &Machine, line: &str) -> Self {
        let mut command = machine.shell("exec script --quiet --return --flush -c \"$0\" /dev/null");
        let child = command.arg(line).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Self { child: child.unwrap(), line: line.to_owned(), said: String::new(), read: 0 }
    }

    /// Waits until this has been said, and gives what was said before it since the last time.
    pub fn sees(&mut self, text: &str) -> String {
        loop {
            let new = &self.said[self.read..];
            if let Some(at) = new.find(text) {
                let before = new[..at].to_owned();
                self.read += at + text.len();
                return before;
            }
            assert!(self.hear(), "{text:?} was never said\n$ {}\n{}", self.line, self.said);
        }
    }

    /// Types a line.
    pub fn types(&mut self, line: &str) {
        let keyboard = self.child.stdin.as_mut().expect("piped");
        keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    /// Waits for the end. A terminal has one output for all.
    pub fn ends(mut self) -> Ran {
        while self.hear() {}
        let code = self.child.wait().unwrap().code();
        let said = std::mem::take(&mut self.said).replace('\r', "");
        Ran { line: self.line.clone(), code, out: said.clone().into_bytes(), err: said }
    }

    /// False at the end.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let screen = self.child.stdout.as_mut().expect("piped");
        let length = screen.read(&mut buffer).unwrap();
        self.said.push_str(&String::from_utf8_lossy(&buffer[..length]));
        length > 0
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
