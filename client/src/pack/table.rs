//! The table of contents of a pack: which segments, which chunks in them.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use unseen_common::limits::MAX_PACK;

use crate::compress::{Encoding, MAX_RAW};
use crate::crypto::content_id::{ChunkId, ChunkKind};

/// Most chunks in one segment.
const MAX_CHUNKS: u64 = 65_536;
/// Most segments in one pack.
const MAX_SEGMENTS: u64 = 65_536;
/// A chunk takes so many bytes at least: its id and its length.
const MIN_CHUNK_ROW: usize = 33;

/// A chunk within its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow {
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes; it begins where the one before ends.
    pub length: u32,
}

/// A segment within its pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Length as stored, tag included, in bytes; it begins where the one before ends.
    pub sealed: u32,
    /// Length of its plaintext, decompressed, in bytes.
    pub raw: u32,
    /// Whether it is compressed.
    pub encoding: Encoding,
    /// What its chunks are.
    pub kind: ChunkKind,
    /// Its chunks, in order.
    pub chunks: Vec<ChunkRow>,
}

/// The segments of a pack, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The segments; the padding is not among them.
    pub segments: Vec<SegmentRow>,
}

/// A table that breaks the rules of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table of contents of a pack is malformed: {0}")]
pub struct BadTable(&'static str);

impl Table {
    /// The bytes, as docs/FORMAT.md has them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        put(&mut out, wide(self.segments.len()));
        for segment in &self.segments {
            put(&mut out, segment.sealed.into());
            put(&mut out, segment.raw.into());
            out.push(flags(segment));
            put(&mut out, wide(segment.chunks.len()));
            for chunk in &segment.chunks {
                out.extend_from_slice(&chunk.id.0);
                put(&mut out, chunk.length.into());
            }
        }
        out
    }

    /// Length of [`Self::to_bytes`].
    pub fn encoded_len(&self) -> usize {
        let rows: usize = self.segments.iter().map(row_len).sum();
        rows.saturating_add(varint_len(wide(self.segments.len())))
    }

    /// Reads a table; every sum is checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadTable> {
        let mut rest = bytes;
        let count = get(&mut rest)?;
        if count > MAX_SEGMENTS {
            return Err(BadTable("too many segments"));
        }
        let mut segments = Vec::new();
        let mut body: u64 = 0;
        for _ in 0..count {
            let segment = read_segment(&mut rest)?;
            body = body.saturating_add(segment.sealed.into());
            segments.push(segment);
        }
        if body > MAX_PACK {
            return Err(BadTable("segments are longer than a pack"));
        }
        // The numbers are of the shortest form, and nothing else can be written in two ways.
        if !rest.is_empty() {
            return Err(BadTable("something follows the last row"));
        }
        Ok(Self { segments })
    }

    /// Bytes of all sealed segments, padding aside.
    pub fn body_len(&self) -> u64 {
        self.segments.iter().map(|s| u64::from(s.sealed)).sum()
    }
}

/// The bytes that `segment` takes in a table.
pub fn row_len(segment: &SegmentRow) -> usize {
    let chunks: usize =
        segment.chunks.iter().map(|c| varint_len(c.length.into()).saturating_add(32)).sum();
    varint_len(segment.sealed.into())
        .saturating_add(varint_len(segment.raw.into()))
        .saturating_add(1)
        .saturating_add(varint_len(wide(segment.chunks.len())))
        .saturating_add(chunks)
}

