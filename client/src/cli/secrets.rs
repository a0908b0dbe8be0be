//! Where the passphrase and the recovery code come from. Never from the command line.
//!
//! For `BACKUP_PASSPHRASE`, and the same for `BACKUP_RECOVERY_CODE`, the first of these that is
//! set is used:
//!
//! | source | read |
//! |---|---|
//! | `BACKUP_PASSPHRASE` | as it is |
//! | `BACKUP_PASSPHRASE_FILE` | the file, one line end at its end taken off |
//! | `BACKUP_PASSPHRASE_COMMAND` | what `sh -c` prints, likewise |
//! | `BACKUP_PASSPHRASE_FD` | that file descriptor to its end, likewise |
//! | `$CREDENTIALS_DIRECTORY/backup-passphrase` | a systemd credential (`backup-recovery-code`), likewise |
//! | the terminal | a prompt, if standard input is a terminal |

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::{Zeroize, Zeroizing};

use super::env::{Environment, Terminal};
use super::exit::{CliError, Exit};
use crate::crypto::recovery::{RecoveryCode, RecoveryCodeError};
use crate::sets::command::for_others;

/// The longest secret that is read, in bytes.
const MAX_SECRET: u64 = 4096;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No source is set, and there is nobody to ask.
    #[error("no {} was given, and there is no terminal to ask at", wanted.0)]
    Missing {
        /// Which secret, and its variables.
        wanted: Wanted,
    },
    /// A source gave nothing.
    #[error("{from}: the {what} is empty")]
    Empty {
        /// Which secret.
        what: &'static str,
        /// Where it came from.
        from: String,
    },
    /// Longer than any secret.
    #[error("{from}: longer than {MAX_SECRET} bytes")]
    TooLong {
        /// Where it came from.
        from: String,
    },
    /// Bytes that are no text.
    #[error("{from}: not UTF-8 text")]
    NotText {
        /// Where it came from.
        from: String,
    },
    /// Not a number.
    #[error("{variable}: not the number of a file descriptor")]
    NotAnFd {
        /// The variable.
        variable: String,
    },
    /// It could not be read.
    #[error("{from}")]
    Read {
        /// Where it came from.
        from: String,
        /// Why.
        source: io::Error,
    },
    /// The command failed.
    #[error("{variable}: the command failed ({status})")]
    Command {
        /// The variable.
        variable: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// Two different answers, three times over.
    #[error("the passphrases typed were not the same")]
    Mismatch,
    /// The prompt failed or was left.
    #[error("nothing was typed")]
    Prompt {
        /// Why.
        source: io::Error,
    },
}

impl From<SecretError> for CliError {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Missing { wanted: (_, variables) } => {
                let names = variables.join(" or ");
                let each = if variables.len() > 1 { "each " } else { "" };
                Self::from_error(Exit::WrongSecret, error).hint(format!(
                    "set {names} ({each}also with _FILE, _COMMAND or _FD behind its name), use a \
                     systemd credential, or run this in a terminal"
                ))
            }
            SecretError::Prompt { ref source } if source.kind() == io::ErrorKind::Interrupted => {
                Self::new(Exit::Interrupted, "interrupted")
            }
            error => Self::from_error(Exit::WrongSecret, error),
        }
    }
}

/// What was given to unlock with.
pub enum Secret {
    /// The recovery code of the kit, as typed.
    RecoveryCode(Zeroizing<String>),
    /// The passphrase.
    Passphrase(Zeroizing<String>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RecoveryCode(_) => "RecoveryCode(..)",
            Self::Passphrase(_) => "Passphrase(..)",
        })
    }
}

/// What is wrong with a text that looks like a recovery code and is none.
pub fn meant_as_code(text: &str) -> Option<RecoveryCodeError> {
    let groups = text.split(|c: char| c == '-' || c.is_whitespace());
    let like = |group: &&str| {
        (4..=6).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if groups.filter(like).count() < 6 { None } else { RecoveryCode::parse(text).err() }
}

/// Reads secrets.
#[derive(Clone, Copy)]
pub struct Secrets<'a> {
    env: &'a dyn Environment,
    terminal: &'a dyn Terminal,
}

