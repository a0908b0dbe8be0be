//! The packs of an account, in memory: about fifty bytes each.

use roaring::RoaringBitmap;
use unseen_common::id::{DeviceId, PackId, PackNumber};
use unseen_common::packset::PackSet;

use crate::store::row::PackRow;

/// Numbers are dense; one so far above the rest is damage, and memory is not spent on it.
const MAX_GAP: u32 = 1 << 20;
const EMPTY: u32 = u32::MAX;

/// A pack whose row cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two packs of one number.
    #[error("two packs have the number {0}")]
    Twice(PackNumber),
    /// A number far above all others.
    #[error("the pack number {0} is far above all others")]
    Gap(PackNumber),
    /// More devices than a vault may have.
    #[error("too many devices wrote packs")]
    Devices,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    id: PackId,
    device: u16,
    length_log2: u8,
    footer_log2: u8,
}

/// What commit, reading and listing need of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pack {
    pub(super) id: PackId,
    pub(super) device: DeviceId,
    pub(super) length: u64,
    pub(super) footer_len: u64,
}

/// Packs by number and by id.
#[derive(Debug, Default)]
pub(super) struct PackTable {
    slots: Vec<Option<Slot>>,
    there: RoaringBitmap,
    /// Those of them that are damaged.
    damaged: RoaringBitmap,
    /// Lies above every number that was ever given.
    next: u32,
    devices: Vec<DeviceId>,
    /// Open addressing over pack ids, which are hashes: places of numbers.
    by_id: Vec<u32>,
    /// Places that are taken in it.
    links: usize,
    bytes: u64,
}

impl PackTable {
    pub(super) fn insert(&mut self, row: &PackRow) -> Result<(), TableError> {
        let number = row.number.0;
        let place = usize::try_from(number).map_err(|_e| TableError::Gap(row.number))?;
        if place > self.slots.len() + usize::try_from(MAX_GAP).unwrap_or(0) || number == EMPTY {
            return Err(TableError::Gap(row.number));
        }
        if self.there.contains(number) || self.find(&row.id).is_some() {
            return Err(TableError::Twice(row.number));
        }
        let slot = Slot {
            id: row.id,
            device: self.device_place(row.device)?,
            length_log2: log2(row.length),
            footer_log2: log2(row.footer_len),
        };
        self.grow();
        if self.slots.len() <= place {
            self.slots.resize(place + 1, None);
        }
        if let Some(free) = self.slots.get_mut(place) {
            *free = Some(slot);
        }
        self.there.insert(number);
        self.next = self.next.max(number + 1);
        self.bytes = self.bytes.saturating_add(row.length);
        self.link(&row.id, number);
        Ok(())
    }

    pub(super) fn get(&self, number: PackNumber) -> Option<Pack> {
        let slot = self.slot(number.0)?;
        Some(Pack {
            id: slot.id,
            device: *self.devices.get(usize::from(slot.device))?,
            length: 1 << slot.length_log2,
            footer_len: 1 << slot.footer_log2,
        })
    }

    pub(super) fn find(&self, id: &PackId) -> Option<PackNumber> {
        let mut place = self.first_place(id)?;
        loop {
            let number = *self.by_id.get(place)?;
            if number == EMPTY {
                return None;
            }
            if self.slot(number).is_some_and(|slot| slot.id == *id) {
                return Some(PackNumber(number));
            }
            place = self.place_after(place);
        }
    }

    /// The packs that are there and whole.
    pub(super) fn live(&self) -> PackSet {
        PackSet(&self.there - &self.damaged)
    }

    /// The packs that are there and damaged.
    pub(super) fn damaged(&self) -> PackSet {
        PackSet(self.damaged.clone())
    }

    pub(super) fn is_damaged(&self, number: PackNumber) -> bool {
        self.damaged.contains(number.0)
    }

    /// Notes whether a pack is damaged. One that is gone meanwhile is neither.
    pub(super) fn mark(&mut self, number: PackNumber, damaged: bool) {
        if damaged && self.there.contains(number.0) {
            self.damaged.insert(number.0);
        } else {
            self.damaged.remove(number.0);
        }
    }

    /// Numbers below this one are not given again.
    pub(super) fn skip_to(&mut self, next: PackNumber) {
        self.next = self.next.max(next.0);
    }

    /// Numbers of packs above `after` that one of `devices` wrote; of all devices with `None`.
    pub(super) fn after(
        &self,
        after: Option<PackNumber>,
        devices: Option<&[DeviceId]>,
        most: usize,
    ) -> Vec<(PackNumber, Pack)> {
        let from = after.map_or(0, |n| n.0.saturating_add(1));
        self.there
            .range(from..)
            .map(PackNumber)
            .filter_map(|number| Some((number, self.get(number)?)))
            .filter(|(_, pack)| devices.is_none_or(|list| list.contains(&pack.device)))
            .take(most)
            .collect()
    }

    /// Those of `wanted` that are not there, or damaged.
    pub(super) fn missing(&self, wanted: &PackSet) -> PackSet {
        PackSet((&wanted.0 - &self.there) | (&wanted.0 & &self.damaged))
    }

