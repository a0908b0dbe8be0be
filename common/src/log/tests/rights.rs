//! Who may write which kind.

use crate::disclosure::Level;
use crate::id::Hash;
use crate::log::entry::{
    AcceptRollback, Audit, Author, Body, Compact, DeviceLabel, DeviceRevoke, RestoreForgotten,
    Status,
};
use crate::log::fold::FoldError;
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use crate::log::testing::{Lab, add, device, genesis, id, ids, set, snapshot};
use crate::packset::PackSet;

const NO_HASH: Hash = Hash::from_bytes([0; 32]);

/// A state in which an entry of every kind is possible: snapshot 1 has expired by the rules, 2 is
/// live, 3 was forgotten, 4 is pinned and held.
fn lab() -> Lab {
    let keep = KeepRules { last: 1, ..KeepRules::NONE };
    let mut lab = Lab::with(Policy { keep, ..DEFAULT_POLICY });
    let all: Vec<_> = (0..4).map(|_| lab.complete()).collect();
    lab.root(Body::Forget(ids(&all[2..3]))).unwrap();
    lab.root(Body::Pin(ids(&all[3..]))).unwrap();
    lab.root(Body::Hold(ids(&all[3..]))).unwrap();
    lab.wait(3600);
    lab
}

fn compact(lab: &Lab) -> Compact {
    Compact {
        planned_at: lab.state.head_seq,
        planned_head: lab.state.head,
        removed: PackSet::default(),
        removed_hash: NO_HASH,
        map_hash: NO_HASH,
        snapshots: vec![(id(2), Hash::from_bytes([8; 32]))],
    }
}

/// Each kind, with who may write it: owner, device, server.
fn kinds(lab: &Lab) -> Vec<(Body, [bool; 3])> {
    const OWNER: [bool; 3] = [true, false, false];
    let seq = lab.state.head_seq;
    let (two, pinned) = (ids(&[id(2)]), ids(&[id(4)]));
    let restore = RestoreForgotten { snapshots: ids(&[id(3)]), packs_hash: NO_HASH };
    let audit = Audit { device: device(1), packs_hash: NO_HASH, damaged: 0 };
    vec![
        (Body::DeviceAdd(add(9)), OWNER),
        (Body::DeviceLabel(DeviceLabel { device: device(1), sealed: Vec::new() }), OWNER),
        (Body::DeviceRevoke(DeviceRevoke { device: device(1), last_valid: 1 }), OWNER),
        (Body::Slots(genesis().slots), OWNER),
        (Body::Policy(DEFAULT_POLICY), OWNER),
        (Body::Forget(two.clone()), OWNER),
        (Body::RestoreForgotten(restore), OWNER),
        (Body::Pin(two.clone()), OWNER),
        (Body::Unpin(pinned.clone()), OWNER),
        (Body::LiftHold(pinned), OWNER),
        (Body::Compact(compact(lab)), OWNER),
        (Body::Audit(audit), OWNER),
        (Body::Fold(lab.state.hash()), OWNER),
        (Body::AcceptRollback(AcceptRollback { seq, hash: lab.state.head }), OWNER),
        (Body::Erase, OWNER),
        (snapshot(9, set(1), Status::Complete), [false, true, false]),
        (Body::Hold(two), [true, true, false]),
        (Body::Expire(ids(&[id(1), id(2)])), [false, false, true]),
    ]
}

#[test]
fn each_kind_has_its_authors() {
    let lab = lab();
    for (body, may) in kinds(&lab) {
        let authors = [Author::Root, Author::Device(device(1)), Author::Server];
        for (author, may) in authors.into_iter().zip(may) {
            let said = lab.clone().say(author, body.clone());
            match said {
                Ok(_) => assert!(may, "{author:?} wrote {body:?}"),
                Err(FoldError::Forbidden { .. }) => assert!(!may, "{author:?} and {body:?}"),
                Err(other) => panic!("{author:?} {body:?}: {other}"),
            }
        }
    }
}

#[test]
fn a_genesis_comes_once_and_a_cancel_needs_something_to_cancel() {
    let mut lab = lab();
    assert!(matches!(lab.root(Body::Genesis(genesis())), Err(FoldError::Conflict(_))));
    for seq in 0..=lab.state.head_seq + 1 {
        assert!(matches!(lab.root(Body::Cancel { seq }), Err(FoldError::Conflict(_))), "{seq}");
    }
}

