//! Backups as the daemon makes them: each opens the vault, saves one set, and lets go of all
//! again, so that other commands work in between.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::super::args::values::BytesPerSecond;
use super::super::cmd_policy::waiting_warning;
use super::super::cmd_run::configured;
use super::super::cmd_run::links::link_warnings;
use super::super::cmd_run::one::{refused, saved_but, went};
use super::super::context::Setup;
use super::super::exit::{CliError, Exit};
use super::super::output::Ui;
use super::super::vault::{self, SystemClock};
use super::settings::{Place, Settings};
use crate::backup::{self, Outcome, RunOptions, Source};
use crate::daemon::alerts::{self, Touched};
use crate::daemon::job::{Job, Room, RunResult, Runner, Summary, Trouble};
use crate::maintain::presence::{self, Presence};
use crate::maintain::quota::quota;
use crate::progress::{Amount, Counts, Item, Monitor, Note, Problem, Stored, Tally};
use crate::repo::hold::{held, hold};
use crate::repo::{RepoError, Repository};
use crate::sets::Job as SetJob;
use crate::sets::command::listening;
use crate::sets::hooks::{self, HookError, Moment, Went};
use crate::state::db::StateDb;
use unseen_common::id::SnapshotId;
use unseen_common::time::Clock;

/// Makes backups of the sets of a profile.
#[derive(Debug)]
pub(super) struct SetRunner {
    pub(super) ui: Arc<Ui>,
    pub(super) place: Place,
    pub(super) settings: Arc<Mutex<Arc<Settings>>>,
    pub(super) runtime: Runtime,
}

impl Runner for SetRunner {
    fn run(&self, job: &Job, monitor: &dyn Monitor, stop: &Arc<AtomicBool>) -> RunResult {
        self.around(job, monitor, stop).map_err(|error| trouble_of(&error))
    }
}

