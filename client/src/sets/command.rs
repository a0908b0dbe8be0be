//! Commands whose output is saved, and what commands of a set may not see.

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};

/// Variables that hold secrets or lead to them. No command that this program starts inherits them.
pub const SECRET_VARIABLES: [&str; 8] = [
    "BACKUP_PASSPHRASE",
    "BACKUP_PASSPHRASE_FILE",
    "BACKUP_PASSPHRASE_COMMAND",
    "BACKUP_PASSPHRASE_FD",
    "BACKUP_RECOVERY_CODE",
    "BACKUP_RECOVERY_CODE_FILE",
    "BACKUP_RECOVERY_CODE_COMMAND",
    "BACKUP_RECOVERY_CODE_FD",
];

/// The output of a command, which fails at its end if the command failed: half a dump is no backup.
#[derive(Debug)]
pub struct Piped {
    child: Child,
    name: String,
    done: bool,
}

impl Piped {
    /// Starts a program with its arguments. Its standard error is this process's.
    pub fn start(argv: &[OsString]) -> io::Result<Self> {
        let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut start = Command::new(program);
        start.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        for secret in SECRET_VARIABLES {
            start.env_remove(secret);
        }
        let name = program.to_string_lossy().into_owned();
        Ok(Self { child: start.spawn()?, name, done: false })
    }
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done {
            return Ok(0);
        }
        let read = match &mut self.child.stdout {
            Some(out) => out.read(buffer)?,
            None => 0,
        };
        if read == 0 && !buffer.is_empty() {
            self.done = true;
            let status = self.child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("{} failed: {status}", self.name)));
            }
        }
        Ok(read)
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        if !self.done {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
