//! Which bytes of a pack to fetch, and those that were fetched.
//!
//! A server that saw requests for single chunks would learn where chunks begin. So requests are for
//! whole packs or for runs of aligned blocks.

use std::ops::Range;

use bytes::Bytes;
use unseen_common::limits::MAX_PACK;

/// Requests begin and end at multiples of this, or at the end of the pack. In bytes.
pub const BLOCK: u64 = 256 * 1024;
/// Blocks that are fetched although nobody wants them, rather than making another request.
const GAP: u32 = 2;

/// Some blocks of a pack of at most 64 of them, as a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Blocks(u64);

impl Blocks {
    fn covering(range: &Range<u64>) -> Self {
        let end = range.end.min(MAX_PACK).div_ceil(BLOCK);
        let blocks = (range.start / BLOCK)..end;
        Self(blocks.fold(0, |bits, block| bits | 1_u64 << block))
    }

    fn of(length: u64) -> Self {
        Self::covering(&(0..length))
    }

    fn has(self, block: u32) -> bool {
        self.0.checked_shr(block).is_some_and(|bits| bits & 1 == 1)
    }

    /// Adds blocks between two others where few lie between.
    fn bridged(self) -> Self {
        let (mut bits, mut last) = (self.0, None::<u32>);
        for block in (0..64).filter(|block| self.has(*block)) {
            if let Some(last) = last.filter(|last| block - last - 1 <= GAP) {
                bits = (last..block).fold(bits, |bits, between| bits | 1 << between);
            }
            last = Some(block);
        }
        Self(bits)
    }

    /// Runs of blocks as bytes of a pack of this length.
    fn runs(self, length: u64) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for block in (0..64).filter(|block| self.has(*block)) {
            let start = u64::from(block) * BLOCK;
            let end = (start + BLOCK).min(length);
            match runs.last_mut() {
                Some(run) if run.end == start => run.end = end,
                _ => runs.push(start..end),
            }
        }
        runs
    }
}

/// Parts of one pack, in order, not overlapping.
#[derive(Debug, Default, Clone)]
pub struct Pieces(Vec<(u64, Bytes)>);

impl Pieces {
    /// What is to be fetched of a pack of `length` bytes so that all of `wanted` is here.
    ///
    /// All that is not here yet, if most of it is wanted.
    pub fn lacking(&self, wanted: &[Range<u64>], length: u64) -> Vec<Range<u64>> {
        let here = self.blocks(length).0;
        let all = Blocks::of(length);
        let wanted = wanted.iter().fold(0, |bits, range| bits | Blocks::covering(range).0);
        let need = Blocks(wanted & !here & all.0);
        if need.0 == 0 {
            return Vec::new();
        }
        let rest = all.0 & !here;
        let most = need.0.count_ones() * 8 >= rest.count_ones() * 7;
        let fetch = if most { rest } else { need.bridged().0 & rest };
        Blocks(fetch).runs(length)
    }

    /// Adds what was fetched.
    pub fn add(&mut self, start: u64, bytes: Bytes) {
        let at = self.0.partition_point(|(known, _)| *known < start);
        self.0.insert(at, (start, bytes));
    }

    /// Replaces the content of `out` by these bytes of the pack; false if some are not here.
    pub fn copy(&self, range: &Range<u64>, out: &mut Vec<u8>) -> bool {
        out.clear();
        let mut at = range.start;
        for (start, bytes) in &self.0 {
            let Some(skip) = at.checked_sub(*start) else {
                return false;
            };
            let (Ok(skip), Ok(wanted)) =
                (usize::try_from(skip), usize::try_from(range.end.saturating_sub(at)))
            else {
                return false;
            };
            if let Some(rest) = bytes.get(skip..) {
                let part = rest.get(..wanted).unwrap_or(rest);
                out.extend_from_slice(part);
                at = at.saturating_add(length_of(part));
            }
            if at >= range.end {
                return true;
            }
        }
        at >= range.end
    }

    /// A copy of what is here from the block on that holds byte `from`.
    #[must_use]
    pub fn after(&self, from: u64) -> Self {
        let from = from / BLOCK * BLOCK;
        let kept = self.0.iter().filter_map(|(start, bytes)| {
            let skip = usize::try_from(from.saturating_sub(*start)).ok()?;
            let rest = bytes.get(skip..).filter(|rest| !rest.is_empty())?;
            // A slice of it would keep all of it in memory.
            Some(((*start).max(from), Bytes::copy_from_slice(rest)))
        });
        Self(kept.collect())
    }

    /// Drops what is farthest from a place until no more than `limit` bytes are left.
    pub fn trim(&mut self, around: u64, limit: u64) {
        while self.len() > limit {
            let first = self.0.first().map_or(0, |(start, _)| around.abs_diff(*start));
            let last = self.0.last().map_or(0, |(start, _)| around.abs_diff(*start));
            if first >= last {
                self.0.remove(0);
            } else {
                self.0.pop();
            }
        }
    }

    /// How many bytes they are.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| length_of(bytes)).sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of these bytes are here.
    pub fn has(&self, range: &Range<u64>) -> bool {
        let mut at = range.start;
        for (start, bytes) in &self.0 {
            if *start > at {
                break;
            }
            at = at.max(start.saturating_add(length_of(bytes)));
        }
        at >= range.end
    }

