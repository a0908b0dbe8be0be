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
}

impl Default for PackSetHasher {
    fn default() -> Self {
        Self { hasher: blake3::Hasher::new_derive_key("unseen 2026-11 v1 packset"), last: None }
    }
}

impl PackSetHasher {
    /// Adds the next pack; numbers must ascend.
    pub fn add(&mut self, number: PackNumber, id: &PackId) {
        debug_assert!(self.last < Some(number), "packs must come in ascending order");
        self.last = Some(number);
        self.hasher.update(&number.0.to_le_bytes());
        self.hasher.update(id.as_bytes());
    }

    /// The hash over everything added.
    pub fn finish(&self) -> Hash {
        Hash::from_bytes(*self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
