//! Signatures, the hash chain, and the hash of the state.

use crate::id::Hash;
use crate::log::chain::{Record, SignedEntry};
use crate::log::entry::Entry;
use crate::log::entry::{Author, Body, DeviceLabel, Status};
use crate::log::fold::{FoldError, Known, State};
use crate::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use crate::log::testing::{
    Lab, START, add, device, device_key, genesis, id, ids, root_key, set, snapshot,
};
use crate::time::Timestamp;

/// A log with signatures.
struct Log {
    state: Option<State>,
    records: Vec<Record>,
}

impl Log {
    fn new() -> Self {
        let mut log = Self { state: None, records: Vec::new() };
        log.say(Author::Root, Body::Genesis(genesis()), 0).unwrap();
        log.say(Author::Root, Body::DeviceAdd(add(1)), 0).unwrap();
        log
    }

    fn entry(&self, author: Author, body: Body) -> Entry {
        let head = self.state.as_ref();
        Entry {
            vault: crate::log::testing::VAULT,
            seq: head.map_or(0, |s| s.head_seq + 1),
            prev: head.map_or(Hash::from_bytes([0; 32]), |s| s.head),
            author,
            time: START,
            body,
        }
    }

    fn record(&self, author: Author, body: Body, after: u64) -> Record {
        let entry = self.entry(author, body);
        let signed = match author {
            Author::Root => SignedEntry::sign(&entry, &root_key()),
            Author::Device(_) => SignedEntry::sign(&entry, &device_key(1)),
            Author::Server => SignedEntry::unsigned(&entry),
        };
        Record { signed, received: Timestamp(START.0 + after) }
    }

    fn say(&mut self, author: Author, body: Body, after: u64) -> Result<(), FoldError> {
        let record = self.record(author, body, after);
        match &mut self.state {
            Some(state) => drop(state.apply(&record)?),
            None => self.state = Some(State::begin(&record)?),
        }
        self.records.push(record);
        Ok(())
    }
}

fn one_policy() -> Body {
    let keep = KeepRules { last: 1, ..KeepRules::NONE };
    Body::Policy(Policy { keep, ..DEFAULT_POLICY })
}

/// Two snapshots, the first of which has expired; the record says so.
fn expired_log() -> Log {
    let mut log = Log::new();
    log.say(Author::Root, one_policy(), 0).unwrap();
    let by = Author::Device(device(1));
    log.say(by, snapshot(1, set(1), Status::Complete), 10).unwrap();
    log.say(by, snapshot(2, set(1), Status::Complete), 20).unwrap();
    log.say(Author::Server, Body::Expire(ids(&[id(1)])), 4000).unwrap();
    log
}

#[test]
fn the_server_signs_with_zeros_and_writes_nothing_else() {
    let mut log = expired_log();
    let state = log.state.clone().unwrap();
    assert_eq!((state.snapshots.len(), state.gone.len()), (1, 1));
    assert_eq!(State::of(&log.records).unwrap(), state);

    let by = Author::Device(device(1));
    log.say(by, snapshot(3, set(1), Status::Complete), 4040).unwrap();
    let state = log.state.clone().unwrap();
    let mut signed = log.record(Author::Server, Body::Expire(ids(&[id(2)])), 8000);
    state.check(&signed.signed, signed.received).unwrap();
    signed.signed.signature[63] = 1;
    let refused = state.check(&signed.signed, signed.received);
    assert!(matches!(refused, Err(FoldError::Signature(_))));

    // A signature of zeros is good for nobody else.
    for author in [Author::Root, by] {
        let body = Body::Hold(ids(&[id(2)]));
        let unsigned = SignedEntry::unsigned(&log.entry(author, body));
        let refused = state.check(&unsigned, START.plus_days(1));
        assert!(matches!(refused, Err(FoldError::Signature(_))));
    }
}

#[test]
fn a_known_log_folds_without_its_proofs() {
    let mut log = expired_log();
    let head = log.state.as_ref().unwrap().head;
    let mut seen = Vec::new();
    let known = Known { seq: 5, head };
    let folded = State::of_known(&log.records, &known, |entry| seen.push(entry.seq)).unwrap();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    assert_eq!(Some(&folded), log.state.as_ref());

    // An expire record that proves nothing: known if it was checked before, and refused else.
    log.records.pop();
    let state = State::of(&log.records).unwrap();
    log.state = Some(state.clone());
    let false_one = log.record(Author::Server, Body::Expire(ids(&[id(2)])), 4000);
    log.records.push(false_one.clone());
    assert!(matches!(State::of(&log.records), Err(FoldError::NotExpired(5))));
    let false_head = Known { seq: 5, head: false_one.hash() };
    let folded = State::of_known(&log.records, &false_head, |_| ()).unwrap();
    assert_eq!(folded.snapshots.len(), 1);
    let refused = State::of_known(&log.records, &known, |_| ());
    assert!(matches!(refused, Err(FoldError::OtherHistory(5))));
    // What comes after the known record is checked.
    let early = Known { seq: 4, head: state.head };
    let mut folded = state.clone();
    assert!(matches!(folded.apply_known(&false_one, &early), Err(FoldError::NotExpired(5))));
    // A log that ends before it proves nothing.
    let short = State::of_known(&log.records[..5], &known, |_| ());
    assert!(matches!(short, Err(FoldError::OtherHistory(5))));
}

#[test]
fn time_never_goes_back() {
    let log = Log::new();
    let state = log.state.as_ref().unwrap();
    let mut record = log.record(Author::Root, Body::Erase, 5);
    record.received = Timestamp(START.0 - 1);
    let refused = state.check(&record.signed, record.received);
    assert!(matches!(refused, Err(FoldError::TimeWentBack(2))));
}

#[test]
fn a_fold_entry_names_the_state_before_it() {
    let mut lab = Lab::new();
    lab.complete();
    let before = lab.state.hash();
    assert!(lab.root(Body::Fold(Hash::from_bytes([9; 32]))).is_err());
    lab.root(Body::Fold(before)).unwrap();
    assert_eq!(lab.state.last_fold, Some(lab.state.head_seq));
    assert_ne!(lab.state.hash(), before);
    assert!(lab.root(Body::Fold(before)).is_err());
}

#[test]
fn every_part_of_the_state_is_in_its_hash() {
    let mut lab = Lab::new();
    let mut seen = vec![lab.state.hash()];
    let mut note = |lab: &Lab| {
        let mut state = lab.state.clone();
        // Alone these would tell every two states apart.
        state.head_seq = 0;
        state.head_received = Timestamp(0);
        let hash = state.hash();
        assert!(!seen.contains(&hash), "entry {}", lab.state.head_seq);
        seen.push(hash);
    };
    let (first, second) = (lab.complete(), lab.complete());
    note(&lab);
    for body in [
        Body::Pin(ids(&[first])),
        Body::Hold(ids(&[first])),
        Body::Forget(ids(&[second])),
        Body::Policy(Policy { silent_days: 3, ..DEFAULT_POLICY }),
        Body::Policy(Policy { grace_days: 3, ..DEFAULT_POLICY }),
        Body::Erase,
    ] {
        lab.root(body).unwrap();
        note(&lab);
    }
    lab.snap(2, 1, Status::Partial);
    note(&lab);
    lab.revoke(1, 2);
    note(&lab);
    lab.root(Body::DeviceLabel(DeviceLabel { device: device(2), sealed: vec![1] })).unwrap();
    note(&lab);
}
