//! `backup policy`: the rules by which the server, without any key, lets snapshots go.

mod preview;
mod show;

use unseen_common::disclosure::Level;
use unseen_common::id::SetTag;
use unseen_common::log::entry::Body;
use unseen_common::log::policy::{KeepRules, Policy};
use unseen_common::retention::{Wait, foresee, foresee_change};
use unseen_common::time::Timestamp;

use super::args::SnapshotFilter;
use super::args::keep::{Days, KeepArgs};
use super::context::Context;
use super::deciding::{self, Deciding, agreed, json_of};
use super::exit::{CliError, Exit};
use super::reading::{local_time, machine_time, set_name};
use super::vault;
use crate::maintain::forget::{Fate, Judged, foretold};
use crate::maintain::policy::{KeepChange, PolicyChange, differences, last_word, waiting};

use preview::Foretold;

pub use show::waiting_warning;

/// What `policy` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
A change that shortens grace or floor takes effect only when the grace that is in force has passed.
Until then every run on every machine says so, and `backup policy cancel` stops it.

Example:
  backup policy
  backup policy set -n --keep-daily 7 --keep-weekly 5 --keep-monthly 12")]
pub struct PolicyArgs {
    /// What to do; shows what is in force without it
    #[command(subcommand)]
    pub command: Option<PolicyCommand>,
}

/// What can be done with a policy.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum PolicyCommand {
    /// Show what is in force, and what waits
    Show,
    /// Change it
    Set(Box<SetArgs>),
    /// Stop the change that waits
    Cancel(CancelArgs),
}

/// What `policy set` takes. What is not named stays as it is; the keep rules are replaced together.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
What is not named stays as it is; the keep rules are one thing: those given take the place of all.

Example:
  backup policy set --keep-daily 7 --keep-weekly 5 --keep-monthly 12
  backup policy set --set ~/Pictures --keep-last all
  backup policy set --grace 60d --floor 7d")]
pub struct SetArgs {
    /// The rules.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// No rule: everything stays
    #[arg(long, conflicts_with_all = ["KeepArgs", "like_others"])]
    pub keep_everything: bool,
    /// The keep rules are for this set alone
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// That set has no rules of its own any more
    #[arg(long, requires = "set", conflicts_with = "KeepArgs")]
    pub like_others: bool,
    /// How long what went can be brought back [default of a new vault: 30d]
    #[arg(long, value_name = "DAYS", help_heading = "What protects")]
    pub grace: Option<Days>,
    /// Every snapshot stays so long, whatever the rules say
    #[arg(long, value_name = "DAYS", help_heading = "What protects")]
    pub floor: Option<Days>,
    /// More snapshots of one device in an hour than this stop its expiry
    #[arg(long, value_name = "N", help_heading = "What protects")]
    pub burst: Option<u32>,
    /// How long they stop it
    #[arg(long, value_name = "DAYS", help_heading = "What protects")]
    pub burst_pause: Option<Days>,
    /// A device that is silent so long is reported; 0 for never
    #[arg(long, value_name = "DAYS", help_heading = "What is told")]
    pub silent_after: Option<Days>,
    /// What snapshots disclose: none, summary or types (as `backup privacy level`)
    #[arg(long, value_name = "LEVEL", help_heading = "What is told",
          value_parser = super::cmd_privacy::level)]
    pub disclosure: Option<Level>,
    /// Show what would change and what would go, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// What `policy cancel` takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CancelArgs {
    /// End the pause after a burst of this device instead: its name or the beginning of its id
    #[arg(long, value_name = "DEVICE")]
    pub burst: Option<String>,
}

/// Shows or changes.
pub fn run(ctx: &Context<'_>, args: &PolicyArgs) -> Result<Exit, CliError> {
    match args.command.as_ref().unwrap_or(&PolicyCommand::Show) {
        PolicyCommand::Show => show::show(ctx, &vault::runtime()?),
        PolicyCommand::Set(args) => set(ctx, args),
        PolicyCommand::Cancel(args) => cancel(ctx, args),
    }
}

