//! The recovery kit: one sheet of paper that brings everything back on a bare machine.

use std::fmt;
use std::path::{Path, PathBuf};

use rand_core::Rng;
use unseen_common::id::{Hash, VaultId};
use unseen_common::time::Timestamp;
use zeroize::Zeroizing;

use crate::repo::KitHead;
use crate::repo::vouch::HASH_WORDS;
use crate::repo::words::words;

mod file;
mod html;
mod read;

pub use file::{KitFile, Written};
pub use read::{ReadKit, read};

/// What is on the sheet.
#[derive(Clone)]
pub struct Kit {
    /// Where the vault is, as `connect` takes it: `unseen://…` or `file:///…`.
    pub address: String,
    /// The vault.
    pub account: VaultId,
    /// The recovery code: 40 characters in eight groups joined by `-`.
    pub code: Zeroizing<String>,
    /// The server's identity key, if a server holds the vault.
    pub server_identity: Option<Hash>,
    /// The newest record of the log when the kit was made: its number and its hash.
    pub log_head: (u64, Hash),
    /// When it was made.
    pub created: Timestamp,
    /// The version of this program.
    pub program_version: String,
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit")
            .field("address", &self.address)
            .field("account", &self.account)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

/// How a kit file is written, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.txt`
    Text,
    /// `.html`, to be printed: with codes to scan, nothing loaded from elsewhere, no script.
    Html,
}

/// Why a kit was not written.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// Neither `.txt` nor `.html`.
    #[error("{}: a kit is a .txt or a .html file", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// It is there already, and may be the kit of another vault.
    #[error("{}: the file exists, and a kit never replaces one", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{}: cannot read the kit", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds no address, no recovery code or no record of the log.
    #[error("{}: not a recovery kit", .path.display())]
    NotAKit {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{}: cannot write the kit", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Format {
    /// Chosen by the file's extension.
    pub fn of(path: &Path) -> Result<Self, KitError> {
        match path.extension().and_then(|e| e.to_str()) {
            Some(e) if e.eq_ignore_ascii_case("txt") => Ok(Self::Text),
            Some(e) if e.eq_ignore_ascii_case("html") || e.eq_ignore_ascii_case("htm") => {
                Ok(Self::Html)
            }
            _ => Err(KitError::Format { path: path.to_path_buf() }),
        }
    }
}

impl Kit {
    /// The sheet as plain text, at most 80 columns except for a long address.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(4096));
        let mut line = |parts: &[&str]| {
            for part in parts {
                text.push_str(part);
            }
            text.push('\n');
        };
        line(&[TITLE, ", ", &date(self.created)]);
        line(&[]);
        line(&[WARNING]);
        line(&[]);
        line(&["Address"]);
        line(&["  ", &self.address]);
        line(&[]);
        line(&["Recovery code"]);
        line(&["  ", &self.code]);
        line(&[]);
        line(&["To get everything back on a bare machine"]);
        for (number, step) in (1..).zip(self.steps()) {
            line(&["  ", &format!("{number}. "), &step.say]);
            if let Some(command) = step.run {
                line(&["       ", &command]);
            }
        }
        line(&[]);
        line(&[NO_TYPING]);
        line(&[]);
        line(&["To compare"]);
        for (name, value) in self.facts() {
            line(&[&format!("  {name:<13}"), &value]);
        }
        text
    }

    /// The sheet as a page for the printer, whole in itself.
    pub fn to_html(&self) -> Zeroizing<String> {
        html::page(self)
    }

    fn steps(&self) -> [Step; 4] {
        let version = &self.program_version;
        let (number, hash) = self.log_head;
        let head = KitHead::new(number, hash);
        [
            Step::say(format!(
                "Install the program `backup` (Unseen), version {version} or later."
            )),
            Step::run(
                "Connect it, and type the recovery code when it asks:",
                format!("backup connect {} --log-head {head}", quoted(&self.address)),
            ),
            Step::run(
                "See what is there; it asks for the code again, and so does step 4:",
                "backup snapshots --unlock".to_owned(),
            ),
            Step::run(
                "Put the ID of a snapshot and a new folder DIR in here:",
                "backup restore ID --target DIR".to_owned(),
            ),
        ]
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("Account", self.account.to_string())];
        if let Some(identity) = &self.server_identity {
            facts.push(("Server key", words(identity, HASH_WORDS)));
            facts.push(("", identity.to_string()));
        }
        let (number, hash) = &self.log_head;
        facts.push(("Log", format!("record {number}: {}", words(hash, HASH_WORDS))));
        facts.push(("", hash.to_string()));
        facts
    }
}

/// One of the steps of a recovery.
struct Step {
    say: String,
    run: Option<String>,
}

impl Step {
    fn say(say: String) -> Self {
        Self { say, run: None }
    }

    fn run(say: &str, run: String) -> Self {
        Self { say: say.to_owned(), run: Some(run) }
    }
}

/// Two groups of the code to be typed back from the kit, so that it is known to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// From 0, the smaller first.
    groups: [usize; 2],
}

const GROUPS: u32 = 8;

impl Challenge {
    /// Draws two different groups.
    pub fn draw(rng: &mut impl Rng) -> Self {
        let first = rng.next_u32() % GROUPS;
        let second = (first + 1 + rng.next_u32() % (GROUPS - 1)) % GROUPS;
        let place = |n: u32| usize::try_from(n).unwrap_or_default();
        Self { groups: [place(first.min(second)), place(first.max(second))] }
    }

    /// Their numbers as printed: counted from 1.
    pub fn numbers(self) -> [usize; 2] {
        self.groups.map(|group| group + 1)
    }

    /// Whether these are the groups of that code, in this order. Case, spaces and dashes do not
    /// matter; `O` is 0, `I` and `L` are 1.
    pub fn is_answered(self, code: &str, typed: &str) -> bool {
        let groups: Vec<&str> = code.split('-').collect();
        let mut wanted = Zeroizing::new(String::with_capacity(16));
        for group in self.groups {
            match groups.get(group) {
                Some(text) => wanted.push_str(text),
                None => return false,
            }
        }
        let typed = Zeroizing::new(typed.chars().filter_map(as_printed).collect::<String>());
        !wanted.is_empty() && *typed == *wanted
    }
}

fn as_printed(c: char) -> Option<char> {
    match c.to_ascii_uppercase() {
        'O' => Some('0'),
        'I' | 'L' => Some('1'),
        '-' => None,
        c if c.is_whitespace() => None,
        c => Some(c),
    }
}

const TITLE: &str = "Unseen recovery kit";

const WARNING: &str = "\
Whoever holds this sheet can read your backups. Without it, and without your
passphrase on a machine that is still set up, nobody can: not even the server.
Keep it on paper, away from the computer. Delete the file once it is printed.";

const NO_TYPING: &str = "\
The code need not be typed: BACKUP_RECOVERY_CODE may hold it, or
BACKUP_RECOVERY_CODE_FILE the name of a file with nothing else in it.";

/// For a POSIX shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The day in UTC: `2026-11-20`.
pub fn date(time: Timestamp) -> String {
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant, "chrono-compatible low-level
    // date algorithms"): a year that begins in March has its leap day at the end.
    let days = time.0 / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests;
