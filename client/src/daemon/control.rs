//! The control socket: how other commands talk to the daemon. `docs/CONTROL.md` describes it.
//!
//! One request a connection, a line of JSON; the answers are lines of JSON, too. Only the user
//! whom the daemon works for is listened to.

mod client;
mod handler;
mod noted;
mod server;
mod socket;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unseen_common::id::SnapshotId;

use super::core::{Status, Why};
use super::job::{RunResult, Trouble};
use crate::progress::Counts;

pub use client::{Call, CallError};
pub use noted::{note, noted};
pub use server::{Ask, Server};

/// The longest request, in bytes.
pub const MAX_REQUEST: u64 = 64 * 1024;
/// The longest answer, in bytes.
pub const MAX_ANSWER: u64 = 64 * 1024 * 1024;
/// Clients at the same time.
pub const MAX_CLIENTS: usize = 16;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How things stand.
    Status,
    /// Nothing shall begin by itself for so long. What runs is stopped; a checkpoint is kept.
    Pause {
        /// How long.
        seconds: u64,
    },
    /// The end of a pause.
    Resume,
    /// Another command needs the vault or the state: what runs is stopped, a checkpoint is kept,
    /// and nothing begins for a moment.
    MakeWay {
        /// How long; a minute at most.
        seconds: u64,
    },
    /// The configuration is to be read again.
    Reload,
    /// A backup now, without waiting for it.
    Now {
        /// Of one set, or all.
        set: Option<String>,
        /// Everything is looked at, also what is watched.
        #[serde(default)]
        full: bool,
    },
    /// A backup now, and everything about it until it has ended.
    Run {
        /// Of this set.
        set: String,
    },
    /// Everything about the runs that there are, for as long as the client listens.
    Progress,
    /// The owner has ended the hold of snapshots: the alarms they were held for are over.
    Lifted {
        /// These, or all.
        #[serde(default)]
        snapshots: Option<Vec<SnapshotId>>,
    },
    /// Whether a path is watched.
    Why {
        /// Absolute.
        path: PathBuf,
    },
}

impl Request {
    /// A request as it was sent. Else why it is none, in words.
    ///
    /// Unknown keys are refused: whoever sends one means something by it that would not be done.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        let words = |error: serde_json::Error| error.to_string();
        let sent: Map<String, Value> = serde_json::from_slice(line).map_err(words)?;
        let request: Self = serde_json::from_slice(line).map_err(words)?;
        // serde takes any keys where a request has none of its own.
        let known = serde_json::to_value(&request).map_err(words)?;
        match sent.keys().find(|key| known.get(key).is_none()) {
            Some(key) => Err(format!("unknown field `{key}`")),
            None => Ok(request),
        }
    }
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done {
        /// The sets that it is about.
        sets: Vec<String>,
    },
    /// How things stand.
    Status(Box<Status>),
    /// Whether a path is watched.
    Why(Why),
    /// Nothing is being done, or another set comes first. Sent now and then.
    Waiting,
    /// A run has begun.
    Begun {
        /// Its number.
        run: u64,
        /// The set.
        set: String,
    },
    /// How far it is.
    Progress {
        /// Its number.
        run: u64,
        /// What was counted so far.
        counts: Counts,
        /// The file that is being read.
        current: String,
    },
    /// A file that cannot be read.
    Problem {
        /// The run's number.
        run: u64,
        /// The file.
        path: String,
        /// What was being done.
        during: String,
        /// Why not.
        what: String,
    },
    /// Something that the user should know.
    Note {
        /// The run's number.
        run: u64,
        /// Whether it is a warning.
        warning: bool,
        /// One sentence.
        text: String,
    },
    /// A run has ended.
    Ended {
        /// Its number.
        run: u64,
        /// The set.
        set: String,
        /// How.
        result: Box<RunResult>,
    },
    /// The request cannot be met.
    Refused(Trouble),
}
