//! A second reading of the rules, written to be obviously right and not fast: each snapshot is
//! asked on its own, by counting. It shares no code with the first, the calendar included.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::id::SnapshotId;
use crate::log::entry::{Body, Status};
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy, SetRules};
use crate::log::state::{Snapshot, State};
use crate::log::testing::{Lab, device, ids, set};
use crate::retention::{Decision, decide, decide_with, expired};
use crate::time::Timestamp;

const STATUSES: [Status; 3] = [Status::Complete, Status::Partial, Status::Checkpoint];

/// Year, month from 0, by walking through the years one by one.
fn year_month(moment: Timestamp) -> (u64, usize) {
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let mut left = moment.0 / 86_400;
    let mut year = 1970;
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    (year, month)
}

/// The period of each calendar rule in which a moment lies, by any number that names it.
fn periods(moment: Timestamp) -> [(u64, usize); 5] {
    let day = moment.0 / 86_400;
    // 1970-01-05 was the first Monday: the days since, in sevens; before it, all one week.
    let week = if day < 4 { 0 } else { 1 + (day - 4) / 7 };
    let (year, month) = year_month(moment);
    [(moment.0 / 3600, 0), (day, 0), (week, 0), (year, month), (year, 99)]
}

/// Whether the rules keep `one`, counted among `series` (itself included).
fn ruled(one: &Snapshot, series: &[&Snapshot], rules: &KeepRules) -> bool {
    let newer: Vec<_> = series.iter().filter(|s| s.seq > one.seq).collect();
    let newest = series.iter().max_by_key(|s| s.seq).unwrap();
    if (newer.len() as u64) < u64::from(rules.last) {
        return true;
    }
    if newest.received.0 - one.received.0 < rules.within {
        return true;
    }
    let counts = [rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly];
    counts.into_iter().enumerate().any(|(which, count)| {
        let own = periods(one.received)[which];
        // Of those with one stamp nobody knows which is the newer.
        let newer = newer.iter().filter(|s| s.received > one.received);
        let taken: BTreeSet<_> = newer.map(|s| periods(s.received)[which]).collect();
        !taken.contains(&own) && (taken.len() as u64) < u64::from(count)
    })
}

/// Whether a snapshot stays.
fn stays(state: &State, policy: &Policy, id: &SnapshotId, now: Timestamp) -> bool {
    let fresh = |s: &Snapshot| now.0 - s.received.0 < 3600;
    let one = &state.snapshots[id];
    let maker = &state.devices[&one.device];
    let trusted = |s: &Snapshot| maker.revoked.is_none_or(|last| s.seq <= last);
    let age = now.0 - one.received.0;
    let paused = maker
        .burst
        .is_some_and(|b| now.0 < b.received.0 + u64::from(policy.burst_pause_days) * 86_400);
    if one.pinned || one.held || !trusted(one) || paused || fresh(one) {
        return true;
    }
    if age < u64::from(policy.floor_days) * 86_400 {
        return true;
    }
    let own = policy.sets.iter().find(|row| row.set == one.set);
    let rules = own.map_or(&policy.keep, |row| &row.keep);
    let peers = |statuses: &[Status]| -> Vec<&Snapshot> {
        let all = state.snapshots.values();
        all.filter(|s| s.device == one.device && s.set == one.set)
            .filter(|s| trusted(s) && !fresh(s) && statuses.contains(&s.status))
            .collect()
    };
    let complete = peers(&[Status::Complete]);
    let later = complete.iter().any(|s| s.seq > one.seq);
    match one.status {
        Status::Checkpoint => !later,
        _ if *rules == KeepRules::NONE => true,
        Status::Complete => !later || ruled(one, &complete, rules),
        Status::Partial => ruled(one, &peers(&[Status::Complete, Status::Partial]), rules),
    }
}

pub(super) fn small_rules() -> impl Strategy<Value = KeepRules> {
    let count = || prop_oneof![3 => Just(0), 2 => 1_u32..5, 1 => Just(u32::MAX)];
    let within = prop_oneof![2 => Just(0), 1 => 1_u64..3_000_000];
    ([count(), count(), count(), count(), count(), count()], within).prop_map(|(n, within)| {
        let [last, hourly, daily, weekly, monthly, yearly] = n;
        KeepRules { last, hourly, daily, weekly, monthly, yearly, within }
    })
}

