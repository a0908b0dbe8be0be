//! Reading the lists of packs that snapshots need.

use bytes::Bytes;
use unseen_common::id::{Hash, SnapshotId};
use unseen_common::log::state::State;
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::vault::{Result, VaultError};

use super::account::{Account, Tables, storage_error};
use super::damage::list_damaged;
use super::references::Place;
use crate::store::key::Key;
use crate::store::lock;
use crate::store::row::AccountRow;
use crate::store::second::either;

impl Account {
    /// The packs that a snapshot needs; nothing if it is neither live nor can be brought back.
    pub(super) fn packs_of(&self, id: SnapshotId) -> Result<Option<PackSet>> {
        let place = self.with_state(|state| {
            let gone = || state.gone.get(&id).map(|gone| &gone.snapshot);
            Some(Place::of(id, state.snapshots.get(&id).or_else(gone)?))
        });
        let Some(place) = place else {
            return Ok(None);
        };
        let listed = self.list(&place);
        let counts = || {
            let tables = lock(&self.tables);
            tables.references.counts(&tables.state, &place)
        };
        // The folded log remembers what went until the next record comes, its list is deleted as
        // soon as the grace is over.
        if listed.is_err() && !counts() { Ok(None) } else { listed.map(Some) }
    }

    /// A list of packs, proved to be the one that was stored. What decides about deletion must not
    /// go by a list that has rotted.
    pub(super) fn list(&self, place: &Place) -> Result<PackSet> {
        let prove = |bytes: &Bytes| self.proved(place, bytes).ok();
        let read = either(&*self.store.blobs, &place.key(self.id), prove);
        let packs = read.map_err(|error| storage_error(&error))?;
        packs.ok_or_else(|| list_damaged(place.snapshot))
    }

    /// A sealed manifest, as it was stored if either copy is; else what there is of it, which its
    /// reader sees to be another.
    pub(super) fn manifest(&self, id: SnapshotId) -> Result<Option<Bytes>> {
        let key = Key::manifest(self.id, id);
        let same = |bytes: &Bytes| is_manifest(id, bytes).then(|| bytes.clone());
        let read = match either(&*self.store.blobs, &key, same) {
            Ok(None) => self.store.blobs.get(&key),
            read => read,
        };
        read.map_err(|error| storage_error(&error))
    }

    /// Stores the second copy of something whose first one is there and named by the journal. If
    /// that fails, a scrub makes it.
    pub(super) fn put_second(&self, key: &Key, bytes: &[u8]) {
        if let Err(error) = self.store.blobs.put(&key.second(), &[bytes]) {
            tracing::warn!(kind = ?error.kind(), "a second copy; the next scrub makes it");
        }
    }

    /// The list that these bytes are, if they are the ones that were stored.
    pub(super) fn proved(&self, place: &Place, bytes: &[u8]) -> Result<PackSet> {
        let known = lock(&self.tables).references.checksum(place);
        let checksum = Hash::of(bytes);
        let packs = PackSet::from_bytes(bytes).ok();
        let Some(packs) = packs.filter(|_| known.is_none_or(|known| known == checksum)) else {
            return Err(list_damaged(place.snapshot));
        };
        if known.is_none() {
            self.prove(place, &packs)?;
            let Place { snapshot, compacted } = *place;
            let row = AccountRow::Packset { snapshot, compacted, checksum };
            lock(&self.tables).references.take(&row);
        }
        Ok(packs)
    }

    /// Compares a list with the packset hash in the log.
    fn prove(&self, place: &Place, packs: &PackSet) -> Result<()> {
        let tables = lock(&self.tables);
        let wanted = logged(&tables.state, place);
        if wanted.is_some() && tables.packset_hash(packs) == wanted {
            return Ok(());
        }
        Err(list_damaged(place.snapshot))
    }

    /// Refuses a set of which a pack is missing or damaged, or whose numbers name other packs.
    pub(super) fn check_packs(&self, packs: &PackSet, hash: Hash) -> Result<()> {
        self.check_whole(packs)?;
        self.check_there(packs, hash)
    }

    /// Refuses a set of which a pack is missing or damaged.
    pub(super) fn check_whole(&self, packs: &PackSet) -> Result<()> {
        let missing = lock(&self.tables).packs.missing(packs);
        if missing.0.is_empty() { Ok(()) } else { Err(VaultError::MissingPacks(missing)) }
    }

    /// The same, where damaged packs will do: what is whole around them is worth keeping.
    pub(super) fn check_there(&self, packs: &PackSet, hash: Hash) -> Result<()> {
        let tables = lock(&self.tables);
        let missing = PackSet(&packs.0 - tables.packs.there());
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

/// The packset hash of a list, as far as the log still tells it.
fn logged(state: &State, place: &Place) -> Option<Hash> {
    let id = place.snapshot;
    let gone = || state.gone.get(&id).map(|gone| &gone.snapshot);
    let first = || state.snapshots.get(&id).or_else(gone).filter(|s| s.packed == s.seq);
    place.compacted.or_else(|| first().map(|snapshot| snapshot.packset_hash))
}

/// Whether a sealed manifest is the one of this name.
pub(super) fn is_manifest(id: SnapshotId, bytes: &[u8]) -> bool {
    SnapshotId::from_bytes(*blake3::hash(bytes).as_bytes()) == id
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
