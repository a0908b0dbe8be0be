//! Which chunks the vault has already, and which are on their way.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;

use crate::crypto::content_id::ChunkId;
use crate::index::{Index, IndexError};

const SHARDS: usize = 64;

/// A segment that has no pack number yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentHandle(u32);

impl SegmentHandle {
    /// The handle of this number, where no run hands them out.
    pub(crate) const fn numbered(number: u32) -> Self {
        Self(number)
    }

    /// Its number, in the order in which they were given out.
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// The same, to index with.
    pub(crate) const fn place(self) -> usize {
        self.0 as usize
    }
}

/// Where a chunk is, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackRef {
    /// In a pack that the server has.
    Known(PackNumber),
    /// In a segment of this run.
    Pending(SegmentHandle),
}

/// The chunks that need not be sent: those in the index within this device's own packs, and those
/// that this run has already taken up.
#[derive(Debug)]
pub struct Dedup<'a> {
    index: &'a Index,
    /// Grows with every pack of this run.
    own: RwLock<RoaringBitmap>,
    shards: Vec<Mutex<Shard>>,
    segments: Mutex<Segments>,
}

type Shard = HashMap<ChunkId, SegmentHandle, BuildHasherDefault<IdHasher>>;

#[derive(Debug, Default)]
struct Segments {
    /// Pack of each segment, by handle.
    packs: Vec<Option<PackNumber>>,
    /// All packs that this run needs.
    used: RoaringBitmap,
}

impl<'a> Dedup<'a> {
    /// Only chunks in the packs `own` count as present.
    pub fn new(index: &'a Index, own: RoaringBitmap) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { index, own: RwLock::new(own), shards, segments: Mutex::default() }
    }

    /// A handle for a new segment.
    pub fn new_segment(&self) -> SegmentHandle {
        let mut segments = lock(&self.segments);
        let handle = u32::try_from(segments.packs.len()).expect("fewer than 2^32 segments a run");
        segments.packs.push(None);
        SegmentHandle(handle)
    }

    /// Where `id` is already; or takes it up for `segment` and answers `None`: the caller must
    /// put it there.
    pub fn claim(
        &self,
        id: &ChunkId,
        segment: SegmentHandle,
    ) -> Result<Option<PackRef>, IndexError> {
        let mut shard = lock(self.shard(id));
        if let Some(handle) = shard.get(id) {
            return Ok(Some(self.resolve(*handle)));
        }
        if let Some(number) = self.index.lookup(id, Some(&self.own()))? {
            drop(shard);
            self.use_pack(number);
            return Ok(Some(PackRef::Known(number)));
        }
        shard.insert(*id, segment);
        Ok(None)
    }

    /// Where `id` is, if it is anywhere, and counts its pack as needed.
    pub fn find(&self, id: &ChunkId) -> Result<Option<PackRef>, IndexError> {
        if let Some(handle) = lock(self.shard(id)).get(id) {
            return Ok(Some(self.resolve(*handle)));
        }
        let found = self.index.lookup(id, Some(&self.own()))?;
        if let Some(number) = found {
            self.use_pack(number);
        }
        Ok(found.map(PackRef::Known))
    }

    /// The snapshot needs this pack.
    pub fn use_pack(&self, number: PackNumber) {
        lock(&self.segments).used.insert(number.0);
    }

    /// The snapshot needs these packs.
    pub fn use_packs(&self, packs: &RoaringBitmap) {
        lock(&self.segments).used |= packs;
    }

    /// The packs needed so far.
    pub fn used(&self) -> RoaringBitmap {
        lock(&self.segments).used.clone()
    }

    /// Whether all these packs still count as present.
    pub fn has_all(&self, packs: &RoaringBitmap) -> bool {
        packs.is_subset(&self.own())
    }

    /// The server has the pack that holds these segments.
    pub fn resolved(
        &self,
        number: PackNumber,
        handles: &[SegmentHandle],
        ids: &[ChunkId],
    ) -> Result<(), IndexError> {
        let mut segments = lock(&self.segments);
        for handle in handles {
            if let Some(slot) = segments.packs.get_mut(handle.0 as usize) {
                *slot = Some(number);
            }
        }
        segments.used.insert(number.0);
        drop(segments);
        self.index.add_pack(number, ids)?;
        self.own.write().unwrap_or_else(PoisonError::into_inner).insert(number.0);
        // From here on the index knows them; until now the shards did.
        for id in ids {
            lock(self.shard(id)).remove(id);
        }
        Ok(())
    }

    /// The pack of a segment, once the server has it.
    pub fn pack_of(&self, handle: SegmentHandle) -> Option<PackNumber> {
        lock(&self.segments).packs.get(handle.0 as usize).copied().flatten()
    }

    /// The packs that count as present by now, while others come.
    pub fn all_own(&self) -> RoaringBitmap {
        self.own().clone()
    }

    /// These count as present, too.
    pub fn add_own(&self, packs: &RoaringBitmap) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) |= packs;
    }

    /// The packs that count as present by now.
    pub fn into_own(self) -> RoaringBitmap {
        self.own.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> RwLockReadGuard<'_, RoaringBitmap> {
        self.own.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolve(&self, handle: SegmentHandle) -> PackRef {
        self.pack_of(handle).map_or(PackRef::Pending(handle), PackRef::Known)
    }

    fn shard(&self, id: &ChunkId) -> &Mutex<Shard> {
        &self.shards[usize::from(id.0[31]) % SHARDS]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Chunk ids are hashes already: their first bytes will do.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
