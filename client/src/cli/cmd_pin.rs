//! `backup pin` and `backup unpin`: snapshots that no rule takes.

use std::collections::BTreeSet;

use unseen_common::id::SnapshotId;
use unseen_common::log::entry::{Body, SnapshotIds};

use super::args::SnapshotFilter;
use super::context::Context;
use super::deciding;
use super::exit::{CliError, Exit};
use super::units::plural;
use super::vault;
use crate::browse::snapshots::Row;

/// What `pin` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Neither the rules nor `backup forget` take a pinned snapshot.

Example:
  backup pin 40dc1520")]
pub struct PinArgs {
    /// These: ids or beginnings of ids, latest, latest~N
    #[arg(value_name = "SNAPSHOT", required = true)]
    pub snapshots: Vec<String>,
    /// Show which ones are meant, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Which one `latest` is.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// What `unpin` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
From then on the rules decide about it, which may be at once: `backup policy` shows them.

Example:
  backup unpin 40dc1520")]
pub struct UnpinArgs {
    /// End the hold that a device put on them, and not the pin
    #[arg(long)]
    pub held: bool,
    /// Which ones.
    #[command(flatten)]
    pub which: PinArgs,
}

/// What happens to snapshots.
struct Act {
    /// Whether it is so already.
    done: fn(&Row) -> bool,
    body: fn(SnapshotIds) -> Body,
    /// What they are then.
    then: &'static str,
}

/// Pins.
pub fn pin(ctx: &Context<'_>, args: &PinArgs) -> Result<Exit, CliError> {
    act(ctx, args, &Act { done: |row| row.pinned, body: Body::Pin, then: "pinned" })
}

/// Unpins, or ends holds.
pub fn unpin(ctx: &Context<'_>, args: &UnpinArgs) -> Result<Exit, CliError> {
    let chosen = if args.held {
        Act { done: |row| !row.held, body: Body::LiftHold, then: "not held" }
    } else {
        Act { done: |row| !row.pinned, body: Body::Unpin, then: "not pinned" }
    };
    act(ctx, &args.which, &chosen)
}

fn act(ctx: &Context<'_>, args: &PinArgs, act: &Act) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    let mut vault = deciding::open(ctx, &runtime)?;
    let listed = vault.named(ctx, (&args.snapshots, &args.filter), &runtime)?;
    let wanted = listed.iter().map(|one| &one.row).filter(|row| !(act.done)(row));
    let wanted: BTreeSet<SnapshotId> = wanted.map(|row| row.id).collect();
    if !args.dry_run {
        vault.append_all(&wanted, act.body, &runtime)?;
    }
    let then = act.then;
    if ctx.ui.is_json() {
        let ids: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        ctx.ui.json(&serde_json::json!({
            "message_type": "pin",
            "dry_run": args.dry_run,
            "now": then,
            "snapshots": ids,
        }));
        return Ok(Exit::Done);
    }
    for row in listed.iter().map(|one| &one.row) {
        let id = row.id.short();
        ctx.ui.line(&match (wanted.contains(&row.id), args.dry_run) {
            (true, false) => format!("snapshot {id} is now {then}"),
            (true, true) => format!("snapshot {id} would be {then}"),
            (false, _) => format!("snapshot {id} is {then} as it was"),
        });
    }
    if wanted.len() > 1 {
        ctx.ui.summary(&plural(wanted.len() as u64, "snapshot", "snapshots"));
    }
    Ok(Exit::Done)
}
