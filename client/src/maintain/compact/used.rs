//! Which chunks of which packs somebody needs: 8 bytes a chunk, and a fourth more while it grows.

use std::collections::BTreeMap;

use unseen_common::id::PackNumber;

use crate::crypto::content_id::ChunkId;

/// Chunks in use, by pack.
///
/// Only the start of an id is kept. Two chunks of one pack that share it pass for one, so one of
/// them may be kept that nobody needs; none is ever taken for unused that is used.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeMap<PackNumber, Marks>);

#[derive(Debug, Default)]
struct Marks {
    /// Ascending, each once.
    sorted: Vec<Mark>,
    /// In the order in which they came.
    fresh: Vec<Mark>,
}

/// The start of an id, and the chunk's length in bytes.
type Mark = (u32, u32);

/// So many marks may always wait to be sorted in.
const FEW: usize = 64;

impl Used {
    /// Somebody needs this chunk, of so many bytes, from this pack.
    pub(super) fn add(&mut self, pack: PackNumber, id: &ChunkId, length: u32) {
        let marks = self.0.entry(pack).or_default();
        marks.fresh.push((start(id), length));
        if marks.fresh.len() >= FEW.max(marks.sorted.len() / 4) {
            marks.settle();
        }
    }

    /// To be called when all have been added.
    pub(super) fn settle(&mut self) {
        for marks in self.0.values_mut() {
            marks.settle();
            marks.sorted.shrink_to_fit();
        }
    }

    /// Whether anybody needs this chunk from this pack.
    pub(super) fn holds(&self, pack: PackNumber, id: &ChunkId) -> bool {
        let found = |marks: &Marks| marks.sorted.binary_search_by_key(&start(id), |m| m.0).is_ok();
        self.0.get(&pack).is_some_and(found)
    }

    /// Bytes of the chunks of a pack that are needed, decompressed.
    pub(super) fn raw(&self, pack: PackNumber) -> u64 {
        let sum = |marks: &Marks| marks.sorted.iter().map(|mark| u64::from(mark.1)).sum();
        self.0.get(&pack).map_or(0, sum)
    }
}

impl Marks {
    fn settle(&mut self) {
        self.sorted.append(&mut self.fresh);
        self.fresh.shrink_to(FEW);
        self.sorted.sort_unstable();
        self.sorted.dedup_by_key(|mark| mark.0);
    }
}

fn start(id: &ChunkId) -> u32 {
    u32::from_le_bytes(*id.0.first_chunk().expect("an id has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(number: u32) -> ChunkId {
        ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    proptest! {
        #[test]
        fn what_was_added_is_held_once(added in prop::collection::vec((0_u32..4, 0_u32..300), 0..900)) {
            let mut used = Used::default();
            let mut model = BTreeSet::new();
            for (pack, chunk) in added {
                used.add(PackNumber(pack), &id(chunk), 100 + chunk);
                model.insert((pack, chunk));
            }
            used.settle();
            for pack in 0..5 {
                let mine = model.iter().filter(|(p, _)| *p == pack);
                let raw: u64 = mine.map(|(_, chunk)| u64::from(100 + chunk)).sum();
                prop_assert_eq!(used.raw(PackNumber(pack)), raw);
                for chunk in 0..310 {
                    let held = used.holds(PackNumber(pack), &id(chunk));
                    prop_assert_eq!(held, model.contains(&(pack, chunk)));
                }
            }
        }
    }

    #[test]
    fn ten_million_chunks_take_little_more_than_eight_bytes_each() {
        let mut used = Used::default();
        let mut most = 0;
        let mut n: u32 = 0;
        for round in 0..200_u32 {
            for chunk in 0..500 {
                // Seen again in each round: it counts once.
                used.add(PackNumber(1), &id(chunk), 1);
                used.add(PackNumber(2), &id(1000 + round * 500 + chunk), 1);
                n += 1;
            }
            let held = |m: &Marks| m.sorted.capacity() + m.fresh.capacity();
            most = most.max(used.0.values().map(held).sum::<usize>());
        }
        let chunks = usize::try_from(n).unwrap() + 500;
        assert!(most < chunks * 3, "{most} marks for {chunks} chunks");
        used.settle();
        assert!(used.0[&PackNumber(2)].sorted.capacity() < chunks * 5 / 4);
        assert_eq!(used.raw(PackNumber(1)), 500);
    }
}
