//! `backup pin` and `backup unpin`: snapshots that no rule takes.

use std::collections::{BTreeMap, BTreeSet};

use unseen_common::id::SnapshotId;
use unseen_common::log::entry::{Body, SnapshotIds};
use unseen_common::retention::{Decision, Verdict, decide, decide_for_owner};
use unseen_common::time::Timestamp;

use super::args::SnapshotFilter;
use super::cmd_daemon::lifted;
use super::context::Context;
use super::deciding::{self, Deciding};
use super::exit::{CliError, Exit};
use super::reading::local_time;
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
    /// Show what would happen to them, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Which one `latest` is.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// What `unpin` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
From then on the rules decide about it, which may be at once: `backup policy` shows them, and -n
what they would make of it. A device holds snapshots when far more than ever before has changed;
with the end of the hold, that alarm of this machine is over, too.

Example:
  backup unpin -n 40dc1520
  backup unpin --held")]
pub struct UnpinArgs {
    /// These: ids or beginnings of ids, latest, latest~N
    #[arg(value_name = "SNAPSHOT", required_unless_present = "held")]
    pub snapshots: Vec<String>,
    /// End the hold that a device put on them, and not the pin; without SNAPSHOT on all
    #[arg(long)]
    pub held: bool,
    /// Show what would happen to them, and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Which one `latest` is, and without SNAPSHOT which ones are meant.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// What happens to snapshots.
struct Act {
    /// Whether it is so already.
    done: fn(&Row) -> bool,
    body: fn(SnapshotIds) -> Body,
    /// What they are then, for programs.
    then: &'static str,
    words: Words,
    /// What becomes of one then, if that is a question.
    after: Option<fn(Decision) -> Decision>,
}

/// What is said of a snapshot.
struct Words {
    already: &'static str,
    is: &'static str,
    would: &'static str,
}

/// Pins.
pub fn pin(ctx: &Context<'_>, args: &PinArgs) -> Result<Exit, CliError> {
    let words =
        Words { already: "is pinned already", is: "is now pinned", would: "would be pinned" };
    let done = |row: &Row| row.pinned;
    act(ctx, args, &Act { done, body: Body::Pin, then: "pinned", words, after: None })?;
    Ok(Exit::Done)
}

/// Unpins, or ends holds.
pub fn unpin(ctx: &Context<'_>, args: &UnpinArgs) -> Result<Exit, CliError> {
    let chosen = if args.held {
        Act {
            done: |row| !row.held,
            body: Body::LiftHold,
            then: "not held",
            words: Words {
                already: "is not held",
                is: "is no longer held",
                would: "would no longer be held",
            },
            after: Some(Decision::lifted),
        }
    } else {
        Act {
            done: |row| !row.pinned,
            body: Body::Unpin,
            then: "not pinned",
            words: Words {
                already: "is not pinned",
                is: "is no longer pinned",
                would: "would no longer be pinned",
            },
            after: Some(Decision::unpinned),
        }
    };
    let UnpinArgs { snapshots, held, dry_run, filter } = args.clone();
    let all = snapshots.is_empty() && filter.is_empty();
    let over = act(ctx, &PinArgs { snapshots, dry_run, filter }, &chosen)?;
    if held && !dry_run {
        let ids: Vec<SnapshotId> = over.into_iter().collect();
        lifted(ctx, (!all).then_some(ids.as_slice()))?;
    }
    Ok(Exit::Done)
}

/// Does it, to all that are held if none is named; tells to which.
fn act(ctx: &Context<'_>, args: &PinArgs, act: &Act) -> Result<BTreeSet<SnapshotId>, CliError> {
    let runtime = vault::runtime()?;
    let mut vault = deciding::open(ctx, &runtime)?;
    let listed = if args.snapshots.is_empty() {
        let mut held = vault.matching(&args.filter, &runtime)?;
        held.retain(|one| one.row.held);
        held
    } else {
        vault.named(ctx, (&args.snapshots, &args.filter), &runtime)?
    };
    let wanted = listed.iter().map(|one| &one.row).filter(|row| !(act.done)(row));
    let wanted: BTreeSet<SnapshotId> = wanted.map(|row| row.id).collect();
    let outlook = Outlook::of(&vault, &wanted, act.after);
    if !args.dry_run {
        vault.append_all(&wanted, act.body, &runtime)?;
    }
    if ctx.ui.is_json() {
        let text = |ids: &BTreeSet<SnapshotId>| ids.iter().map(ToString::to_string).collect();
        let (ids, going): (Vec<String>, Vec<String>) = (text(&wanted), text(&outlook.going()));
        ctx.ui.json(&serde_json::json!({
            "message_type": "pin",
            "dry_run": args.dry_run,
            "now": act.then,
            "snapshots": ids,
            "would_expire": going,
        }));
        return Ok(wanted);
    }
    if listed.is_empty() {
        ctx.ui.line("no snapshot is held");
    }
    for row in listed.iter().map(|one| &one.row) {
        let words = match (wanted.contains(&row.id), args.dry_run) {
            (true, false) => act.words.is,
            (true, true) => act.words.would,
            (false, _) => act.words.already,
        };
        let then = outlook.in_words(row.id, args.dry_run).unwrap_or_default();
        ctx.ui.line(&format!("snapshot {} {words}{then}", row.id.short()));
    }
    if wanted.len() > 1 {
        ctx.ui.summary(&plural(wanted.len() as u64, "snapshot", "snapshots"));
    }
    if !outlook.going().is_empty() {
        let would = if args.dry_run { "would bring" } else { "brings" };
        let until = local_time(outlook.until);
        ctx.ui.summary(&format!("`backup undelete` {would} back what goes, until {until}"));
    }
    Ok(wanted)
}

/// What then becomes of snapshots, as things stand.
struct Outlook {
    then: BTreeMap<SnapshotId, Then>,
    /// Until when what goes now can be brought back.
    until: Timestamp,
}

/// What then becomes of a snapshot.
#[derive(Debug, Clone, Copy)]
struct Then {
    /// By the rules alone.
    by_rules: Decision,
    /// With what protects from the device for a while: first hour, floor, pause.
    now: Decision,
}

impl Outlook {
    fn of(
        vault: &Deciding,
        wanted: &BTreeSet<SnapshotId>,
        after: Option<fn(Decision) -> Decision>,
    ) -> Self {
        let (state, now) = (&vault.owner.log.state, vault.now());
        let policy = state.policy_at(now);
        let until = now.plus_days(policy.grace_days);
        let Some(after) = after else {
            return Self { then: BTreeMap::new(), until };
        };
        // Both are in log order, of the same snapshots.
        let both = decide_for_owner(state, policy).into_iter().zip(decide(state, now));
        let then = both
            .filter(|(one, _)| wanted.contains(&one.snapshot))
            .map(|(rules, now)| (rules.snapshot, Then { by_rules: after(rules), now: after(now) }));
        Self { then: then.collect(), until }
    }

