//! Compaction: snapshots get other packs that hold the same chunks.
//!
//! Sound without locks: it concerns only snapshots that are live and have not changed since the
//! head at which it was planned; every other snapshot keeps its list, and so the old packs.

use unseen_common::log::chain::Record;
use unseen_common::log::entry::{Author, Body, Compact, RestoreForgotten};
use unseen_common::packset::PackSet;
use unseen_common::vault::{CompactRequest, Result, VaultError};

use super::account::Account;
use super::lists::{bytes_of, row_of};
use super::log::{invalid, parse};
use super::packs::length_of;
use super::references::Place;
use crate::store::key::Key;
use crate::store::lock;
use crate::store::row::AccountRow;

/// Rows of the journal, and the lists that they are about.
type Stored = (Vec<AccountRow>, Vec<(Key, Vec<u8>)>);

impl Account {
    /// Gives snapshots other packs: all of them, or nothing happens.
    pub(super) fn compact(&self, request: CompactRequest) -> Result<Record> {
        let CompactRequest { map, packs, entry: signed } = request;
        let entry = parse(&signed, Author::Root)?;
        let Body::Compact(compact) = &entry.body else {
            return invalid("not a compact entry");
        };
        if packs.len() != compact.snapshots.len() {
            return invalid("there is not one packset for each snapshot of the entry");
        }
        if map.hash() != compact.map_hash || map.removed() != compact.removed {
            return invalid("the map is not the one of the entry");
        }
        if map.0.values().any(|new| !new.0.is_disjoint(&compact.removed.0)) {
            return invalid("a pack that is removed cannot take the place of another");
        }
        let writer = self.writer()?;
        if let Some(record) = self.already(&entry, &signed)? {
            return Ok(record);
        }
        self.check(&writer, &signed)?;
        self.check_plan(compact)?;
        let places = map.places();
        for ((id, hash), new) in compact.snapshots.iter().zip(&packs) {
            let old = self.packs_of(*id)?.unwrap_or_default();
            if let Some(fault) = map.fault(&old, new) {
                return invalid(fault);
            }
            // A snapshot may keep a damaged pack that it had: what is whole in that is worth
            // keeping. It gets none, and none counts as the place of what is taken from it.
            let kept = PackSet(&old.0 - &places.0);
            self.check_whole(&PackSet(&new.0 - &kept.0))?;
            self.check_there(new, *hash)?;
        }
        let (rows, lists) = self.store_lists(compact, &packs)?;
        let record = self.extend_with(&writer, signed, rows)?;
        for (key, list) in lists {
            self.put_second(&key, &list);
        }
        Ok(record)
    }

    /// The head that it was planned at is part of this history, and so are the packs.
    fn check_plan(&self, compact: &Compact) -> Result<()> {
        let planned = self.record(compact.planned_at)?;
        if planned.is_none_or(|record| record.hash() != compact.planned_head) {
            return invalid("the compaction was planned at another history");
        }
        // Damaged ones, too: the owner has looked for what was in them elsewhere. Their lists count
        // for the grace like all others.
        self.check_there(&compact.removed, compact.removed_hash)
    }

    fn store_lists(&self, compact: &Compact, packs: &[PackSet]) -> Result<Stored> {
        let mut lists = Vec::new();
        let (mut rows, mut total) = (Vec::new(), 0_u64);
        for ((id, hash), new) in compact.snapshots.iter().zip(packs) {
            let place = Place { snapshot: *id, compacted: Some(*hash) };
            let list = bytes_of(new)?;
            let length = self.store.blobs.length(&Key::manifest(self.id, *id));
            let manifest = length.map_err(|error| super::account::storage_error(&error))?;
            let bytes = length_of(&list);
            rows.push(row_of(place, &list));
            let bytes_now = bytes.saturating_add(manifest.unwrap_or(0));
            rows.push(AccountRow::Metadata { snapshot: *id, bytes: bytes_now });
            total = total.saturating_add(bytes);
            lists.push((place.key(self.id), list));
        }
        lock(&self.tables).room_for_metadata(total)?;
        for (key, list) in &lists {
            self.put_blob(key, list)?;
        }
        Ok((rows, lists))
    }

    /// Whether the packs of snapshots that are to come back are all there still.
    pub(super) fn check_restore(&self, restore: &RestoreForgotten) -> Result<()> {
        let mut packs = PackSet::default();
        for id in restore.snapshots.iter() {
            let place = self
                .with_state(|state| state.gone.get(&id).map(|gone| Place::of(id, &gone.snapshot)));
            let over = || VaultError::NotFound(format!("snapshot {id}; its grace is over"));
            let place = place.ok_or_else(over)?;
            if !lock(&self.tables).references.is_released(&place) {
                return Err(over());
            }
            packs.0 |= self.list(&place)?.0;
        }
        self.check_there(&packs, restore.packs_hash)
    }
}
