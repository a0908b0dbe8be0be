//! `backup undelete`: brings back what was forgotten or has expired, while its grace lasts.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::Runtime;
use unseen_common::log::entry::Body;
use unseen_common::log::fold::Leave;
use unseen_common::time::Clock;
use unseen_common::vault::VaultError;

use super::context::Context;
use super::deciding::{self, Deciding};
use super::exit::{CliError, Exit};
use super::reading::{self, local_time, machine_time};
use super::units::{Align, Table, bytes, plural};
use super::vault::{self, SystemClock};
use crate::browse::snapshots::{GoneRow, gone_locked, gone_rows};
use crate::maintain::undelete::{UndeleteError, restoring};
use crate::state::own_snapshots::OwnSnapshots;
use crate::tree::manifest::Manifest;

/// What `undelete` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
What comes back is pinned, or the rules would take it again. `backup unpin` hands it back to them.

Example:
  backup undelete
  backup undelete 40dc1520")]
pub struct UndeleteArgs {
    /// Bring these back: ids or beginnings of ids
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Bring back all that can be
    #[arg(long, conflicts_with = "snapshots")]
    pub all: bool,
    /// List what can be brought back, and until when; so also without arguments
    #[arg(long, conflicts_with_all = ["snapshots", "all"])]
    pub list: bool,
    /// Show what would come back, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Lists or brings back.
pub fn run(ctx: &Context<'_>, args: &UndeleteArgs) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    if args.snapshots.is_empty() && !args.all {
        return list(ctx, &runtime);
    }
    let mut vault = deciding::open(ctx, &runtime)?;
    let all = gone_rows(vault.repo(), vault.now());
    let chosen = if args.all { all } else { choose(&vault, &args.snapshots, &all)? };
    if chosen.is_empty() {
        return Err(CliError::new(Exit::Failed, "nothing can be brought back"));
    }
    let index = vault.reading.index(ctx, &runtime)?;
    let entries = runtime.block_on(restoring(vault.repo(), &index, &chosen))?;
    if !args.dry_run {
        for entry in entries {
            let done = runtime.block_on(vault.owner.append(Body::RestoreForgotten(entry)));
            done.map_err(refused)?;
        }
    }
    let ids: Vec<String> = chosen.iter().map(|gone| gone.row.id.to_string()).collect();
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({
            "message_type": "undelete",
            "dry_run": args.dry_run,
            "snapshots": ids,
        }));
        return Ok(Exit::Done);
    }
    let verb = if args.dry_run { "would bring back" } else { "brought back" };
    for gone in &chosen {
        ctx.ui.line(&format!(
            "{verb} snapshot {} of {}, {} {}",
            gone.row.id.short(),
            local_time(gone.row.time),
            leave_word(gone.why),
            local_time(gone.since),
        ));
    }
    let what = plural(chosen.len() as u64, "snapshot is", "snapshots are");
    if args.dry_run {
        ctx.ui.summary("they would be pinned, or the rules would take them again");
    } else {
        ctx.ui.summary(&format!("{what} back, and pinned; `backup unpin` ends that"));
    }
    Ok(Exit::Done)
}

fn choose(vault: &Deciding, names: &[String], gone: &[GoneRow]) -> Result<Vec<GoneRow>, CliError> {
    let mut chosen: Vec<GoneRow> = Vec::new();
    for name in names {
        let digits = name.to_ascii_lowercase();
        let begins = |gone: &&GoneRow| gone.row.id.to_string().starts_with(&digits);
        let mut found = gone.iter().filter(begins);
        match (found.next(), found.next()) {
            (Some(one), None) => {
                if chosen.iter().all(|chosen| chosen.row.id != one.row.id) {
                    chosen.push(one.clone());
                }
            }
            (Some(_), Some(_)) => {
                let message = format!("several snapshots that went have an id like {name}");
                return Err(CliError::usage(message).hint("give more digits"));
            }
            (None, _) => return Err(not_gone(vault, name, &digits)),
        }
    }
    Ok(chosen)
}

fn not_gone(vault: &Deciding, name: &str, digits: &str) -> CliError {
    let mut live = vault.owner.log.state.snapshots.keys();
    if live.any(|id| id.to_string().starts_with(digits)) {
        return CliError::new(Exit::Failed, format!("snapshot {name} is there"));
    }
    CliError::new(Exit::Failed, format!("no snapshot {name} can be brought back"))
        .hint("`backup undelete` lists those that can; after its grace one is gone for good")
}

