//! What is foreseen is what then happens, if no other snapshot comes.

use proptest::prelude::*;

use super::model::{play, policies, steps};
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use crate::log::testing::{DAY, Lab};
use crate::retention::{Decision, Forecast, Wait, decide_with, foresee};
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
    assert_eq!(seen[7].reasons(), ["last 1", "newest complete", "then no rule keeps it"]);
    assert_eq!(seen[7].later.unwrap().at, Timestamp(lab.now.0 + 3600));

    let floor = Policy { floor_days: 3, ..policy };
    let forecast = Forecast::of(&foresee(&lab.state, &floor, lab.now));
    assert!(forecast.takes_any() && forecast.now == 0);
    assert_eq!(forecast.later.keys().collect::<Vec<_>>(), [&Wait::Floor]);
    assert!(!Forecast::of(&foresee(&lab.state, &DEFAULT_POLICY, lab.now)).takes_any());
}
