//! `backup check`: verify what is stored.

use std::time::Duration;

use super::bars::{Bars, Task};
use super::context::Context;
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::interrupt::Interrupt;
use super::reading;
use super::units::{bytes, count, duration, plural};
use super::vault;
use crate::maintain::{CheckOptions, CheckOutcome, Subset, check};

/// What `check` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Without options: that the log, the snapshots and the folders in them are whole, and that every
piece they need is there. Damage is exit code 20.

Example:
  backup check --read-data-subset 10%")]
pub struct CheckArgs {
    /// Also fetch every pack, and verify every byte
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Likewise some of them: the n-th of t parts, a share, or an amount
    #[arg(long, value_name = "n/t|x%|SIZE")]
    pub read_data_subset: Option<Subset>,
}

/// Checks.
pub fn run(ctx: &Context<'_>, args: &CheckArgs) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    let reading = reading::open(ctx, &runtime)?;
    let index = reading.index(ctx, &runtime)?;
    let interrupt = Interrupt::install()
        .map_err(|error| CliError::new(Exit::Failed, "cannot watch for Ctrl-C").because(error))?;
    let read_data = if args.read_data { Some(Subset::All) } else { args.read_data_subset };
    let bars = Bars::start(ctx.ui, Task::Check);
    let flag = interrupt.flag();
    let outcome = check(
        (&reading.repo, &index),
        CheckOptions { read_data, workers: 0 },
        (&bars, &flag),
        runtime.handle(),
    );
    let (_, took) = bars.finish();
    let outcome = outcome?;
    report(ctx, &outcome, took);
    Ok(if outcome.interrupted {
        Exit::Interrupted
    } else if outcome.is_sound() {
        Exit::Done
    } else {
        Exit::Damaged
    })
}

fn report(ctx: &Context<'_>, outcome: &CheckOutcome, took: Duration) {
    if ctx.ui.is_json() {
        ctx.ui.json(&json_of(outcome, took));
        return;
    }
    for affected in &outcome.affected {
        let files = plural(affected.count, "file is", "files are");
        ctx.ui.line(&format!("snapshot {}: {files} lost", affected.snapshot.short()));
        for path in &affected.paths {
            ctx.ui.line(&format!("  {}", escape_for_terminal(path)));
        }
        let more = affected.count.saturating_sub(affected.paths.len() as u64);
        if more > 0 {
            ctx.ui.line(&format!("  and {} more", count(more)));
        }
    }
    ctx.ui.summary(&format!(
        "checked {}, {} folders, {} chunks in {}{}",
        plural(outcome.snapshots, "snapshot", "snapshots"),
        count(outcome.trees),
        count(outcome.chunks),
        duration(took),
        if outcome.packs_read > 0 {
            format!(
                "; read {} of {} packs, {}",
                count(outcome.packs_read),
                count(outcome.packs),
                bytes(outcome.fetched)
            )
        } else {
            String::new()
        },
    ));
    if outcome.interrupted {
        ctx.ui.warn("interrupted: the rest was not checked");
    }
    if outcome.is_sound() {
        ctx.ui.summary("no damage found");
    } else {
        ctx.ui.warn(&format!(
            "{}; everything else can be restored",
            plural(outcome.damage_count, "piece of damage found", "pieces of damage found")
        ));
    }
}

fn json_of(outcome: &CheckOutcome, took: Duration) -> serde_json::Value {
    let affected: Vec<_> = outcome
        .affected
        .iter()
        .map(|one| {
            let paths: Vec<_> =
                one.paths.iter().map(|p| escape_for_terminal(p).into_owned()).collect();
            serde_json::json!({
                "snapshot": one.snapshot.to_string(),
                "files": one.count,
                "paths": paths,
            })
        })
        .collect();
    serde_json::json!({
        "message_type": "summary",
        "num_errors": outcome.damage_count,
        "snapshots": outcome.snapshots,
        "trees": outcome.trees,
        "chunks": outcome.chunks,
        "packs": outcome.packs,
        "packs_read": outcome.packs_read,
        "bytes_fetched": outcome.fetched,
        "affected": affected,
        "interrupted": outcome.interrupted,
        "total_duration": took.as_secs_f64(),
    })
}