/// The server has deleted packs between its list and the entry.
fn refused(error: crate::repo::RepoError) -> CliError {
    match error {
        crate::repo::RepoError::Vault(VaultError::MissingPacks(packs)) => {
            let packs = plural(packs.0.len(), "pack is", "packs are");
            let message = format!("{packs} gone already: nothing came back");
            CliError::new(Exit::Failed, message).hint("its grace is over")
        }
        error => error.into(),
    }
}

impl From<UndeleteError> for CliError {
    fn from(error: UndeleteError) -> Self {
        match error {
            UndeleteError::Vault(_, VaultError::NotFound(_)) => {
                Self::from_error(Exit::Failed, error).hint("its grace is over")
            }
            UndeleteError::Vault(_, error) => error.into(),
            error @ UndeleteError::Missing { .. } => Self::from_error(Exit::Failed, error)
                .hint("its grace is over: it cannot be brought back"),
            error @ UndeleteError::OtherPacks(_) => Self::from_error(Exit::Damaged, error)
                .hint("`backup check` tells what else is damaged"),
        }
    }
}

/// On an enrolled machine without a secret, by what the log and this machine know.
fn list(ctx: &Context<'_>, runtime: &Runtime) -> Result<Exit, CliError> {
    let setup = ctx.setup()?;
    let (gone, own) = if setup.places.device_key().exists() {
        let (repo, _) = vault::open_repository(ctx, &setup, (runtime, Arc::default()))?;
        let state = &repo.log.state;
        let now = state.head_received.max(SystemClock.now());
        let own = OwnSnapshots::open(&repo.folders.own_snapshots());
        (gone_locked(state, now), Some(own))
    } else {
        let reading = reading::open(ctx, runtime)?;
        let now = reading.repo.log.state.head_received.max(SystemClock.now());
        (gone_rows(&reading.repo, now), None)
    };
    let known = |gone: &GoneRow| own.as_ref().and_then(|own| own.get(&gone.row.id));
    let rows: Vec<(GoneRow, Option<Manifest>)> = gone
        .into_iter()
        .map(|gone| {
            let manifest = known(&gone);
            (gone, manifest)
        })
        .collect();
    if ctx.ui.is_json() {
        ctx.ui.json(&rows.iter().map(json_of).collect::<Vec<_>>());
    } else if rows.is_empty() {
        ctx.ui.status("nothing was forgotten or has expired that could be brought back");
    } else {
        show(ctx, &rows);
    }
    Ok(Exit::Done)
}

fn show(ctx: &Context<'_>, rows: &[(GoneRow, Option<Manifest>)]) {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Host", Align::Left),
        ("Set", Align::Left),
        ("Size", Align::Right),
        ("Went", Align::Left),
        ("Back until", Align::Left),
    ]);
    for (gone, manifest) in rows {
        let row = &gone.row;
        let device =
            || row.device_name.clone().unwrap_or_else(|| format!("({})", row.device.short()));
        let host = manifest.as_ref().map_or_else(device, |manifest| manifest.host.clone());
        let set = manifest.as_ref().map_or_else(String::new, |manifest| manifest.set.clone());
        let size = manifest.as_ref().map(|manifest| bytes(manifest.totals.bytes));
        let disclosed = || row.disclosure.totals.map(|(_, size)| format!("~{}", bytes(size)));
        table.row([
            row.id.short(),
            local_time(row.time),
            host,
            set,
            size.or_else(disclosed).unwrap_or_default(),
            format!("{} {}", leave_word(gone.why), local_time(gone.since)),
            local_time(gone.until),
        ]);
    }
    for line in table.lines() {
        ctx.ui.line(&line);
    }
    let times: BTreeSet<_> = rows.iter().map(|(gone, _)| gone.until).collect();
    if let Some(first) = times.first() {
        ctx.ui.summary(&format!(
            "{} can be brought back, the first until {}: `backup undelete SNAPSHOT`",
            plural(rows.len() as u64, "snapshot", "snapshots"),
            local_time(*first)
        ));
    }
}

/// Why a snapshot went, in a word.
pub const fn leave_word(why: Leave) -> &'static str {
    match why {
        Leave::Forgotten => "forgotten",
        Leave::Expired => "expired",
    }
}

fn json_of((gone, manifest): &(GoneRow, Option<Manifest>)) -> serde_json::Value {
    serde_json::json!({
        "id": gone.row.id.to_string(),
        "short_id": gone.row.id.short(),
        "time": machine_time(gone.row.time),
        "device": gone.row.device.to_string(),
        "hostname": manifest.as_ref().map(|manifest| &manifest.host),
        "set": manifest.as_ref().map(|manifest| &manifest.set),
        "why": leave_word(gone.why),
        "since": machine_time(gone.since),
        "until": machine_time(gone.until),
    })
}
