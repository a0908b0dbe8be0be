//! Backups as the daemon makes them: each opens the vault, saves one set, and lets go of all
//! again, so that other commands work in between.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::super::args::values::BytesPerSecond;
use super::super::cmd_run::{PATIENCE, configured, host_name, user_name};
use super::super::exit::{CliError, Exit};
use super::super::output::Ui;
use super::super::vault::{self, Opened};
use super::settings::{Here, Settings};
use crate::backup::{self, RunOptions, Source};
use crate::daemon::job::{Job, RunResult, Runner, Summary, Trouble};
use crate::progress::{Amount, Item, Monitor, Note, Problem, Stored, Tally};
use crate::repo::hold::hold;
use crate::repo::{RepoError, Repository};
use crate::scan::exclude::Rules;
use crate::sets::NamedSet;
use crate::sets::values::Compression;
use unseen_common::id::SnapshotId;

/// A long run saves what it has so far this often.
const CHECKPOINT: Duration = Duration::from_secs(600);

/// Makes backups of the sets of a profile.
#[derive(Debug)]
pub(super) struct SetRunner {
    pub(super) ui: Arc<Ui>,
    pub(super) here: Here,
    pub(super) settings: Arc<Mutex<Arc<Settings>>>,
    pub(super) runtime: Runtime,
}

impl Runner for SetRunner {
    fn run(&self, job: &Job, monitor: &dyn Monitor, stop: &Arc<AtomicBool>) -> RunResult {
        self.back_up(job, monitor, stop).map_err(|error| trouble_of(&error))
    }
}

impl SetRunner {
    fn back_up(
        &self,
        job: &Job,
        monitor: &dyn Monitor,
        stop: &Arc<AtomicBool>,
    ) -> Result<Summary, CliError> {
        let begun = Instant::now();
        let settings = Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner));
        let set = settings.sets.get(&job.set).ok_or_else(|| {
            CliError::new(Exit::Usage, format!("there is no set {} any more", job.set))
        })?;
        let roots = self.here.roots(set)?;
        let (mut repo, opened) =
            vault::log_in(&self.here.setup, (&self.runtime, Arc::clone(stop)))?;
        if let Some(warning) = vault::erase_warning(&repo.log.state) {
            monitor.note(&Note::warning(warning));
        }
        self.hold(job, &mut repo, monitor)?;
        let rate =
            |text: &Option<String>, key| configured::<BytesPerSecond>(None, text.as_deref(), key);
        let up = rate(&settings.profile.limit_upload, "limit_upload")?;
        let down = rate(&settings.profile.limit_download, "limit_download")?;
        repo.vault = vault::limited(repo.vault, up, down);
        let options = self.options((job, set), &settings, &opened)?;
        let listener = Counting { tally: Tally::default(), inner: monitor };
        let outcome = backup::run(
            &mut repo,
            Source::Paths(roots),
            &options,
            (&listener, stop),
            self.runtime.handle(),
        )?;
        if !outcome.interrupted {
            vault::sweep(&self.ui, &self.here.setup, &opened);
        }
        Ok(Summary::new(&outcome, listener.tally.counts(), begun.elapsed()))
    }

    /// Holds what is to be held. What the vault will never take stands in the way of no backup.
    fn hold(
        &self,
        job: &Job,
        repo: &mut Repository,
        monitor: &dyn Monitor,
    ) -> Result<(), CliError> {
        if job.hold.is_empty() {
            return Ok(());
        }
        match self.runtime.block_on(hold(repo, &job.hold)) {
            Err(RepoError::Vault(error)) if !error.is_transient() => {
                let text = format!("the snapshots from before the change are not held: {error}");
                monitor.note(&Note::warning(text));
                Ok(())
            }
            held => Ok(held.map(drop)?),
        }
    }

    fn options(
        &self,
        (job, set): (&Job, &NamedSet),
        settings: &Settings,
        opened: &Opened,
    ) -> Result<RunOptions, CliError> {
        let profile = settings.profile.compression.as_deref();
        let compression = configured::<Compression>(set.compression, profile, "compression")?;
        let mut excludes = self.here.excludes(set)?;
        excludes.own.extend(opened.folder.clone());
        let host = set.label.host.clone().or_else(|| settings.profile.host.clone());
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Ok(RunOptions {
            set: set.name.clone(),
            host: host.unwrap_or_else(host_name),
            user: user_name(),
            tags: set.label.tags.clone(),
            rules: Rules::new(excludes),
            changes: job.changes.clone(),
            one_file_system: set.excludes.one_file_system,
            force: false,
            dry_run: false,
            // A snapshot each hour of which nothing is new helps nobody.
            skip_if_unchanged: true,
            compression: compression.unwrap_or_default().level(),
            checkpoint_every: CHECKPOINT,
            spool: opened.folder.is_none(),
            workers: workers.clamp(1, 4),
            uploads: if opened.folder.is_some() { 1 } else { 3 },
            patience: PATIENCE,
        })
    }
}

/// Counts, and passes everything on.
#[derive(Debug)]
struct Counting<'a> {
    tally: Tally,
    inner: &'a dyn Monitor,
}

impl Monitor for Counting<'_> {
    fn scanned(&self, found: Amount) {
        self.tally.scanned(found);
        self.inner.scanned(found);
    }
    fn scan_done(&self) {
        self.tally.scan_done();
        self.inner.scan_done();
    }
    fn file_started(&self, path: &[u8]) {
        self.inner.file_started(path);
    }
    fn bytes_read(&self, bytes: u64) {
        self.tally.bytes_read(bytes);
        self.inner.bytes_read(bytes);
    }
    fn done(&self, item: Item<'_>) {
        self.tally.done(item);
        self.inner.done(item);
    }
    fn stored(&self, stored: Stored) {
        self.tally.stored(stored);
        self.inner.stored(stored);
    }
    fn transfer_planned(&self, bytes: u64) {
        self.tally.transfer_planned(bytes);
        self.inner.transfer_planned(bytes);
    }
    fn transferred(&self, bytes: u64) {
        self.tally.transferred(bytes);
        self.inner.transferred(bytes);
    }
    fn problem(&self, problem: &Problem) {
        self.tally.problem(problem);
        self.inner.problem(problem);
    }
    fn note(&self, note: &Note) {
        self.inner.note(note);
    }
    fn checkpoint(&self, snapshot: &SnapshotId) {
        self.tally.checkpoint(snapshot);
        self.inner.checkpoint(snapshot);
    }
}

/// An error as it is passed on to whoever asks the daemon.
pub(super) fn trouble_of(error: &CliError) -> Trouble {
    Trouble {
        code: error.code().code(),
        message: error.report(),
        hint: error.hint_text().map(str::to_owned),
    }
}

/// And back again.
pub(super) fn error_of(trouble: Trouble) -> CliError {
    let code = Exit::of_code(trouble.code).unwrap_or(Exit::Failed);
    let error = CliError::new(code, trouble.message);
    match trouble.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
