//! What is foreseen is what then happens, if no other snapshot comes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::model::{play, policies, steps};
use crate::log::entry::Body;
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use crate::log::testing::{DAY, Lab};
use crate::retention::{Decision, Forecast, Foreseen, Wait, decide_with, foresee, foresee_change};
use crate::time::Timestamp;

fn stays(decisions: &[Decision], like: &Decision) -> bool {
    decisions.iter().any(|one| one.snapshot == like.snapshot && one.stays())
}

proptest! {
    #[test]
    fn what_is_foreseen_happens(steps in steps(60), policy in policies(), wait in 0_u64..9 * DAY) {
        let mut lab = Lab::new();
        play(&mut lab, &steps);
        lab.wait(wait);
        let seen = foresee(&lab.state, &policy, lab.now);
        let end = decide_with(&lab.state, &policy, lab.now.plus_days(100_000));
        for one in &seen {
            match one.later {
                None => prop_assert_eq!(one.now.stays(), stays(&end, &one.now)),
                Some(later) => {
                    prop_assert!(one.now.stays() && later.at > lab.now, "{:?}", one);
                    prop_assert!(!stays(&decide_with(&lab.state, &policy, later.at), &one.now));
                    let before = Timestamp(later.at.0 - 1);
                    let own = later.wait != Wait::Hour;
                    prop_assert!(!own || stays(&decide_with(&lab.state, &policy, before), &one.now));
                }
            }
        }
        let forecast = Forecast::of(&seen);
        let later: u64 = forecast.later.values().map(|(count, _)| count).sum();
        prop_assert_eq!(forecast.now + later + forecast.kept, u64::try_from(seen.len()).unwrap());
    }

    /// The change is made, and day by day the server lets go what the rules of that day keep no
    /// longer: every snapshot goes on the day that was foretold, by the rules that were.
    #[test]
    fn a_change_that_waits_does_what_was_foreseen(
        steps in steps(60),
        old in policies(),
        new in policies(),
        wait in 0_u64..9 * DAY,
    ) {
        let old = Policy { grace_days: 30, ..old };
        let new = Policy { grace_days: 20, ..new };
        let mut lab = Lab::with(old);
        play(&mut lab, &steps);
        lab.wait(wait);
        let start = lab.now;
        let effective = start.plus_days(30);
        let seen = foresee_change(&lab.state, &new, (start, effective));
        prop_assert_eq!(seen.len(), lab.state.snapshots.len());
        lab.root(Body::Policy(new)).unwrap();
        let mut went: BTreeMap<_, Timestamp> = BTreeMap::new();
        for day in 0..=70 {
            lab.now = start.plus_days(day);
            let verdicts = decide_with(&lab.state, lab.state.policy_at(lab.now), lab.now);
            let gone = verdicts.into_iter().filter(|one| !one.stays());
            went.extend(gone.map(|one| (one.snapshot, lab.now)));
            lab.expire();
        }
        for one in &seen {
            let told = match one.later {
                None => (!one.now.stays()).then_some(start),
                Some(later) => Some(later.at),
            };
            let day = went.get(&one.now.snapshot).copied();
            // Told by the second, seen by the day.
            let told = told.map(|at| start.plus_days(
                u32::try_from(at.since(start).div_ceil(DAY)).unwrap()
            ));
            prop_assert!(told == day, "{:?} went {:?}, told {:?}", one, day, told);
            let before = told.is_some_and(|_| one.later.is_none_or(|l| l.at < effective));
            prop_assert_eq!(one.before_change, before);
        }
    }
}

/// Eight backups in a quarter of an hour, and a rule that keeps one: seven go, none at once.
#[test]
fn fresh_snapshots_go_once_they_count() {
    let mut lab = Lab::new();
    for _ in 0..8 {
        lab.wait(60);
        lab.complete();
    }
    let policy = Policy { keep: KeepRules { last: 1, ..KeepRules::NONE }, ..DEFAULT_POLICY };
    let seen = foresee(&lab.state, &policy, lab.now);
    let forecast = Forecast::of(&seen);
    let last = Timestamp(lab.now.0 + 3600);
    assert_eq!((forecast.now, forecast.kept), (0, 1));
    assert_eq!(forecast.later.into_iter().collect::<Vec<_>>(), [(Wait::Hour, (7, last))]);
    assert_eq!(seen[0].reasons(), ["younger than an hour", "then no rule keeps it"]);
    assert_eq!(seen[7].reasons(), ["last 1", "newest complete", "younger than an hour"]);

    // The newest that counts is kept until a younger one counts.
    lab.wait(DAY);
    lab.complete();
    let seen = foresee(&lab.state, &policy, lab.now);
    assert_eq!(Forecast::of(&seen).now, 7);
    assert_eq!(seen[7].reasons(), ["until a newer one is an hour old", "then no rule keeps it"]);
    assert_eq!(seen[7].later.unwrap().at, Timestamp(lab.now.0 + 3600));

    let floor = Policy { floor_days: 3, ..policy };
    let forecast = Forecast::of(&foresee(&lab.state, &floor, lab.now));
    assert!(forecast.takes_any() && forecast.now == 0);
    assert_eq!(forecast.later.keys().collect::<Vec<_>>(), [&Wait::Floor]);
    assert!(!Forecast::of(&foresee(&lab.state, &DEFAULT_POLICY, lab.now)).takes_any());
}

/// Rules that take all but the newest wait for a pause; a looser change waits longer. It saves
/// nothing of what goes in between.
#[test]
fn a_looser_change_that_waits_comes_too_late() {
    let keep = |last| KeepRules { last, ..KeepRules::NONE };
    let old = Policy {
        keep: keep(1),
        grace_days: 30,
        floor_days: 1,
        burst_per_hour: 2,
        burst_pause_days: 3,
        ..DEFAULT_POLICY
    };
    let mut lab = Lab::with(old.clone());
    for _ in 0..4 {
        lab.wait(60);
        lab.complete();
    }
    lab.wait(2 * DAY);
    let new = Policy { keep: keep(2), floor_days: 0, ..old };
    let effective = lab.now.plus_days(30);
    let seen = foresee_change(&lab.state, &new, (lab.now, effective));
    let at = |one: &Foreseen| one.later.map(|later| (later.wait, later.at < effective));
    let told: Vec<_> = seen.iter().map(|one| (at(one), one.before_change)).collect();
    let goes = (Some((Wait::Pause, true)), true);
    assert_eq!(told, [goes, goes, goes, (None, false)]);
    let reasons = seen[2].reasons();
    assert!(reasons[0].starts_with("burst pause until "), "{reasons:?}");
    assert_eq!(reasons[1], "then no rule keeps it, by the rules in force until the change");
    assert_eq!(seen[3].reasons(), ["last 1", "newest complete"]);

    let stricter = Policy { keep: keep(1), ..new.clone() };
    let mut lab = Lab::with(Policy { keep: keep(2), floor_days: 1, ..new });
    lab.complete();
    lab.complete();
    lab.wait(9 * DAY);
    let effective = lab.now.plus_days(30);
    let seen = foresee_change(&lab.state, &stricter, (lab.now, effective));
    let told: Vec<_> = seen.iter().map(|one| (at(one), one.before_change)).collect();
    assert_eq!(told, [(Some((Wait::Change, false)), false), (None, false)]);
    let reasons = seen[0].reasons();
    assert!(reasons[0].starts_with("from ") && reasons[0].ends_with(" on no rule keeps it"));
}
