//! What must hold of any rules.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::model::{play, policies, small_rules, steps};
use crate::id::SnapshotId;
use crate::log::entry::{Body, Status};
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use crate::log::testing::{DAY, Lab, ids};
use crate::retention::{
    Decision, Every, Reason, Verdict, Why, decide, decide_for_owner, decide_with,
};

fn staying(decisions: &[Decision]) -> BTreeSet<SnapshotId> {
    decisions.iter().filter(|d| d.stays()).map(|d| d.snapshot).collect()
}

fn keep(rules: KeepRules) -> Policy {
    Policy { keep: rules, ..DEFAULT_POLICY }
}

fn max(a: KeepRules, b: KeepRules) -> KeepRules {
    KeepRules {
        last: a.last.max(b.last),
        hourly: a.hourly.max(b.hourly),
        daily: a.daily.max(b.daily),
        weekly: a.weekly.max(b.weekly),
        monthly: a.monthly.max(b.monthly),
        yearly: a.yearly.max(b.yearly),
        within: a.within.max(b.within),
    }
}

proptest! {
    #[test]
    fn more_rules_never_keep_fewer(steps in steps(60), a in small_rules(), b in small_rules()) {
        prop_assume!(!a.is_none());
        let mut lab = Lab::new();
        play(&mut lab, &steps);
        lab.wait(3600);
        let few = staying(&decide_with(&lab.state, &keep(a), lab.now));
        let many = staying(&decide_with(&lab.state, &keep(max(a, b)), lab.now));
        prop_assert!(few.is_subset(&many));
    }

    #[test]
    fn a_longer_floor_never_keeps_fewer(steps in steps(60), policy in policies(), more in 0_u32..30) {
        let mut lab = Lab::new();
        play(&mut lab, &steps);
        let longer = Policy { floor_days: policy.floor_days + more, ..policy.clone() };
        let few = staying(&decide_with(&lab.state, &policy, lab.now));
        let many = staying(&decide_with(&lab.state, &longer, lab.now));
        prop_assert!(few.is_subset(&many));
    }

    #[test]
    fn counts_are_never_exceeded(steps in steps(80), rules in small_rules()) {
        let mut lab = Lab::new();
        play(&mut lab, &steps);
        let mut counts: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for decision in decide_with(&lab.state, &keep(rules), lab.now) {
            let group = (decision.device, decision.set, decision.status == Status::Partial);
            for reason in decision.reasons() {
                let (which, one) = match reason {
                    Reason::Last(place) => (5, u64::from(place)),
                    // Those with one stamp count as one.
                    Reason::Newest(every, stamp) => {
                        (Every::ALL.iter().position(|e| *e == every).unwrap(), stamp.0)
                    }
                    _ => continue,
                };
                counts.entry((group, which)).or_default().insert(one);
            }
        }
        let limits =
            [rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly, rules.last];
        for ((group, which), counted) in counts {
            let count = counted.len() as u64;
            prop_assert!(count <= u64::from(limits[which]), "{:?} {} {}", group, which, count);
        }
    }

    /// What stays for another reason than being young or paused goes only if something newer came.
    #[test]
    fn time_alone_takes_nothing_that_a_rule_keeps(
        steps in steps(60),
        rules in small_rules(),
        wait in 0_u64..200 * DAY,
    ) {
        let mut lab = Lab::new();
        play(&mut lab, &steps);
        lab.wait(3600);
        let policy = Policy { burst_pause_days: 0, ..keep(rules) };
        let before = staying(&decide_with(&lab.state, &policy, lab.now));
        lab.wait(wait);
        prop_assert_eq!(before, staying(&decide_with(&lab.state, &policy, lab.now)));
    }

    #[test]
    fn the_newest_complete_of_each_set_stays(steps in steps(80), policy in policies()) {
        let mut lab = Lab::with(policy);
        play(&mut lab, &steps);
        lab.wait(3600);
        let staying = staying(&decide(&lab.state, lab.now));
        let mut newest = BTreeMap::new();
        for (id, snapshot) in &lab.state.snapshots {
            if snapshot.status == Status::Complete && lab.state.is_trusted(snapshot) {
                let best = newest.entry((snapshot.device, snapshot.set)).or_insert((0, *id));
                *best = (*best).max((snapshot.seq, *id));
            }
        }
        prop_assert!(newest.values().all(|(_, id)| staying.contains(id)));
    }
}

fn verdicts(lab: &Lab, policy: &Policy) -> Vec<Verdict> {
    decide_with(&lab.state, policy, lab.now).into_iter().map(|d| d.verdict).collect()
}

