//! Exit codes, and the one shape that every error takes before it is shown.

use std::error::Error;
use std::fmt;

use serde_json::json;

/// How a command ended, as scripts see it: restic's codes and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A snapshot was made, but some source files could not be read.
    Incomplete = 3,
    /// There is no vault.
    NoVault = 10,
    /// Another run holds the state.
    Busy = 11,
    /// Wrong passphrase or recovery code, or none was given.
    WrongSecret = 12,
    /// Damaged data was found.
    Damaged = 20,
    /// The server's history is not the one that this machine remembers.
    History = 21,
    /// The server refused: revoked, suspended, forbidden.
    Refused = 22,
    /// A quota or a disk is full.
    Full = 23,
    /// The server cannot be reached.
    Unreachable = 24,
    /// The server's key is not the pinned one.
    ServerKey = 25,
    /// Interrupted; a checkpoint is kept.
    Interrupted = 130,
}

impl Exit {
    const ALL: [Self; 14] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Incomplete,
        Self::NoVault,
        Self::Busy,
        Self::WrongSecret,
        Self::Damaged,
        Self::History,
        Self::Refused,
        Self::Full,
        Self::Unreachable,
        Self::ServerKey,
        Self::Interrupted,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Which one has this number.
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| exit.code() == code)
    }
}

impl Exit {
    /// The one of two that somebody should know about: a failure before files that could not be
    /// read, and an interruption before all.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |exit: Self| match exit {
            Self::Done => 0,
            Self::Incomplete => 1,
            other => other.code(),
        };
        // Failed is 1, too.
        let rank = |exit: Self| (rank(exit), exit != Self::Incomplete);
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error as it is shown: what happened to which thing, what to do next, and the exit code.
#[derive(Debug)]
pub struct CliError {
    message: String,
    hint: Option<String>,
    code: Exit,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CliError {
    /// An error of one line. It names the thing; the hint says what to do.
    pub fn new(code: Exit, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code, source: None }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Wraps an engine's error: its text is the message, its sources follow.
    pub fn from_error(code: Exit, error: impl Error + Send + Sync + 'static) -> Self {
        // `report` tells a text once, and this one is the message already.
        Self::new(code, error.to_string()).because(error)
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names what is behind it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The exit code.
    pub fn code(&self) -> Exit {
        self.code
    }

    /// What to do next, if there is anything.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// One line: the message and every cause behind it, each once.
    pub fn report(&self) -> String {
        let mut line = self.message.clone();
        let mut last = self.message.clone();
        let mut cause = self.source.as_deref().map(|e| e as &dyn Error);
        while let Some(error) = cause {
            let text = error.to_string();
            if text != last {
                line.push_str(": ");
                line.push_str(&text);
            }
            last = text;
            cause = error.source();
        }
        line.replace('\n', " ")
    }

    /// The object that `--json` shows, as restic has it, with a hint.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "message_type": "exit_error",
            "code": self.code.code(),
            "message": self.report(),
            "hint": self.hint,
        })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CliError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let all = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Incomplete, 3),
            (Exit::NoVault, 10),
            (Exit::Busy, 11),
            (Exit::WrongSecret, 12),
            (Exit::Damaged, 20),
            (Exit::History, 21),
            (Exit::Refused, 22),
            (Exit::Full, 23),
            (Exit::Unreachable, 24),
            (Exit::ServerKey, 25),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in all {
            assert_eq!(exit.code(), code, "{exit:?}");
            assert_eq!(Exit::of_code(code), Some(exit));
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the vault")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_report_has_every_cause_once() {
        let outer = || Outer(std::io::Error::other("disk\non fire"));
        let error = CliError::from_error(Exit::Failed, outer());
        assert_eq!(error.report(), "cannot open the vault: disk on fire");
        let error = CliError::new(Exit::NoVault, "no vault in /x")
            .because(outer())
            .hint("run `backup init`");
        assert_eq!(
            error.to_json(),
            json!({
                "message_type": "exit_error",
                "code": 10,
                "message": "no vault in /x: cannot open the vault: disk on fire",
                "hint": "run `backup init`",
            })
        );
    }
}
