//! What waits: weaker policies, an erase; and what a burst does.

use crate::log::entry::{Author, Body, Status};
use crate::log::fold::FoldError;
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use crate::log::testing::{DAY, Lab, days, device, ids, set, snapshot};

#[test]
fn a_stronger_policy_is_in_force_at_once() {
    let mut lab = Lab::new();
    for policy in [
        days(31, 0),
        days(31, 7),
        Policy { keep: KeepRules { last: 1, ..KeepRules::NONE }, ..days(31, 7) },
    ] {
        lab.root(Body::Policy(policy.clone())).unwrap();
        assert_eq!((&lab.state.policy, lab.state.pending.len()), (&policy, 0));
    }
}

#[test]
fn a_weaker_policy_waits_for_the_grace_that_was_in_force() {
    for weaker in [days(29, 14), days(30, 13)] {
        let mut lab = Lab::with(days(30, 14));
        let seq = lab.root(Body::Policy(weaker.clone())).unwrap();
        let due = lab.now.plus_days(30);
        let waiting = &lab.state.pending[0];
        assert_eq!((waiting.seq, waiting.effective), (seq, due));
        assert_eq!(lab.state.policy_at(crate::time::Timestamp(due.0 - 1)), &days(30, 14));
        assert_eq!(lab.state.policy_at(due), &weaker);

        // By a record's stamp the state itself follows.
        lab.wait(30 * DAY - 1);
        lab.complete();
        assert_eq!(lab.state.policy, days(30, 14));
        lab.wait(1);
        assert!(matches!(lab.root(Body::Cancel { seq }), Err(FoldError::Conflict(_))), "too late");
        lab.complete();
        assert_eq!((&lab.state.policy, lab.state.pending.len()), (&weaker, 0));
    }
}

#[test]
fn a_weaker_policy_can_be_cancelled_or_replaced() {
    let mut lab = Lab::with(days(30, 14));
    let seq = lab.root(Body::Policy(days(2, 0))).unwrap();
    lab.wait(29 * DAY);
    lab.root(Body::Cancel { seq }).unwrap();
    assert!(lab.root(Body::Cancel { seq }).is_err());
    lab.wait(9 * DAY);
    assert_eq!(lab.state.policy_at(lab.now), &days(30, 14));

    // The newest policy is the one that counts, even if an older one was still waiting.
    lab.root(Body::Policy(days(2, 0))).unwrap();
    lab.wait(DAY);
    lab.root(Body::Policy(days(40, 14))).unwrap();
    lab.wait(90 * DAY);
    assert_eq!(lab.state.policy_at(lab.now), &days(40, 14));
    lab.root(Body::Policy(days(20, 14))).unwrap();
    lab.wait(39 * DAY);
    lab.root(Body::Policy(days(10, 14))).unwrap();
    lab.wait(39 * DAY);
    assert_eq!(lab.state.policy_at(lab.now), &days(40, 14));
    lab.wait(DAY);
    assert_eq!(lab.state.policy_at(lab.now), &days(10, 14));
}

#[test]
fn an_erase_waits_seven_days_and_can_be_cancelled() {
    let mut lab = Lab::new();
    let seq = lab.root(Body::Erase).unwrap();
    assert!(matches!(lab.root(Body::Erase), Err(FoldError::Conflict(_))));
    lab.wait(7 * DAY - 1);
    assert!(lab.state.erased_at(lab.now).is_none());
    lab.complete();
    lab.root(Body::Cancel { seq }).unwrap();
    lab.wait(DAY);
    lab.complete();

    let seq = lab.root(Body::Erase).unwrap();
    lab.wait(7 * DAY);
    assert_eq!(lab.state.erased_at(lab.now).map(|p| p.seq), Some(seq));
    let by = Author::Device(device(1));
    for (author, body) in
        [(Author::Root, Body::Cancel { seq }), (by, snapshot(9, set(1), Status::Complete))]
    {
        assert!(matches!(lab.say(author, body), Err(FoldError::Erased(at)) if at == seq));
    }
}

fn few() -> Policy {
    let keep = KeepRules { last: 1, ..KeepRules::NONE };
    Policy { keep, burst_per_hour: 5, burst_pause_days: 10, ..DEFAULT_POLICY }
}

#[test]
fn a_burst_pauses_the_expiry_of_its_device() {
    let mut lab = Lab::with(few());
    let old = lab.complete();
    lab.wait(DAY);
    let spaced: Vec<_> = (0..5)
        .map(|_| {
            lab.wait(720);
            lab.complete()
        })
        .collect();
    assert_eq!(lab.state.devices[&device(1)].burst, None, "five in an hour are allowed");
    assert_eq!(lab.expire(), []);
    lab.wait(719);
    // The first of the five has not counted yet when the sixth is one too many.
    assert_eq!(lab.expire(), []);
    let sixth = lab.complete();
    let burst = lab.state.devices[&device(1)].burst.unwrap();
    assert_eq!((burst.seq, burst.received), (lab.state.head_seq, lab.now));
    for _ in 0..2 {
        lab.snap(2, 1, Status::Complete);
    }
    lab.wait(3600);
    assert_eq!(lab.expire().len(), 1, "another device is not concerned");
    lab.wait(10 * DAY - 3601);
    assert_eq!(lab.expire(), []);
    lab.wait(1);
    assert_eq!(lab.expire(), [&[old][..], &spaced].concat());
    assert!(lab.state.snapshots.contains_key(&sixth));
}

#[test]
fn expired_snapshots_count_in_a_burst() {
    let mut lab = Lab::with(Policy { burst_per_hour: 3, ..few() });
    for _ in 0..3 {
        lab.complete();
    }
    let all: Vec<_> = lab.state.snapshots.keys().copied().collect();
    lab.root(Body::Forget(ids(&all))).unwrap();
    lab.wait(3599);
    lab.complete();
    assert!(lab.state.devices[&device(1)].burst.is_some());
}

#[test]
fn the_owner_ends_a_pause_by_cancel_or_revocation() {
    let burst = || {
        let mut lab = Lab::with(few());
        for _ in 0..7 {
            lab.complete();
        }
        lab.wait(3600);
        lab
    };
    let mut lab = burst();
    assert_eq!(lab.expire(), []);
    let seq = lab.state.devices[&device(1)].burst.unwrap().seq;
    assert!(lab.root(Body::Cancel { seq: seq - 1 }).is_err());
    lab.root(Body::Cancel { seq }).unwrap();
    assert_eq!(lab.expire().len(), 6);

    let mut lab = burst();
    let first = lab.state.snapshots.values().map(|s| s.seq).min().unwrap();
    lab.revoke(1, first + 1);
    // Two are trusted; the five after them are left to the owner.
    assert_eq!(lab.expire().len(), 1);
    assert_eq!(lab.state.snapshots.len(), 6);
}