#[test]
fn without_rules_all_but_superseded_checkpoints_stay() {
    let mut lab = Lab::new();
    for status in [Status::Checkpoint, Status::Partial, Status::Checkpoint, Status::Complete] {
        lab.wait(400 * DAY);
        lab.snap(1, 1, status);
    }
    let late = lab.snap(1, 1, Status::Checkpoint);
    lab.wait(3600);
    let superseded = Verdict::Expired(Why::Superseded);
    let verdicts = verdicts(&lab, &DEFAULT_POLICY);
    assert_eq!((verdicts[0], verdicts[2]), (superseded, superseded));
    let decisions = decide(&lab.state, lab.now);
    assert_eq!(decisions[4].snapshot, late);
    assert_eq!(decisions[1].reasons(), [Reason::NoRule]);
    assert_eq!(decisions[3].reasons(), [Reason::NoRule, Reason::NewestComplete]);
    assert_eq!(decisions[4].reasons(), [Reason::Checkpoint]);
}

#[test]
fn a_partial_or_a_checkpoint_never_takes_a_complete_ones_place() {
    let mut lab = Lab::new();
    let mut all = Vec::new();
    for status in [Status::Complete, Status::Complete, Status::Partial, Status::Checkpoint] {
        for _ in 0..3 {
            lab.wait(DAY);
            all.push((lab.snap(1, 1, status), status));
        }
    }
    for rules in
        [KeepRules { last: 4, ..KeepRules::NONE }, KeepRules { daily: 4, ..KeepRules::NONE }]
    {
        let staying = staying(&decide_with(&lab.state, &keep(rules), lab.now));
        let kept = |of| all.iter().filter(|(id, s)| *s == of && staying.contains(id)).count();
        assert_eq!(kept(Status::Complete), 4);
        assert_eq!(kept(Status::Partial), 3);
        assert_eq!(kept(Status::Checkpoint), 3);
    }
    // Complete ones do take a partial one's place: it goes in its time.
    for _ in 0..2 {
        lab.wait(DAY);
        lab.complete();
    }
    lab.wait(3600);
    let rules = KeepRules { last: 3, ..KeepRules::NONE };
    let staying = staying(&decide_with(&lab.state, &keep(rules), lab.now));
    let kept = |of| all.iter().filter(|(id, s)| *s == of && staying.contains(id)).count();
    assert_eq!(
        (kept(Status::Complete), kept(Status::Partial), kept(Status::Checkpoint)),
        (1, 1, 0)
    );
}

#[test]
fn sets_and_devices_are_counted_apart() {
    let mut lab = Lab::new();
    for by in 1..=2 {
        for of in 0..2 {
            for _ in 0..3 {
                lab.snap(by, of, Status::Complete);
            }
        }
    }
    lab.wait(3600);
    let rules = KeepRules { last: 2, ..KeepRules::NONE };
    assert_eq!(staying(&decide_with(&lab.state, &keep(rules), lab.now)).len(), 8);
}

#[test]
fn the_owner_need_not_wait() {
    let policy = Policy {
        floor_days: 9,
        burst_per_hour: 1,
        ..keep(KeepRules { last: 1, ..KeepRules::NONE })
    };
    let mut lab = Lab::with(policy.clone());
    let all: Vec<_> = (0..4).map(|_| lab.complete()).collect();
    lab.root(Body::Pin(ids(&all[..1]))).unwrap();
    assert_eq!(staying(&decide(&lab.state, lab.now)).len(), 4);
    let owner = decide_for_owner(&lab.state, &policy);
    assert_eq!(staying(&owner), BTreeSet::from([all[0], all[3]]));
    assert_eq!(owner[3].reasons(), [Reason::Last(1), Reason::NewestComplete]);
}

/// A clock that was wrong stamped ahead, and from then on the log stands still: years of backups
/// have one stamp. Nothing of them goes as long as any of them would stay.
#[test]
fn snapshots_of_one_stamp_stay_together() {
    let mut lab = Lab::new();
    let before: Vec<_> = (0..5)
        .map(|_| {
            lab.wait(DAY);
            lab.complete()
        })
        .collect();
    lab.wait(3650 * DAY);
    let mut stand: Vec<_> = (0..40).map(|_| lab.complete()).collect();
    // A partial one between them is counted with all.
    stand.insert(20, lab.snap(1, 1, Status::Partial));
    let rules = KeepRules { daily: 3, ..KeepRules::NONE };
    let policy = Policy { burst_pause_days: 0, ..keep(rules) };
    lab.wait(3600);
    let kept = staying(&decide_with(&lab.state, &policy, lab.now));
    assert!(stand.iter().all(|id| kept.contains(id)));
    // They are one day: the two before them have their place.
    assert_eq!(before.iter().filter(|id| kept.contains(id)).count(), 2);

    // Time goes on: they go when their day does.
    for days in 1..=3 {
        lab.wait(DAY);
        lab.complete();
        lab.wait(3600);
        let kept = staying(&decide_with(&lab.state, &policy, lab.now));
        let left = stand.iter().filter(|id| kept.contains(id)).count();
        assert_eq!(left, if days < 3 { stand.len() } else { 0 });
    }
}