pub(super) fn policies() -> impl Strategy<Value = Policy> {
    let floor = prop_oneof![2 => Just(0), 1 => 1_u32..20];
    let own = prop::option::of(small_rules());
    (small_rules(), own, floor, 1_u32..8, 0_u32..9).prop_map(
        |(keep, own, floor_days, burst_per_hour, burst_pause_days)| Policy {
            keep,
            sets: own.map(|keep| SetRules { set: set(1), keep }).into_iter().collect(),
            floor_days,
            burst_per_hour,
            burst_pause_days,
            ..DEFAULT_POLICY
        },
    )
}

/// What happens, one after the other; numbers are reduced to what is there.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Snap { by: u8, of: u8, status: usize, after: u64 },
    Mark { which: usize, held: bool },
    Forget { which: usize },
    Revoke { by: u8, last: u64 },
    Expire,
}

pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![
        3 => 0_u64..900,
        3 => 900_u64..90_000,
        3 => 90_000_u64..900_000,
        1 => 900_000_u64..40_000_000,
    ];
    let status = prop_oneof![4 => Just(0_usize), 2 => Just(1), 1 => Just(2)];
    let snap = (1_u8..4, 0_u8..2, status, after).prop_map(|(by, of, status, after)| Step::Snap {
        by,
        of,
        status,
        after,
    });
    let step = prop_oneof![
        20 => snap,
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, held)| Step::Mark { which, held }),
        1 => any::<usize>().prop_map(|which| Step::Forget { which }),
        1 => (2_u8..4, any::<u64>()).prop_map(|(by, last)| Step::Revoke { by, last }),
        2 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 0..most)
}

fn some_snapshot(lab: &Lab, which: usize) -> Option<SnapshotId> {
    let count = lab.state.snapshots.len();
    (count > 0).then(|| *lab.state.snapshots.keys().nth(which % count).unwrap())
}

pub(super) fn play(lab: &mut Lab, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Snap { by, of, status, after } => {
                lab.wait(after);
                if lab.state.active_device(device(by)).is_ok() {
                    lab.snap(by, of, STATUSES[status]);
                }
            }
            Step::Mark { which, held } => {
                if let Some(id) = some_snapshot(lab, which) {
                    let mark = if held { Body::Hold } else { Body::Pin };
                    lab.root(mark(ids(&[id]))).unwrap();
                }
            }
            Step::Forget { which } => {
                if let Some(id) = some_snapshot(lab, which) {
                    // Pinned and held ones are refused.
                    drop(lab.root(Body::Forget(ids(&[id]))));
                }
            }
            Step::Revoke { by, last } => {
                if lab.state.active_device(device(by)).is_ok() {
                    let last = last % (lab.state.head_seq + 1);
                    lab.revoke(by, last);
                }
            }
            Step::Expire => drop(lab.expire()),
        }
    }
}

proptest! {
    #[test]
    fn the_model_agrees(steps in steps(80), policy in policies(), wait in 0_u64..3_000_000) {
        let mut lab = Lab::with(policy);
        play(&mut lab, &steps);
        lab.wait(wait);
        let policy = lab.state.policy_at(lab.now);
        for decision in decide(&lab.state, lab.now) {
            let model = stays(&lab.state, policy, &decision.snapshot, lab.now);
            prop_assert_eq!(decision.stays(), model, "{:?}", decision);
            prop_assert_eq!(decision.reasons().is_empty(), !decision.stays());
        }
    }

    #[test]
    fn the_model_agrees_on_rules_that_are_not_in_force(
        steps in steps(60),
        in_force in policies(),
        other in policies(),
    ) {
        let mut lab = Lab::with(in_force);
        play(&mut lab, &steps);
        let decisions = decide_with(&lab.state, &other, lab.now);
        prop_assert_eq!(decisions.len(), lab.state.snapshots.len());
        prop_assert!(decisions.is_sorted_by(|a, b| a.seq < b.seq));
        for decision in decisions {
            prop_assert_eq!(decision.stays(), stays(&lab.state, &other, &decision.snapshot, lab.now));
        }
    }

    /// Taking away what has expired changes the verdict on nothing that stays.
    #[test]
    fn expiry_is_stable(steps in steps(80), policy in policies()) {
        let mut lab = Lab::with(policy);
        play(&mut lab, &steps);
        let gone = expired(&lab.state, lab.now);
        let kept: Vec<_> = decide(&lab.state, lab.now).into_iter().filter(Decision::stays).collect();
        let mut taken = lab.expire();
        taken.sort_by_key(|id| lab.state.gone[id].snapshot.seq);
        prop_assert_eq!(taken, gone);
        prop_assert_eq!(decide(&lab.state, lab.now), kept);
    }
}
