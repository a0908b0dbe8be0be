//! Which lists of packs count: those of live snapshots, and those of snapshots that went, or were
//! compacted, until their grace is over.
//!
//! Derived from the log and the journal. Kept besides the folded state, because that forgets a
//! snapshot once a record is *stamped* after its grace: a clock that ran ahead for a while must not
//! cost anybody the rest of it.

use std::collections::{BTreeMap, HashMap};

use unseen_common::id::{Hash, SnapshotId, VaultId};
use unseen_common::log::chain::Record;
use unseen_common::log::entry::{Body, Entry};
use unseen_common::log::fold::{FoldError, Known};
use unseen_common::log::state::{Snapshot, State};
use unseen_common::time::Timestamp;

use crate::store::key::Key;
use crate::store::row::AccountRow;

/// Where a list of the packs of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) snapshot: SnapshotId,
    /// The packset hash, if a compaction made it.
    pub(super) compacted: Option<Hash>,
}

impl Place {
    /// The list that counts for a snapshot.
    pub(super) fn of(id: SnapshotId, snapshot: &Snapshot) -> Self {
        let compacted = (snapshot.packed != snapshot.seq).then_some(snapshot.packset_hash);
        Self { snapshot: id, compacted }
    }

    pub(super) fn key(&self, account: VaultId) -> Key {
        match self.compacted {
            None => Key::packset(account, self.snapshot),
            Some(packs) => Key::compacted(account, self.snapshot, packs),
        }
    }
}

/// See above.
#[derive(Debug, Default)]
pub(super) struct References {
    /// Lists that count no longer than until then.
    released: BTreeMap<Place, Timestamp>,
    /// BLAKE3 of the lists that were stored.
    checksums: HashMap<Place, Hash>,
}

impl References {
    /// Takes a row of the journal; log records come through [`Self::follow`].
    pub(super) fn take(&mut self, row: &AccountRow) {
        match *row {
            AccountRow::Packset { snapshot, compacted, checksum } => {
                self.checksums.insert(Place { snapshot, compacted }, checksum);
            }
            AccountRow::Dropped { snapshot, compacted, whole: _ } => {
                let place = Place { snapshot, compacted };
                self.released.remove(&place);
                self.checksums.remove(&place);
            }
            _ => {}
        }
    }

    /// The lists that an entry may take out of use, asked before it is folded.
    pub(super) fn before(entry: &Entry, state: &State) -> Vec<Place> {
        let Body::Compact(compact) = &entry.body else {
            return Vec::new();
        };
        let known = |id: &SnapshotId| Some(Place::of(*id, state.snapshots.get(id)?));
        compact.snapshots.iter().filter_map(|(id, _)| known(id)).collect()
    }

    /// Takes an entry that was folded; `state` is the one after it.
    pub(super) fn follow(&mut self, entry: &Entry, before: &[Place], state: &State) {
        match &entry.body {
            Body::Forget(ids) | Body::Expire(ids) => {
                for id in ids.iter() {
                    if let Some(gone) = state.gone.get(&id) {
                        self.released.insert(Place::of(id, &gone.snapshot), gone.until);
                    }
                }
            }
            Body::RestoreForgotten(restored) => {
                for id in restored.snapshots.iter() {
                    if let Some(snapshot) = state.snapshots.get(&id) {
                        self.released.remove(&Place::of(id, snapshot));
                    }
                }
            }
            Body::Compact(compact) => {
                let until = state.head_received.plus_days(state.policy.grace_days);
                self.released.extend(before.iter().map(|place| (*place, until)));
                for (id, packs) in &compact.snapshots {
                    self.released.remove(&Place { snapshot: *id, compacted: Some(*packs) });
                }
            }
            Body::Snapshot(snapshot) => {
                self.released.remove(&Place { snapshot: snapshot.manifest, compacted: None });
            }
            _ => {}
        }
    }

    /// The lists that count at `now`: of live snapshots, and of those whose grace is not over.
    pub(super) fn needed(&self, state: &State, now: Timestamp) -> Vec<Place> {
        let live = state.snapshots.iter().map(|(id, snapshot)| Place::of(*id, snapshot));
        let graced = self.released.iter().filter(|(_, until)| now < **until).map(|(p, _)| *p);
        live.chain(graced).collect()
    }

    /// The lists whose grace is over at `now`, and whether nothing else is left of the snapshot.
    pub(super) fn over(&self, state: &State, now: Timestamp) -> Vec<(Place, bool)> {
        let over = self.released.iter().filter(|(_, until)| **until <= now);
        over.map(|(place, _)| {
            let live = state.snapshots.contains_key(&place.snapshot);
            let others = self
                .of_snapshot(place.snapshot)
                .any(|(other, until)| *other != *place && now < *until);
            (*place, !live && !others)
        })
        .collect()
    }

    fn of_snapshot(&self, id: SnapshotId) -> impl Iterator<Item = (&Place, &Timestamp)> {
        let first = Place { snapshot: id, compacted: None };
        self.released.range(first..).take_while(move |(place, _)| place.snapshot == id)
    }

    /// Whether a list counts, or has counted and was not dropped yet.
    pub(super) fn counts(&self, state: &State, place: &Place) -> bool {
        let live = state.snapshots.get(&place.snapshot);
        live.is_some_and(|live| Place::of(place.snapshot, live) == *place)
            || self.is_released(place)
    }

    /// Whether a list is waiting for the end of its grace.
    pub(super) fn is_released(&self, place: &Place) -> bool {
        self.released.contains_key(place)
    }

    /// Whether any list of a snapshot is waiting.
    pub(super) fn has_released(&self, id: SnapshotId) -> bool {
        self.of_snapshot(id).next().is_some()
    }

    /// When the next grace ends.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.released.values().filter(|until| now < **until).min().copied()
    }

    pub(super) fn checksum(&self, place: &Place) -> Option<Hash> {
        self.checksums.get(place).copied()
    }
}

/// Folds a record and follows what it does to the lists. With `known`, as
/// [`State::apply_known`] does.
pub(super) fn fold(
    state: &mut State,
    references: &mut References,
    record: &Record,
    known: Option<&Known>,
) -> Result<Entry, FoldError> {
    let before = References::before(&record.signed.entry()?, state);
    let entry = match known {
        Some(known) => state.apply_known(record, known)?,
        None => state.apply(record)?,
    };
    references.follow(&entry, &before, state);
    Ok(entry)
}
