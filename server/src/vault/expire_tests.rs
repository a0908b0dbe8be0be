//! The rules on the server that carries them out: what a burst stops, and the end of a grace.

use std::slice::from_ref;

use unseen_common::codec::Canonical;
use unseen_common::id::SnapshotId;
use unseen_common::log::entry::Body;
use unseen_common::log::policy::{DEFAULT_POLICY, KeepRules, Policy};

use super::gc_lab::{DAY, Lab, Stored};
use crate::store::row::AccountRow;

const PER_HOUR: u32 = 5;
const PAUSE_DAYS: u32 = 10;

/// Keeps the newest two; a good snapshot is old enough to go once there are two more.
fn begun() -> (Lab, Stored, SnapshotId) {
    let mut lab = Lab::new();
    let keep = KeepRules { last: 2, ..KeepRules::NONE };
    let policy =
        Policy { keep, burst_per_hour: PER_HOUR, burst_pause_days: PAUSE_DAYS, ..DEFAULT_POLICY };
    lab.root(Body::Policy(policy)).unwrap();
    let pack = lab.put(1);
    let good = lab.commit(from_ref(&pack)).unwrap();
    lab.clock.advance(DAY);
    assert_eq!(lab.sweep().expired, 0);
    (lab, pack, good)
}

fn is_live(lab: &Lab, id: SnapshotId) -> bool {
    lab.account.with_state(|state| state.snapshots.contains_key(&id))
}

/// A hacked machine that has only the right to add cannot push out what was there.
#[test]
fn a_burst_of_snapshots_pauses_expiry_until_its_days_are_over() {
    let (mut lab, pack, good) = begun();
    for _ in 0..=PER_HOUR {
        lab.clock.advance(60);
        lab.commit(from_ref(&pack)).unwrap();
    }
    for _ in 0..PAUSE_DAYS - 1 {
        lab.clock.advance(DAY);
        assert_eq!(lab.sweep().expired, 0);
    }
    lab.restart();
    lab.clock.advance(DAY - 1);
    assert_eq!(lab.sweep().expired, 0, "a restart remembers it");
    assert!(is_live(&lab, good));
    lab.clock.advance(1);
    assert_eq!(lab.sweep().expired, u64::from(PER_HOUR));
    assert!(!is_live(&lab, good));
}

#[test]
fn as_many_as_the_policy_allows_are_no_burst() {
    let (mut lab, pack, good) = begun();
    for _ in 0..PER_HOUR {
        lab.clock.advance(60);
        lab.commit(from_ref(&pack)).unwrap();
    }
    lab.clock.advance(DAY);
    assert_eq!(lab.sweep().expired, u64::from(PER_HOUR) - 1);
    assert!(!is_live(&lab, good));
}

#[test]
fn the_owner_ends_a_pause() {
    let (mut lab, pack, good) = begun();
    for _ in 0..=PER_HOUR {
        lab.commit(from_ref(&pack)).unwrap();
    }
    lab.clock.advance(DAY);
    assert_eq!(lab.sweep().expired, 0);
    let device = lab.machine().id;
    let burst = lab.account.with_state(|state| state.devices[&device].burst);
    lab.root(Body::Cancel { seq: burst.unwrap().seq }).unwrap();
    assert_eq!(lab.sweep().expired, u64::from(PER_HOUR));
    assert!(!is_live(&lab, good));
}

/// Nothing is written when a grace ends: the folded log still has what was deleted.
#[test]
fn a_snapshot_whose_grace_is_over_has_no_packs_and_is_not_called_damaged() {
    let (lab, pack, good) = begun();
    lab.forget(good);
    lab.clock.advance(30 * DAY - 1);
    lab.sweep();
    let numbers = lab.account.packs_of(good).unwrap().unwrap();
    assert_eq!(numbers.numbers().collect::<Vec<_>>(), [pack.0]);
    lab.clock.advance(1);
    assert_eq!(lab.core.gc(true).unwrap().snapshots, 1);
    assert!(lab.account.with_state(|state| state.gone.contains_key(&good)));
    assert_eq!(lab.account.packs_of(good).unwrap(), None);
}

/// Journals are only ever appended to. What that comes to is told in docs/OPERATING.md.
#[test]
fn a_snapshot_from_its_commit_to_its_end_costs_the_journal_a_kilobyte() {
    const COUNT: u64 = 500;
    let mut lab = Lab::new();
    let keep = KeepRules { last: 10, ..KeepRules::NONE };
    lab.root(Body::Policy(Policy { keep, ..DEFAULT_POLICY })).unwrap();
    let length = |lab: &Lab| lab.account.journal.extent().0;
    let before = length(&lab);
    let mut of_packs = 0;
    for number in 0..COUNT {
        lab.clock.advance(DAY / 2);
        let at = length(&lab);
        let pack = lab.put(number);
        of_packs += length(&lab) - at;
        lab.commit(from_ref(&pack)).unwrap();
        lab.sweep();
    }
    let all = length(&lab) - before;
    assert!(lab.account.with_state(|state| state.snapshots.len()) < 20, "most have expired");
    assert!(lab.account.totals().0 < 100, "and their packs are deleted");
    let (a_pack, a_snapshot) = (of_packs / COUNT, (all - of_packs) / COUNT);
    assert!((100..200).contains(&a_pack), "{a_pack}, {a_snapshot} bytes");
    assert!((600..1000).contains(&a_snapshot), "{a_pack}, {a_snapshot} bytes");
    // The log is for ever. What a rewritten journal would lack besides is this.
    let head = lab.account.with_state(|state| state.head_seq);
    let records = (0..=head).map(|seq| lab.account.record(seq).unwrap().unwrap());
    let log: usize = records.map(|record| AccountRow::Log(record).to_bytes().len()).sum();
    let dead = (all - u64::try_from(log).unwrap()) / COUNT;
    assert!((300..450).contains(&dead), "{dead} bytes a snapshot with its pack");
}
