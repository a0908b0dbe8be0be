//! A log made of hostile entries that are duly signed: by a thief of the keys, or a device gone bad.

use ed25519_dalek::SigningKey;
use unseen_common::codec::Canonical;
use unseen_common::id::Hash;
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{Author, Body, Entry};
use unseen_common::log::fold::{Known, State};
use unseen_common::retention;
use unseen_common::time::Timestamp;

/// Each entry behind the seconds that pass before it, u32, and its length, u16, both little-endian.
/// Its place in the chain and its signature are made to fit; the first must be a genesis entry.
pub(crate) fn fold(data: &[u8]) {
    let mut rest = data;
    let mut log: Option<(State, Vec<Record>)> = None;
    while let Some((entry, seconds, after)) = next(rest) {
        rest = after;
        log = match log {
            None => begin(entry, seconds),
            Some((mut state, mut records)) => {
                step(&mut state, &mut records, entry, seconds);
                Some((state, records))
            }
        };
    }
    let Some((state, records)) = log else {
        return;
    };
    assert_eq!(State::of(&records).ok().as_ref(), Some(&state));
    let mut entries = 1;
    let known = State::of_known(&records, &Known { seq: state.head_seq, head: state.head }, |_| {
        entries += 1;
    });
    assert_eq!(entries, records.len());
    assert_eq!(known.ok().as_ref(), Some(&state));
    // What the server asks of it now and in a hundred years.
    for later in [0, 100 * 366 * 86_400] {
        let now = Timestamp(state.head_received.0.saturating_add(later));
        let due = retention::next_expire(&state, now);
        assert!(due.is_none_or(|due| due.iter().all(|id| state.snapshots.contains_key(&id))));
    }
}

fn next(data: &[u8]) -> Option<(Entry, u32, &[u8])> {
    let (seconds, data) = data.split_first_chunk()?;
    let (length, data) = data.split_first_chunk()?;
    let (entry, rest) = data.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((Entry::from_bytes(entry).ok()?, u32::from_le_bytes(*seconds), rest))
}

fn begin(mut entry: Entry, seconds: u32) -> Option<(State, Vec<Record>)> {
    if let Body::Genesis(genesis) = &mut entry.body {
        genesis.root_key = key_of(Author::Root).verifying_key().to_bytes();
    }
    let signed = SignedEntry::sign(&entry, &key_of(entry.author));
    let record = Record { signed, received: Timestamp(seconds.into()) };
    State::begin(&record).ok().map(|state| (state, vec![record]))
}

fn step(state: &mut State, records: &mut Vec<Record>, mut entry: Entry, seconds: u32) {
    (entry.vault, entry.seq, entry.prev) = (state.vault, state.head_seq + 1, state.head);
    match &mut entry.body {
        Body::DeviceAdd(add) => {
            let key = key_of(Author::Device(add.device));
            add.manifest_key = key.verifying_key().to_bytes();
        }
        // Nobody guesses these.
        Body::Fold(hash) => *hash = state.hash(),
        Body::AcceptRollback(accept) => {
            let at = usize::try_from(accept.seq).ok().and_then(|seq| records.get(seq));
            accept.hash = at.map_or(accept.hash, Record::hash);
        }
        _ => {}
    }
    let received = Timestamp(state.head_received.0.saturating_add(seconds.into()));
    if let Body::Expire(ids) = &mut entry.body
        && let Some(due) = retention::next_expire(state, received)
    {
        *ids = due;
    }
    let signed = match entry.author {
        Author::Server => SignedEntry::unsigned(&entry),
        author => SignedEntry::sign(&entry, &key_of(author)),
    };
    let record = Record { signed, received };
    let before = state.hash();
    match state.apply(&record) {
        Ok(_) => records.push(record),
        Err(_) => assert_eq!(state.hash(), before, "what is refused changes nothing"),
    }
}

fn key_of(author: Author) -> SigningKey {
    let id = match author {
        Author::Device(id) => *id.as_bytes(),
        Author::Root | Author::Server => [0; 16],
    };
    SigningKey::from_bytes(Hash::of(&id).as_bytes())
}