fn read_segment(rest: &mut &[u8]) -> Result<SegmentRow, BadTable> {
    let sealed = small(get(rest)?, MAX_PACK)?;
    let raw = small(get(rest)?, wide(MAX_RAW))?;
    if sealed < 16 || raw == 0 {
        return Err(BadTable("empty segment"));
    }
    let (encoding, kind) = match take::<1>(rest)? {
        [0] => (Encoding::Stored, ChunkKind::Data),
        [1] => (Encoding::Zstd, ChunkKind::Data),
        [2] => (Encoding::Stored, ChunkKind::Tree),
        [3] => (Encoding::Zstd, ChunkKind::Tree),
        _ => return Err(BadTable("unknown kind of segment")),
    };
    let count = get(rest)?;
    if count == 0 || count > MAX_CHUNKS {
        return Err(BadTable("no chunks, or too many"));
    }
    // No more than there are bytes for.
    let room = rest.len() / MIN_CHUNK_ROW;
    let mut chunks = Vec::with_capacity(usize::try_from(count).unwrap_or(room).min(room));
    let mut sum: u64 = 0;
    for _ in 0..count {
        let id = ChunkId(take(rest)?);
        let length = small(get(rest)?, raw.into())?;
        if length == 0 {
            return Err(BadTable("empty chunk"));
        }
        sum = sum.saturating_add(length.into());
        chunks.push(ChunkRow { id, length });
    }
    if sum != u64::from(raw) {
        return Err(BadTable("chunks do not fill their segment"));
    }
    Ok(SegmentRow { sealed, raw, encoding, kind, chunks })
}

const fn flags(segment: &SegmentRow) -> u8 {
    match (segment.encoding, segment.kind) {
        (Encoding::Stored, ChunkKind::Data) => 0,
        (Encoding::Zstd, ChunkKind::Data) => 1,
        (Encoding::Stored, ChunkKind::Tree) => 2,
        (Encoding::Zstd, ChunkKind::Tree) => 3,
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// LEB128, least significant group first.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value.to_le_bytes()[0] & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn get(rest: &mut &[u8]) -> Result<u64, BadTable> {
    let mut value: u64 = 0;
    for shift in [0_u32, 7, 14, 21, 28] {
        let [byte] = take::<1>(rest)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte == 0 && shift > 0 {
            return Err(BadTable("not in canonical form"));
        }
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(BadTable("number too long"))
}

const fn varint_len(value: u64) -> usize {
    let mut length: usize = 1;
    let mut left = value >> 7;
    while left > 0 {
        length = length.saturating_add(1);
        left >>= 7;
    }
    length
}

fn small(value: u64, cap: u64) -> Result<u32, BadTable> {
    match u32::try_from(value) {
        Ok(v) if value <= cap => Ok(v),
        _ => Err(BadTable("length above its cap")),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BadTable> {
    let (first, more) = rest.split_first_chunk::<N>().ok_or(BadTable("cut short"))?;
    *rest = more;
    Ok(*first)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests index what they made")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_table() -> impl Strategy<Value = Table> {
        let chunk = (any::<[u8; 32]>(), 1_u32..5000)
            .prop_map(|(id, length)| ChunkRow { id: ChunkId(id), length });
        let segment =
            (prop::collection::vec(chunk, 1..10), 16_u32..100_000, any::<bool>(), any::<bool>())
                .prop_map(|(chunks, sealed, zstd, tree)| SegmentRow {
                    sealed,
                    raw: chunks.iter().map(|c| c.length).sum(),
                    encoding: if zstd { Encoding::Zstd } else { Encoding::Stored },
                    kind: if tree { ChunkKind::Tree } else { ChunkKind::Data },
                    chunks,
                });
        prop::collection::vec(segment, 0..8).prop_map(|segments| Table { segments })
    }

    proptest! {
        #[test]
        fn round_trip(table in any_table()) {
            let bytes = table.to_bytes();
            prop_assert_eq!(bytes.len(), table.encoded_len());
            prop_assert_eq!(Table::from_bytes(&bytes).unwrap(), table);
        }

        #[test]
        fn damage_never_panics(table in any_table(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = table.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = with;
            if let Ok(other) = Table::from_bytes(&bytes) {
                prop_assert_eq!(other.to_bytes(), bytes);
            }
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Table::from_bytes(&bytes));
        }
    }
}
