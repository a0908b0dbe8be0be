//! One run, from the plan to the committed snapshot.

mod wishes;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::runtime::Handle;
use unseen_common::id::SnapshotId;
use unseen_common::log::entry::Status;
use unseen_common::time::Timestamp;

use super::BackupError;
use super::allowance::Allowance;
use super::changes::Changes;
use super::commit::{Committed, Committer, finish_pending, prepare, send};
use super::dedup::Dedup;
use super::listener::Listener;
use super::open_packs::OpenPacks;
use super::prelude::{mark_synced, open_index};
use super::spool::Spool;
use super::stop::Stop;
use super::threads::{Passed, Threads};
use super::two_passes::TwoPasses;
use super::upload::{Flow, Uploads};
use crate::chunk::{Chunker, Params};
use crate::compress::Level;
use crate::index::Index;
use crate::pack::builder::Sealer;
use crate::progress::{Monitor, Note, Silent};
use crate::repo::clocks::stamped_ahead;
use crate::repo::{Folders, RepoError, Repository};
use crate::scan::exclude::Rules;
use crate::scan::names::OwnerNames;
use crate::scan::os::raise_fd_limit;
use crate::state::db::StateDb;
use crate::tree::entry::{Meta, Name};
use crate::tree::manifest::{Problem, Totals};
use wishes::{describe, make_wish, outcome, status, wish};

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
    /// If this machine has no snapshot of the set yet, files of so many bytes are saved first, and
    /// a checkpoint of them made; then all.
    pub small_first: Option<u64>,
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
    /// Threads that read, chunk, compress and seal.
    pub workers: usize,
    /// Threads that upload.
    pub uploads: usize,
    /// How long the vault may take for each request once the user wants to stop. Packs that are
    /// on their way are given up sooner.
    pub patience: Duration,
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
/// Of what may be read in all this part is set aside, for trees and the padding of packs.
const BESIDE: u64 = 16;
/// Bytes of directory records that may be dead before they are written anew.
const DEAD_RECORDS: u64 = 32 * 1024 * 1024;
/// A file that changed so many seconds before the run began is read again next time.
const RACY_SECONDS: i64 = 2;

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
    let outcome = passes((repo, &mut state), &mut source, options, (monitor, &stop), runtime)?;
    Ok(Outcome { clocks, ..outcome })
}

/// All of the source at once, or what is small before the rest.
fn passes(
    (repo, state): (&mut Repository, &mut StateDb),
    source: &mut Source,
    options: &RunOptions,
    (monitor, stop): (&dyn Monitor, &Stop<'_>),
    runtime: &Handle,
) -> Result<Outcome, BackupError> {
    let Some(at_most) = small_first(options, source, state)? else {
        return rounds((repo, state), source, options, (monitor, stop), runtime);
    };
    let both = TwoPasses::new(monitor);
    let small = RunOptions { at_most: Some(at_most), ..options.clone() };
    let first = rounds((repo, state), source, &small, (&both, stop), runtime)?;
    if first.interrupted || first.left_out == 0 {
        return Ok(first);
    }
    first.snapshot.iter().for_each(|id| monitor.checkpoint(id));
    both.again();
    // What is to be looked at again is in the records: not everything.
    let rest = RunOptions { changes: Some(Changes::default()), ..options.clone() };
    let second = rounds((repo, state), source, &rest, (&both, stop), runtime)?;
    let (uploaded, packs) = (first.uploaded + second.uploaded, first.packs + second.packs);
    Ok(Outcome { uploaded, packs, ..second })
}

/// How long files may be that are saved in a pass before the others, if this is a first backup.
fn small_first(
    options: &RunOptions,
    source: &Source,
    state: &StateDb,
) -> Result<Option<u64>, BackupError> {
    let plain = matches!(source, Source::Paths(_))
        && !(options.force || options.dry_run)
        && options.changes.is_none()
        && options.at_most.or(options.in_all).is_none();
    match options.small_first.filter(|_| plain) {
        Some(at_most) => Ok(state.last(&options.set)?.is_none().then_some(at_most)),
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
        let (passed, packs, sent) = ended;
        let unchanged =
            sent.0 == 0 && state.last(&options.set)?.is_some_and(|l| l.0 == passed.root);
        if options.dry_run || (options.skip_if_unchanged && unchanged && !passed.interrupted) {
            return Ok(outcome(&passed, None, sent, &listener));
        }
        let status = status(&passed, &listener);
        let about = (start, described.clone());
        let wish = wish(repo, options, (&passed, packs, status), about, &listener);
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

/// What a commit needs, and what the threads need beside it.
fn committer<'r>(
    repo: &'r mut Repository,
    state: &'r StateDb,
    again: bool,
) -> (Committer<'r>, Borrowed<'r>) {
    let Repository { key, service, vault, log, folders, clock } = repo;
    let borrowed = Borrowed { key, vault: Arc::clone(vault), folders };
    let (service, vault, clock) = (&**service, &**vault, &**clock);
    let committer = Committer { key, service, vault, log, folders, clock, state, again };
    (committer, borrowed)
}

struct Borrowed<'r> {
    key: &'r crate::crypto::device_file::DeviceKey,
    vault: Arc<dyn unseen_common::vault::Vault>,
    folders: &'r Folders,
}

struct Round<'a> {
    options: &'a RunOptions,
    state: &'a StateDb,
    index: &'a Index,
    own: RoaringBitmap,
    start: Timestamp,
    /// As in [`Threads`].
    known_only: bool,
}

