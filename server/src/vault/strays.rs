//! Files that nothing names: what uploads, commits and deletions leave when they are cut off.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;
use unseen_common::id::{Hash, PackNumber};
use unseen_common::time::{SECONDS_A_DAY, Timestamp};
use unseen_common::vault::Result;

use super::account::{Account, Tables, storage_error};
use super::references::Place;
use crate::store::key::{self, Key};
use crate::store::lock;

/// How long a set of slots stays that was replaced: a copy that is made of the folder by its files,
/// journals first, still finds the set that its journal names.
const REPLACED: u64 = SECONDS_A_DAY;

impl Tables {
    /// From when on no set of slots is needed but the one that the log names.
    pub(super) fn slots_end(&self) -> Timestamp {
        Timestamp(self.slots_since.0.saturating_add(REPLACED))
    }
}

impl Account {
    /// Removes the sets of slots that were replaced, so that nobody can try an old passphrase on
    /// what lies on the disk; tells how many. One that is being put holds the writer.
    pub(super) fn remove_old_slots(&self, now: Timestamp) -> Result<u64> {
        let _writer = self.writer()?;
        let named = {
            let tables = lock(&self.tables);
            if now < tables.slots_end() {
                return Ok(0);
            }
            tables.state.slots.hash
        };
        let mut removed = 0;
        for name in self.names_twice(&key::slots_folder(self.id))? {
            let Ok(hash) = name.parse::<Hash>() else {
                continue;
            };
            if hash != named {
                self.delete_both(&Key::slots(self.id, hash))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes them; tells how many. What lies under the number of a needed pack stays: it may be
    /// all that a rebuild found of it.
    pub(super) fn remove_strays(&self, needed: &RoaringBitmap) -> Result<u64> {
        for folder in [key::log_folder(self.id), key::slots_folder(self.id)] {
            self.names_twice(&folder)?;
        }
        Ok(self.stray_packs(needed)? + self.stray_footers()? + self.stray_lists()?)
    }

    /// Numbers are given once, and while a pack is being stored its number is known: one that is
    /// below the next, has no row and is not being stored will never have one.
    fn stray_packs(&self, needed: &RoaringBitmap) -> Result<u64> {
        let mut removed = 0;
        let end = lock(&self.tables).next_number;
        let mut shard = PackNumber(0);
        while shard.0 < end {
            for name in self.names(&key::pack_shard(self.id, shard))? {
                let Some((number, id)) = key::pack_of(&name) else {
                    continue;
                };
                let stray = {
                    let tables = lock(&self.tables);
                    number.0 < end
                        && !needed.contains(number.0)
                        && tables.packs.get(number).is_none_or(|pack| pack.id != id)
                        && !tables.storing.contains_key(&id)
                        // Its row may be durable although that could not be told.
                        && !self.journal.has_failed()
                };
                if stray {
                    self.delete_stray(&Key::pack(self.id, number, id))?;
                    removed += 1;
                }
            }
            let next = key::next_shard(shard);
            if next <= shard {
                break;
            }
            shard = next;
        }
        Ok(removed)
    }

    /// Second copies of the footers of ranges that have no pack any more.
    fn stray_footers(&self) -> Result<u64> {
        let mut removed = 0;
        for name in self.names(&key::footers_folder(self.id))? {
            if let Some(first) = key::footers_of(&name)
                && self.drop_segment(first)?
            {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// A commit writes its files before its record, and holds the writer meanwhile.
    fn stray_lists(&self) -> Result<u64> {
        let _writer = self.writer()?;
        let mut removed = 0;
        for name in self.names_twice(&key::packset_folder(self.id))? {
            let Some((snapshot, compacted)) = key::packset_of(&name) else {
                continue;
            };
            let place = Place { snapshot, compacted };
            let tables = lock(&self.tables);
            let needed = tables.references.counts(&tables.state, &place);
            drop(tables);
            if !needed {
                self.delete_both(&place.key(self.id))?;
                removed += 1;
            }
        }
        for name in self.names_twice(&key::manifest_folder(self.id))? {
            let Ok(snapshot) = name.parse() else {
                continue;
            };
            let tables = lock(&self.tables);
            let needed = tables.state.snapshots.contains_key(&snapshot)
                || tables.references.has_released(snapshot);
            drop(tables);
            if !needed {
                self.delete_both(&Key::manifest(self.id, snapshot))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The names in a folder, without what another process did not finish: that goes.
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        self.store.blobs.clean(folder).map_err(|error| storage_error(&error))?;
        self.store.blobs.list(folder).map_err(|error| storage_error(&error))
    }

    /// Names in a folder, and in that of the second copies.
    fn names_twice(&self, folder: &str) -> Result<BTreeSet<String>> {
        let second = self.names(&key::second_folder(folder))?;
        Ok(self.names(folder)?.into_iter().chain(second).collect())
    }

    fn delete_both(&self, key: &Key) -> Result<()> {
        self.delete_stray(&key.second())?;
        self.delete_stray(key)
    }

    fn delete_stray(&self, key: &Key) -> Result<()> {
        self.store.blobs.delete(key).map_err(|error| storage_error(&error))
    }
}
