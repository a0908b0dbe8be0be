//! What is left when no more comes: packs that are not full are joined, and what would leave much
//! of a large pack empty goes into several smaller ones.

use unseen_common::limits::MAX_PACK;

use super::open_packs::OpenPack;

/// A pack with more bytes of padding than this is split, if that helps.
const WASTE: u64 = 512 * 1024;
/// Bytes that each further pack must save.
const GAIN: u64 = 256 * 1024;

/// The same segments in as few bytes as a few packs allow.
pub fn settle(mut packs: Vec<OpenPack>) -> Vec<OpenPack> {
    let mut settled = Vec::new();
    packs.retain(|pack| !pack.builder.is_empty());
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.builder.needed()));
    while !packs.is_empty() {
        let mut fullest = packs.remove(0);
        while let Some(smallest) = packs.last_mut() {
            pour(smallest, &mut fullest, MAX_PACK);
            if !smallest.builder.is_empty() {
                break;
            }
            packs.pop();
        }
        split(fullest, &mut settled);
    }
    settled
}

/// Cuts off full packs of half the length, and half of that, unless that saves nothing.
fn split(mut pack: OpenPack, out: &mut Vec<OpenPack>) {
    let whole = pack.builder.length();
    let mut heads = Vec::new();
    while pack.builder.waste() > WASTE {
        let mut head = OpenPack::new(pack.builder.another());
        let half = pack.builder.length() / 2;
        pour(&mut pack, &mut head, half);
        if head.builder.is_empty() {
            break;
        }
        heads.push(head);
    }
    let cut: u64 = heads.iter().map(|head| head.builder.length() + GAIN).sum();
    if cut + pack.builder.length() > whole {
        for head in &mut heads {
            pour(head, &mut pack, MAX_PACK);
        }
    } else {
        out.append(&mut heads);
    }
    out.push(pack);
}

/// Moves what fits, until `into` would be longer than `length` bytes.
fn pour(from: &mut OpenPack, into: &mut OpenPack, length: u64) {
    let moved = from.builder.pour(&mut into.builder, length);
    let mut kept = Vec::new();
    for (handle, moved) in from.handles.drain(..).zip(moved) {
        if moved { &mut into.handles } else { &mut kept }.push(handle);
    }
    from.handles = kept;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::dedup::SegmentHandle;
    use crate::compress::Encoding;
    use crate::crypto::content_id::{ChunkId, ChunkKind};
    use crate::pack::builder::{BufferPool, PackBuilder};
    use crate::pack::table::{ChunkRow, SegmentRow};

    const KIB: usize = 1024;

    /// Packs with segments of these lengths; each begins with its number.
    fn packs(lengths: &[Vec<usize>], pool: &BufferPool) -> Vec<OpenPack> {
        let mut number: u32 = 0;
        let mut packs = Vec::new();
        for lengths in lengths {
            let mut pack = OpenPack::new(PackBuilder::new(pool));
            for length in lengths {
                let mut bytes = vec![0; *length];
                bytes[..4].copy_from_slice(&number.to_le_bytes());
                let mut id = [0; 32];
                id[..4].copy_from_slice(&number.to_le_bytes());
                let raw = u32::try_from(*length).unwrap();
                let chunks = vec![ChunkRow { id: ChunkId(id), length: raw }];
                let (encoding, kind) = (Encoding::Stored, ChunkKind::Data);
                let row = SegmentRow { sealed: 0, raw, encoding, kind, chunks };
                assert!(pack.builder.append(&bytes, row));
                pack.handles.push(SegmentHandle::numbered(number));
                number += 1;
            }
            packs.push(pack);
        }
        packs
    }

    /// Checks that nothing was lost or mixed up; answers the lengths of the packs.
    fn lengths(settled: &[OpenPack], segments: u32) -> Vec<u64> {
        let mut seen = Vec::new();
        for pack in settled {
            assert_eq!(pack.handles.len(), pack.builder.segments().len());
            let bodies = pack.builder.bodies();
            for ((row, body), handle) in
                pack.builder.segments().iter().zip(bodies).zip(&pack.handles)
            {
                let number = u32::from_le_bytes(*body.first_chunk().unwrap());
                let id = *row.chunks[0].id.0.first_chunk().unwrap();
                assert_eq!(
                    (u32::from_le_bytes(id), *handle),
                    (number, SegmentHandle::numbered(number))
                );
                assert_eq!(body.len(), row.sealed as usize);
                seen.push(number);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..segments).collect::<Vec<_>>());
        settled.iter().map(|pack| pack.builder.length()).collect()
    }

    #[test]
    fn nine_mib_become_eight_and_one() {
        let pool = BufferPool::new(8);
        let mut sizes = vec![vec![500 * KIB; 16]];
        sizes[0].extend([200 * KIB; 5]);
        let settled = settle(packs(&sizes, &pool));
        let mib = 1024 * 1024;
        assert_eq!(lengths(&settled, 21), [8 * mib, mib]);
    }

    #[test]
    fn a_small_pack_stays_one() {
        let pool = BufferPool::new(8);
        let settled = settle(packs(&[vec![600 * KIB], vec![], vec![KIB]], &pool));
        assert_eq!(lengths(&settled, 2), [1024 * 1024]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn nothing_is_lost_and_little_is_wasted(sizes in prop::collection::vec(
            prop::collection::vec(5 * KIB..1200 * KIB, 0..13), 1..5)) {
            let pool = BufferPool::new(8);
            let count = sizes.iter().map(Vec::len).sum::<usize>();
            let used: usize = sizes.iter().flatten().sum();
            let settled = settle(packs(&sizes, &pool));
            let lengths = lengths(&settled, u32::try_from(count).unwrap());
            let stored: u64 = lengths.iter().sum();
            // A segment of 1.2 MiB may not fit where its room would be, once a pack.
            let slack = 1024 * KIB * (lengths.len() + 1);
            prop_assert!(stored <= (used + slack) as u64, "{lengths:?} for {used}");
            prop_assert!(lengths.len() <= used / (12 << 20) + 6, "{lengths:?}");
        }
    }
}
