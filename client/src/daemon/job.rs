//! One backup of one set, as the daemon orders it and as it hears of its end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use unseen_common::id::SnapshotId;
use unseen_common::log::entry::Status;

use super::alerts::{Kinds, Touched};
use crate::backup::{Changes, Outcome};
use crate::maintain::presence::Presence;
use crate::progress::{Counts, Monitor};

/// A backup to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The set.
    pub set: String,
    /// What may have changed; with none, everything is looked at.
    pub changes: Option<Changes>,
    /// Somebody asked for it.
    pub wanted: bool,
    /// Somebody waits for its end, as `backup run` does: there is a snapshot also if nothing has
    /// changed, unless the set says otherwise.
    pub followed: bool,
    /// No more than so many bytes are read in all: the smallest and newest files.
    pub at_most: Option<u64>,
    /// Afterwards it is looked whether the vault has what it should.
    pub check: bool,
    /// Snapshots from before an unusual change: first of all they are held, so that they do not
    /// expire.
    pub hold: Vec<SnapshotId>,
    /// What the files of the set look like, as far as that is known.
    pub kinds: Arc<Kinds>,
}

/// Makes backups.
pub trait Runner: Send + Sync + std::fmt::Debug {
    /// Makes one, and tells `monitor` about it. Blocks; once `stop` is raised, it saves what it has
    /// and returns.
    fn run(&self, job: &Job, monitor: &dyn Monitor, stop: &Arc<AtomicBool>) -> RunResult;
}

/// How a job ended.
pub type RunResult = Result<Summary, Trouble>;

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The snapshot; none if nothing had changed.
    pub snapshot: Option<SnapshotId>,
    /// How whole it is.
    pub status: Status,
    /// Everything in it that is no directory.
    pub files: u64,
    /// Directories in it.
    pub dirs: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes that the vault took.
    pub uploaded: u64,
    /// Packs that the vault took.
    pub packs: u64,
    /// Files that could not be read.
    pub problems: u64,
    /// Files that were more than was to be saved.
    pub left_out: u64,
    /// If it was looked: whether the vault has what it should.
    #[serde(default)]
    pub presence: Option<Presence>,
    /// If it was looked, and there is a limit: how much room there is.
    #[serde(default)]
    pub room: Option<Room>,
    /// Why the snapshots that were to be held never will be, if so.
    #[serde(default)]
    pub refused: Option<String>,
    /// The snapshots of this machine that are held, if that is known; for the book alone.
    #[serde(skip)]
    pub held: Option<Vec<SnapshotId>>,
    /// It was stopped; what was done is kept.
    pub interrupted: bool,
    /// What is wrong with the clock of the server or of this machine.
    #[serde(default)]
    pub clocks: Option<String>,
    /// What was to be done after it failed; the snapshot stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<Trouble>>,
    /// What was counted on the way.
    pub counts: Counts,
    /// Which files were different; for the book alone.
    #[serde(skip)]
    pub touched: Box<Touched>,
    /// How long it took, in milliseconds.
    pub took: u64,
}

/// How much a server allows, and how much of it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Bytes in use.
    pub used: u64,
    /// Bytes allowed.
    pub allowed: u64,
}

impl Summary {
    /// Of an outcome.
    pub fn new(outcome: &Outcome, counts: Counts, took: std::time::Duration) -> Self {
        Self {
            snapshot: outcome.snapshot,
            status: outcome.status,
            files: outcome.totals.files,
            dirs: outcome.totals.dirs,
            bytes: outcome.totals.bytes,
            uploaded: outcome.uploaded,
            packs: outcome.packs,
            problems: outcome.problem_count,
            left_out: outcome.left_out,
            presence: None,
            room: None,
            refused: None,
            held: None,
            interrupted: outcome.interrupted,
            clocks: outcome.clocks.clone(),
            after: None,
            counts,
            touched: Box::default(),
            took: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Why there is no backup, as a person is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The exit code that the program has for it.
    pub code: u8,
    /// What happened, in one line.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Trouble {
    /// What was asked makes no sense.
    pub const USAGE: u8 = 2;
    /// Some files could not be read.
    pub const INCOMPLETE: u8 = 3;
    /// Another run holds the state or the vault.
    pub const BUSY: u8 = 11;
    /// Damaged data was found.
    pub const DAMAGED: u8 = 20;
    /// The server's history is not the one that this machine remembers.
    pub const HISTORY: u8 = 21;
    /// The server refuses this machine.
    pub const REFUSED: u8 = 22;
    /// A quota or a disk is full.
    pub const FULL: u8 = 23;
    /// The server cannot be reached.
    pub const UNREACHABLE: u8 = 24;
    /// The server's key is not the pinned one.
    pub const SERVER_KEY: u8 = 25;
    /// It was stopped.
    pub const STOPPED: u8 = 130;
    /// Anything else.
    pub const FAILED: u8 = 1;

    /// With a message alone.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }
}