    /// The blocks that are here, of a pack of so many bytes.
    fn blocks(&self, length: u64) -> Blocks {
        let covered = self.0.iter().map(|(start, bytes)| {
            let end = start.saturating_add(length_of(bytes));
            // The last block ends with the pack; any other that is here in part is not here.
            let end = if end >= length { length } else { end / BLOCK * BLOCK };
            Blocks::covering(&(start.div_ceil(BLOCK) * BLOCK..end)).0
        });
        Blocks(covered.fold(0, |bits, more| bits | more))
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const K: u64 = 1024;

    fn pack(length: u64) -> Vec<u8> {
        (0..length).map(|n| n.to_le_bytes()[1]).collect()
    }

    fn fetch(pieces: &mut Pieces, pack: &[u8], wanted: &[Range<u64>]) -> Vec<Range<u64>> {
        let length = u64::try_from(pack.len()).unwrap();
        let runs = pieces.lacking(wanted, length);
        for run in &runs {
            let place = usize::try_from(run.start).unwrap()..usize::try_from(run.end).unwrap();
            pieces.add(run.start, Bytes::copy_from_slice(&pack[place]));
        }
        runs
    }

    #[test]
    fn requests_are_aligned_runs_or_all_of_it() {
        let length = 16 * 1024 * K;
        let none = Pieces::default();
        let lacking = |wanted: &[Range<u64>]| none.lacking(wanted, length);
        assert_eq!(lacking(&[300 * K..301 * K]), [256 * K..512 * K]);
        assert_eq!(lacking(&[255 * K..257 * K]), [0..512 * K]);
        // Two blocks between are fetched as well, three are not.
        assert_eq!(lacking(&[0..1, 768 * K..769 * K]), [0..1024 * K]);
        assert_eq!(lacking(&[0..1, 1024 * K..1025 * K]), [0..256 * K, 1024 * K..1280 * K]);
        assert_eq!(lacking(&[0..14 * 1024 * K]), [0..length]);
        assert_eq!(none.lacking(&[5..6], 64 * K), [0..64 * K]);
        assert!(lacking(&[]).is_empty());
    }

    #[test]
    fn nothing_is_fetched_twice() {
        let bytes = pack(4 * 1024 * K);
        let mut pieces = Pieces::default();
        assert_eq!(fetch(&mut pieces, &bytes, &[0..1245]), [0..256 * K]);
        assert!(fetch(&mut pieces, &bytes, &[10..200]).is_empty());
        let end = [3 * 1024 * K + 1..4 * 1024 * K];
        assert_eq!(fetch(&mut pieces, &bytes, &end), [3 * 1024 * K..4 * 1024 * K]);
        let middle = [100..3 * 1024 * K];
        assert_eq!(fetch(&mut pieces, &bytes, &middle), [256 * K..3 * 1024 * K]);
        assert_eq!(pieces.len(), 4 * 1024 * K);
        pieces.trim(3 * 1024 * K, 2 * 1024 * K);
        assert_eq!(pieces.len(), 1024 * K);
        assert!(pieces.copy(&(3 * 1024 * K..4 * 1024 * K), &mut Vec::new()));
    }

    #[test]
    fn what_comes_after_begins_with_a_block() {
        let bytes = pack(1024 * K);
        let mut pieces = Pieces::default();
        fetch(&mut pieces, &bytes, &[0..512 * K]);
        fetch(&mut pieces, &bytes, &[768 * K..769 * K]);
        let after = |from| {
            let after = pieces.after(from);
            after.0.iter().map(|(start, bytes)| (*start / K, bytes.len())).collect::<Vec<_>>()
        };
        let block = usize::try_from(BLOCK).unwrap();
        assert_eq!(after(0), [(0, 2 * block), (768, block)]);
        assert_eq!(after(256 * K - 1), [(0, 2 * block), (768, block)]);
        assert_eq!(after(256 * K), [(256, block), (768, block)]);
        assert_eq!(after(512 * K), [(768, block)]);
        assert_eq!(after(1024 * K), []);
        let mut rest = pieces.after(300 * K);
        assert_eq!(fetch(&mut rest, &bytes, &[300 * K..1024 * K]), [512 * K..768 * K]);
        let mut out = Vec::new();
        assert!(rest.copy(&(300 * K..1024 * K), &mut out));
        assert_eq!(out, &bytes[300 * 1024..]);
    }

    #[test]
    fn a_block_that_is_here_in_part_is_fetched_when_the_rest_of_it_is_wanted() {
        let bytes = pack(1024 * K);
        let (content, mut pieces) = (900 * K, Pieces::default());
        assert_eq!(pieces.lacking(&[0..content], content), [0..content]);
        pieces.add(0, Bytes::copy_from_slice(&bytes[..900 * 1024]));
        assert!(pieces.has(&(0..content)) && !pieces.has(&(0..content + 1)));
        assert!(pieces.lacking(&[5..content], content).is_empty());
        assert_eq!(fetch(&mut pieces, &bytes, &[950 * K..1024 * K]), [768 * K..1024 * K]);
        let mut out = Vec::new();
        assert!(pieces.copy(&(700 * K..1024 * K), &mut out));
        assert_eq!(out, &bytes[700 * 1024..]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn whatever_was_fetched_is_there(
            exponent in 16_u32..=23,
            wanted in prop::collection::vec((0_u64..1 << 24, 1_u64..3 << 20), 1..6),
        ) {
            let length = 1_u64 << exponent;
            let bytes = pack(length);
            let wanted: Vec<Range<u64>> = wanted
                .into_iter()
                .map(|(start, size)| {
                    let start = start % length;
                    start..(start + size).min(length)
                })
                .collect();
            let mut pieces = Pieces::default();
            for range in &wanted {
                fetch(&mut pieces, &bytes, std::slice::from_ref(range));
            }
            prop_assert!(pieces.len() <= length);
            let mut out = Vec::new();
            for range in &wanted {
                prop_assert!(pieces.copy(range, &mut out));
                let place = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
                prop_assert_eq!(&out, &bytes[place]);
            }
            prop_assert!(!pieces.copy(&(length - 1..length + 1), &mut out));
        }
    }
}
