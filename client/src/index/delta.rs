//! The newest records, in RAM: a list, and a hash table of positions in it.

use super::record::{Record, word};
use crate::crypto::content_id::ChunkId;

/// About 50 bytes a record.
#[derive(Debug, Default)]
pub(super) struct Delta {
    records: Vec<Record>,
    /// Position plus one of a record, or 0. A power of two long, at most half full.
    slots: Vec<u32>,
}

impl Delta {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn ram_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>() + self.slots.capacity() * size_of::<u32>()
    }

    /// The first pack with this chunk that `accept` agrees to.
    pub(super) fn find(&self, id: &ChunkId, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        self.chain(id).find(|record| record.id == *id && accept(record.pack)).map(|r| r.pack)
    }

    /// Adds a record unless it is there.
    pub(super) fn insert(&mut self, record: Record) {
        if self.chain(&record.id).any(|known| *known == record) {
            return;
        }
        self.records.push(record);
        if self.records.len() * 2 > self.slots.len() {
            self.rebuild();
        } else {
            self.take_slot(self.records.len() - 1);
        }
    }

    /// All records in order.
    pub(super) fn sorted(&self) -> impl Iterator<Item = Record> {
        // The first bytes of ids mostly tell them apart, and are compared quickly.
        let key = |record: &Record| word(&record.id, 0);
        let mut order: Vec<(u64, u32)> = self.records.iter().map(key).zip(0..).collect();
        order.sort_unstable_by(|(a, at), (b, other)| {
            a.cmp(b).then_with(|| self.at(*at).cmp(&self.at(*other)))
        });
        order.into_iter().filter_map(|(_, position)| self.at(position).copied())
    }

    /// Records whose slot may be the one of `id`.
    fn chain(&self, id: &ChunkId) -> impl Iterator<Item = &Record> {
        let start = self.slot_of(id);
        let (before, from) = self.slots.split_at(start);
        from.iter()
            .chain(before)
            .map_while(|slot| slot.checked_sub(1))
            .filter_map(|position| self.at(position))
    }

    fn at(&self, position: u32) -> Option<&Record> {
        usize::try_from(position).ok().and_then(|position| self.records.get(position))
    }

    /// Where the search for an id begins. Ids are keyed hashes, so any of their bits would do;
    /// multiplying keeps made-up ids apart as well.
    fn slot_of(&self, id: &ChunkId) -> usize {
        let Some(bits) = self.slots.len().checked_ilog2().filter(|bits| *bits > 0) else {
            return 0;
        };
        let hash = word(id, 0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits);
        usize::try_from(hash).unwrap_or_default()
    }

    fn rebuild(&mut self) {
        let length = (self.records.len() * 2).next_power_of_two().max(64);
        self.slots.clear();
        self.slots.resize(length, 0);
        for position in 0..self.records.len() {
            self.take_slot(position);
        }
    }

    fn take_slot(&mut self, position: usize) {
        let Some(start) = self.records.get(position).map(|record| self.slot_of(&record.id)) else {
            return;
        };
        let (before, from) = self.slots.split_at_mut(start);
        if let Some(free) = from.iter_mut().chain(before).find(|slot| **slot == 0) {
            *free = u32::try_from(position + 1).expect("flushed long before 4 G records");
        }
    }
}
