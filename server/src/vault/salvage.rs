//! What the whole frames of a damaged journal still say.

use std::collections::{BTreeMap, HashMap};

use roaring::RoaringBitmap;
use unseen_common::codec::Canonical;
use unseen_common::id::{Hash, PackId, PackNumber, VaultId};
use unseen_common::log::chain::Record;

use super::references::Place;
use crate::store::frame::Owner;
use crate::store::journal::{Journal, JournalError};
use crate::store::journal_files::Journals;
use crate::store::row::{AccountRow, PackRow};
use crate::store::server_row::ServerRow;

/// Of an account.
#[derive(Default)]
pub(super) struct Salvage {
    pub(super) quota: Option<u64>,
    /// What whoever runs the server did, in order.
    pub(super) operator: Vec<AccountRow>,
    pub(super) records: BTreeMap<u64, Record>,
    pub(super) packs: HashMap<(PackNumber, PackId), PackRow>,
    pub(super) damaged: RoaringBitmap,
    /// Packs that went. Files of them that a crash has left stay without a row.
    pub(super) removed: RoaringBitmap,
    /// BLAKE3 of lists of packs as they were stored.
    pub(super) checksums: HashMap<Place, Hash>,
    /// Lists that went, and whether their snapshots went with them.
    pub(super) dropped: BTreeMap<Place, bool>,
    /// Lies above every pack number that is told.
    pub(super) next: u32,
}

impl Salvage {
    /// Reads what can be read of an account's journal.
    pub(super) fn read(journals: &dyn Journals, id: VaultId) -> Result<Self, JournalError> {
        let mut salvage = Self::default();
        Journal::salvage(journals, Owner::Account(id), |bytes| salvage.take(bytes))?;
        Ok(salvage)
    }

    fn take(&mut self, bytes: &[u8]) {
        // A frame that is whole and says nothing that is known was written by a newer version.
        let Ok(row) = AccountRow::from_bytes(bytes) else {
            return;
        };
        match row {
            AccountRow::Opened { quota } => self.quota = quota,
            AccountRow::Log(record) => {
                if let Ok(entry) = record.signed.entry() {
                    self.records.entry(entry.seq).or_insert(record);
                }
            }
            AccountRow::Pack(row) => {
                self.next = self.next.max(row.number.0.saturating_add(1));
                self.packs.insert((row.number, row.id), row);
            }
            AccountRow::Damaged(mark) => {
                self.damaged.insert(mark.number.0);
            }
            AccountRow::Healed(mark) => {
                self.damaged.remove(mark.number.0);
            }
            AccountRow::Rebuilt(mark) => self.next = self.next.max(mark.number.0),
            AccountRow::Removed { packs, .. } => {
                let above = packs.0.max().map_or(0, |highest| highest.saturating_add(1));
                self.next = self.next.max(above);
                self.removed |= packs.0;
            }
            AccountRow::Packset { snapshot, compacted, checksum } => {
                let place = Place { snapshot, compacted };
                self.checksums.insert(place, checksum);
                self.dropped.remove(&place);
            }
            AccountRow::Dropped { snapshot, compacted, whole } => {
                let place = Place { snapshot, compacted };
                self.checksums.remove(&place);
                self.dropped.insert(place, whole);
            }
            row @ (AccountRow::Quota { .. }
            | AccountRow::Suspended { .. }
            | AccountRow::Access(_)) => self.operator.push(row),
            // Counted again; and every pack counts as sent now.
            AccountRow::Metadata { .. } | AccountRow::Touched { .. } => {}
        }
    }
}

/// Rows for a new journal of the server. An invite is among them only if it is known to be used:
/// that of another may be lost, and so may that it was taken back.
pub(super) fn of_server(journals: &dyn Journals) -> Result<Vec<ServerRow>, JournalError> {
    let mut rows = Vec::new();
    Journal::salvage(journals, Owner::Server, |bytes| {
        rows.extend(ServerRow::from_bytes(bytes));
    })?;
    let used: Vec<Hash> = rows
        .iter()
        .filter_map(|row| match row {
            ServerRow::Used { secret, .. } => Some(*secret),
            _ => None,
        })
        .collect();
    rows.retain(|row| match row {
        ServerRow::Invite { secret, .. } => used.contains(secret),
        ServerRow::Used { .. }
        | ServerRow::Revoked { .. }
        | ServerRow::Erasing(_)
        | ServerRow::Erased(_)
        | ServerRow::Clock { .. } => true,
    });
    Ok(rows)
}
