//! What a walk through the trees notes for a compaction: which chunks of which packs are in use,
//! and which of them are in packs that are known to be damaged.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;

use super::Used;
use crate::crypto::content_id::{ChunkId, ChunkKind};

/// Chunks of one pack that some snapshot needs, each once.
pub(super) type Needs = HashMap<ChunkId, ChunkKind>;

/// What is noted, by whoever walks.
#[derive(Debug)]
pub(in crate::maintain) struct Notes {
    used: Mutex<Used>,
    /// Packs that the vault knows to be damaged.
    unsound: RoaringBitmap,
    stranded: Mutex<BTreeMap<PackNumber, Needs>>,
}

impl Notes {
    /// For a vault that knows these packs to be damaged.
    pub(super) fn new(unsound: RoaringBitmap) -> Self {
        Self { used: Mutex::default(), unsound, stranded: Mutex::default() }
    }

    /// Where a chunk of this length is in use.
    pub(in crate::maintain) fn used(
        &self,
        packs: impl Iterator<Item = PackNumber>,
        (id, length): (&ChunkId, u32),
    ) {
        let mut used = lock(&self.used);
        for number in packs {
            used.add(number, id, length);
        }
    }

    /// These packs of a snapshot have a chunk that it needs.
    pub(in crate::maintain) fn needed(
        &self,
        packs: impl Iterator<Item = PackNumber>,
        (kind, id): (ChunkKind, &ChunkId),
    ) {
        for number in packs.filter(|number| self.unsound.contains(number.0)) {
            lock(&self.stranded).entry(number).or_default().insert(*id, kind);
        }
    }

    /// Whether trees that need these packs may be passed over when they are met again. Of those
    /// that need a damaged one it must be noted for each snapshot which of its packs have what.
    pub(in crate::maintain) fn may_pass(&self, packs: &[u32]) -> bool {
        packs.iter().all(|number| !self.unsound.contains(*number))
    }

    /// All that was noted.
    pub(super) fn settled(self) -> (Used, BTreeMap<PackNumber, Needs>) {
        let mut used = self.used.into_inner().unwrap_or_else(PoisonError::into_inner);
        used.settle();
        (used, self.stranded.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
