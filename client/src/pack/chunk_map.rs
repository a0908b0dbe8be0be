//! Which of many packs may hold a chunk, in four bytes a chunk: a reader who wants little looks in
//! here and fetches the tables of contents of a few packs alone.
//!
//! A map is a hint. It names packs that may hold a chunk; what holds it is told by their tables, and
//! a chunk that no map knows is looked for in all tables.
//!
//! ```text
//! "UNSEENC1" | row ...                      numbers strictly ascending
//! row   number u32 | pack id 32 | log2 of the length u8 | log2 of the footer's length u8
//!     | count u32 | count times the first four bytes of a chunk's id, strictly ascending as u32 LE
//! ```

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::ops::Range;

use roaring::RoaringBitmap;
use unseen_common::id::{PackId, PackNumber};
use unseen_common::limits::{footer_size_ok, on_ladder};

use crate::crypto::content_id::ChunkId;

const MAGIC: &[u8; 8] = b"UNSEENC1";
/// Bytes of a row without the starts of its chunks.
const ROW: usize = 4 + 32 + 1 + 1 + 4;
/// Longest map, in bytes: with its pack's ends it just fits a pack of 1 MiB.
pub const MAX_MAP: usize = (1 << 20) - (8 << 10);

/// A map that breaks the rules of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a map of chunks is malformed: {0}")]
pub struct ChunkMapError(&'static str);

/// What a map says of a pack besides its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedPack {
    /// Its number.
    pub number: PackNumber,
    /// Its name.
    pub id: PackId,
    /// Length of the whole pack, in bytes: a power of two.
    pub length: u64,
    /// Length of the sealed footer, in bytes: a power of two.
    pub footer: u64,
}

/// Packs, and the starts of the ids of their chunks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkMap {
    rows: Vec<(MappedPack, Range<usize>)>,
    starts: Vec<u32>,
}

/// The part of an id that a map has.
pub fn start_of(id: &ChunkId) -> u32 {
    u32::from_le_bytes(*id.0.first_chunk().expect("an id has 32 bytes"))
}

impl ChunkMap {
    /// Adds a pack, whose number is above all others. Takes nothing, and answers false, if the map
    /// would become too long.
    pub fn push(&mut self, pack: MappedPack, mut starts: Vec<u32>) -> bool {
        starts.sort_unstable();
        starts.dedup();
        let more = starts.len().saturating_mul(4).saturating_add(ROW);
        if self.size().saturating_add(more) > MAX_MAP {
            return false;
        }
        self.add(pack, &starts);
        true
    }

    fn add(&mut self, pack: MappedPack, starts: &[u32]) {
        let from = self.starts.len();
        self.starts.extend_from_slice(starts);
        self.rows.push((pack, from..self.starts.len()));
    }

    /// Whether no pack is in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its length, in bytes.
    pub fn size(&self) -> usize {
        let rows = self.rows.len().saturating_mul(ROW);
        MAGIC.len().saturating_add(rows).saturating_add(self.starts.len().saturating_mul(4))
    }

    /// The numbers of its packs.
    pub fn numbers(&self) -> RoaringBitmap {
        self.rows.iter().map(|(pack, _)| pack.number.0).collect()
    }

    /// What it says of a pack.
    pub fn pack(&self, number: PackNumber) -> Option<&MappedPack> {
        let at = self.rows.binary_search_by_key(&number, |(pack, _)| pack.number).ok()?;
        self.rows.get(at).map(|(pack, _)| pack)
    }

    /// The packs that may hold a chunk, ascending.
    pub fn may_hold(&self, id: &ChunkId) -> impl Iterator<Item = &MappedPack> {
        let start = start_of(id);
        let holds = move |range: &Range<usize>| {
            let starts = self.starts.get(range.clone()).unwrap_or_default();
            starts.binary_search(&start).is_ok()
        };
        self.rows.iter().filter(move |(_, range)| holds(range)).map(|(pack, _)| pack)
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        out.extend_from_slice(MAGIC);
        for (pack, range) in &self.rows {
            let starts = self.starts.get(range.clone()).unwrap_or_default();
            out.extend_from_slice(&pack.number.0.to_le_bytes());
            out.extend_from_slice(pack.id.as_bytes());
            out.extend_from_slice(&[log2(pack.length), log2(pack.footer)]);
            let count = u32::try_from(starts.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&count.to_le_bytes());
            for start in starts {
                out.extend_from_slice(&start.to_le_bytes());
            }
        }
        out
    }

    /// Reads a map; only what [`Self::to_bytes`] writes is accepted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChunkMapError> {
        let refused = |what| Err(ChunkMapError(what));
        if bytes.len() > MAX_MAP {
            return refused("it is too long");
        }
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(ChunkMapError("it is none"))?;
        let (mut map, mut starts) = (Self::default(), Vec::new());
        while !rest.is_empty() {
            let (pack, count, more) = row(rest).ok_or(ChunkMapError("it is cut short"))?;
            if !on_ladder(pack.length) || !footer_size_ok(pack.footer) {
                return refused("a length that no pack has");
            }
            if map.rows.last().is_some_and(|(last, _)| last.number >= pack.number) {
                return refused("its packs are out of order");
            }
            let split = count.checked_mul(4).and_then(|length| more.split_at_checked(length));
            let (chunks, more) = split.ok_or(ChunkMapError("it is cut short"))?;
            starts.clear();
            starts.extend(chunks.as_chunks().0.iter().map(|start| u32::from_le_bytes(*start)));
            if starts.is_empty() || !starts.is_sorted_by(|a, b| a < b) {
                return refused("chunks that are none, or out of order");
            }
            map.add(pack, &starts);
            rest = more;
        }
        if map.is_empty() { refused("no pack is in it") } else { Ok(map) }
    }
}

