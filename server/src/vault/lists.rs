//! Reading the lists of packs that snapshots need.

use unseen_common::id::{Hash, SnapshotId};
use unseen_common::log::state::State;
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::vault::{Result, VaultError};

use super::account::{Account, Tables, storage_error};
use super::references::Place;
use crate::store::lock;
use crate::store::row::AccountRow;

impl Account {
    /// The packs that a snapshot needs now; nothing if it is not live.
    pub(super) fn packs_of(&self, id: SnapshotId) -> Result<Option<PackSet>> {
        let place = self.with_state(|state| {
            let gone = || state.gone.get(&id).map(|gone| &gone.snapshot);
            Some(Place::of(id, state.snapshots.get(&id).or_else(gone)?))
        });
        place.map(|place| self.list(&place)).transpose()
    }

    /// A list of packs, proved to be the one that was stored. What decides about deletion must not
    /// go by a list that has rotted.
    pub(super) fn list(&self, place: &Place) -> Result<PackSet> {
        let read = self.store.blobs.get(&place.key(self.id));
        let bytes = read.map_err(|error| storage_error(&error))?;
        let known = lock(&self.tables).references.checksum(place);
        let sum = bytes.as_ref().map(|bytes| Hash::of(bytes));
        let packs = bytes
            .filter(|_| known.is_none() || known == sum)
            .and_then(|bytes| PackSet::from_bytes(&bytes).ok());
        let Some(packs) = packs else {
            let id = place.snapshot;
            return Err(VaultError::Server(format!("the list of packs of {id} is damaged")));
        };
        if known.is_none() {
            self.prove(place, &packs)?;
            if let Some(checksum) = sum {
                let Place { snapshot, compacted } = *place;
                let row = AccountRow::Packset { snapshot, compacted, checksum };
                lock(&self.tables).references.take(&row);
            }
        }
        Ok(packs)
    }

    /// Compares a list with the packset hash in the log.
    fn prove(&self, place: &Place, packs: &PackSet) -> Result<()> {
        let tables = lock(&self.tables);
        let wanted = place.compacted.or_else(|| logged(&tables.state, place.snapshot));
        if wanted.is_some() && tables.packset_hash(packs) == wanted {
            return Ok(());
        }
        let id = place.snapshot;
        Err(VaultError::Server(format!("the list of packs of {id} does not fit the log")))
    }

    /// Refuses a set of which a pack is missing, or whose numbers name other packs.
    pub(super) fn check_packs(&self, packs: &PackSet, hash: Hash) -> Result<()> {
        let tables = lock(&self.tables);
        let missing = tables.packs.missing(packs);
        if !missing.0.is_empty() {
            return Err(VaultError::MissingPacks(missing));
        }
        if tables.packset_hash(packs) == Some(hash) { Ok(()) } else { Err(VaultError::StaleIndex) }
    }
}

impl Tables {
    /// Binds numbers to the packs that they name here; nothing if one is not there.
    fn packset_hash(&self, packs: &PackSet) -> Option<Hash> {
        let mut hasher = PackSetHasher::default();
        for number in packs.numbers() {
            hasher.add(number, &self.packs.get(number)?.id);
        }
        Some(hasher.finish())
    }
}

fn logged(state: &State, id: SnapshotId) -> Option<Hash> {
    let gone = || state.gone.get(&id).map(|gone| &gone.snapshot);
    let snapshot = state.snapshots.get(&id).or_else(gone)?;
    (snapshot.packed == snapshot.seq).then_some(snapshot.packset_hash)
}

/// The row of a list that is about to be stored.
pub(super) fn row_of(place: Place, bytes: &[u8]) -> AccountRow {
    let Place { snapshot, compacted } = place;
    AccountRow::Packset { snapshot, compacted, checksum: Hash::of(bytes) }
}

/// The bytes of a list, within their cap.
pub(super) fn bytes_of(packs: &PackSet) -> Result<Vec<u8>> {
    let bytes = packs.to_bytes();
    if bytes.len() > unseen_common::limits::MAX_PACKSET {
        return Err(VaultError::Invalid("the packset is too long".to_owned()));
    }
    Ok(bytes)
}