#[test]
fn a_device_holds_its_own_alone() {
    let mut lab = lab();
    let other = lab.snap(2, 1, Status::Complete);
    let by = Author::Device(device(1));
    assert!(matches!(lab.say(by, Body::Hold(ids(&[other]))), Err(FoldError::Conflict(_))));
    assert!(lab.say(by, Body::Hold(ids(&[id(2), other]))).is_err());
    lab.say(Author::Device(device(2)), Body::Hold(ids(&[other]))).unwrap();
    assert!(lab.state.snapshots[&other].held && !lab.state.snapshots[&id(2)].held);
}

#[test]
fn devices_are_known_before_they_are_named() {
    let mut lab = lab();
    let label = DeviceLabel { device: device(8), sealed: Vec::new() };
    let audit = Audit { device: device(8), packs_hash: NO_HASH, damaged: 0 };
    for body in [
        Body::DeviceLabel(label),
        Body::Audit(audit),
        Body::DeviceRevoke(DeviceRevoke { device: device(8), last_valid: 0 }),
    ] {
        assert!(matches!(lab.root(body), Err(FoldError::UnknownDevice(_))));
    }
    lab.root(Body::DeviceLabel(DeviceLabel { device: device(1), sealed: vec![5] })).unwrap();
    let audited = Audit { device: device(1), packs_hash: NO_HASH, damaged: 0 };
    let seq = lab.root(Body::Audit(audited)).unwrap();
    let known = &lab.state.devices[&device(1)];
    assert_eq!((known.label.as_deref(), known.audited), (Some(&[5][..]), Some(seq)));
}

#[test]
fn a_policy_out_of_bounds_is_refused() {
    let mut lab = lab();
    for policy in [
        Policy { grace_days: 1, ..DEFAULT_POLICY },
        Policy { grace_days: 3651, ..DEFAULT_POLICY },
        Policy { floor_days: 36_501, ..DEFAULT_POLICY },
        Policy { burst_pause_days: 36_501, ..DEFAULT_POLICY },
        Policy { burst_per_hour: 0, ..DEFAULT_POLICY },
        Policy { burst_per_hour: 10_001, ..DEFAULT_POLICY },
    ] {
        assert!(matches!(lab.root(Body::Policy(policy)), Err(FoldError::Conflict(_))));
    }
    lab.root(Body::Policy(Policy { format_floor: 2, ..DEFAULT_POLICY })).unwrap();
    assert!(lab.root(Body::Policy(Policy { format_floor: 1, ..DEFAULT_POLICY })).is_err());
}

#[test]
fn a_snapshot_tells_no_more_than_the_policy_of_its_moment() {
    let mut lab = Lab::with(Policy { disclosure: Level::None, ..DEFAULT_POLICY });
    let Body::Snapshot(mut told) = snapshot(1, set(1), Status::Complete) else {
        panic!("a snapshot");
    };
    told.disclosure.totals = Some((1, 1));
    let by = Author::Device(device(1));
    assert!(lab.say(by, Body::Snapshot(told.clone())).is_err());
    lab.root(Body::Policy(DEFAULT_POLICY)).unwrap();
    lab.say(by, Body::Snapshot(told)).unwrap();
}

#[test]
fn a_compaction_reaches_what_its_plan_saw() {
    let mut lab = lab();
    let plan = compact(&lab);
    let newer = Compact { planned_at: lab.state.head_seq + 1, ..plan.clone() };
    assert!(lab.root(Body::Compact(newer)).is_err());
    let other = Compact { planned_head: NO_HASH, ..plan.clone() };
    assert!(lab.root(Body::Compact(other)).is_err());

    let late = lab.complete();
    let snapshots = vec![(late, NO_HASH)];
    assert!(lab.root(Body::Compact(Compact { snapshots, ..plan.clone() })).is_err());
    let snapshots = vec![(id(3), NO_HASH)];
    let gone = lab.root(Body::Compact(Compact { snapshots, ..plan.clone() }));
    assert!(matches!(gone, Err(FoldError::Gone(_))));

    let seq = lab.root(Body::Compact(plan.clone())).unwrap();
    let two = &lab.state.snapshots[&id(2)];
    assert_eq!((two.packset_hash, two.packed), (Hash::from_bytes([8; 32]), seq));
    // Planned before the other one: the packs that it read are not the ones of now.
    assert!(lab.root(Body::Compact(plan)).is_err());
}

#[test]
fn a_rollback_is_accepted_at_a_record_of_this_history() {
    let mut lab = lab();
    let (seq, hash) = (lab.state.head_seq, lab.state.head);
    for bad in [
        AcceptRollback { seq: seq + 1, hash },
        AcceptRollback { seq, hash: Hash::from_bytes([9; 32]) },
    ] {
        assert!(lab.root(Body::AcceptRollback(bad)).is_err());
    }
    lab.root(Body::AcceptRollback(AcceptRollback { seq: seq - 1, hash: NO_HASH })).unwrap();
}