impl SetRunner {
    /// The commands of a set, and its backup between them.
    fn around(
        &self,
        job: &Job,
        monitor: &dyn Monitor,
        stop: &Arc<AtomicBool>,
    ) -> Result<Summary, CliError> {
        let settings = Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner));
        let set = settings.jobs.get(&job.set).ok_or_else(|| {
            CliError::new(Exit::Usage, format!("there is no set {} any more", job.set))
        })?;
        if let Some(exposed) = settings.exposed.as_ref().filter(|_| set.has_commands()) {
            return Err(exposed.clone().into());
        }
        let made = self
            .make_ready(set, &settings, (monitor, stop))
            .and_then(|()| self.back_up((job, set), &settings, (monitor, stop)));
        match made {
            Ok((outcome, (counts, touched), took, (presence, room, refused, held))) => {
                let exit = if outcome.problem_count > 0 { Exit::Incomplete } else { Exit::Done };
                let exit = if outcome.interrupted { Exit::Interrupted } else { exit };
                let went = went(exit, &outcome, &counts);
                let after = if outcome.interrupted {
                    self.failed(set, &went, monitor);
                    None
                } else {
                    let ran = self.hook(set, (Moment::After, &went), (monitor, stop));
                    ran.err().map(|error| Box::new(trouble_of(&saved_but(set, error))))
                };
                let summary = Summary::new(&outcome, counts, took);
                Ok(Summary { presence, room, refused, held: Some(held), after, touched, ..summary })
            }
            // Somebody else's run is no failure: this one comes after it.
            Err(error) if error.code() == Exit::Busy => Err(error),
            Err(error) => {
                let stopped = error.code() == Exit::Interrupted;
                let went = Went {
                    status: if stopped { "interrupted" } else { "failed" },
                    exit_code: error.code().code(),
                    error: Some(error.report()),
                    ..Went::default()
                };
                self.failed(set, &went, monitor);
                Err(error)
            }
        }
    }

    fn make_ready(
        &self,
        set: &SetJob,
        settings: &Settings,
        (monitor, stop): (&dyn Monitor, &Arc<AtomicBool>),
    ) -> Result<(), CliError> {
        if set.hooks.before.is_some() {
            // Nothing is made ready for a backup that cannot be made now.
            StateDb::is_free(&self.place.setup.places.state)?;
            vault::open(&vault::parse(&settings.vault)?, Arc::clone(stop))?;
        }
        self.hook(set, (Moment::Before, &Went::default()), (monitor, stop))
            .map_err(|error| refused(set, error))
    }

    fn failed(&self, set: &SetJob, went: &Went, monitor: &dyn Monitor) {
        // There is still to be cleaned up.
        let never = AtomicBool::new(false);
        if let Err(error) = self.hook(set, (Moment::Failed, went), (monitor, &never)) {
            monitor.note(&Note::warning(format!("what runs after a failure: {error}")));
        }
    }

    /// Runs a command of a set.
    fn hook(
        &self,
        set: &SetJob,
        (moment, went): (Moment, &Went),
        (monitor, stop): (&dyn Monitor, &AtomicBool),
    ) -> Result<(), HookError> {
        let profile = self.place.setup.name.as_str();
        let environment = hooks::environment((&set.set, profile), moment, went);
        let from = format!("{}: {}", set.set, moment.key());
        let say = |line: &str| self.pass_on(&from, line, monitor);
        hooks::run(&set.hooks, moment, &environment, (stop, &say))
    }

    /// What a command has said is for the log, and for whoever follows the run.
    fn pass_on(&self, from: &str, line: &str, monitor: &dyn Monitor) {
        self.ui.status(&format!("{from}: {line}"));
        monitor.note(&Note::info(line));
    }

    fn back_up(
        &self,
        (job, set): (&Job, &SetJob),
        settings: &Settings,
        (monitor, stop): (&dyn Monitor, &Arc<AtomicBool>),
    ) -> Result<(Outcome, Counted, Duration, Beside), CliError> {
        let begun = Instant::now();
        let setup = &Setup { vault: Some(settings.vault.clone()), ..self.place.setup.clone() };
        let (mut repo, opened) = vault::log_in(setup, (&self.runtime, Arc::clone(stop)))?;
        let warn = |text: &str| monitor.note(&Note::warning(text));
        let state = &repo.log.state;
        for text in [vault::erase_warning(state), waiting_warning(state)].iter().flatten() {
            warn(text);
        }
        let refused = self.hold(job, &mut repo, monitor)?;
        let held = held(&repo);
        let rate =
            |text: &Option<String>, key| configured::<BytesPerSecond>(None, text.as_deref(), key);
        let up = rate(&settings.profile.limit_upload, "limit_upload")?;
        let down = rate(&settings.profile.limit_download, "limit_download")?;
        repo.vault = vault::limited(repo.vault, up, down);
        let options = RunOptions {
            changes: job.changes.clone(),
            in_all: job.at_most,
            // A snapshot each hour of which nothing is new helps nobody. Who asks for one gets it.
            skip_if_unchanged: set.skip_if_unchanged || !job.followed,
            ..set.options(&settings.here()?)
        };
        let touched = Mutex::new(Box::new(Touched::after(Arc::clone(&job.kinds))));
        let listener = Counting { tally: Tally::default(), touched, inner: monitor };
        let runtime = self.runtime.handle();
        let say = |line: &str| self.pass_on(&set.set, line, monitor);
        let outcome = listening(&say, |aside| -> Result<Outcome, CliError> {
            let source = set.open(SystemClock.now(), (stop, Some(aside)))?;
            // With every run of its own the log would have it every few minutes.
            let same = vault::same_disk_warning(&source, &opened).filter(|_| job.followed);
            same.into_iter().for_each(warn);
            if let (Source::Paths(paths), true) = (&source, job.followed) {
                for text in link_warnings(paths) {
                    warn(&text);
                }
            }
            Ok(backup::run(&mut repo, source, &options, (&listener, stop), runtime)?)
        });
        let outcome = outcome
            .map_err(|error| CliError::new(Exit::Failed, "cannot start a thread").because(error))?;
        let outcome = outcome?;
        if !outcome.interrupted {
            let told: vault::Told<'_> = (&self.ui, &warn);
            vault::sweep(told, setup, &opened);
            vault::scrub(told, &opened, stop);
        }
        // What cannot be looked at now is looked at next time.
        let look = job.check && !outcome.interrupted;
        let looked = look.then(|| self.runtime.block_on(look_at(&repo)));
        let (presence, room) = looked.unwrap_or_default();
        let counted = (listener.tally.counts(), listener.touched());
        Ok((outcome, counted, begun.elapsed(), (presence, room, refused, held)))
    }

    /// Holds what is to be held. What the vault will never take stands in the way of no backup:
    /// then this tells why.
    fn hold(
        &self,
        job: &Job,
        repo: &mut Repository,
        monitor: &dyn Monitor,
    ) -> Result<Option<String>, CliError> {
        if job.hold.is_empty() {
            return Ok(None);
        }
        match self.runtime.block_on(hold(repo, &job.hold)) {
            Err(RepoError::Vault(error)) if !error.is_transient() => {
                let text = format!("the snapshots from before the change are not held: {error}");
                monitor.note(&Note::warning(text));
                Ok(Some(error.to_string()))
            }
            held => Ok(held.map(|_| None)?),
        }
    }
}

/// How much was found, and which files were different.
type Counted = (Counts, Box<Touched>);

/// Whether packs are missing, and how much room there is, as far as either could be told.
type Looked = (Option<Presence>, Option<Room>);
/// The same, why what was to be held is not, and what is.
type Beside = (Option<Presence>, Option<Room>, Option<String>, Vec<SnapshotId>);

/// Whether the vault has what it should, and room for more.
async fn look_at(repo: &Repository) -> Looked {
    let room = quota(repo).await.ok().flatten();
    (presence::look(repo).await.ok(), room.map(|(used, allowed)| Room { used, allowed }))
}

/// Counts, and passes everything on.
#[derive(Debug)]
struct Counting<'a> {
    tally: Tally,
    touched: Mutex<Box<Touched>>,
    inner: &'a dyn Monitor,
}

impl Counting<'_> {
    fn touched(&self) -> Box<Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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
        // One thread tells of all files.
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).done(&item, alerts::look_at);
        self.inner.done(item);
    }
    fn unvisited(&self, amount: Amount) {
        self.tally.unvisited(amount);
        self.inner.unvisited(amount);
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
