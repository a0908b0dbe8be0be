//! One run, from the plan to the committed snapshot.

mod round;
mod wishes;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::runtime::Handle;
use unseen_common::id::SnapshotId;
use unseen_common::log::entry::Status;

use super::BackupError;
use super::changes::Changes;
use super::commit::{Committed, finish_pending, prepare, send};
use super::listener::Listener;
use super::prelude::{mark_synced, open_index};
use super::spool::Spool;
use super::stop::Stop;
use super::two_passes::TwoPasses;
use crate::compress::Level;
use crate::index::Index;
use crate::progress::{Monitor, Note};
use crate::repo::clocks::stamped_ahead;
use crate::repo::{RepoError, Repository};
use crate::scan::exclude::Rules;
use crate::scan::os::raise_fd_limit;
use crate::state::db::StateDb;
use crate::tree::entry::{Meta, Name};
use crate::tree::manifest::{Problem, Totals};
use round::{Round, committer};
use wishes::{describe, outcome, status, wish};

/// A stream to save as one file.
pub struct StreamSource {
    /// Its name in the snapshot, at the top.
    pub name: Name,
    /// The bytes.
    pub source: Box<dyn std::io::Read + Send>,
    /// Mode, owner, time.
    pub meta: Meta,
}

impl std::fmt::Debug for StreamSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamSource({:?})", self.name)
    }
}

/// What to back up.
#[derive(Debug)]
pub enum Source {
    /// Absolute paths.
    Paths(Vec<PathBuf>),
    /// One stream. It can be read once.
    Stream(Option<StreamSource>),
}

/// How to back up.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct RunOptions {
    /// The name of the set.
    pub set: String,
    /// Host name for the manifest.
    pub host: String,
    /// User name for the manifest.
    pub user: String,
    /// Tags.
    pub tags: Vec<String>,
    /// What to leave out.
    pub rules: Rules,
    /// All that may have changed since a run of this set with the same paths that ended neither
    /// interrupted nor with an error. Nothing else is looked at. Of hard links: also the
    /// directories of the other names. `None`: everything is looked at.
    pub changes: Option<Changes>,
    /// Longer files are left out of this pass, unless they are as they were; with any left out,
    /// the snapshot is a checkpoint, and a run without this makes it whole. In bytes.
    pub at_most: Option<u64>,
    /// So many bytes of files are read, at most: the smallest and newest. With any left out, the
    /// same.
    pub in_all: Option<u64>,
    /// If this machine has no snapshot of the set yet, small files are saved first, and a
    /// checkpoint of them made; then all.
    pub small_first: Option<SmallFirst>,
    /// Stay on the file systems of the named paths.
    pub one_file_system: bool,
    /// Read everything again.
    pub force: bool,
    /// Look, but send and record nothing.
    pub dry_run: bool,
    /// Make no snapshot when nothing has changed.
    pub skip_if_unchanged: bool,
    /// How hard to compress.
    pub compression: Level,
    /// A long run saves a checkpoint this often.
    pub checkpoint_every: Duration,
    /// The vault is on another machine: keep packs until it has them.
    pub spool: bool,
    /// Somebody waits for just this: what an earlier run has left to send is for the next one.
    pub ahead: bool,
    /// Threads that read, chunk, compress and seal.
    pub workers: usize,
    /// Threads that upload.
    pub uploads: usize,
    /// How long the vault may take for each request once the user wants to stop. Packs that are
    /// on their way are given up sooner.
    pub patience: Duration,
}

/// Which files come first in a first backup.
#[derive(Debug, Clone, Copy)]
pub struct SmallFirst {
    /// Those of at most so many bytes.
    pub at_most: u64,
    /// If the others are of so many bytes together.
    pub others: u64,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The snapshot; none for a dry run, or when nothing changed and none was wanted.
    pub snapshot: Option<SnapshotId>,
    /// How whole it is.
    pub status: Status,
    /// What is in it.
    pub totals: Totals,
    /// Bytes that the server took.
    pub uploaded: u64,
    /// Packs that the server took.
    pub packs: u64,
    /// What could not be read; the first ones.
    pub problems: Vec<Problem>,
    /// How many things could not be read.
    pub problem_count: u64,
    /// Files that were too long for this pass.
    pub left_out: u64,
    /// The user stopped it; what was done is kept.
    pub interrupted: bool,
    /// What is wrong with the clock of the server or of this machine, if anything is.
    pub clocks: Option<String>,
}

