//! One set after the other: the commands around a run, the run, and what is said about it.

use tokio::runtime::Runtime;
use unseen_common::log::entry::Status;
use unseen_common::time::Clock;

use super::super::bars::{Bars, Task};
use super::super::cmd_daemon::daemon_status;
use super::super::cmd_policy::waiting_warning;
use super::super::context::{Context, Setup};
use super::super::exit::{CliError, Exit};
use super::super::interrupt::Interrupt;
use super::super::turns::in_turn;
use super::super::vault::{self, Opened, SystemClock};
use super::each::{Once, each};
use super::links::link_warnings;
use super::{RunArgs, Wishes, report};
use crate::backup::{self, Outcome, RunOptions, Source};
use crate::progress::Counts;
use crate::sets::hooks::{self, HookError, Moment, Went};
use crate::sets::{Here, Job};
use crate::state::db::StateDb;

/// What all runs of one command share.
pub(super) struct Runs<'a> {
    pub(super) ctx: &'a Context<'a>,
    pub(super) args: &'a RunArgs,
    pub(super) wishes: &'a Wishes,
    pub(super) setup: &'a Setup,
    pub(super) runtime: &'a Runtime,
    pub(super) interrupt: &'a Interrupt,
    /// What is said once, however many sets there are, and was said.
    pub(super) told: Once,
}

impl Runs<'_> {
    /// Runs all.
    pub(super) fn all(&self, jobs: &[Job]) -> Result<Exit, CliError> {
        let jobs: Vec<(&str, &Job)> = jobs.iter().map(|job| (job.set.as_str(), job)).collect();
        each(self.ctx.ui, &jobs, || self.interrupt.is_raised(), |job| self.around(job))
    }

    /// The commands of a set, and its run between them. They mean nothing to a dry run.
    fn around(&self, job: &Job) -> Result<Exit, CliError> {
        if self.args.how.dry_run {
            return self.one(job).map(|(exit, ..)| exit);
        }
        let before = self.hook(job, Moment::Before, &Went::default());
        let ran = match before {
            Ok(()) => self.one(job),
            Err(error) => Err(refused(job, error)),
        };
        match ran {
            Ok((exit, outcome, counts)) if !outcome.interrupted => {
                let went = went(exit, &outcome, &counts);
                match self.hook(job, Moment::After, &went) {
                    Ok(()) => Ok(exit),
                    Err(error) => Err(saved_but(job, error)),
                }
            }
            Ok((exit, outcome, counts)) => {
                self.failed(job, &went(exit, &outcome, &counts));
                Ok(exit)
            }
            Err(error) => {
                let status =
                    if error.code() == Exit::Interrupted { "interrupted" } else { "failed" };
                let went = Went {
                    status,
                    exit_code: error.code().code(),
                    error: Some(error.report()),
                    ..Went::default()
                };
                self.failed(job, &went);
                Err(error)
            }
        }
    }

    fn failed(&self, job: &Job, went: &Went) {
        if let Err(error) = self.hook(job, Moment::Failed, went) {
            self.ctx.ui.warn(&format!("set {}: {error}", job.set));
        }
    }

    fn hook(&self, job: &Job, moment: Moment, went: &Went) -> Result<(), HookError> {
        let profile = self.setup.name.as_str();
        let environment = hooks::environment((&job.set, profile), moment, went);
        let never = std::sync::atomic::AtomicBool::new(false);
        let stop = self.interrupt.flag();
        // After Ctrl-C there is still to be cleaned up; another one ends the program.
        let stop = if moment == Moment::Failed { &never } else { &*stop };
        let say = |line: &str| self.ctx.ui.status(line);
        hooks::run(&job.hooks, moment, &environment, (stop, &say))
    }

    /// The run.
    fn one(&self, job: &Job) -> Result<(Exit, Outcome, Counts), CliError> {
        let Self { ctx, args, setup, runtime, interrupt, .. } = self;
        in_turn(ctx, setup, || Ok(StateDb::is_free(&setup.places.state)?))?;
        let (mut repo, opened) = vault::open_repository(ctx, setup, (runtime, interrupt.flag()))?;
        self.warn_once(waiting_warning(&repo.log.state));
        let source = job.open(SystemClock.now(), (&interrupt.flag(), None))?;
        repo.vault = vault::limited(repo.vault, self.wishes.up, self.wishes.down);
        let options = self.options(job, &opened);
        self.warn_once(vault::same_disk_warning(&source, &opened));
        if let Source::Paths(paths) = &source {
            for text in link_warnings(paths) {
                ctx.ui.warn(&text);
            }
        }
        let bars = Bars::start(ctx.ui, Task::Backup);
        let flag = interrupt.flag();
        let outcome = backup::run(&mut repo, source, &options, (&bars, &flag), runtime.handle());
        let (counts, took) = bars.finish();
        let outcome = outcome?;
        report::finished(ctx.ui, (&job.set, args.how.dry_run), &outcome, &counts, took);
        if !args.how.dry_run && !outcome.interrupted {
            let told: vault::Told<'_> = (ctx.ui, &|text| ctx.ui.warn(text));
            vault::sweep(told, setup, &opened);
            vault::scrub(told, &opened, &flag);
        }
        let exit = if outcome.interrupted {
            Exit::Interrupted
        } else if outcome.problem_count > 0 {
            Exit::Incomplete
        } else {
            Exit::Done
        };
        Ok((exit, outcome, counts))
    }

    fn warn_once(&self, warning: Option<impl Into<String>>) {
        let warning = warning.map(Into::into).filter(|warning| self.told.is_news(warning));
        if let Some(warning) = warning {
            self.ctx.ui.warn(&warning);
        }
    }

    /// Whether what others have left to send waits for this run: paths were named, so somebody
    /// waits for just these, and a daemon is there that sends the rest afterwards. With none, an
    /// earlier run of the same paths may have been cut off, and this one goes on from there.
    fn goes_ahead(&self) -> bool {
        let named = !(self.args.paths.is_empty() && self.args.files_from.is_empty());
        let status = || daemon_status(&self.setup.places).ok().flatten();
        named && status().is_some_and(|status| !status.sets.is_empty())
    }

    fn options(&self, job: &Job, opened: &Opened) -> RunOptions {
        let setup = self.setup;
        let how = &self.args.how;
        let mut own = setup.places.own();
        own.extend(opened.folder.clone());
        let here = Here {
            own,
            host: setup.profile.host.clone().unwrap_or_else(super::host_name),
            compression: self.wishes.compression,
            local: opened.folder.is_some(),
        };
        RunOptions {
            force: how.force,
            dry_run: how.dry_run,
            changes: self.wishes.changes.clone(),
            checkpoint_every: std::time::Duration::from_secs(how.checkpoint_every),
            ahead: self.goes_ahead(),
            ..job.options(&here)
        }
    }
}