/// Packs and bytes that the server took.
type Sent = (u64, u64);

/// What was passed over, the packs it needs, and what was sent for it.
type Ended = (Passed, RoaringBitmap, Sent);

impl Round<'_> {
    /// After a wish to stop, if packs were left to the next run: what the vault has of it, as a
    /// pass of its own that reads nothing. [`BackupError::Interrupted`] if it has nothing new.
    fn what_arrived(
        &mut self,
        repo: &mut Repository,
        ended: Ended,
        (source, stop): (&mut Source, &Stop<'_>),
        runtime: &Handle,
    ) -> Result<Ended, BackupError> {
        let (passed, _, (packs, bytes)) = &ended;
        if !passed.gave_up {
            return Ok(ended);
        }
        if *packs == 0 {
            return Err(BackupError::Interrupted);
        }
        self.known_only = true;
        // All of it was told of already.
        let (listener, stop) = (Listener::new(&Silent), stop.soon());
        let (found, used, sent) = self.go(repo, source, (&listener, &stop), runtime)?;
        if found.gave_up || found.contents.totals.files == 0 {
            return Err(BackupError::Interrupted);
        }
        mark_synced(self.index, self.state)?;
        let found = Passed { interrupted: true, left_out: passed.left_out, ..found };
        Ok((found, used, (packs + sent.0, bytes + sent.1)))
    }

    fn go(
        &mut self,
        repo: &mut Repository,
        source: &mut Source,
        (listener, stop): (&Listener<'_>, &Stop<'_>),
        runtime: &Handle,
    ) -> Result<Ended, BackupError> {
        let options = self.options;
        let again = matches!(source, Source::Paths(_));
        let (mut committer, parts) = committer(repo, self.state, again);
        let own = std::mem::take(&mut self.own);
        let dedup = Dedup::new(self.index, own.clone());
        let (flow, owners) = (Flow::default(), OwnerNames::of_this_machine());
        let open = OpenPacks::default();
        let ids = parts.key.write_set.content_keys();
        let chunker = Chunker::new(parts.key.write_set.chunker.expose(), Params::DEFAULT);
        let sealer = Sealer {
            to: parts.key.seal_to(),
            signer: &parts.key.secrets.manifest,
            index_key: &parts.key.secrets.index_key,
        };
        let spool = self.spool(parts.folders)?;
        let uploads = Uploads {
            vault: Arc::clone(&parts.vault),
            runtime: runtime.clone(),
            dedup: &dedup,
            state: self.state,
            spool,
            monitor: listener,
            progress: &flow,
            stop,
            dry_run: options.dry_run,
        };
        if !self.known_only {
            uploads.resume(parts.key.vault, &parts.key.secrets, options.in_all)?;
        }
        let mut threads = Threads {
            options,
            state: self.state,
            owners: &owners,
            dedup: &dedup,
            flow: &flow,
            ids: &ids,
            chunker: &chunker,
            sealer: &sealer,
            open: &open,
            uploads: &uploads,
            monitor: listener,
            stop,
            secrets: &parts.key.secrets,
            racy_from: i64::try_from(self.start.0).unwrap_or(i64::MAX) - RACY_SECONDS,
            known_only: self.known_only,
            allowance: None,
        };
        threads.allowance = self.allowance(source, &threads, own)?;
        let start = self.start;
        let described = describe(source);
        let result = threads.run(source, &mut |root, contents| {
            let passed = Passed::so_far(root, contents);
            let made = (&passed, dedup.used(), Status::Checkpoint);
            let who = (committer.key, committer.clock.now());
            let wish = make_wish(who, options, made, (start, described.clone()), listener);
            let (prepared, id) = prepare(&committer, wish)?;
            if let Committed::Saved(_) = stop.in_time(runtime, send(&mut committer, &prepared))? {
                listener.inner.checkpoint(&id);
            }
            Ok(())
        });
        if let Some(error) = flow.take_error().filter(|e| !matches!(e, BackupError::Stopped)) {
            return Err(error);
        }
        let sent = (flow.uploaded_packs(), flow.uploaded_bytes());
        let used = dedup.used();
        self.own = dedup.into_own();
        Ok((result?, used, sent))
    }

    /// What is read of a source, if that is limited in all.
    fn allowance(
        &self,
        source: &Source,
        threads: &Threads<'_>,
        own: RoaringBitmap,
    ) -> Result<Option<Allowance>, BackupError> {
        let (Some(most), Source::Paths(paths)) = (self.options.in_all, source) else {
            return Ok(None);
        };
        if self.known_only {
            return Ok(None);
        }
        // What was sent already counts.
        let left = most.saturating_sub(threads.flow.uploaded_bytes());
        // Whatever is looked up is needed by nobody yet.
        let dedup = Dedup::new(self.index, own);
        let threads = Threads { dedup: &dedup, ..*threads };
        threads.weigh(paths, left - left / BESIDE).map(Some)
    }

    fn spool(&self, folders: &Folders) -> Result<Option<Spool>, BackupError> {
        if !self.options.spool || self.options.dry_run || self.known_only {
            return Ok(None);
        }
        Spool::open(&folders.spool()).map(Some).map_err(BackupError::Spool)
    }
}

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
