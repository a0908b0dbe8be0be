//! Snapshots come, are kept, go and come back.

use crate::id::Hash;
use crate::limits::MAX_ENTRY_SNAPSHOTS;
use crate::log::entry::{Author, Body, RestoreForgotten, Status};
use crate::log::fold::FoldError;
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use crate::log::state::{Leave, State};
use crate::log::testing::{DAY, Lab, days, device, id, ids, set, snapshot};
use crate::retention;

fn restore(of: &[crate::id::SnapshotId]) -> Body {
    let packs_hash = Hash::from_bytes([1; 32]);
    Body::RestoreForgotten(RestoreForgotten { snapshots: ids(of), packs_hash })
}

fn keep_last(last: u32) -> Policy {
    Policy { keep: KeepRules { last, ..KeepRules::NONE }, ..DEFAULT_POLICY }
}

#[test]
fn pinned_and_held_ones_cannot_be_forgotten() {
    let mut lab = Lab::new();
    let (a, b, c) = (lab.complete(), lab.complete(), lab.complete());
    lab.root(Body::Pin(ids(&[a]))).unwrap();
    lab.say(Author::Device(device(1)), Body::Hold(ids(&[b]))).unwrap();
    assert!(matches!(lab.root(Body::Forget(ids(&[a, c]))), Err(FoldError::Pinned(x)) if x == a));
    assert!(matches!(lab.root(Body::Forget(ids(&[b, c]))), Err(FoldError::Held(x)) if x == b));
    assert!(lab.state.gone.is_empty(), "all or nothing");
    lab.root(Body::Unpin(ids(&[a]))).unwrap();
    lab.root(Body::LiftHold(ids(&[b]))).unwrap();
    assert!(
        lab.root(Body::Unpin(ids(&[a]))).is_err() && lab.root(Body::LiftHold(ids(&[b]))).is_err()
    );
    lab.root(Body::Forget(ids(&[a, b, c]))).unwrap();
    assert!(lab.state.snapshots.is_empty());
}

#[test]
fn unknown_and_forgotten_ones_are_refused() {
    let mut lab = Lab::new();
    let gone = lab.complete();
    let seq = lab.root(Body::Forget(ids(&[gone]))).unwrap();
    let record = &lab.state.gone[&gone];
    assert_eq!((record.by, record.why, record.received), (seq, Leave::Forgotten, lab.now));
    assert_eq!(record.until, lab.now.plus_days(30));
    for body in [Body::Forget, Body::Pin, Body::Unpin, Body::Hold, Body::LiftHold] {
        assert!(matches!(lab.root(body(ids(&[gone]))), Err(FoldError::Gone(_))));
        assert!(matches!(lab.root(body(ids(&[id(77)]))), Err(FoldError::UnknownSnapshot(_))));
    }
    let again = snapshot(1, set(1), Status::Complete);
    let said = lab.say(Author::Device(device(1)), again);
    assert!(matches!(said, Err(FoldError::Gone(_))));
}

#[test]
fn a_forgotten_snapshot_comes_back_within_its_grace_and_pinned() {
    let mut lab = Lab::new();
    let (a, b) = (lab.complete(), lab.complete());
    let before = lab.state.snapshots[&a].clone();
    lab.root(Body::Forget(ids(&[a, b]))).unwrap();
    assert!(lab.root(restore(&[id(9)])).is_err());
    lab.wait(30 * DAY - 1);
    lab.root(restore(&[a])).unwrap();
    assert!(lab.root(restore(&[a])).is_err(), "it is there");
    let back = lab.state.snapshots[&a].clone();
    assert!(back.pinned && !before.pinned);
    assert_eq!((back.seq, back.received), (before.seq, before.received));

    lab.wait(1);
    assert!(lab.state.restorable(&b, lab.now).is_none());
    assert!(matches!(lab.root(restore(&[b])), Err(FoldError::UnknownSnapshot(_))));
    assert!(lab.state.gone.contains_key(&b), "a refused entry changes nothing");
    lab.complete();
    assert!(lab.state.gone.is_empty() && lab.state.leaving.is_empty());
}

#[test]
fn the_grace_is_the_one_that_was_in_force() {
    let mut lab = Lab::new();
    let a = lab.complete();
    lab.root(Body::Forget(ids(&[a]))).unwrap();
    lab.root(Body::Policy(days(90, 0))).unwrap();
    let b = lab.complete();
    lab.root(Body::Forget(ids(&[b]))).unwrap();
    assert_eq!(lab.state.gone[&a].until, lab.now.plus_days(30));
    assert_eq!(lab.state.gone[&b].until, lab.now.plus_days(90));
}