fn row(bytes: &[u8]) -> Option<(MappedPack, usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk::<32>()?;
    let ([length, footer], rest) = rest.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let pack = MappedPack {
        number: PackNumber(u32::from_le_bytes(*number)),
        id: PackId::from_bytes(*id),
        length: 1_u64.checked_shl(u32::from(*length))?,
        footer: 1_u64.checked_shl(u32::from(*footer))?,
    };
    Some((pack, usize::try_from(u32::from_le_bytes(*count)).ok()?, rest))
}

fn log2(length: u64) -> u8 {
    u8::try_from(length.trailing_zeros()).unwrap_or(u8::MAX)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests index what they made")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn pack(number: u32) -> MappedPack {
        let id = PackId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
        MappedPack { number: PackNumber(number), id, length: 1 << 20, footer: 4096 }
    }

    fn chunk(start: u32) -> ChunkId {
        let mut id = [7; 32];
        id[..4].copy_from_slice(&start.to_le_bytes());
        ChunkId(id)
    }

    fn map(packs: &BTreeMap<u32, BTreeSet<u32>>) -> ChunkMap {
        let mut map = ChunkMap::default();
        for (number, starts) in packs {
            assert!(map.push(pack(*number), starts.iter().rev().copied().collect()));
        }
        map
    }

    #[test]
    fn one_that_is_full_takes_no_more_and_fits_a_pack() {
        let most = u32::try_from((MAX_MAP - MAGIC.len() - ROW) / 4).unwrap();
        let mut map = ChunkMap::default();
        assert!(!map.push(pack(1), (0..=most).collect()) && map.is_empty());
        assert!(map.push(pack(1), (0..most).collect()));
        assert!(map.size() > MAX_MAP - 4);
        assert!(!map.push(pack(2), vec![1]));
        assert_eq!(ChunkMap::from_bytes(&map.to_bytes()).unwrap(), map);
        let long = u64::try_from(MAX_MAP).unwrap();
        assert_eq!(crate::pack::ladder::pack_len(long + 16, 64), Some(1 << 20));
        let longer = vec![0; MAX_MAP + 1];
        assert_eq!(ChunkMap::from_bytes(&longer), Err(ChunkMapError("it is too long")));
    }

    #[test]
    fn what_is_out_of_order_or_no_pack_is_refused() {
        let packs = BTreeMap::from([(3, BTreeSet::from([1, 2])), (4, BTreeSet::from([9]))]);
        let good = map(&packs).to_bytes();
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bad = good.clone();
            change(&mut bad);
            ChunkMap::from_bytes(&bad).unwrap_err().0
        };
        assert_eq!(refused(&|map| map[0] = 0), "it is none");
        assert_eq!(refused(&|map| map.truncate(8)), "no pack is in it");
        assert_eq!(refused(&|map| map[8] = 4), "its packs are out of order");
        assert_eq!(refused(&|map| map[44] = 15), "a length that no pack has");
        assert_eq!(refused(&|map| map[45] = 11), "a length that no pack has");
        assert_eq!(refused(&|map| map[44] = 64), "it is cut short");
        assert_eq!(refused(&|map| map[49] = 1), "it is cut short");
        assert_eq!(refused(&|map| map[50] = 2), "chunks that are none, or out of order");
        assert_eq!(refused(&|map| map.push(0)), "it is cut short");
        let empty = [&good[..46], &[0; 4]].concat();
        let error = ChunkMap::from_bytes(&empty).unwrap_err();
        assert_eq!(error.0, "chunks that are none, or out of order");
    }

    proptest! {
        #[test]
        fn packs_with_a_chunk_are_found_and_bytes_are_one_form(
            packs in btree_map(0..1000_u32, btree_set(0..50_u32, 1..20), 1..20),
            asked in 0..60_u32,
            (at, by) in (any::<prop::sample::Index>(), 1..=255_u8),
        ) {
            let map = map(&packs);
            let holding: Vec<u32> =
                packs.iter().filter(|(_, s)| s.contains(&asked)).map(|(n, _)| *n).collect();
            let found: Vec<u32> = map.may_hold(&chunk(asked)).map(|pack| pack.number.0).collect();
            prop_assert_eq!(found, holding);
            let mut bytes = map.to_bytes();
            prop_assert_eq!(bytes.len(), map.size());
            prop_assert_eq!(&ChunkMap::from_bytes(&bytes).unwrap(), &map);
            let at = at.index(bytes.len());
            if let Ok(part) = ChunkMap::from_bytes(&bytes[..at]) {
                prop_assert_eq!(part.size(), at, "it ends behind a row");
            }
            bytes[at] ^= by;
            if let Ok(other) = ChunkMap::from_bytes(&bytes) {
                prop_assert_eq!(other.to_bytes(), bytes);
            }
        }

        #[test]
        fn whatever_is_read_is_written_the_same(tail in vec(any::<u8>(), 0..200)) {
            let bytes = [&MAGIC[..], &tail].concat();
            if let Ok(map) = ChunkMap::from_bytes(&bytes) {
                prop_assert_eq!(map.to_bytes(), bytes);
            }
        }
    }
}
