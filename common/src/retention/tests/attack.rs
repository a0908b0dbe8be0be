//! F7: a hacked device adds snapshots, any number at any times, to push the good ones out. It
//! cannot date them: the stamps are the server's.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::model::{play, policies, steps};
use crate::id::{DeviceId, SnapshotId};
use crate::log::entry::{Author, Body, Status};
use crate::log::fold::FoldError;
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use crate::log::testing::{DAY, Lab, device, ids, set, snapshot};
use crate::retention::{decide, expired};

/// What the hacked device adds: seconds since the one before, set and status of each.
fn additions(most: usize) -> impl Strategy<Value = Vec<(u64, u8, usize)>> {
    let after = prop_oneof![4 => 0_u64..120, 2 => 120_u64..4000, 1 => 4000_u64..DAY];
    prop::collection::vec((after, 0_u8..2, 0_usize..3), 0..most)
}

const STATUSES: [Status; 3] = [Status::Complete, Status::Partial, Status::Checkpoint];

/// The server expires after every one: the worst that it can do.
fn attack(lab: &mut Lab, additions: &[(u64, u8, usize)]) {
    for (after, of, status) in additions {
        lab.wait(*after);
        lab.snap(1, *of, STATUSES[*status]);
        lab.expire();
    }
}

fn by(lab: &Lab, device: DeviceId) -> BTreeSet<SnapshotId> {
    let own = lab.state.snapshots.iter().filter(|(_, s)| s.device == device);
    own.map(|(id, _)| *id).collect()
}

proptest! {
    /// Nothing of other devices goes that would not have gone without the attack.
    #[test]
    fn f7_other_devices_are_not_touched(
        steps in steps(40),
        policy in policies(),
        added in additions(40),
    ) {
        let mut hacked = Lab::with(policy);
        play(&mut hacked, &steps);
        let mut quiet = hacked.clone();
        attack(&mut hacked, &added);
        for (after, _, _) in &added {
            quiet.wait(*after);
            quiet.expire();
        }
        for n in 2..=3 {
            prop_assert_eq!(by(&hacked, device(n)), by(&quiet, device(n)));
        }
    }

    /// Nothing goes before the floor, nothing that is pinned or held goes at all.
    #[test]
    fn f7_the_floor_pins_and_holds_stand(
        steps in steps(40),
        policy in policies(),
        added in additions(40),
    ) {
        let mut lab = Lab::with(Policy { floor_days: 3 + policy.floor_days, ..policy });
        play(&mut lab, &steps);
        let before = lab.state.snapshots.clone();
        attack(&mut lab, &added);
        let floor = lab.state.policy.floor_days;
        for (id, snapshot) in before {
            let safe = snapshot.pinned || snapshot.held;
            if safe || lab.now < snapshot.received.plus_days(floor) {
                prop_assert!(lab.state.snapshots.contains_key(&id));
            }
        }
    }

    /// More than the cap in an hour, and nothing goes of what was there, until the pause is over.
    #[test]
    fn f7_a_burst_takes_nothing(steps in steps(40), policy in policies(), count in 1_u32..60) {
        let mut lab = Lab::with(Policy { burst_pause_days: 7, floor_days: 0, ..policy });
        play(&mut lab, &steps);
        lab.wait(3600);
        lab.expire();
        let there = by(&lab, device(1));
        let cap = lab.state.policy.burst_per_hour;
        for _ in 0..=cap {
            lab.complete();
            lab.expire();
            lab.wait(u64::from(3599 / cap));
        }
        for _ in 0..count {
            lab.wait(60);
            lab.complete();
            lab.expire();
        }
        let until = lab.state.devices[&device(1)].paused_until(&lab.state.policy).unwrap();
        lab.now.0 = until.0 - 1;
        lab.expire();
        prop_assert!(there.is_subset(&by(&lab, device(1))));
    }

    /// A calendar rule loses at most the newest snapshot of the running day, and one day for each
    /// day that the attack goes on, however many snapshots come and go in it.
    #[test]
    fn f7_calendar_rules_lose_one_day_a_day(
        days in prop::collection::vec(0_u64..DAY, 1..12),
        daily in 1_u32..12,
        added in additions(120),
    ) {
        let keep = KeepRules { daily, ..KeepRules::NONE };
        let mut lab = Lab::with(Policy { keep, burst_pause_days: 0, ..DEFAULT_POLICY });
        let start = lab.now.0;
        let mut good = Vec::new();
        for (n, second) in (0_u64..).zip(&days) {
            lab.now.0 = start + n * DAY + second;
            good.push(lab.complete());
        }
        lab.expire();
        let hacked_on = lab.now.0 / DAY;
        let added: Vec<_> = added.into_iter().map(|(after, _, status)| (after, 1, status)).collect();
        attack(&mut lab, &added);
        let passed = lab.now.0 / DAY - hacked_on;
        for (rank, id) in (0_u64..).zip(good.iter().rev()) {
            let of_today = rank == 0;
            if !of_today && rank + passed < u64::from(daily) {
                prop_assert!(lab.state.snapshots.contains_key(id), "{} days before", rank);
            }
        }
    }
}

/// The attack as it was reported against others: a year of empty snapshots in one go.
#[test]
fn f7_365_empty_snapshots_push_out_nothing() {
    let keep = KeepRules { daily: 30, yearly: 3, ..KeepRules::NONE };
    let mut lab = Lab::with(Policy { keep, ..DEFAULT_POLICY });
    let good: Vec<_> = (0..30)
        .map(|_| {
            lab.wait(DAY);
            lab.complete()
        })
        .collect();
    lab.expire();
    for _ in 0..365 {
        lab.wait(1);
        // Back-dated by a day each: the author's clock decides nothing.
        lab.complete();
        lab.expire();
    }
    assert!(good.iter().all(|id| lab.state.snapshots.contains_key(id)));
    assert!(lab.state.devices[&device(1)].burst.is_some());

    // Once the owner has revoked the device, its rubbish counts nowhere, whatever time passes.
    let last = lab.state.snapshots[&good[29]].seq;
    lab.revoke(1, last);
    lab.wait(400 * DAY);
    assert_eq!(expired(&lab.state, lab.now), []);
    let untrusted = decide(&lab.state, lab.now).iter().filter(|d| d.seq > last).count();
    assert_eq!(untrusted, lab.state.snapshots.len() - good.len());
}

/// F8: what a device may write beside snapshots takes nothing away.
#[test]
fn f8_a_device_deletes_nothing() {
    let mut lab = Lab::new();
    let one = lab.complete();
    for body in [
        Body::Forget(ids(&[one])),
        Body::Expire(ids(&[one])),
        Body::Erase,
        Body::LiftHold(ids(&[one])),
        Body::Policy(Policy { grace_days: 2, ..DEFAULT_POLICY }),
    ] {
        let said = lab.say(Author::Device(device(1)), body);
        assert!(matches!(said, Err(FoldError::Forbidden { .. })));
    }
    let said = lab.say(Author::Device(device(1)), snapshot(1, set(1), Status::Complete));
    assert!(said.is_err(), "an id comes once");
    assert_eq!(lab.state.snapshots.len(), 1);
}
