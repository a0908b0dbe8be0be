//! One run, from the plan to the committed snapshot.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::runtime::Handle;
use unseen_common::id::{Hash, SnapshotId};
use unseen_common::log::entry::Status;
use unseen_common::time::Timestamp;

use super::BackupError;
use super::changes::Changes;
use super::commit::{Committed, Committer, Wish, finish_pending, prepare, send};
use super::dedup::Dedup;
use super::listener::Listener;
use super::open_packs::OpenPacks;
use super::prelude::{mark_synced, open_index};
use super::spool::Spool;
use super::stop::Stop;
use super::threads::{Passed, Threads};
use super::upload::{Flow, Uploads};
use crate::chunk::{Chunker, Params};
use crate::compress::Level;
use crate::index::Index;
use crate::pack::builder::Sealer;
use crate::progress::{Monitor, Note};
use crate::repo::clocks::stamped_ahead;
use crate::repo::{Folders, RepoError, Repository};
use crate::scan::exclude::Rules;
use crate::scan::names::OwnerNames;
use crate::scan::os::raise_fd_limit;
use crate::state::db::StateDb;
use crate::tree::entry::{Meta, Name};
use crate::tree::manifest::{MAX_PATHS, MAX_TAGS, Manifest, Problem, Totals};

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
#[derive(Debug)]
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
    /// How long the vault may take for each request once the user wants to stop.
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
    let mut missing = 0;
    // A stream is gone once it was read.
    let described = describe(&source);
    for _ in 0..ROUNDS {
        if matches!(source, Source::Stream(None)) {
            break;
        }
        let (index, own) = stop.at_once(runtime, open_index(repo, &state, monitor))?;
        let start = repo.clock.now();
        let listener = Listener::new(monitor);
        let mut round = Round { options, state: &state, index: &index, own, start };
        let ended = round.go(repo, &mut source, (&listener, &stop), runtime)?;
        if !options.dry_run {
            mark_synced(&index, &state)?;
        }
        let (passed, packs, sent) = ended;
        if passed.interrupted && matches!(source, Source::Stream(_)) {
            // A stream is one file: whole, or nothing.
            return Err(BackupError::Interrupted);
        }
        let unchanged =
            sent.0 == 0 && state.last(&options.set)?.is_some_and(|l| l.0 == passed.root);
        if options.dry_run || (options.skip_if_unchanged && unchanged && !passed.interrupted) {
            return Ok(Outcome { clocks, ..outcome(&passed, None, sent, &listener) });
        }
        let status = status(&passed, &listener);
        let about = (start, described.clone());
        let wish = wish(repo, options, (&passed, packs, status), about, &listener);
        let again = matches!(source, Source::Paths(_));
        let mut committer = committer(repo, &state, again).0;
        let (prepared, _) = prepare(&committer, wish)?;
        match stop.in_time(runtime, send(&mut committer, &prepared))? {
            Committed::Saved(id) => {
                if status != Status::Checkpoint {
                    state.set_last(&options.set, &passed.root, &id)?;
                }
                state.flush()?;
                state.rewrite_records(DEAD_RECORDS)?;
                let outcome = outcome(&passed, Some(id), sent, &listener);
                return Ok(Outcome { clocks, ..outcome });
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
                start_over(repo, &state, monitor)?;
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
}

/// Packs and bytes that the server took.
type Sent = (u64, u64);

impl Round<'_> {
    fn go(
        &mut self,
        repo: &mut Repository,
        source: &mut Source,
        (listener, stop): (&Listener<'_>, &Stop<'_>),
        runtime: &Handle,
    ) -> Result<(Passed, RoaringBitmap, Sent), BackupError> {
        let options = self.options;
        let again = matches!(source, Source::Paths(_));
        let (mut committer, parts) = committer(repo, self.state, again);
        let dedup = Dedup::new(self.index, std::mem::take(&mut self.own));
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
        uploads.resume(parts.key.vault, &parts.key.secrets)?;
        let threads = Threads {
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
        };
        let start = self.start;
        let described = describe(source);
        let result = threads.run(source, &mut |root, contents| {
            let passed = Passed { root, contents, left_out: 0, interrupted: true };
            let wish = make_wish(
                (committer.key, committer.clock.now()),
                options,
                (&passed, dedup.used(), Status::Checkpoint),
                (start, described.clone()),
                listener,
            );
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
        Ok((result?, dedup.used(), sent))
    }

    fn spool(&self, folders: &Folders) -> Result<Option<Spool>, BackupError> {
        if !self.options.spool || self.options.dry_run {
            return Ok(None);
        }
        Spool::open(&folders.spool()).map(Some).map_err(BackupError::Spool)
    }
}

fn status(passed: &Passed, listener: &Listener<'_>) -> Status {
    if passed.interrupted || passed.left_out > 0 {
        Status::Checkpoint
    } else if listener.count() > 0 {
        Status::Partial
    } else {
        Status::Complete
    }
}

fn describe(source: &Source) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    match source {
        Source::Paths(paths) => paths.iter().map(|p| p.as_os_str().as_bytes().to_vec()).collect(),
        Source::Stream(Some(stream)) => vec![[b"/", stream.name.as_bytes()].concat()],
        Source::Stream(None) => Vec::new(),
    }
}

fn wish(
    repo: &Repository,
    options: &RunOptions,
    made: (&Passed, RoaringBitmap, Status),
    about: (Timestamp, Vec<Vec<u8>>),
    listener: &Listener<'_>,
) -> Wish {
    let who = (&repo.key, repo.clock.now());
    make_wish(who, options, made, about, listener)
}

fn make_wish(
    (key, end): (&crate::crypto::device_file::DeviceKey, Timestamp),
    options: &RunOptions,
    (passed, packs, status): (&Passed, RoaringBitmap, Status),
    (start, paths): (Timestamp, Vec<Vec<u8>>),
    listener: &Listener<'_>,
) -> Wish {
    let manifest = Manifest {
        set: fitting(&options.set),
        paths: fitting_paths(paths),
        host: fitting(&options.host),
        user: fitting(&options.user),
        tags: options.tags.iter().take(MAX_TAGS).map(|tag| fitting(tag)).collect(),
        start,
        end,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        root: passed.root,
        totals: passed.contents.totals,
        errors: listener.problems(),
        error_count: listener.count(),
        rules: options.rules.record(options.one_file_system),
        disclosure_hash: Hash::from_bytes([0; 32]),
    };
    let set = key.write_set.content_keys().set_tag(&options.set);
    Wish { manifest, set, status, packs, kinds: passed.contents.kinds }
}

fn outcome(
    passed: &Passed,
    snapshot: Option<SnapshotId>,
    (packs, uploaded): Sent,
    listener: &Listener<'_>,
) -> Outcome {
    Outcome {
        snapshot,
        status: status(passed, listener),
        totals: passed.contents.totals,
        uploaded,
        packs,
        problems: listener.problems(),
        problem_count: listener.count(),
        left_out: passed.left_out,
        interrupted: passed.interrupted,
        clocks: None,
    }
}

/// As much of a text as a manifest holds.
fn fitting(text: &str) -> String {
    text.chars().take(1000).collect()
}

/// As many paths as a manifest holds: the first ones, up to half a MiB.
fn fitting_paths(paths: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut left: usize = 512 * 1024;
    let fits = |path: &Vec<u8>| {
        left = left.saturating_sub(path.len());
        left > 0
    };
    paths.into_iter().take(MAX_PATHS).take_while(fits).collect()
}

#[cfg(test)]
mod clocks;
#[cfg(test)]
mod incremental;
#[cfg(test)]
mod restless;
#[cfg(test)]
mod short;
#[cfg(test)]
mod tests;
