//! What rules make of snapshots at once, and what later, if no other snapshot comes.
//!
//! The first hour, the floor and the pause after a burst only put off what the rules say. So what
//! goes at a moment is not all that goes by a rule.

use std::collections::BTreeMap;

use super::judge::{decide_for_owner, decide_with};
use super::reason::{Decision, Verdict};
use crate::id::{DeviceId, SetTag};
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
}

/// What `policy` makes of every live snapshot from `at` on, in log order.
pub fn foresee(state: &State, policy: &Policy, at: Timestamp) -> Vec<Foreseen> {
    let now = decide_with(state, policy, at);
    let mut counted: BTreeMap<(DeviceId, SetTag), Timestamp> = BTreeMap::new();
    for one in &now {
        let all_count = counted.entry((one.device, one.set)).or_default();
        *all_count = (*all_count).max(Timestamp(one.received.0.saturating_add(BURST_SPAN)));
    }
    // Both are in log order, of the same snapshots.
    let both = now.into_iter().zip(decide_for_owner(state, policy));
    both.map(|(now, rules)| {
        let all_count = counted.get(&(now.device, now.set)).copied().unwrap_or(at);
        Foreseen { now, rules, later: later(&now, &rules, all_count) }
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
    /// Why it stays, or goes, in words.
    pub fn reasons(&self) -> Vec<String> {
        if let Verdict::Expired(why) = self.now.verdict {
            return vec![why.to_string()];
        }
        let words = |decision: &Decision| decision.reasons().into_iter().map(|r| r.to_string());
        let mut reasons: Vec<String> = words(&self.rules).collect();
        for reason in words(&self.now) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        if let Verdict::Expired(why) = self.rules.verdict {
            reasons.push(format!("then {why}"));
        }
        reasons
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
    pub fn of(foreseen: &[Foreseen]) -> Self {
        let mut forecast = Self::default();
        for one in foreseen {
            match one.later {
                _ if !one.now.stays() => forecast.now += 1,
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