fn set(ctx: &Context<'_>, args: &SetArgs) -> Result<Exit, CliError> {
    let change = Wish::of(args)?;
    let named = args.set.as_deref().map(set_name).transpose()?;
    let runtime = vault::runtime()?;
    let mut vault = deciding::open(ctx, &runtime)?;
    let tag = |name: &String| vault.repo().ids().set_tag(name);
    let set = named.as_ref().map(tag);
    let now = vault.now();
    let state = &vault.owner.log.state;
    let replaces = waiting(state, now).is_some();
    let old = last_word(state, now).clone();
    let new = change.policy(&old, set);
    if let Some(fault) = new.fault() {
        return Err(CliError::usage(fault));
    }
    let effective = takes_effect(&vault, &new, now);
    let listed = vault.matching(&SnapshotFilter::default(), &runtime)?;
    let name = |tag: SetTag| show::set_name(&listed, (set, named.as_deref()), tag);
    if let (Some(set), Some(name)) = (set, &named)
        && listed.iter().all(|one| one.row.set != set)
    {
        ctx.ui.warn(&format!("no snapshot is of the set {name} yet"));
    }
    let differences = differences(&old, &new, &name);
    let foreseen = match effective {
        Some(effective) => foresee_change(state, &new, (now, effective)),
        None => foresee(state, &new, now),
    };
    let mut judged = foretold(listed, &foreseen);
    deciding::sort(&mut judged);
    let forecast = Foretold::of(&foreseen, effective);
    let proposal = Proposal { old, new, effective, differences, judged, forecast };
    if !ctx.ui.is_json() {
        proposal.tell(ctx, args.dry_run);
    }
    let changes = !proposal.differences.is_empty();
    if changes && !args.dry_run {
        if proposal.forecast.takes_any() || effective.is_some() {
            agreed(ctx, "Change the policy?")?;
        }
        runtime.block_on(vault.owner.append(Body::Policy(proposal.new.clone())))?;
    }
    match (changes, args.dry_run) {
        _ if ctx.ui.is_json() => ctx.ui.json(&proposal.json(args.dry_run)),
        (false, _) => ctx.ui.summary("nothing to change: the policy is like that already"),
        (true, true) => {}
        (true, false) => tell_changed(ctx, effective, replaces),
    }
    Ok(Exit::Done)
}

/// A change, and what it does.
struct Proposal {
    old: Policy,
    new: Policy,
    effective: Option<Timestamp>,
    differences: Vec<(String, String, String)>,
    judged: Vec<Judged>,
    forecast: Foretold,
}

impl Proposal {
    fn tell(&self, ctx: &Context<'_>, dry_run: bool) {
        for (what, was, is) in &self.differences {
            ctx.ui.line(&format!("{what}: {was} -> {is}"));
        }
        if dry_run || touches_snapshots(&self.old, &self.new) {
            preview::preview(ctx, &self.judged, &self.forecast, dry_run);
        }
        if let Some(effective) = self.effective {
            ctx.ui.summary(&format!(
                "this shortens what protects: it takes effect on {}, and not before",
                local_time(effective)
            ));
            if (self.old.keep, &self.old.sets) != (self.new.keep, &self.new.sets) {
                ctx.ui.summary(
                    "the keep rules wait with it, and those in force take snapshots until then; \
                     to have new ones at once, set them first, in a command of their own",
                );
            }
        }
    }

    fn json(&self, dry_run: bool) -> serde_json::Value {
        let (before, by_it): (Vec<&Judged>, Vec<&Judged>) =
            self.judged.iter().partition(|one| one.before_change);
        let going = |one: &&Judged| match one.later {
            Some(later) => later.wait == Wait::Change,
            None => one.fate == Fate::Forget,
        };
        let later = |one: &&Judged| one.later.is_some() && !going(one);
        serde_json::json!({
            "message_type": "policy_set",
            "dry_run": dry_run,
            "changed": !self.differences.is_empty(),
            "policy": self.new,
            "effective": self.effective.map(machine_time),
            "would_expire_before": json_of(before),
            "would_expire": json_of(by_it.iter().copied().filter(going)),
            "would_expire_later": json_of(by_it.iter().copied().filter(later)),
            "snapshots": json_of(&self.judged),
        })
    }
}

/// What the command line wants.
struct Wish {
    keep: Option<Keep>,
    rest: PolicyChange,
}

/// Keep rules, or for one set none of its own.
#[derive(Debug, Clone, Copy)]
enum Keep {
    Rules(KeepRules),
    LikeOthers,
}

