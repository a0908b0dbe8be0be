//! The packs of an account, in memory: about fifty bytes each.

use roaring::RoaringBitmap;
use unseen_common::id::{DeviceId, PackId, PackNumber};
use unseen_common::packset::PackSet;
use unseen_common::time::Timestamp;

use crate::store::row::PackRow;

/// Numbers are dense; one so far above the rest is damage, and memory is not spent on it.
const MAX_GAP: u32 = 1 << 20;
const EMPTY: u32 = u32::MAX;
/// Numbers of one page: 2 to this power.
const PAGE_BITS: u32 = 12;

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
    number: u32,
    id: PackId,
    device: u16,
    length_log2: u8,
    footer_log2: u8,
    /// When it was last sent, in minutes since 1970, rounded up.
    stamp: u32,
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
    /// Pages of numbers; in each the packs that are there, ascending.
    pages: Vec<Vec<Slot>>,
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
        if number > self.next.saturating_add(MAX_GAP) || number == EMPTY {
            return Err(TableError::Gap(row.number));
        }
        if self.there.contains(number) || self.find(&row.id).is_some() {
            return Err(TableError::Twice(row.number));
        }
        let slot = Slot {
            number,
            id: row.id,
            device: self.device_place(row.device)?,
            length_log2: log2(row.length),
            footer_log2: log2(row.footer_len),
            stamp: minutes(row.received),
        };
        self.grow();
        let page = page_of(number);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, Vec::new);
        }
        if let Some(page) = self.pages.get_mut(page)
            && let Err(place) = page.binary_search_by_key(&number, |slot| slot.number)
        {
            page.insert(place, slot);
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

    /// Notes that a pack was sent again.
    pub(super) fn touch(&mut self, number: PackNumber, at: Timestamp) {
        if let Some(page) = self.pages.get_mut(page_of(number.0))
            && let Ok(place) = page.binary_search_by_key(&number.0, |slot| slot.number)
            && let Some(slot) = page.get_mut(place)
        {
            slot.stamp = slot.stamp.max(minutes(at));
        }
    }

    /// When a pack was last sent: not before it was, and less than a minute after it was.
    pub(super) fn stamp(&self, number: PackNumber) -> Option<Timestamp> {
        let slot = self.slot(number.0)?;
        Some(Timestamp(u64::from(slot.stamp).saturating_mul(60)))
    }

    /// Forgets packs; tells those that were there. Their numbers stay used.
    pub(super) fn remove(&mut self, packs: &PackSet) -> Vec<(PackNumber, PackId)> {
        let mut gone = Vec::new();
        let mut bytes = 0_u64;
        let first = packs.0.min().map_or(0, page_of);
        let last = packs.0.max().map_or(0, |last| page_of(last) + 1).min(self.pages.len());
        for page in self.pages.get_mut(first..last).unwrap_or_default() {
            page.retain(|slot| {
                let goes = packs.0.contains(slot.number);
                if goes {
                    gone.push((PackNumber(slot.number), slot.id));
                    bytes = bytes.saturating_add(1 << slot.length_log2);
                }
                !goes
            });
            if page.len() < page.capacity() / 2 {
                page.shrink_to_fit();
            }
        }
        self.there -= &packs.0;
        self.damaged -= &packs.0;
        self.bytes = self.bytes.saturating_sub(bytes);
        // What still points at them in `by_id` finds nothing, and goes when the table grows.
        if self.there.len().saturating_mul(8) < u64::try_from(self.by_id.len()).unwrap_or(u64::MAX)
        {
            self.relink();
        }
        gone
    }

    /// All packs that are there, damaged ones too.
    pub(super) fn there(&self) -> &RoaringBitmap {
        &self.there
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
        let page = self.pages.get(page_of(number))?;
        // Most pages have no holes.
        let guess = usize::try_from(number & ((1 << PAGE_BITS) - 1)).ok()?;
        if let Some(slot) = page.get(guess).filter(|slot| slot.number == number) {
            return Some(slot);
        }
        page.get(page.binary_search_by_key(&number, |slot| slot.number).ok()?)
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
        self.relink();
    }

    fn relink(&mut self) {
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

fn page_of(number: u32) -> usize {
    usize::try_from(number >> PAGE_BITS).unwrap_or(usize::MAX)
}

fn minutes(moment: Timestamp) -> u32 {
    u32::try_from(moment.0.div_ceil(60)).unwrap_or(u32::MAX)
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
    fn removed_packs_are_gone_and_their_numbers_stay_used() {
        let mut table = PackTable::default();
        for number in 0..20_000 {
            table.insert(&row(number)).unwrap();
        }
        let (_, all) = table.totals();
        let most: PackSet = (0..20_000).filter(|n| n % 500 != 1).map(PackNumber).collect();
        let gone = table.remove(&most);
        assert_eq!(gone.len(), 19_960);
        assert_eq!(gone[0], (PackNumber(0), row(0).id));
        assert!(table.remove(&most).is_empty());
        let (count, bytes) = table.totals();
        let left: u64 = (0..20_000).filter(|n| n % 500 == 1).map(|n| row(n).length).sum();
        assert_eq!((count, bytes), (40, left));
        assert!(bytes < all);
        for number in 0..20_000 {
            let there = number % 500 == 1;
            assert_eq!(table.get(PackNumber(number)).is_some(), there);
            assert_eq!(table.find(&row(number).id), there.then_some(PackNumber(number)));
        }
        assert_eq!(table.next(), 20_000);
        assert!(table.by_id.len() < 1000 && table.pages.iter().all(|p| p.capacity() < 100));
        // The same pack again, under another number.
        table.insert(&PackRow { number: PackNumber(20_000), ..row(7) }).unwrap();
        assert_eq!(table.find(&row(7).id), Some(PackNumber(20_000)));
    }

    #[test]
    fn stamps_are_rounded_up_and_never_fall() {
        let mut table = PackTable::default();
        table.insert(&PackRow { received: Timestamp(61), ..row(0) }).unwrap();
        assert_eq!(table.stamp(PackNumber(0)), Some(Timestamp(120)));
        table.touch(PackNumber(0), Timestamp(600));
        table.touch(PackNumber(0), Timestamp(60));
        table.touch(PackNumber(5), Timestamp(60));
        assert_eq!(table.stamp(PackNumber(0)), Some(Timestamp(600)));
        assert_eq!(table.stamp(PackNumber(5)), None);
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