impl std::fmt::Debug for Secrets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl<'a> Secrets<'a> {
    /// From this environment and, failing that, this terminal.
    pub fn new(env: &'a dyn Environment, terminal: &'a dyn Terminal) -> Self {
        Self { env, terminal }
    }

    /// What to unlock with: the recovery code if one is given anywhere, else the passphrase, else
    /// the passphrase by a prompt.
    pub fn to_unlock(&self) -> Result<Secret, SecretError> {
        if let Some(code) = self.given(&CODE)? {
            return Ok(Secret::RecoveryCode(code));
        }
        if let Some(passphrase) = self.given(&PASSPHRASE)? {
            return Ok(Secret::Passphrase(passphrase));
        }
        let typed = self.prompt(&EITHER, "Passphrase or recovery code: ")?;
        // A code has a checksum: no passphrase is taken for one.
        Ok(match RecoveryCode::parse(&typed) {
            Ok(_) => Secret::RecoveryCode(typed),
            Err(_) => Secret::Passphrase(typed),
        })
    }

    /// Whether somebody at a terminal is asked what to unlock with.
    pub fn will_ask(&self) -> bool {
        self.first().is_none() && self.terminal.is_present()
    }

    /// Whether a secret is given in a way that asks nobody: a command might.
    pub fn are_at_hand(&self) -> bool {
        self.first().is_some_and(|source| !matches!(source, Source::Command(..)))
    }

    /// Where that comes from with which it is unlocked, if it is given.
    fn first(&self) -> Option<Source> {
        self.source(&CODE).or_else(|| self.source(&PASSPHRASE))
    }

    /// The same for a machine that is new: the recovery code is asked for.
    pub fn to_connect(&self) -> Result<Secret, SecretError> {
        if let Some(code) = self.given(&CODE)? {
            return Ok(Secret::RecoveryCode(code));
        }
        if let Some(passphrase) = self.given(&PASSPHRASE)? {
            return Ok(Secret::Passphrase(passphrase));
        }
        self.prompt(&CODE_FIRST, "Recovery code: ").map(Secret::RecoveryCode)
    }

    /// Whether a passphrase is given without asking.
    pub fn new_passphrase_given(&self) -> Result<Option<Zeroizing<String>>, SecretError> {
        self.given(&PASSPHRASE)
    }

    /// A new passphrase, typed twice.
    pub fn type_new_passphrase(&self) -> Result<Zeroizing<String>, SecretError> {
        for before in ["", "They differ. ", "They differ. "] {
            let first = self.prompt(&NEW, &format!("{before}New passphrase: "))?;
            let second = self.prompt(&NEW, "The same again: ")?;
            if first == second {
                return Ok(first);
            }
        }
        Err(SecretError::Mismatch)
    }

    fn prompt(&self, wanted: &Wanted, text: &str) -> Result<Zeroizing<String>, SecretError> {
        if !self.terminal.is_present() {
            return Err(SecretError::Missing { wanted: *wanted });
        }
        let typed =
            self.terminal.ask_hidden(text).map_err(|source| SecretError::Prompt { source })?;
        check(typed, wanted.0, || "the terminal".to_owned())
    }

    fn given(&self, kind: &Kind) -> Result<Option<Zeroizing<String>>, SecretError> {
        self.source(kind).map(|source| kind.read(source)).transpose()
    }

    /// The first of the sources of a secret that is set.
    fn source(&self, kind: &Kind) -> Option<Source> {
        let variable = |suffix: &str| {
            let name = format!("{}{suffix}", kind.variable);
            self.env.var(&name).map(|value| (name, value))
        };
        if let Some((name, value)) = variable("") {
            return Some(Source::Text(name, Zeroizing::new(value.into_vec())));
        }
        if let Some((name, path)) = variable("_FILE") {
            return Some(Source::File(name, path));
        }
        if let Some((name, command)) = variable("_COMMAND") {
            return Some(Source::Command(name, command));
        }
        if let Some((name, number)) = variable("_FD") {
            return Some(Source::Fd(name, number));
        }
        let folder = self.env.var("CREDENTIALS_DIRECTORY")?;
        let path = PathBuf::from(folder).join(kind.credential);
        let name = "systemd credential".to_owned();
        path.exists().then(|| Source::File(name, path.into_os_string()))
    }
}

