//! What people read.

use crate::log::entry::{Body, Status};
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use crate::log::testing::{DAY, Lab, ids};
use crate::retention::{Decision, Verdict, Why, decide};

fn words(lab: &Lab) -> Vec<String> {
    let decisions = decide(&lab.state, lab.now);
    decisions
        .iter()
        .map(|decision| match decision.verdict {
            Verdict::Expired(why) => format!("gone: {why}"),
            Verdict::Kept(_) => {
                let reasons = decision.reasons();
                reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            }
        })
        .collect()
}

#[test]
fn every_reason_has_its_words() {
    let keep =
        KeepRules { last: 1, hourly: 1, daily: 2, weekly: 2, monthly: 1, yearly: 1, within: DAY };
    let mut lab = Lab::with(Policy { keep, floor_days: 1, ..DEFAULT_POLICY });
    let pinned = lab.complete();
    lab.root(Body::Pin(ids(&[pinned]))).unwrap();
    lab.wait(1);
    let held = lab.complete();
    lab.root(Body::Hold(ids(&[held]))).unwrap();
    lab.snap(1, 1, Status::Checkpoint);
    lab.wait(1);
    lab.complete();
    lab.wait(1);
    lab.complete();
    lab.wait(3 * DAY);
    lab.complete();
    lab.snap(1, 1, Status::Checkpoint);
    lab.wait(3600);
    lab.snap(2, 1, Status::Complete);
    assert_eq!(
        words(&lab),
        [
            "pinned",
            "held",
            "gone: checkpoint superseded by a complete snapshot",
            "gone: no rule keeps it",
            "daily 2026-11-22, weekly 2026-W47",
            "last 1, hourly 2026-11-25 00:00, daily 2026-11-25, weekly 2026-W48, \
             monthly 2026-11, yearly 2026, within, newest complete, floor until 2026-11-26",
            "checkpoint newer than any complete, floor until 2026-11-26",
            "younger than an hour, floor until 2026-11-26",
        ]
    );
    assert_eq!(Why::NoRuleKeepsIt.to_string(), "no rule keeps it");
}

#[test]
fn what_becomes_of_a_snapshot_without_its_mark_is_what_the_rules_then_say() {
    let keep = KeepRules { last: 1, ..KeepRules::NONE };
    let mut lab = Lab::with(Policy { keep, floor_days: 0, ..DEFAULT_POLICY });
    let [old, both] = [lab.complete(), lab.complete()];
    let checkpoint = lab.snap(1, 1, Status::Checkpoint);
    let newest = lab.complete();
    lab.wait(3 * DAY);
    let marked = [old, both, checkpoint, newest];
    lab.root(Body::Pin(ids(&marked))).unwrap();
    lab.root(Body::Hold(ids(&[both]))).unwrap();
    let before = decide(&lab.state, lab.now);
    assert!(before.iter().all(Decision::stays));
    let foretold: Vec<_> = before.iter().map(|one| one.unpinned()).collect();
    lab.root(Body::Unpin(ids(&marked))).unwrap();
    let unpinned = decide(&lab.state, lab.now);
    assert_eq!(foretold, unpinned);
    assert_eq!(
        words(&lab),
        [
            "gone: no rule keeps it",
            "held",
            "gone: checkpoint superseded by a complete snapshot",
            "last 1, newest complete",
        ]
    );
    let foretold: Vec<_> = unpinned.iter().map(|one| one.lifted()).collect();
    lab.root(Body::LiftHold(ids(&[both]))).unwrap();
    assert_eq!(foretold, decide(&lab.state, lab.now));
    assert!(!foretold[1].stays());
}

#[test]
fn pause_and_distrust_are_said() {
    let mut lab = Lab::with(Policy { burst_per_hour: 1, ..DEFAULT_POLICY });
    lab.complete();
    lab.complete();
    lab.wait(3600);
    assert_eq!(
        words(&lab),
        [
            "no keep rule: everything stays, burst pause until 2026-12-22",
            "no keep rule: everything stays, newest complete, burst pause until 2026-12-22",
        ]
    );
    let first = lab.state.snapshots.values().map(|s| s.seq).min().unwrap();
    lab.revoke(1, first);
    assert_eq!(
        words(&lab),
        ["no keep rule: everything stays, newest complete", "not trusted: the owner decides",]
    );
}
