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
use crate::maintain::heal::{Healing, survey};
use crate::maintain::{CheckOptions, CheckOutcome, Damage, Lost, Subset, check};

/// What `check` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Without options: that the log, the snapshots and the folders in them are whole, and that the file
of every pack is there. Damage is exit code 20; the vault is told of it, so that the next run of the
machine that wrote it sends again what it still has.

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

/// Paths of one snapshot that are shown unless all are asked for, and that are told to programs.
const SHOWN: usize = 20;
const TOLD: usize = 1000;

/// Checks.
pub fn run(ctx: &Context<'_>, args: &CheckArgs) -> Result<Exit, CliError> {
    let runtime = vault::reading_runtime()?;
    let reading = reading::open(ctx, &runtime)?;
    // Before the index is opened: it asks which packs the vault knows to be damaged.
    let absent = runtime.block_on(survey(&*reading.repo.vault))?;
    let index = reading.index(ctx, &runtime)?;
    let interrupt = Interrupt::install()
        .map_err(|error| CliError::new(Exit::Failed, "cannot watch for Ctrl-C").because(error))?;
    let read_data = if args.read_data { Some(Subset::All) } else { args.read_data_subset };
    let paths = match (ctx.ui.is_json(), ctx.ui.is_verbose(1)) {
        (true, _) => TOLD,
        (false, true) => usize::MAX,
        (false, false) => SHOWN,
    };
    let bars = Bars::start(ctx.ui, Task::Check);
    let flag = interrupt.flag();
    let outcome = check(
        (&reading.repo, &index),
        &CheckOptions { read_data, absent, paths, workers: 0 },
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
        let things = plural(affected.count, "file or folder is", "files and folders are");
        ctx.ui.line(&format!("snapshot {}: {things} lost", affected.snapshot.short()));
        for Lost { path, what } in &affected.paths {
            let path = escape_for_terminal(path);
            let why = if ctx.ui.is_verbose(1) { format!(": {what}") } else { String::new() };
            ctx.ui.line(&format!("  {path}{why}"));
        }
        let shown = u64::try_from(affected.paths.len()).unwrap_or(u64::MAX);
        let more = affected.count.saturating_sub(shown);
        if more > 0 {
            ctx.ui.line(&format!("  and {} more; -v names all", count(more)));
        }
    }
    ctx.ui.summary(&format!(
        "checked {}, {}, {} in {}{}",
        plural(outcome.snapshots, "snapshot", "snapshots"),
        plural(outcome.trees, "folder", "folders"),
        plural(outcome.chunks, "chunk", "chunks"),
        duration(took),
        if outcome.packs_read > 0 {
            format!(
                "; read {} of {}, {}",
                count(outcome.packs_read),
                plural(outcome.packs, "pack", "packs"),
                bytes(outcome.fetched)
            )
        } else {
            String::new()
        },
    ));
    if outcome.interrupted {
        ctx.ui.warn("interrupted: the rest was not checked");
    }
    verdict(ctx, outcome);
}