/// Where a secret is to be had: the name of what is set, and its value.
enum Source {
    Text(String, Zeroizing<Vec<u8>>),
    File(String, OsString),
    Command(String, OsString),
    Fd(String, OsString),
}

/// One of the two secrets.
struct Kind {
    what: &'static str,
    variable: &'static str,
    credential: &'static str,
}

const PASSPHRASE: Kind =
    Kind { what: "passphrase", variable: "BACKUP_PASSPHRASE", credential: "backup-passphrase" };

const CODE: Kind = Kind {
    what: "recovery code",
    variable: "BACKUP_RECOVERY_CODE",
    credential: "backup-recovery-code",
};

/// What is asked for, and the variables that would have spared the question.
type Wanted = (&'static str, &'static [&'static str]);

const NEW: Wanted = ("passphrase", &[PASSPHRASE.variable]);
const EITHER: Wanted = ("passphrase or recovery code", &[PASSPHRASE.variable, CODE.variable]);
const CODE_FIRST: Wanted = ("recovery code", &[CODE.variable, PASSPHRASE.variable]);

impl Kind {
    fn read(&self, source: Source) -> Result<Zeroizing<String>, SecretError> {
        match source {
            Source::Text(name, text) => self.text(text, name),
            Source::File(name, path) => self.file(&path, &name),
            Source::Command(name, command) => self.command(&command, &name),
            Source::Fd(name, number) => self.fd(&number, &name),
        }
    }

    fn file(&self, path: &OsStr, name: &str) -> Result<Zeroizing<String>, SecretError> {
        let from = format!("{name} ({})", Path::new(path).display());
        match File::open(path).and_then(read_all) {
            Ok(bytes) => self.line(bytes, from),
            Err(source) => Err(SecretError::Read { from, source }),
        }
    }

    fn command(&self, command: &OsStr, name: &str) -> Result<Zeroizing<String>, SecretError> {
        let run = || -> io::Result<_> {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(command);
            shell.stdin(Stdio::null()).stdout(Stdio::piped());
            for_others(&mut shell);
            let mut child = shell.spawn()?;
            let output = child.stdout.take().map(read_all).transpose()?;
            Ok((output.unwrap_or_default(), child.wait()?))
        };
        let (output, status) =
            run().map_err(|source| SecretError::Read { from: name.to_owned(), source })?;
        if !status.success() {
            let variable = name.to_owned();
            return Err(SecretError::Command { variable, status });
        }
        self.line(output, name.to_owned())
    }

    fn fd(&self, number: &OsStr, name: &str) -> Result<Zeroizing<String>, SecretError> {
        let number: u16 = number
            .to_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| SecretError::NotAnFd { variable: name.to_owned() })?;
        let path = OsString::from(format!("/dev/fd/{number}"));
        self.file(&path, name)
    }

    /// Takes off one line end.
    fn line(
        &self,
        mut bytes: Zeroizing<Vec<u8>>,
        from: String,
    ) -> Result<Zeroizing<String>, SecretError> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        self.text(bytes, from)
    }

    fn text(
        &self,
        mut bytes: Zeroizing<Vec<u8>>,
        from: String,
    ) -> Result<Zeroizing<String>, SecretError> {
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(text) => check(Zeroizing::new(text), self.what, || from),
            Err(error) => {
                error.into_bytes().zeroize();
                Err(SecretError::NotText { from })
            }
        }
    }
}

fn check(
    text: Zeroizing<String>,
    what: &'static str,
    from: impl FnOnce() -> String,
) -> Result<Zeroizing<String>, SecretError> {
    if text.is_empty() {
        return Err(SecretError::Empty { what, from: from() });
    }
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_SECRET) {
        return Err(SecretError::TooLong { from: from() });
    }
    Ok(text)
}

/// At most a few bytes more than a secret may have. Never grown, so that no copy is left behind.
fn read_all(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let limit = MAX_SECRET + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(2 * limit).unwrap_or(0)));
    from.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