pub(in crate::cli) fn refused(job: &Job, error: HookError) -> CliError {
    let code =
        if matches!(error, HookError::Stopped { .. }) { Exit::Interrupted } else { Exit::Failed };
    let message = format!("the set {} was not backed up: what runs before it failed", job.set);
    CliError::new(code, message).because(error)
}

/// The snapshot stays, and yet somebody should know.
pub(in crate::cli) fn saved_but(job: &Job, error: HookError) -> CliError {
    let message = format!("the set {} is saved, but what runs after it failed", job.set);
    CliError::new(Exit::Failed, message).because(error)
}

/// A run in words and numbers for the commands of its set.
pub(in crate::cli) fn went(exit: Exit, outcome: &Outcome, counts: &Counts) -> Went {
    let status = match (outcome.status, outcome.snapshot) {
        _ if outcome.interrupted => "interrupted",
        (_, None) => "unchanged",
        (Status::Complete, _) => "complete",
        (Status::Partial | Status::Checkpoint, _) => "partial",
    };
    Went {
        status,
        snapshot: outcome.snapshot.map(|id| id.to_string()),
        exit_code: exit.code(),
        error: None,
        numbers: vec![
            ("FILES", outcome.totals.files),
            ("BYTES", outcome.totals.bytes),
            ("FILES_NEW", counts.files.new),
            ("FILES_CHANGED", counts.files.changed),
            ("FILES_UNMODIFIED", counts.files.unmodified),
            ("BYTES_ADDED", counts.stored.raw),
            ("BYTES_UPLOADED", outcome.uploaded),
            ("PROBLEMS", outcome.problem_count),
        ],
    }
}
