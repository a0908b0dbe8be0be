//! Which packs took the place of which, as a compaction sends it.
//!
//! The server checks with it that no snapshot loses a pack that stays; no client maps numbers by
//! it.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::codec::{DecodeError, check_cap};
use crate::id::{Hash, PackNumber};
use crate::limits::MAX_PACK_MAP;
use crate::packset::PackSet;

/// Old packs, and for each the new packs that its chunks went to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackMap(pub BTreeMap<PackNumber, PackSet>);

impl PackMap {
    /// For each old pack, ascending: its number u32, how many new ones u32, their numbers
    /// ascending, u32 each; all little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (old, new) in &self.0 {
            out.extend_from_slice(&old.0.to_le_bytes());
            let count = u32::try_from(new.0.len()).expect("numbers are 32 bits long");
            out.extend_from_slice(&count.to_le_bytes());
            for number in new.numbers() {
                out.extend_from_slice(&number.0.to_le_bytes());
            }
        }
        out
    }

    /// Reads what [`Self::to_bytes`] writes, and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_cap("pack map", bytes.len(), MAX_PACK_MAP)?;
        let mut map = BTreeMap::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let old = PackNumber(word(&mut rest)?);
            if map.last_key_value().is_some_and(|(last, _)| *last >= old) {
                return Err(DecodeError::NotCanonical("old packs of a pack map must ascend"));
            }
            let mut new = PackSet::default();
            for _ in 0..word(&mut rest)? {
                let number = word(&mut rest)?;
                if new.0.try_push(number).is_err() {
                    return Err(DecodeError::NotCanonical("new packs of a pack map must ascend"));
                }
            }
            map.insert(old, new);
        }
        Ok(Self(map))
    }

    /// What a compact entry says of it: plain BLAKE3 of its bytes.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.to_bytes())
    }

    /// The old packs.
    pub fn removed(&self) -> PackSet {
        self.0.keys().copied().collect()
    }

    /// The new packs.
    pub fn places(&self) -> PackSet {
        PackSet(self.0.values().fold(RoaringBitmap::new(), |all, places| all | &places.0))
    }

    /// Why `new` cannot take the place of `old`, if so: it must keep every pack that is not
    /// removed, and add none but those that took the place of one of its own.
    pub fn fault(&self, old: &PackSet, new: &PackSet) -> Option<&'static str> {
        let mut allowed = PackSet::default();
        let mut stays = old.clone();
        for (removed, places) in &self.0 {
            if stays.0.remove(removed.0) {
                allowed.0 |= &places.0;
            }
        }
        if stays.0 == old.0 {
            return Some("a snapshot that needs none of the removed packs");
        }
        if !stays.0.is_subset(&new.0) {
            return Some("a snapshot would lose packs that stay");
        }
        if !(&new.0 - &stays.0).is_subset(&allowed.0) {
            return Some("a snapshot would get packs that took the place of none of its own");
        }
        None
    }
}

fn word(rest: &mut &[u8]) -> Result<u32, DecodeError> {
    let (word, after) =
        rest.split_first_chunk().ok_or(DecodeError::Invalid("a pack map that breaks off"))?;
    *rest = after;
    Ok(u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(numbers: &[u32]) -> PackSet {
        numbers.iter().copied().map(PackNumber).collect()
    }

    fn map(rows: &[(u32, &[u32])]) -> PackMap {
        PackMap(rows.iter().map(|(old, new)| (PackNumber(*old), set(new))).collect())
    }

    #[test]
    fn the_bytes_are_pinned() {
        let bytes = map(&[(1, &[7, 8]), (3, &[])]).to_bytes();
        let words = [1_u32, 2, 7, 8, 3, 0];
        assert_eq!(bytes, words.map(u32::to_le_bytes).concat());
        for wrong in [&[3_u32, 0, 1, 0][..], &[1, 0, 1, 0], &[1, 2, 8, 7], &[1, 2, 7], &[1]] {
            let bytes: Vec<u8> = wrong.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert!(PackMap::from_bytes(&bytes).is_err(), "{wrong:?}");
        }
        assert!(PackMap::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn nothing_that_stays_is_lost_and_nothing_foreign_comes() {
        let map = map(&[(1, &[7, 8]), (2, &[8])]);
        assert_eq!((map.removed(), map.places()), (set(&[1, 2]), set(&[7, 8])));
        let old = set(&[1, 5]);
        for good in [&[5, 7, 8][..], &[5, 7], &[5]] {
            assert_eq!(map.fault(&old, &set(good)), None, "{good:?}");
        }
        for bad in [&[7, 8][..], &[1, 5, 7], &[5, 7, 9], &[1, 5]] {
            assert!(map.fault(&old, &set(bad)).is_some(), "{bad:?}");
        }
        assert!(map.fault(&set(&[5, 6]), &set(&[5, 6])).is_some(), "it is not concerned");
        assert!(map.fault(&set(&[2, 5]), &set(&[5, 7])).is_some(), "7 holds nothing of 2");
    }

    proptest! {
        #[test]
        fn round_trip(rows in prop::collection::btree_map(any::<u32>(), prop::collection::btree_set(any::<u32>(), 0..9), 0..20)) {
            let map = PackMap(rows.iter().map(|(old, new)| {
                (PackNumber(*old), new.iter().copied().map(PackNumber).collect())
            }).collect());
            prop_assert_eq!(PackMap::from_bytes(&map.to_bytes()).unwrap(), map);
        }

        #[test]
        fn what_is_read_is_written(bytes in prop::collection::vec(0u8..4, 0..80)) {
            if let Ok(map) = PackMap::from_bytes(&bytes) {
                prop_assert_eq!(map.to_bytes(), bytes);
            }
        }
    }
}