    fn going(&self) -> BTreeSet<SnapshotId> {
        let going = self.then.iter().filter(|(_, then)| !then.now.stays());
        going.map(|(id, _)| *id).collect()
    }

    /// Nothing of a snapshot to which nothing happens.
    fn in_words(&self, id: SnapshotId, dry_run: bool) -> Option<String> {
        self.then.get(&id).map(|then| then.in_words(dry_run))
    }
}

impl Then {
    fn in_words(&self, dry_run: bool) -> String {
        let (stays, goes) = if dry_run { ("stay", "go") } else { ("stays", "goes") };
        let reasons = |decision: &Decision| {
            let reasons: Vec<_> = decision.reasons().iter().map(ToString::to_string).collect();
            reasons.join("; ")
        };
        match (self.by_rules.verdict, self.now.verdict) {
            (Verdict::Kept(_), _) => format!(", and {stays}: {}", reasons(&self.by_rules)),
            (Verdict::Expired(why), Verdict::Kept(_)) => {
                format!(", and {stays} for now: {}; later {why}", reasons(&self.now))
            }
            (_, Verdict::Expired(why)) => format!(", and {goes}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unseen_common::id::{DeviceId, SetTag};
    use unseen_common::log::entry::Status;
    use unseen_common::retention::{Kept, Why};

    fn decision(verdict: Verdict) -> Decision {
        Decision {
            snapshot: SnapshotId::from_bytes([1; 32]),
            seq: 1,
            device: DeviceId::from_bytes([1; 16]),
            set: SetTag::from_bytes([1; 16]),
            status: Status::Complete,
            received: Timestamp(0),
            verdict,
        }
    }

    #[test]
    fn what_becomes_of_it_in_words() {
        let gone = decision(Verdict::Expired(Why::NoRuleKeepsIt));
        let kept = |kept| decision(Verdict::Kept(kept));
        let last = kept(Kept { last: Some(2), newest: true, ..Kept::default() });
        let floor = kept(Kept { floor: Some(Timestamp(86_400)), ..Kept::default() });
        for (by_rules, now, dry, real) in [
            (gone, gone, "go: no rule keeps it", "goes: no rule keeps it"),
            (last, floor, "stay: last 2; newest complete", "stays: last 2; newest complete"),
            (
                gone,
                floor,
                "stay for now: floor until 1970-01-02; later no rule keeps it",
                "stays for now: floor until 1970-01-02; later no rule keeps it",
            ),
        ] {
            let then = Then { by_rules, now };
            assert_eq!(then.in_words(true), format!(", and {dry}"));
            assert_eq!(then.in_words(false), format!(", and {real}"));
        }
    }
}