/// Rounds of sending again what the server has lost.
const ROUNDS: u32 = 3;
/// Bytes of directory records that may be dead before they are written anew.
const DEAD_RECORDS: u64 = 32 * 1024 * 1024;

/// Set when the user wants to stop.
pub type Interrupt<'a> = &'a AtomicBool;

/// Backs up. Blocks; requests run on `runtime`.
pub fn run(
    repo: &mut Repository,
    mut source: Source,
    options: &RunOptions,
    (monitor, interrupt): (&dyn Monitor, Interrupt<'_>),
    runtime: &Handle,
) -> Result<Outcome, BackupError> {
    raise_fd_limit();
    let stop = Stop::new(interrupt, options.patience, monitor);
    let mut state = StateDb::open(&repo.folders.state)?;
    let clocks = stop.at_once(runtime, look_at_clocks(repo, options.dry_run))?;
    if let Some(trouble) = &clocks {
        monitor.note(&Note::warning(trouble));
    }
    if !options.dry_run
        && stop.at_once(runtime, finish_pending(&mut committer(repo, &state, false).0))?.is_some()
    {
        monitor.note(&Note::info("finished the snapshot that an earlier run had begun to commit"));
    }
    if options.spool && !options.dry_run {
        tell_left(&Spool::waiting(&repo.folders.spool()), options.ahead, monitor);
    }
    let outcome = passes((repo, &mut state), &mut source, options, (monitor, &stop), runtime)?;
    Ok(Outcome { clocks, ..outcome })
}

/// What an earlier run has left to send takes its time, before this run or after it.
fn tell_left(&(packs, bytes): &(u64, u64), ahead: bool, monitor: &dyn Monitor) {
    if packs == 0 {
        return;
    }
    let megabytes = bytes.div_ceil(1_000_000);
    monitor.note(&Note::info(if ahead {
        format!("what an earlier run has left to send waits for this one: {megabytes} MB")
    } else {
        format!("what an earlier run has left is sent first: {megabytes} MB")
    }));
}

/// All of the source at once, or what is small before the rest.
fn passes(
    (repo, state): (&mut Repository, &mut StateDb),
    source: &mut Source,
    options: &RunOptions,
    (monitor, stop): (&dyn Monitor, &Stop<'_>),
    runtime: &Handle,
) -> Result<Outcome, BackupError> {
    let Some(small) = small_first(options, source, state)? else {
        return rounds((repo, state), source, options, (monitor, stop), runtime);
    };
    let both = TwoPasses::new(monitor);
    let small = RunOptions { at_most: Some(small.at_most), ..options.clone() };
    let first = rounds((repo, state), source, &small, (&both, stop), runtime)?;
    if first.interrupted || first.left_out == 0 {
        return Ok(first);
    }
    first.snapshot.iter().for_each(|id| monitor.checkpoint(id));
    both.again();
    // What is to be looked at again is in the records: not everything.
    let changes = Some(Changes::default());
    let rest = RunOptions { changes, small_first: None, ..options.clone() };
    let second = rounds((repo, state), source, &rest, (&both, stop), runtime)?;
    let (uploaded, packs) = (first.uploaded + second.uploaded, first.packs + second.packs);
    Ok(Outcome { uploaded, packs, ..second })
}

/// Which files may be saved in a pass before the others, if this is a first backup.
fn small_first(
    options: &RunOptions,
    source: &Source,
    state: &StateDb,
) -> Result<Option<SmallFirst>, BackupError> {
    let plain = matches!(source, Source::Paths(_))
        && !(options.force || options.dry_run)
        && options.changes.is_none()
        && options.at_most.or(options.in_all).is_none();
    match options.small_first.filter(|_| plain) {
        Some(small) => Ok(state.last(&options.set)?.is_none().then_some(small)),
        None => Ok(None),
    }
}

/// Passes over the source until there is a snapshot.
fn rounds(
    (repo, state): (&mut Repository, &mut StateDb),
    source: &mut Source,
    options: &RunOptions,
    (monitor, stop): (&dyn Monitor, &Stop<'_>),
    runtime: &Handle,
) -> Result<Outcome, BackupError> {
    let mut missing = 0;
    // A stream is gone once it was read.
    let described = describe(source);
    for _ in 0..ROUNDS {
        if matches!(*source, Source::Stream(None)) {
            break;
        }
        let (index, own) = stop.at_once(runtime, open_index(repo, state, monitor))?;
        let start = repo.clock.now();
        let listener = Listener::new(monitor);
        let mut round = Round { options, state, index: &index, own, start, known_only: false };
        let ended = round.go(repo, source, (&listener, stop), runtime)?;
        if !options.dry_run {
            mark_synced(&index, state)?;
        }
        if ended.0.interrupted && matches!(*source, Source::Stream(_)) {
            // A stream is one file: whole, or nothing.
            return Err(BackupError::Interrupted);
        }
        let ended = round.what_arrived(repo, ended, (source, stop), runtime)?;
        let (passed, packs, mut sent) = ended;
        let unchanged =
            sent.0 == 0 && state.last(&options.set)?.is_some_and(|l| l.0 == passed.root);
        if options.dry_run || (options.skip_if_unchanged && unchanged && !passed.interrupted) {
            return Ok(outcome(&passed, None, sent, &listener));
        }
        let status = status(&passed, &listener);
        let about = (start, described.clone());
        let mut wish = wish(repo, options, (&passed, packs, status), about, &listener);
        let maps = round.maps(repo, (runtime, stop), &mut sent)?;
        wish.packs |= maps.name_in(&mut wish.manifest);
        let again = matches!(*source, Source::Paths(_));
        let mut committer = committer(repo, state, again).0;
        let (prepared, _) = prepare(&committer, wish)?;
        match stop.in_time(runtime, send(&mut committer, &prepared))? {
            Committed::Saved(id) => {
                if status != Status::Checkpoint {
                    state.set_last(&options.set, &passed.root, &id)?;
                }
                state.flush()?;
                state.rewrite_records(DEAD_RECORDS)?;
                return Ok(outcome(&passed, Some(id), sent, &listener));
            }
            Committed::Missing(packs) => {
                missing = packs.len();
                monitor.note(&if packs.is_subset(&repo.log.removed) {
                    Note::info("the vault was compacted meanwhile; looking at what that concerns")
                } else {
                    let text = format!("the server has lost {missing} packs; sending them again");
                    Note::warning(text)
                });
                index.forget_packs(&packs)?;
            }
            Committed::Stale => {
                drop(index);
                start_over(repo, state, monitor)?;
            }
        }
    }
    Err(BackupError::KeepsLosing { missing })
}

/// What is wrong with the clocks, if anything is. So much that no snapshot is to be stamped is an
/// error, before anything is read and sent.
async fn look_at_clocks(repo: &Repository, dry_run: bool) -> Result<Option<String>, BackupError> {
    let clocks = repo.clocks().await?;
    if !dry_run {
        clocks.check().map_err(RepoError::from)?;
    }
    Ok(clocks.warning().or_else(|| stamped_ahead(&repo.log.state, clocks.server)))
}

/// Forgets what this machine knows of the vault's packs: the next round learns it anew.
fn start_over(
    repo: &Repository,
    state: &StateDb,
    monitor: &dyn Monitor,
) -> Result<(), BackupError> {
    monitor.note(&Note::warning("the local index was stale; starting over"));
    state.clear()?;
    Ok(Index::wipe(&repo.folders.index())?)
}

#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod incremental;
#[cfg(test)]
mod passes;
#[cfg(test)]
mod restless;
#[cfg(test)]
mod short;
#[cfg(test)]
mod tests;
