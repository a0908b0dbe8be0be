//! What a restore is told, what it tells in the end, and what stops it.

use std::path::PathBuf;
use unseen_common::packset::PackSet;

use super::error::TargetError;
use super::kept::Kept;
use super::left::LeftOut;
use super::links::LinksError;
use super::select::Select;
use crate::browse::error::ReadError;
use crate::browse::ls::FindError;
use crate::progress::Problem;

/// What to do with what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// It is replaced. A file of the same size and time whose content is proven to be the same is
    /// kept, and gets its metadata: so an interrupted restore goes on.
    #[default]
    Always,
    /// It is replaced unless size and time are those of the snapshot.
    IfChanged,
    /// It is replaced if the one in the snapshot is newer.
    IfNewer,
    /// It stays.
    Never,
}

/// How to restore.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line and independent of the others"
)]
pub struct RestoreOptions {
    /// The directory to restore to; made if absent.
    pub target: PathBuf,
    /// The target is the root of the file system: everything goes where it came from, and the
    /// folders above it stay as they are.
    pub in_place: bool,
    /// What is restored of it.
    pub select: Select,
    /// What to do with what is there already.
    pub existing: Existing,
    /// Remove what is there and not in the snapshot, within what the backup was told to save.
    pub delete: bool,
    /// What is never removed, nor anything above it: the keys of this machine, a local vault.
    pub kept: Kept,
    /// Look, but change nothing.
    pub dry_run: bool,
    /// With `dry_run`: only count what would be replaced or deleted. What is not there is passed
    /// over, and files of the same size and time are taken for the same.
    pub survey: bool,
    /// Read everything back in the end and compare it with the snapshot.
    pub verify: bool,
    /// Files go to the users and groups that have the recorded names here.
    pub ownership_by_name: bool,
    /// Restore setuid and setgid, capabilities, `security.*` and device nodes.
    pub privileged: bool,
    /// Threads that open, verify and write; the number of cores with 0.
    pub workers: usize,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreOutcome {
    /// Files that were written, further names of files among them.
    pub files: u64,
    /// Directories that were made or used.
    pub dirs: u64,
    /// Links, pipes and devices.
    pub others: u64,
    /// Files that were there already and the same.
    pub unmodified: u64,
    /// What was there already and was to stay.
    pub skipped: u64,
    /// What the policy left out, or the system refused; by kind. No problem, and to be told.
    pub left_out: Vec<LeftOut>,
    /// What `delete` removed.
    pub deleted: u64,
    /// What `delete` left alone although the snapshot lacks it.
    pub stayed: Stayed,
    /// With `survey`: what is there, differs and would be replaced.
    pub replaced: u64,
    /// Bytes of files that were written.
    pub bytes: u64,
    /// Bytes that were fetched.
    pub fetched: u64,
    /// What could not be restored; the first ones.
    pub problems: Vec<Problem>,
    /// Packs that were not what they should be.
    pub suspects: PackSet,
    /// How many things could not be restored.
    pub problem_count: u64,
    /// Files that were read back and are right; with `verify`.
    pub verified: u64,
    /// The user stopped it.
    pub interrupted: bool,
}

/// Why something stays that the snapshot lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The backup's rules leave it out.
    LeftOut,
    /// The backup could not read it.
    Unread,
    /// It is on another file system.
    Elsewhere,
    /// This program needs it.
    Own,
}

/// What stays that the snapshot lacks; of a directory that stays as a whole, only itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stayed {
    /// The backup's rules leave it out.
    pub left_out: u64,
    /// The backup could not read it.
    pub unread: u64,
    /// It is on another file system.
    pub elsewhere: u64,
    /// This program needs it.
    pub own: u64,
}

impl Stayed {
    pub(super) fn add(&mut self, why: Why) {
        let count = match why {
            Why::LeftOut => &mut self.left_out,
            Why::Unread => &mut self.unread,
            Why::Elsewhere => &mut self.elsewhere,
            Why::Own => &mut self.own,
        };
        *count = count.saturating_add(1);
    }
}

/// What ends a restore. Trouble with single files does not: it is reported and counted.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The target cannot be used.
    #[error("the target cannot be used")]
    Target(#[source] TargetError),
    /// The disk is full. What is whole so far stays; the same command goes on from there.
    #[error("the disk of the target is full, at {}", .path.escape_ascii())]
    Full {
        /// What was being written.
        path: Vec<u8>,
        /// What the system said.
        source: TargetError,
    },
    /// The vault or the index cannot be used.
    #[error("the snapshot cannot be read")]
    Read(#[from] ReadError),
    /// More files have several names than fit into memory, and a file for the rest fails.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// There is no such path in the snapshot.
    #[error("the part to restore cannot be found")]
    Find(#[from] FindError),
    /// Removing what is not in the snapshot would remove what the backup had not come to.
    #[error("--delete needs a whole snapshot, and the run of this one was cut short")]
    DeleteNeedsWhole,
    /// Removing what is not in the snapshot could remove what the backup could not read.
    #[error(
        "--delete needs to know what the backup could not read: {count} things, too many to list"
    )]
    DeleteUnread {
        /// How many they are.
        count: u64,
    },
    /// Removing what is not in the snapshot could remove what the backup left out.
    #[error("--delete needs to know what the backup left out, and the snapshot does not tell")]
    DeleteUnknownRules,
    /// A promise of our own code was broken.
    #[error("internal error: {0}")]
    Internal(&'static str),
}
