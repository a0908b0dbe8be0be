//! The packs that a snapshot needs, as a Roaring bitmap of their numbers.
//!
//! The server unites the sets of the live snapshots to learn which packs live; no key is needed.

use roaring::RoaringBitmap;

use crate::codec::{DecodeError, check_cap};
use crate::id::{Hash, PackId, PackNumber};
use crate::limits::MAX_PACKSET;

/// A set of pack numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PackSet(pub RoaringBitmap);

// Bitmaps are equal or not; their type only lacks the marker.
impl Eq for PackSet {}

impl PackSet {
    /// The portable Roaring serialization.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bitmap = self.0.clone();
        bitmap.optimize();
        let mut out = Vec::with_capacity(bitmap.serialized_size());
        bitmap.serialize_into(&mut out).expect("writing to memory cannot fail");
        out
    }

    /// Reads a serialization; only the form that [`Self::to_bytes`] writes is accepted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_cap("packset", bytes.len(), MAX_PACKSET)?;
        let bitmap = RoaringBitmap::deserialize_from(bytes)
            .map_err(|_e: std::io::Error| DecodeError::Invalid("malformed packset"))?;
        let set = Self(bitmap);
        if set.to_bytes() != bytes {
            return Err(DecodeError::NotCanonical("packset"));
        }
        Ok(set)
    }

    /// The numbers, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = PackNumber> + '_ {
        self.0.iter().map(PackNumber)
    }
}

impl FromIterator<PackNumber> for PackSet {
    fn from_iter<I: IntoIterator<Item = PackNumber>>(numbers: I) -> Self {
        Self(numbers.into_iter().map(|n| n.0).collect())
    }
}

/// Binds numbers to the packs that they name, so that a server cannot deal them anew:
/// BLAKE3 over (number, little-endian, 4 bytes || pack id) in ascending order of number.
#[derive(Debug)]
pub struct PackSetHasher {
    hasher: blake3::Hasher,
    last: Option<PackNumber>,
    /// Many small updates of the hash take several times as long as one large one.
    waiting: Vec<u8>,
}

/// Bytes that are hashed at a time.
const BATCH: usize = 64 * 1024;

impl Default for PackSetHasher {
    fn default() -> Self {
        let hasher = blake3::Hasher::new_derive_key("unseen 2026-11 v1 packset");
        Self { hasher, last: None, waiting: Vec::new() }
    }
}

impl PackSetHasher {
    /// Adds the next pack; numbers must ascend.
    pub fn add(&mut self, number: PackNumber, id: &PackId) {
        debug_assert!(self.last < Some(number), "packs must come in ascending order");
        self.last = Some(number);
        self.waiting.extend_from_slice(&number.0.to_le_bytes());
        self.waiting.extend_from_slice(id.as_bytes());
        if self.waiting.len() >= BATCH {
            self.hasher.update(&self.waiting);
            self.waiting.clear();
        }
    }

    /// The hash over everything added.
    pub fn finish(mut self) -> Hash {
        self.hasher.update(&self.waiting);
        Hash::from_bytes(*self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hash_in_batches_is_the_hash() {
        let mut whole = blake3::Hasher::new_derive_key("unseen 2026-11 v1 packset");
        let mut hasher = PackSetHasher::default();
        for number in 0..5000_u32 {
            let id = PackId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
            hasher.add(PackNumber(number), &id);
            whole.update(&number.to_le_bytes()).update(id.as_bytes());
        }
        assert_eq!(hasher.finish().as_bytes(), whole.finalize().as_bytes());
    }

    proptest! {
        #[test]
        fn round_trip(numbers in prop::collection::btree_set(any::<u32>(), 0..300)) {
            let set: PackSet = numbers.iter().copied().map(PackNumber).collect();
            prop_assert_eq!(PackSet::from_bytes(&set.to_bytes()).unwrap(), set);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(PackSet::from_bytes(&bytes));
        }
    }
}
