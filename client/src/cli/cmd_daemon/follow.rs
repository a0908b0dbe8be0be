//! `backup run` of configured sets, by way of the daemon when there is one.

use std::cell::Cell;

use super::super::bars::{Bars, Task};
use super::super::cmd_run::each::{Once, each};
use super::super::cmd_run::{RunArgs, report};
use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::runner::error_of;
use crate::backup::Outcome;
use crate::daemon::control::{Answer, Call, CallError, Request};
use crate::daemon::job::{RunResult, Summary};
use crate::progress::{During, Note, Problem};
use crate::tree::manifest::Totals;

/// Lets the daemon make the backup that these arguments want, and shows how it goes. None if it is
/// to be made here: no daemon runs, or it is more than a backup of sets as config.toml has them.
pub fn through(ctx: &Context<'_>, args: &RunArgs) -> Result<Option<Exit>, CliError> {
    if !is_plain(args) {
        return Ok(None);
    }
    let setup = ctx.setup()?;
    let status = match super::daemon_status(&setup.places) {
        Ok(Some(status)) => status,
        Ok(None) => return Ok(None),
        Err(error) => {
            let error = CliError::from(error);
            let text = format!("going on without the daemon: {}", error.report());
            ctx.ui.advise(&text, error.hint_text());
            return Ok(None);
        }
    };
    let meant = |name: &&str| args.set.as_deref().is_none_or(|set| set == *name);
    let sets: Vec<&str> = setup.sets.iter().map(|set| set.name.as_str()).filter(meant).collect();
    let known = |name: &&str| status.sets.iter().any(|one| one.name == *name);
    if sets.is_empty() || !sets.iter().all(known) {
        // Nothing is configured, or the configuration is newer than the daemon.
        return Ok(None);
    }
    let (ended, told) = (Cell::new(false), Once::default());
    let sets: Vec<(&str, &str)> = sets.into_iter().map(|name| (name, name)).collect();
    let one = |set: &&str| {
        ctx.ui.status(&format!("backing up {set}, by way of the daemon"));
        let request = Request::Run { set: (*set).to_owned() };
        let exit = super::call(&setup.places, &request)
            .map_err(CliError::from)
            .and_then(|call| follow(ctx, (set, &told), call));
        // Somebody stopped it, or the daemon is being stopped.
        let code = exit.as_ref().map_or_else(CliError::code, |exit| *exit);
        ended.set(code == Exit::Interrupted);
        exit
    };
    each(ctx.ui, &sets, || ended.get(), one).map(Some)
}

/// Whether the arguments say no more than the name of a set.
fn is_plain(args: &RunArgs) -> bool {
    let (excludes, stdin, label, how) = (&args.excludes, &args.stdin, &args.label, &args.how);
    let patterns =
        [excludes.exclude.len(), excludes.iexclude.len(), excludes.exclude_if_present.len()];
    args.paths.is_empty()
        && args.files_from.is_empty()
        && patterns == [0, 0, 0]
        && excludes.exclude_file.is_empty()
        && excludes.exclude_larger_than.is_none()
        && !(excludes.exclude_caches || excludes.git_ignore || excludes.one_file_system)
        && !(stdin.reads_stdin() || stdin.stdin_from_command)
        && label.tag.is_empty()
        && label.host.is_none()
        && !(how.dry_run || how.force || how.skip_if_unchanged)
        && how.changes_from.is_none()
        && how.limit_upload.is_none()
        && how.limit_download.is_none()
        && how.compression.is_none()
}

fn follow(ctx: &Context<'_>, (set, told): (&str, &Once), mut call: Call) -> Result<Exit, CliError> {
    let bars = Bars::start(ctx.ui, Task::Backup);
    let mut waits = false;
    while let Some(answer) = call.answer()? {
        match answer {
            Answer::Progress { counts, current, .. } => bars.follow(&counts, current.as_bytes()),
            Answer::Problem { path, during, what, .. } => {
                let scan = During::Scan.as_str() == during;
                let during = if scan { During::Scan } else { During::Archival };
                ctx.ui.problem(&Problem { path: path.into_bytes(), during, what });
            }
            Answer::Note { warning: true, text, .. } => {
                if told.is_news(&text) {
                    ctx.ui.warn(&text);
                }
            }
            Answer::Note { text, .. } => ctx.ui.note(&Note::info(text)),
            Answer::Ended { result, .. } => {
                let result = *result;
                drop(bars);
                return ended(ctx, set, result);
            }
            // Said once, and before it is accepted the daemon alone is waited for.
            Answer::Waiting if waits => {
                waits = false;
                ctx.ui.status("waiting for another backup to end");
            }
            Answer::Done { .. } => waits = true,
            Answer::Waiting | Answer::Begun { .. } | Answer::Status(_) | Answer::Why(_) => {}
            Answer::Refused(trouble) => return Err(error_of(trouble)),
        }
    }
    Err(CallError::BadAnswer.into())
}

fn ended(ctx: &Context<'_>, set: &str, result: RunResult) -> Result<Exit, CliError> {
    let summary = result.map_err(error_of)?;
    let outcome = outcome(&summary);
    let took = std::time::Duration::from_millis(summary.took);
    report::finished(ctx.ui, (set, false), &outcome, &summary.counts, took);
    if let Some(trouble) = summary.after {
        return Err(error_of(*trouble));
    }
    Ok(if outcome.interrupted {
        Exit::Interrupted
    } else if outcome.problem_count > 0 {
        Exit::Incomplete
    } else {
        Exit::Done
    })
}

fn outcome(summary: &Summary) -> Outcome {
    Outcome {
        snapshot: summary.snapshot,
        status: summary.status,
        totals: Totals { files: summary.files, dirs: summary.dirs, bytes: summary.bytes },
        uploaded: summary.uploaded,
        packs: summary.packs,
        problems: Vec::new(),
        problem_count: summary.problems,
        left_out: summary.left_out,
        interrupted: summary.interrupted,
        clocks: summary.clocks.clone(),
    }
}
