//! A line that is typed and not shown.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// What Ctrl-C sends.
const CTRL_C: u8 = 3;
/// More than a line at a terminal can have.
const LONGEST: usize = 8192;

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hushed {
    tty: File,
    before: Termios,
}

impl Hushed {
    fn new() -> io::Result<Self> {
        let tty = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&tty)?;
        let mut hushed = before.clone();
        // Ctrl-C ends the line instead of the program, so that the terminal is put right first.
        hushed.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG);
        hushed.local_modes.insert(LocalModes::ICANON);
        hushed.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        tcsetattr(&tty, OptionalActions::Now, &hushed)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        tcsetattr(&self.tty, OptionalActions::Now, &self.before).ok();
    }
}

/// Reads a line at the terminal of this process. `prompt` asks for it, once nothing shows any more:
/// whoever is fast must not be seen.
pub(super) fn read(prompt: impl FnOnce()) -> io::Result<Zeroizing<String>> {
    let mut hushed = Hushed::new()?;
    prompt();
    let mut line = Zeroizing::new(vec![0; LONGEST]);
    let mut length = 0;
    while !matches!(line.get(..length).and_then(<[u8]>::last), Some(b'\n' | &CTRL_C)) {
        let room = line.get_mut(length..).unwrap_or_default();
        match hushed.tty.read(room)? {
            0 => break,
            more => length = length.saturating_add(more).min(LONGEST),
        }
    }
    hushed.tty.write_all(b"\n")?;
    drop(hushed);
    line.truncate(length);
    match line.pop() {
        None => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(CTRL_C) => {
            kill_process(getpid(), Signal::INT)?;
            Err(io::ErrorKind::Interrupted.into())
        }
        Some(b'\n') => text(line),
        Some(last) => {
            line.push(last);
            text(line)
        }
    }
}

fn text(mut line: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<String>> {
    match String::from_utf8(std::mem::take(&mut *line)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
        }
    }
}