#[test]
fn an_expire_record_names_exactly_what_has_expired() {
    let mut lab = Lab::with(keep_last(2));
    let all: Vec<_> = (0..5).map(|_| lab.complete()).collect();
    let other = lab.snap(2, 1, Status::Complete);
    let by = Author::Server;
    assert!(lab.say(by, Body::Expire(ids(&all[..3]))).is_err(), "none counts in its first hour");
    lab.wait(3600);
    for wrong in [&all[..2], &all[1..3], &all[..4], &all[..], &[all[0], all[1], all[2], other]] {
        let said = lab.say(by, Body::Expire(ids(wrong)));
        assert!(matches!(said, Err(FoldError::NotExpired(_))), "{wrong:?}");
    }
    lab.say(by, Body::Expire(ids(&all[..3]))).unwrap();
    assert_eq!(lab.state.gone[&all[0]].why, Leave::Expired);
    assert!(lab.say(by, Body::Expire(ids(&all[3..4]))).is_err(), "nothing is left");

    // The stamp decides what the rules say.
    let mut lab = Lab::with(Policy { floor_days: 7, ..keep_last(1) });
    let (old, _new) = (lab.complete(), lab.complete());
    lab.wait(7 * DAY - 1);
    assert!(lab.say(by, Body::Expire(ids(&[old]))).is_err());
    lab.wait(1);
    lab.say(by, Body::Expire(ids(&[old]))).unwrap();
}

#[test]
fn many_go_in_several_records_the_oldest_first() {
    let mut lab = Lab::with(keep_last(1));
    let count = MAX_ENTRY_SNAPSHOTS + 10;
    let all: Vec<_> = (0..count)
        .map(|_| {
            lab.wait(60);
            lab.complete()
        })
        .collect();
    lab.wait(3600);
    let first = retention::next_expire(&lab.state, lab.now).unwrap();
    assert_eq!(first, ids(&all[..MAX_ENTRY_SNAPSHOTS]));
    assert_eq!(lab.expire().len(), count - 1);
    assert_eq!(lab.state.snapshots.len(), 1);
}

#[test]
fn pinned_and_held_ones_do_not_expire() {
    let mut lab = Lab::with(keep_last(1));
    let (a, b, c, _last) = (lab.complete(), lab.complete(), lab.complete(), lab.complete());
    lab.root(Body::Pin(ids(&[a]))).unwrap();
    lab.root(Body::Hold(ids(&[b]))).unwrap();
    lab.wait(3600);
    assert_eq!(lab.expire(), [c]);
    // What comes back stays, although the rules took it.
    lab.root(restore(&[c])).unwrap();
    assert_eq!(lab.expire(), []);
    lab.root(Body::Unpin(ids(&[a, c]))).unwrap();
    assert_eq!(lab.expire(), [a, c]);
}

/// What the index of groups knows is what the map of snapshots knows.
pub(super) fn groups_agree(state: &State) {
    let mut seen = 0;
    for ((device, set), group) in state.groups.iter() {
        for (seq, member) in group {
            let snapshot = &state.snapshots[&member.id];
            assert_eq!((snapshot.device, snapshot.set, snapshot.seq), (*device, *set, *seq));
            assert_eq!((snapshot.pinned, snapshot.held), (member.pinned, member.held));
            assert_eq!((snapshot.status, snapshot.received), (member.status, member.received));
            seen += 1;
        }
    }
    assert_eq!(seen, state.snapshots.len());
    let leaving: Vec<_> = state.leaving.iter().map(|(until, id)| (*id, *until)).collect();
    assert_eq!(leaving.len(), state.gone.len());
    assert!(leaving.iter().all(|(id, until)| state.gone[id].until == *until));
}

#[test]
fn the_index_of_groups_follows() {
    let mut lab = Lab::with(keep_last(2));
    for n in 0..40 {
        lab.wait(DAY / 4);
        let made = lab.snap(1 + n % 3, n % 2, Status::Complete);
        match n % 5 {
            0 => drop(lab.root(Body::Pin(ids(&[made]))).unwrap()),
            1 => drop(lab.root(Body::Hold(ids(&[made]))).unwrap()),
            2 => {
                lab.root(Body::Forget(ids(&[made]))).unwrap();
                lab.root(restore(&[made])).unwrap();
            }
            3 => drop(lab.root(Body::Forget(ids(&[made]))).unwrap()),
            _ => drop(lab.expire()),
        }
        groups_agree(&lab.state);
    }
}
