//! A blocked Bloom filter: ten bits a record, one cache line a question.
//!
//! About one unknown chunk in a hundred gets past it and costs the reading of a block.

use super::record::word;
use crate::crypto::content_id::ChunkId;

const LINE: usize = 64;
const BITS_A_RECORD: u64 = 10;
/// Bits that a record sets, nine bits of its id each.
const PROBES: u32 = 7;

#[repr(align(64))]
#[derive(Debug, Clone)]
struct Line([u8; LINE]);

#[derive(Debug, Default)]
pub(super) struct Filter {
    lines: Vec<Line>,
}

impl Filter {
    /// Length in bytes of the filter of so many records.
    pub(super) fn bytes_for(records: u64) -> u64 {
        (records * BITS_A_RECORD).div_ceil(512).max(1) * 64
    }

    /// An empty one; `None` if it would not fit the address space.
    pub(super) fn new(records: u64) -> Option<Self> {
        let lines = usize::try_from(Self::bytes_for(records)).ok()? / LINE;
        Some(Self { lines: vec![Line([0; LINE]); lines] })
    }

    pub(super) fn insert(&mut self, id: &ChunkId) {
        let line = self.line_of(id);
        if let Some(line) = self.lines.get_mut(line) {
            for (byte, bit) in probes(id) {
                if let Some(byte) = line.0.get_mut(byte) {
                    *byte |= bit;
                }
            }
        }
    }

    /// False only if `id` was never inserted.
    pub(super) fn may_contain(&self, id: &ChunkId) -> bool {
        self.lines.get(self.line_of(id)).is_none_or(|line| {
            probes(id).all(|(byte, bit)| line.0.get(byte).is_some_and(|byte| byte & bit != 0))
        })
    }

    /// The filter as stored, piece by piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8; LINE]> {
        self.lines.iter().map(|line| &line.0)
    }

    pub(super) fn pieces_mut(&mut self) -> impl Iterator<Item = &mut [u8; LINE]> {
        self.lines.iter_mut().map(|line| &mut line.0)
    }

    pub(super) fn ram_bytes(&self) -> usize {
        self.lines.capacity() * LINE
    }

    /// Lines are in the order of ids, so a sorted list fills them from first to last.
    fn line_of(&self, id: &ChunkId) -> usize {
        let lines = u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        let line = (u128::from(word(id, 0)) * u128::from(lines)) >> 64;
        usize::try_from(line).unwrap_or(usize::MAX)
    }
}

/// Byte in the line, and mask in the byte, of every bit of `id`.
fn probes(id: &ChunkId) -> impl Iterator<Item = (usize, u8)> {
    let bits = word(id, 8);
    (0..PROBES).map(move |probe| {
        let [low, high, ..] = (bits >> (9 * probe)).to_le_bytes();
        (usize::from(low >> 3) | usize::from(high & 1) << 5, 1 << (low & 7))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ChunkId {
        ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn known_ids_pass_and_few_others_do() {
        let mut filter = Filter::new(20_000).unwrap();
        for number in 0..20_000 {
            filter.insert(&id(number));
        }
        assert!((0..20_000).all(|number| filter.may_contain(&id(number))));
        let wrong = (20_000..120_000).filter(|number| filter.may_contain(&id(*number))).count();
        assert!((500..1600).contains(&wrong), "{wrong} of 100 000");
    }

    #[test]
    fn ten_bits_a_record() {
        assert_eq!(Filter::bytes_for(0), 64);
        assert_eq!(Filter::bytes_for(51), 64);
        assert_eq!(Filter::bytes_for(52), 128);
        assert_eq!(Filter::bytes_for(1_000_000), 1_250_048);
        let lowest = ChunkId([0; 32]);
        let highest = ChunkId([0xff; 32]);
        let mut filter = Filter::new(1000).unwrap();
        filter.insert(&highest);
        assert!(filter.may_contain(&highest) && !filter.may_contain(&lowest));
    }
}
