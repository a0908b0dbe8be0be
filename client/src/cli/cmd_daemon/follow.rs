//! `backup run` of configured sets, by way of the daemon when there is one.

use super::super::bars::{Bars, Task};
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
    let sets = match (&args.set, super::daemon_status(&setup.places)) {
        (Some(set), Ok(Some(status))) if status.sets.iter().any(|one| one.name == *set) => {
            vec![set.clone()]
        }
        // No daemon, or the configuration is newer than it.
        (_, Ok(None)) | (Some(_), Ok(Some(_))) => return Ok(None),
        (None, Ok(Some(status))) => status.sets.into_iter().map(|set| set.name).collect(),
        (_, Err(error)) => {
            let why = CliError::from(error).report();
            ctx.ui.warn(&format!("going on without the daemon: {why}"));
            return Ok(None);
        }
    };
    if sets.is_empty() {
        return Ok(None);
    }
    let mut worst = Exit::Done;
    for set in sets {
        ctx.ui.status(&format!("backing up {set}, by way of the daemon"));
        let request = Request::Run { set: set.clone() };
        let call = super::call(&setup.places, &request)?;
        worst = worst.worse(follow(ctx, &set, call)?);
    }
    Ok(Some(worst))
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

fn follow(ctx: &Context<'_>, set: &str, mut call: Call) -> Result<Exit, CliError> {
    let bars = Bars::start(ctx.ui, Task::Backup);
    while let Some(answer) = call.answer()? {
        match answer {
            Answer::Progress { counts, current, .. } => bars.follow(&counts, current.as_bytes()),
            Answer::Problem { path, during, what, .. } => {
                let scan = During::Scan.as_str() == during;
                let during = if scan { During::Scan } else { During::Archival };
                ctx.ui.problem(&Problem { path: path.into_bytes(), during, what });
            }
            Answer::Note { warning, text, .. } => {
                ctx.ui.note(&if warning { Note::warning(text) } else { Note::info(text) });
            }
            Answer::Ended { result, .. } => {
                drop(bars);
                return ended(ctx, set, result);
            }
            Answer::Waiting => ctx.ui.status("waiting for another backup to end"),
            Answer::Done { .. } | Answer::Begun { .. } | Answer::Status(_) | Answer::Why(_) => {}
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
    }
}
