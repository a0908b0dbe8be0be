//! What rules make of snapshots at once, and what later, if no other snapshot comes.
//!
//! The first hour, the floor and the pause after a burst only put off what the rules say. So what
//! goes at a moment is not all that goes by a rule.

use std::collections::{BTreeMap, BTreeSet};

use super::calendar::Date;
use super::judge::{decide_for_owner_among, decide_with_among};
use super::reason::{Decision, Reason, Verdict};
use crate::id::{DeviceId, SetTag, SnapshotId};
use crate::log::policy::Policy;
use crate::log::state::{BURST_SPAN, State};
use crate::time::Timestamp;

/// What rules make of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreseen {
    /// At the moment that was asked about.
    pub now: Decision,
    /// When all that only puts it off is over.
    pub rules: Decision,
    /// When it goes, if it stays at first.
    pub later: Option<Later>,
    /// The rules in force take it before the change that was asked about takes effect.
    pub before_change: bool,
}

/// When a snapshot goes that stays at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// Then at the latest.
    pub at: Timestamp,
    /// What ends then.
    pub wait: Wait,
}

/// What puts off that a snapshot goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// It, or a newer one of its set, is in its first hour, in which a snapshot counts nowhere.
    Hour,
    /// The floor.
    Floor,
    /// The pause after a burst.
    Pause,
    /// A change that takes effect only then.
    Change,
}

/// What `policy` makes of every live snapshot from `at` on, in log order.
pub fn foresee(state: &State, policy: &Policy, at: Timestamp) -> Vec<Foreseen> {
    foresee_among((state, policy, at), &|_| true)
}

/// What becomes of every live snapshot if the rules in force at `now` hold until `effective`, and
/// `policy` from then on; in log order. The two lie further apart than the hour in which a
/// snapshot counts nowhere: such a change waits for a grace.
pub fn foresee_change(
    state: &State,
    policy: &Policy,
    (now, effective): (Timestamp, Timestamp),
) -> Vec<Foreseen> {
    let mut foreseen = foresee(state, state.policy_at(now), now);
    foreseen.retain(|one| one.goes_before(effective));
    let gone: BTreeSet<SnapshotId> = foreseen.iter().map(|one| one.now.snapshot).collect();
    for one in &mut foreseen {
        one.before_change = true;
    }
    // What went takes no place when the new rules count.
    let then = foresee_among((state, policy, effective), &|id| !gone.contains(id));
    let goes_then = Later { at: effective, wait: Wait::Change };
    let told = |one: Foreseen| match one.now.verdict {
        Verdict::Kept(_) => one,
        Verdict::Expired(_) => Foreseen { later: Some(goes_then), ..one },
    };
    foreseen.extend(then.into_iter().map(told));
    foreseen.sort_unstable_by_key(|one| one.now.seq);
    foreseen
}

fn foresee_among(
    (state, policy, at): (&State, &Policy, Timestamp),
    among: &dyn Fn(&SnapshotId) -> bool,
) -> Vec<Foreseen> {
    let now = decide_with_among((state, policy, at), among);
    let mut counted: BTreeMap<(DeviceId, SetTag), Timestamp> = BTreeMap::new();
    for one in &now {
        let all_count = counted.entry((one.device, one.set)).or_default();
        *all_count = (*all_count).max(Timestamp(one.received.0.saturating_add(BURST_SPAN)));
    }
    // Both are in log order, of the same snapshots.
    let both = now.into_iter().zip(decide_for_owner_among(state, policy, among));
    both.map(|(now, rules)| {
        let all_count = counted.get(&(now.device, now.set)).copied().unwrap_or(at);
        Foreseen { now, rules, later: later(&now, &rules, all_count), before_change: false }
    })
    .collect()
}

fn later(now: &Decision, rules: &Decision, all_count: Timestamp) -> Option<Later> {
    let (Verdict::Kept(kept), Verdict::Expired(_)) = (now.verdict, rules.verdict) else {
        return None;
    };
    let waits = [
        Some(Later { at: all_count, wait: Wait::Hour }),
        kept.floor.map(|at| Later { at, wait: Wait::Floor }),
        kept.paused.map(|at| Later { at, wait: Wait::Pause }),
    ];
    waits.into_iter().flatten().max_by_key(|later| (later.at, later.wait))
}

impl Foreseen {
    fn goes_before(&self, moment: Timestamp) -> bool {
        !self.now.stays() || self.later.is_some_and(|later| later.at < moment)
    }

    /// Why it stays, or goes, in words. The rules count otherwise while the newest count nowhere;
    /// these are the reasons of what becomes of it in the end, and what puts that off.
    pub fn reasons(&self) -> Vec<String> {
        let by = if self.before_change { ", by the rules in force until the change" } else { "" };
        match (self.now.verdict, self.rules.verdict, self.later) {
            (Verdict::Expired(why), _, Some(Later { at, .. })) => {
                vec![format!("from {} on {why}", Date::of(at))]
            }
            (Verdict::Expired(why), ..) => vec![format!("{why}{by}")],
            (_, Verdict::Expired(why), _) => {
                let mut reasons = self.put_off();
                if reasons.is_empty() {
                    reasons.push("until a newer one is an hour old".to_owned());
                }
                reasons.push(format!("then {why}{by}"));
                reasons
            }
            (_, Verdict::Kept(_), _) => {
                let stays = self.rules.reasons().into_iter().map(|reason| reason.to_string());
                stays.chain(self.put_off()).collect()
            }
        }
    }

    /// The reasons that pass.
    fn put_off(&self) -> Vec<String> {
        let passes =
            |one: &Reason| matches!(one, Reason::Fresh | Reason::Floor(_) | Reason::Paused(_));
        self.now.reasons().iter().filter(|one| passes(one)).map(ToString::to_string).collect()
    }
}

/// How many snapshots go, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forecast {
    /// At once.
    pub now: u64,
    /// Later, by what they wait for: how many, and when the last of them goes.
    pub later: BTreeMap<Wait, (u64, Timestamp)>,
    /// Not by these rules.
    pub kept: u64,
}

impl Forecast {
    /// Counts.
    pub fn of<'a>(foreseen: impl IntoIterator<Item = &'a Foreseen>) -> Self {
        let mut forecast = Self::default();
        for one in foreseen {
            match one.later {
                None if !one.now.stays() => forecast.now += 1,
                None => forecast.kept += 1,
                Some(Later { at, wait }) => {
                    let (count, last) = forecast.later.entry(wait).or_default();
                    *count += 1;
                    *last = (*last).max(at);
                }
            }
        }
        forecast
    }

    /// Whether any goes, at once or later.
    pub fn takes_any(&self) -> bool {
        self.now > 0 || !self.later.is_empty()
    }
}
