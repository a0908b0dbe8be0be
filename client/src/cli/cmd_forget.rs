//! `backup forget`: snapshots go, by name or by rules that run once.

use tokio::runtime::Runtime;
use unseen_common::log::entry::Body;
use unseen_common::time::Timestamp;

use super::args::SnapshotFilter;
use super::args::keep::KeepArgs;
use super::args::values::TagList;
use super::context::Context;
use super::deciding::{self, Deciding, agreed, json_of, show_judged};
use super::exit::{CliError, Exit};
use super::reading::{local_time, machine_time};
use super::units::{bytes, plural};
use super::vault;
use crate::maintain::forget::{Fate, Judged, Rules, by_rules, with_fate};
use crate::maintain::room::{Room, freed_by};

/// What `forget` takes. `-H` is `--keep-hourly` here, as with restic; elsewhere it is `--host`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(mut_arg("host", |host| host.short(None)))]
#[command(after_help = "\
Rules run for each set of each device, on the times at which the server received the snapshots. The
newest complete one always stays. What is forgotten can be brought back by `backup undelete` while
its grace lasts; then the server frees its space. `backup policy set` makes rules that the server
itself applies from then on.

Example:
  backup forget -n --keep-daily 7 --keep-weekly 5 --keep-monthly 12
  backup forget 40dc1520")]
pub struct ForgetArgs {
    /// These: ids or beginnings of ids, latest, latest~N
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = ["KeepArgs", "keep_tag"])]
    pub snapshots: Vec<String>,
    /// The rules.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// Also what has all of these tags (comma-separated); it is pinned. Can be given again
    #[arg(long, value_name = "TAG[,TAG]…")]
    pub keep_tag: Vec<TagList>,
    /// Show what would be kept and forgotten and why, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// restic's flag: here the server frees the space by itself
    #[arg(long, hide = true)]
    pub prune: bool,
    /// Among which ones.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// Forgets.
pub fn run(ctx: &Context<'_>, args: &ForgetArgs) -> Result<Exit, CliError> {
    let rules = rules(args)?;
    let runtime = vault::runtime()?;
    let mut vault = deciding::open(ctx, &runtime)?;
    let judged = match &rules {
        Some(rules) => {
            let listed = vault.matching(&args.filter, &runtime)?;
            let mut judged = by_rules(&vault.owner.log.state, listed, rules);
            deciding::sort(&mut judged);
            judged
        }
        None => named(ctx, args, &vault, &runtime)?,
    };
    if judged.is_empty() {
        return Err(CliError::new(Exit::Failed, "there is no snapshot that matches")
            .hint("`backup snapshots` lists them"));
    }
    let outcome = Outcome::of(ctx, &vault, &judged, &runtime)?;
    let changes = judged.iter().any(|one| one.fate != Fate::Keep);
    if !ctx.ui.is_json() {
        show_judged(ctx, &judged.iter().collect::<Vec<_>>());
        outcome.tell(ctx, args.dry_run);
    }
    if changes && !args.dry_run {
        if outcome.forgotten > 0 {
            let what = plural(outcome.forgotten, "snapshot", "snapshots");
            agreed(ctx, &format!("Forget {what}?"))?;
        }
        vault.append_all(&with_fate(&judged, Fate::Pin), Body::Pin, &runtime)?;
        vault.append_all(&with_fate(&judged, Fate::Forget), Body::Forget, &runtime)?;
    }
    if ctx.ui.is_json() {
        ctx.ui.json(&outcome.json(&judged, args.dry_run));
    } else if changes && !args.dry_run {
        outcome.conclude(ctx);
    }
    if args.prune {
        ctx.ui.status("--prune: not needed here, the space is freed without you");
    }
    Ok(Exit::Done)
}

/// The rules that were given; none if snapshots were named.
fn rules(args: &ForgetArgs) -> Result<Option<Rules>, CliError> {
    let tags: Vec<Vec<String>> = args.keep_tag.iter().map(|list| list.0.clone()).collect();
    match args.keep.rules() {
        None if !args.snapshots.is_empty() => Ok(None),
        Some(keep) if !keep.is_none() => Ok(Some(Rules { keep, tags })),
        None if !tags.is_empty() => {
            Err(CliError::usage("--keep-tag by itself would forget all that has no such tag")
                .hint("say what else stays, such as --keep-last 1"))
        }
        _ => Err(CliError::usage("nothing says what to forget")
            .hint("name snapshots, or say what stays: `backup forget -n --keep-daily 7`")),
    }
}

