//! Chunk ids: keyed hashes of plaintext, never sent in clear.

use std::fmt;

/// The id of a chunk: `blake3::keyed_hash(key of its kind, plaintext)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ChunkId({})",
            data_encoding::HEXLOWER.encode_display(&self.0)
        )
    }
}
