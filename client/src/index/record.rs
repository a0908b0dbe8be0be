//! One line of the index, this chunk is in that pack, and which index it is.

use unseen_common::id::VaultId;

use crate::crypto::content_id::ChunkId;

/// Which index a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) vault: VaultId,
    /// Drawn when the index was begun. Without it, an old block of an index that was wiped would
    /// pass for one of its successor's.
    pub(super) nonce: [u8; 16],
}

/// Ordered by chunk, then by pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) id: ChunkId,
    pub(super) pack: u32,
}

impl Record {
    /// Bytes in a run: the id, then the pack number in little-endian order.
    pub(super) const LEN: usize = 36;

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (id, pack) = bytes.split_at_mut(32);
        id.copy_from_slice(&self.id.0);
        pack.copy_from_slice(&self.pack.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (id, pack) = bytes.split_first_chunk().expect("a record begins with an id");
        let pack = pack.first_chunk().expect("four bytes follow the id");
        Self { id: ChunkId(*id), pack: u32::from_le_bytes(*pack) }
    }
}

/// Eight bytes of an id, from `at`, as a number that sorts as they do.
pub(super) fn word(id: &ChunkId, at: usize) -> u64 {
    let bytes = id.0.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
    u64::from_le_bytes(bytes).swap_bytes()
}
