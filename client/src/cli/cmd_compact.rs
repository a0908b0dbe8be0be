//! `backup compact`: packs that are mostly unused are written anew, and small ones are joined.

use std::sync::atomic::AtomicBool;

use unseen_common::time::Timestamp;

use super::args::values::{BadValue, Size};
use super::bars::{Bars, Task};
use super::context::Context;
use super::deciding::{self, Deciding, agreed};
use super::exit::{CliError, Exit};
use super::interrupt::Interrupt;
use super::reading::{local_time, machine_time};
use super::units::{Align, Table, bytes, count, plural};
use super::vault;
use crate::browse::packs::Packs;
use crate::maintain::compact::{
    CompactError, Done, Limits, Plan, Survey, Tolerated, plan, rewrite, survey,
};
use crate::maintain::subset::millionths;
use crate::repo::{ReaderIndex, ReaderRepo};
use crate::sets::values::parse_size;

/// What `compact` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
A pack goes by itself when nothing in it is needed. One of which a little is needed stays, with all
the rest. This fetches such packs, puts what is needed into new ones and gives those to the
snapshots; it also joins small packs. The old ones are kept for the grace, so that for this long
more is stored than before. It runs beside backups, and can be interrupted at any time.

Snapshots are also taken off packs that the vault found damaged, when all that they need of them is
in others too, as after `backup run` has sent it again. The vault then tells of such a pack no more.

Example:
  backup compact -n
  backup compact --max-unused 10% --max-rewrite 20G")]
pub struct CompactArgs {
    /// Leave this much unused: a share of what is stored, an amount, or unlimited (join only)
    #[arg(long, value_name = "x%|SIZE", default_value = "5%", value_parser = tolerated)]
    pub max_unused: Tolerated,
    /// Write packs of at most so many bytes anew; those with the largest unused part come first
    #[arg(long, value_name = "SIZE")]
    pub max_rewrite: Option<Size>,
    /// Show what would be written anew, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Compacts.
pub fn run(ctx: &Context<'_>, args: &CompactArgs) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    let vault = deciding::open(ctx, &runtime)?;
    let index = vault.reading.index(ctx, &runtime)?;
    let now = vault.now();
    let until = now.plus_days(vault.owner.log.state.policy_at(now).grace_days);
    let Deciding { reading, mut owner } = vault;
    let found = look(ctx, (&reading.repo, &index), runtime.handle())?;
    let rewrite_at_most = args.max_rewrite.map_or(u64::MAX, |size| size.0);
    let limits = Limits { unused: args.max_unused, rewrite: rewrite_at_most };
    let planned = plan(&found.packs, &limits);
    let report = Report { ctx, repo: &reading.repo, plan: &planned, found: &found, until };
    if !ctx.ui.is_json() {
        report.table();
        report.tell(args);
    }
    if args.dry_run || !report.is_work() {
        report.json(args.dry_run, &Done::default());
        return Ok(report.exit(&Done::default()));
    }
    agreed(ctx, &report.question())?;
    let interrupt = Interrupt::install()
        .map_err(|error| CliError::new(Exit::Failed, "cannot watch for Ctrl-C").because(error))?;
    let bars = Bars::start(ctx.ui, Task::Compact);
    let packs = Packs::new(&reading.repo, &index, &bars, runtime.handle());
    let flag = interrupt.flag();
    let done = rewrite(&packs, &mut owner, (&found, &planned), (&bars, &flag));
    drop(packs);
    bars.finish();
    let done = done?;
    report.json(false, &done);
    report.conclude(&done);
    vault::sweep((ctx.ui, &|text| ctx.ui.warn(text)), &reading.setup, &reading.opened);
    Ok(report.exit(&done))
}

/// Finds out what of each pack is needed.
fn look(
    ctx: &Context<'_>,
    (repo, index): (&ReaderRepo, &ReaderIndex),
    runtime: &tokio::runtime::Handle,
) -> Result<Survey, CliError> {
    let bars = Bars::start(ctx.ui, Task::Check);
    let packs = Packs::new(repo, index, &bars, runtime);
    // Nothing has changed yet: Ctrl-C simply ends the program.
    let found = survey(&packs, (&bars, &AtomicBool::new(false)));
    drop(packs);
    bars.finish();
    Ok(found?)
}

fn tolerated(text: &str) -> Result<Tolerated, BadValue> {
    let bad = || BadValue::new("a share or an amount, or unlimited: 5%, 0.5%, 200M, 0");
    if text == "unlimited" {
        return Ok(Tolerated::Unlimited);
    }
    match text.strip_suffix('%') {
        Some(share) => {
            let share = millionths(share).filter(|share| *share < 1_000_000);
            share.map(Tolerated::Millionths).ok_or_else(bad)
        }
        None => parse_size(text).map(Tolerated::Bytes).map_err(|_e| bad()),
    }
}

struct Report<'a> {
    ctx: &'a Context<'a>,
    repo: &'a ReaderRepo,
    plan: &'a Plan,
    found: &'a Survey,
    until: Timestamp,
}