impl Wish {
    fn of(args: &SetArgs) -> Result<Self, CliError> {
        let keep = match args.keep.rules() {
            Some(rules) if rules.is_none() => {
                return Err(CliError::usage("these rules keep nothing")
                    .hint("for no rule at all there is --keep-everything"));
            }
            None if args.keep_everything => Some(Keep::Rules(KeepRules::NONE)),
            None if args.like_others => Some(Keep::LikeOthers),
            None if args.set.is_some() => {
                return Err(CliError::usage("nothing says what to keep of the set")
                    .hint("give --keep-… rules, --keep-everything or --like-others"));
            }
            given => given.map(Keep::Rules),
        };
        let days = |days: Option<Days>| days.map(|days| days.0);
        let rest = PolicyChange {
            keep: None,
            grace_days: days(args.grace),
            floor_days: days(args.floor),
            burst_per_hour: args.burst,
            burst_pause_days: days(args.burst_pause),
            silent_days: days(args.silent_after),
            disclosure: args.disclosure,
        };
        if keep.is_none() && rest == PolicyChange::default() {
            return Err(CliError::usage("nothing says what to change")
                .hint("such as --keep-daily 7; `backup policy set --help` lists the rest"));
        }
        Ok(Self { keep, rest })
    }

    fn policy(&self, old: &Policy, set: Option<SetTag>) -> Policy {
        let keep = self.keep.map(|keep| match (set, keep) {
            (Some(set), Keep::Rules(keep)) => KeepChange::Set(set, keep),
            (None, Keep::Rules(keep)) => KeepChange::All(keep),
            // The command line takes this with a set alone; without one there is nothing to do.
            (set, Keep::LikeOthers) => {
                set.map_or(KeepChange::All(old.keep), KeepChange::LikeOthers)
            }
        });
        PolicyChange { keep, ..self.rest.clone() }.apply(old)
    }
}

/// When a policy that weakens protection would take effect; none if at once.
fn takes_effect(vault: &Deciding, new: &Policy, now: Timestamp) -> Option<Timestamp> {
    let in_force = vault.owner.log.state.policy_at(now);
    new.weakens(in_force).then(|| now.plus_days(in_force.grace_days))
}

/// Whether a change can let snapshots go, or keep them.
fn touches_snapshots(old: &Policy, new: &Policy) -> bool {
    (old.keep, &old.sets, old.floor_days) != (new.keep, &new.sets, new.floor_days)
}

fn tell_changed(ctx: &Context<'_>, effective: Option<Timestamp>, replaces: bool) {
    if replaces {
        ctx.ui.summary("the change that waited is part of this one, which takes its place");
    }
    match effective {
        Some(_) => ctx.ui.summary("the change waits; `backup policy cancel` stops it"),
        None => ctx.ui.summary("the policy is in force"),
    }
}

fn cancel(ctx: &Context<'_>, args: &CancelArgs) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    let mut vault = deciding::open(ctx, &runtime)?;
    let (seq, told) = if let Some(wanted) = &args.burst {
        (burst_of(&vault, wanted)?, "its snapshots expire by the rules again")
    } else {
        let found = waiting(&vault.owner.log.state, vault.now());
        let none = || CliError::new(Exit::Failed, "no change of the policy waits");
        (found.map(|(pending, _)| pending.seq).ok_or_else(none)?, "the policy stays as it is")
    };
    runtime.block_on(vault.owner.append(Body::Cancel { seq }))?;
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({ "message_type": "policy_cancel", "entry": seq }));
    } else {
        ctx.ui.summary(told);
    }
    Ok(Exit::Done)
}

/// The entry of the burst of a device.
fn burst_of(vault: &Deciding, wanted: &str) -> Result<u64, CliError> {
    let named = |id: &unseen_common::id::DeviceId| {
        vault.repo().device_name(*id) == Some(wanted)
            || (wanted.len() >= 4 && id.to_string().starts_with(wanted))
    };
    let devices = &vault.owner.log.state.devices;
    let mut found = devices.iter().filter(|(id, _)| named(id));
    match (found.next(), found.next()) {
        (Some((_, device)), None) => device.burst.map(|burst| burst.seq).ok_or_else(|| {
            CliError::new(Exit::Failed, format!("nothing stops the expiry of {wanted}"))
        }),
        (None, _) => Err(CliError::usage(format!("there is no device {wanted}"))),
        _ => Err(CliError::usage(format!("several devices are called {wanted}"))
            .hint("name one by the beginning of its id")),
    }
}