/// The named ones, none of which may be pinned or held.
fn named(
    ctx: &Context<'_>,
    args: &ForgetArgs,
    vault: &Deciding,
    runtime: &Runtime,
) -> Result<Vec<Judged>, CliError> {
    let listed = vault.named(ctx, (&args.snapshots, &args.filter), runtime)?;
    for row in listed.iter().map(|one| &one.row) {
        let (what, option) = match (row.pinned, row.held) {
            (_, true) => ("held", "unpin --held"),
            (true, false) => ("pinned", "unpin"),
            (false, false) => continue,
        };
        let id = row.id.short();
        return Err(CliError::new(Exit::Failed, format!("snapshot {id} is {what}"))
            .hint(format!("`backup {option} {id}` ends that")));
    }
    let named = |listed| {
        let reasons = vec!["you named it".to_owned()];
        Judged { listed, fate: Fate::Forget, later: None, before_change: false, reasons }
    };
    Ok(listed.into_iter().map(named).collect())
}

/// What forgetting does.
struct Outcome {
    kept: u64,
    forgotten: u64,
    pinned: u64,
    room: Room,
    until: Timestamp,
}

impl Outcome {
    fn of(
        ctx: &Context<'_>,
        vault: &Deciding,
        judged: &[Judged],
        runtime: &Runtime,
    ) -> Result<Self, CliError> {
        let now = vault.now();
        let until = now.plus_days(vault.owner.log.state.policy_at(now).grace_days);
        let count = |fate| judged.iter().filter(|one| one.fate == fate).count() as u64;
        let leaving = with_fate(judged, Fate::Forget);
        let room = if leaving.is_empty() {
            Room::default()
        } else {
            let index = vault.reading.index(ctx, runtime)?;
            runtime.block_on(freed_by(vault.repo(), &index, &leaving, until))?
        };
        let (kept, forgotten, pinned) = (count(Fate::Keep), count(Fate::Forget), count(Fate::Pin));
        Ok(Self { kept: kept + pinned, forgotten, pinned, room, until })
    }

    /// What is about to happen, or would.
    fn tell(&self, ctx: &Context<'_>, dry_run: bool) {
        let would = if dry_run { "would " } else { "" };
        let mut words = Vec::new();
        if self.kept > 0 {
            words.push(format!("{would}keep {}", plural(self.kept, "snapshot", "snapshots")));
        }
        if self.pinned > 0 {
            words.push(format!("{would}pin {} of them", self.pinned));
        }
        words.push(format!("{would}forget {}", plural(self.forgotten, "snapshot", "snapshots")));
        ctx.ui.summary(&words.join("; "));
        if self.room.packs > 0 {
            ctx.ui.summary(&format!(
                "{} in {} become free on {}, when the grace is over",
                bytes(self.room.bytes),
                plural(self.room.packs, "pack", "packs"),
                local_time(self.until),
            ));
        } else if self.forgotten > 0 {
            ctx.ui.summary("no pack becomes free by it: others need the same ones");
        }
        if self.forgotten > 0 {
            ctx.ui.status("`backup compact -n` shows what else lies unused beside what is needed");
        }
    }

    fn conclude(&self, ctx: &Context<'_>) {
        if self.forgotten > 0 {
            ctx.ui.summary(&format!(
                "forgot {}; until {} `backup undelete` brings back what went",
                plural(self.forgotten, "snapshot", "snapshots"),
                local_time(self.until),
            ));
        } else {
            ctx.ui.summary(&format!("pinned {}", plural(self.pinned, "snapshot", "snapshots")));
        }
    }

    fn json(&self, judged: &[Judged], dry_run: bool) -> serde_json::Value {
        serde_json::json!({
            "message_type": "forget",
            "dry_run": dry_run,
            "snapshots": json_of(judged),
            "kept": self.kept,
            "forgotten": self.forgotten,
            "pinned": self.pinned,
            "bytes_freed": self.room.bytes,
            "packs_freed": self.room.packs,
            "undelete_until": (self.forgotten > 0).then(|| machine_time(self.until)),
        })
    }
}