impl Report<'_> {
    /// Whether there is anything to do.
    fn is_work(&self) -> bool {
        !self.plan.is_empty() || !self.found.mendable.is_empty()
    }

    fn question(&self) -> String {
        let damaged = plural(self.found.mendable.len() as u64, "damaged pack", "damaged packs");
        let anew = plural(self.plan.count(), "pack", "packs");
        match (self.plan.is_empty(), self.found.mendable.is_empty()) {
            (true, _) => format!("Take snapshots off {damaged}?"),
            (false, true) => format!("Write {anew} anew?"),
            (false, false) => {
                format!("Write {anew} anew, and take snapshots off {damaged}?")
            }
        }
    }

    /// What each device has, and what becomes of it.
    fn table(&self) {
        let mut table = Table::new(&[
            ("Device", Align::Left),
            ("Packs", Align::Right),
            ("Size", Align::Right),
            ("Unused", Align::Right),
            ("Rewrite", Align::Right),
            ("Size", Align::Right),
            ("Becomes", Align::Right),
        ]);
        for (device, share) in &self.plan.devices {
            let name = self.repo.device_name(*device).map(str::to_owned);
            let rewrite = u64::try_from(share.rewrite.len()).unwrap_or(u64::MAX);
            table.row([
                name.unwrap_or_else(|| device.short()),
                count(share.packs),
                bytes(share.bytes),
                bytes(share.unused),
                count(rewrite),
                bytes(share.rewritten),
                bytes(share.becomes),
            ]);
        }
        for line in table.lines() {
            self.ctx.ui.line(&line);
        }
    }

    /// What is about to happen, or would.
    fn tell(&self, args: &CompactArgs) {
        let ui = self.ctx.ui;
        if self.found.damaged > 0 {
            let what = plural(self.found.damaged, "snapshot is", "snapshots are");
            ui.warn(&format!(
                "{what} damaged, and the packs that it needs stay as they are: `backup check` \
                 tells more"
            ));
        }
        if !self.found.mendable.is_empty() {
            let (packs, snapshots) = (self.found.mendable.len() as u64, self.found.to_mend());
            ui.summary(&format!(
                "{} damaged: {} taken off, if all that is needed of that is found whole",
                plural(packs, "pack is", "packs are"),
                plural(snapshots, "snapshot is", "snapshots are"),
            ));
        }
        if !self.is_work() {
            ui.summary("nothing to do: no more is unused than is tolerated (--max-unused)");
            return;
        }
        if self.plan.is_empty() {
            return;
        }
        let (old, new) = (self.plan.sum(|s| s.rewritten), self.plan.sum(|s| s.becomes));
        ui.summary(&format!(
            "{} of {} {} {} of about {}; about {} become free on {}, when the grace is over",
            plural(self.plan.count(), "pack", "packs"),
            bytes(old),
            if args.dry_run { "would become" } else { "become" },
            count(self.plan.sum(|share| share.new_packs)),
            bytes(new),
            bytes(old.saturating_sub(new)),
            local_time(self.until),
        ));
        if args.dry_run && new > 0 {
            ui.summary(&format!("until then about {} more would be stored", bytes(new)));
        }
    }

    fn conclude(&self, done: &Done) {
        if self.ctx.ui.is_json() {
            return;
        }
        let ui = self.ctx.ui;
        if done.damaged > 0 {
            let what = plural(done.damaged, "pack was", "packs were");
            ui.warn(&format!(
                "{what} damaged and stayed: `backup check --read-data` tells which files suffer"
            ));
        }
        if done.interrupted {
            ui.warn(
                "interrupted: what was sent and not put to use goes by itself when the grace is over",
            );
        }
        if done.mended > 0 {
            ui.summary(&format!(
                "no snapshot needs {} any more; the vault tells of that no longer",
                plural(done.mended, "damaged pack", "damaged packs"),
            ));
        }
        if done.removed == 0 {
            return;
        }
        ui.summary(&format!(
            "{} of {} became {} of {}, for {}; the old ones go on {}",
            plural(done.removed, "pack", "packs"),
            bytes(done.removed_bytes),
            count(done.packs),
            bytes(done.bytes),
            plural(done.snapshots, "snapshot", "snapshots"),
            local_time(self.until),
        ));
    }

    fn json(&self, dry_run: bool, done: &Done) {
        if !self.ctx.ui.is_json() {
            return;
        }
        let devices = self.plan.devices.iter().map(|(device, share)| {
            serde_json::json!({
                "device": device.to_string(),
                "name": self.repo.device_name(*device),
                "packs": share.packs,
                "bytes": share.bytes,
                "bytes_unused": share.unused,
                "rewrite": share.rewrite.len(),
                "rewrite_bytes": share.rewritten,
                "becomes_packs": share.new_packs,
                "becomes_bytes": share.becomes,
            })
        });
        let devices: Vec<_> = devices.collect();
        self.ctx.ui.json(&serde_json::json!({
            "message_type": "compact",
            "dry_run": dry_run,
            "devices": devices,
            "packs_removed": done.removed,
            "bytes_removed": done.removed_bytes,
            "packs_made": done.packs,
            "bytes_made": done.bytes,
            "snapshots_changed": done.snapshots,
            "snapshots_damaged": self.found.damaged,
            "packs_damaged": done.damaged,
            "packs_to_mend": self.found.mendable.len(),
            "packs_mended": done.mended,
            "interrupted": done.interrupted,
            "free_at": machine_time(self.until),
        }));
    }

    fn exit(&self, done: &Done) -> Exit {
        if done.interrupted {
            Exit::Interrupted
        } else if self.found.damaged > 0 || done.damaged > 0 {
            Exit::Damaged
        } else {
            Exit::Done
        }
    }
}

impl From<CompactError> for CliError {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::Vault(error) => error.into(),
            CompactError::Repo(error) => error.into(),
            error => Self::from_error(Exit::Failed, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stay_unused() {
        for (text, wanted) in [
            ("5%", Some(Tolerated::Millionths(50_000))),
            ("0.25%", Some(Tolerated::Millionths(2_500))),
            ("0%", Some(Tolerated::Millionths(0))),
            ("0", Some(Tolerated::Bytes(0))),
            ("1.5G", Some(Tolerated::Bytes(3 << 29))),
            ("unlimited", Some(Tolerated::Unlimited)),
            ("100%", None),
            ("-1%", None),
            ("much", None),
            ("", None),
        ] {
            assert_eq!(tolerated(text).ok(), wanted, "{text}");
        }
    }
}