    /// The lowest number above all that were ever given.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Packs and their bytes.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.there.len(), self.bytes)
    }

    fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(number).ok()?)?.as_ref()
    }

    fn device_place(&mut self, device: DeviceId) -> Result<u16, TableError> {
        let place = self.devices.iter().position(|d| *d == device);
        let place = place.unwrap_or_else(|| {
            self.devices.push(device);
            self.devices.len() - 1
        });
        u16::try_from(place).map_err(|_e| TableError::Devices)
    }

    fn first_place(&self, id: &PackId) -> Option<usize> {
        let start = u32::from_le_bytes(*id.as_bytes().first_chunk()?);
        Some(usize::try_from(start).ok()? & self.by_id.len().checked_sub(1)?)
    }

    /// The length is a power of two.
    fn place_after(&self, place: usize) -> usize {
        (place + 1) & (self.by_id.len() - 1)
    }

    fn link(&mut self, id: &PackId, number: u32) {
        let Some(mut place) = self.first_place(id) else {
            return;
        };
        while self.by_id.get(place).is_some_and(|n| *n != EMPTY) {
            place = self.place_after(place);
        }
        if let Some(free) = self.by_id.get_mut(place) {
            *free = number;
            self.links += 1;
        }
    }

    /// Keeps the table at most two thirds full.
    fn grow(&mut self) {
        if (self.links + 1).saturating_mul(3) / 2 < self.by_id.len() {
            return;
        }
        let needed = usize::try_from(self.there.len()).unwrap_or(usize::MAX / 4) + 1;
        self.by_id = vec![EMPTY; (needed * 2).next_power_of_two().max(64)];
        self.links = 0;
        let linked: Vec<u32> = self.there.iter().collect();
        for number in linked {
            if let Some(id) = self.slot(number).map(|slot| slot.id) {
                self.link(&id, number);
            }
        }
    }
}

fn log2(power: u64) -> u8 {
    u8::try_from(power.trailing_zeros()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unseen_common::id::Hash;
    use unseen_common::time::Timestamp;

    fn row(number: u32) -> PackRow {
        PackRow {
            number: PackNumber(number),
            id: PackId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes()),
            content_hash: Hash::from_bytes([0; 32]),
            device: DeviceId::from_bytes([u8::try_from(number % 3).unwrap(); 16]),
            length: 1 << (16 + number % 9),
            footer_len: 4096,
            received: Timestamp(1),
        }
    }

    #[test]
    fn finds_by_number_and_id() {
        let mut table = PackTable::default();
        for number in (0..2000).filter(|n| n % 7 != 0) {
            table.insert(&row(number)).unwrap();
        }
        for number in 0..2000 {
            let there = number % 7 != 0;
            assert_eq!(table.get(PackNumber(number)).is_some(), there);
            assert_eq!(table.find(&row(number).id).is_some(), there);
        }
        let pack = table.get(PackNumber(9)).unwrap();
        assert_eq!((pack.length, pack.footer_len), (65536, 4096));
        assert_eq!(pack.device, row(9).device);
        assert_eq!(table.next(), 2000);
        let wanted: PackSet = [6, 7, 8, 5000].map(PackNumber).into_iter().collect();
        let missing: PackSet = [7, 5000].map(PackNumber).into_iter().collect();
        assert_eq!(table.missing(&wanted), missing);
        let of_two = [row(1).device, row(2).device];
        let found = table.after(Some(PackNumber(3)), Some(&of_two), 3);
        let numbers: Vec<u32> = found.iter().map(|(n, _)| n.0).collect();
        assert_eq!(numbers, [4, 5, 8]);
    }

    #[test]
    fn damaged_packs_are_there_and_missing() {
        let mut table = PackTable::default();
        for number in 0..4 {
            table.insert(&row(number)).unwrap();
        }
        let set = |numbers: &[u32]| numbers.iter().copied().map(PackNumber).collect::<PackSet>();
        table.mark(PackNumber(2), true);
        table.mark(PackNumber(9), true);
        assert_eq!((table.live(), table.damaged()), (set(&[0, 1, 3]), set(&[2])));
        assert_eq!(table.missing(&set(&[1, 2, 9])), set(&[2, 9]));
        assert_eq!(table.find(&row(2).id), Some(PackNumber(2)));
        assert_eq!(table.after(None, None, 9).len(), 4);
        table.mark(PackNumber(2), false);
        assert_eq!(table.missing(&set(&[1, 2])), set(&[]));
        table.skip_to(PackNumber(70));
        table.skip_to(PackNumber(60));
        assert_eq!(table.next(), 70);
    }

    #[test]
    fn refuses_what_cannot_be() {
        let mut table = PackTable::default();
        table.insert(&row(1)).unwrap();
        assert_eq!(table.insert(&row(1)), Err(TableError::Twice(PackNumber(1))));
        let same_id = PackRow { number: PackNumber(2), ..row(1) };
        assert_eq!(table.insert(&same_id), Err(TableError::Twice(PackNumber(2))));
        assert_eq!(table.insert(&row(u32::MAX)), Err(TableError::Gap(PackNumber(u32::MAX))));
    }
}