/// What it comes to, and what happens next.
fn verdict(ctx: &Context<'_>, outcome: &CheckOutcome) {
    if outcome.mended > 0 {
        let packs = plural(outcome.mended, "pack was", "packs were");
        ctx.ui.summary(&format!("{packs} damaged at an end, and mended by the vault just now"));
    }
    if outcome.is_sound() {
        let spare = plural(outcome.spare, "pack is", "packs are");
        ctx.ui.summary(&match outcome.spare {
            0 => "no damage found".to_owned(),
            _ => format!(
                "nothing is lost. {spare} damaged or gone, and what snapshots need of that is in \
                 other packs, too"
            ),
        });
        if outcome.spare > 0 {
            ctx.ui.status(
                "`backup compact` takes the snapshots off it, and the vault tells of it no more",
            );
        }
        return;
    }
    let damage = plural(outcome.damage_count, "piece of damage found", "pieces of damage found");
    let lost = plural(outcome.lost(), "file or folder is lost", "files and folders are lost");
    let found = match (outcome.damage_count, outcome.affected.len()) {
        (0, _) => lost,
        (_, 0) if outcome.damage.iter().all(|one| matches!(one, Damage::Pack { .. })) => {
            format!("{damage}, by which no file is lost")
        }
        (_, 0) => format!("{damage}, of what is named above"),
        (_, 1) => format!("{damage}; {lost}"),
        (_, snapshots) => format!("{damage}; {lost}, in {snapshots} snapshots together"),
    };
    ctx.ui.warn(&format!("{found}; everything else can be restored"));
    tell_healing(ctx, &outcome.healing);
    if outcome.as_sent > 0 {
        let packs = plural(outcome.as_sent, "damaged pack is", "damaged packs are");
        ctx.ui.warn(&format!(
            "{packs} as the vault was sent it: whoever wrote it did so wrongly, and nothing sends \
             it again"
        ));
    }
}

/// Says who sends damaged packs again.
pub fn tell_healing(ctx: &Context<'_>, healing: &Healing) {
    if healing.packs > healing.orphans {
        let packs = healing.packs - healing.orphans;
        let packs = plural(packs, "damaged pack", "damaged packs");
        ctx.ui.warn(&format!(
            "the vault knows of {packs} now: the next `backup run` on {} sends again what is in it \
             and is still as it was there. What has changed or was deleted there since is lost, \
             unless another snapshot has it",
            senders(healing)
        ));
    }
    if healing.orphans > 0 {
        let packs = plural(healing.orphans, "damaged pack was", "damaged packs were");
        ctx.ui.warn(&format!(
            "{packs} written by a machine that was revoked: nothing sends it again"
        ));
    }
}

/// The machines whose next run sends again what is damaged.
fn senders(healing: &Healing) -> String {
    let mut who: Vec<&str> = healing.devices.iter().map(String::as_str).collect();
    match (healing.unknown, who.is_empty()) {
        (0, _) => {}
        (_, true) => who.push("the machine that wrote it"),
        (_, false) => who.push("the machine that wrote the rest"),
    }
    match who.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => who.concat(),
    }
}

fn json_of(outcome: &CheckOutcome, took: Duration) -> serde_json::Value {
    let affected: Vec<_> = outcome
        .affected
        .iter()
        .map(|one| {
            let paths: Vec<_> =
                one.paths.iter().map(|p| escape_for_terminal(&p.path).into_owned()).collect();
            serde_json::json!({
                "snapshot": one.snapshot.to_string(),
                "files": one.count,
                "paths": paths,
            })
        })
        .collect();
    let Healing { packs, devices, unknown, orphans } = &outcome.healing;
    serde_json::json!({
        "message_type": "summary",
        "num_errors": outcome.damage_count,
        "files_lost": outcome.lost(),
        "snapshots": outcome.snapshots,
        "trees": outcome.trees,
        "chunks": outcome.chunks,
        "packs": outcome.packs,
        "packs_read": outcome.packs_read,
        "packs_mended": outcome.mended,
        "packs_damaged_and_spare": outcome.spare,
        "packs_damaged_as_sent": outcome.as_sent,
        "bytes_fetched": outcome.fetched,
        "affected": affected,
        "healing": {
            "packs": packs,
            "devices": devices,
            "writer_unknown": unknown,
            "writer_revoked": orphans,
        },
        "interrupted": outcome.interrupted,
        "total_duration": took.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_again_is_named() {
        for (devices, unknown, told) in [
            (&["vm"][..], 0, "vm"),
            (&[], 1, "the machine that wrote it"),
            (&["vm"], 2, "vm and the machine that wrote the rest"),
            (&["home", "vm"], 1, "home, vm and the machine that wrote the rest"),
        ] {
            let devices = devices.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(senders(&Healing { packs: 3, devices, unknown, orphans: 0 }), told);
        }
    }
}
