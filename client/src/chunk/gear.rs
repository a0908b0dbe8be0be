//! The rolling hash: `hash = hash << 1 + table[byte]`, so that a byte is forgotten after 64 steps.

use zeroize::Zeroize;

/// Bytes that a hash depends on.
pub(super) const WINDOW: usize = 64;

const CONTEXT: &str = "unseen 2026-11 v1 chunker gear";

/// How many bits the condition before the pivot has more, and the one after it fewer, than the
/// average alone would ask for.
const NORMALISATION: u32 = 2;

/// Bits that a mask may use. Low bits depend on the last few bytes only; bit 63 is left out so
/// that a mask can be shifted by one without loss.
const MASK_BITS: std::ops::RangeInclusive<u8> = 30..=62;

/// Tables and masks of one key.
pub(super) struct Gear {
    table: [u64; 256],
    /// `table << 1`, for the first of the two bytes of a step.
    shifted: [u64; 256],
    /// All of these bits are zero at a cut before the pivot.
    pub(super) mask_small: u64,
    /// The same after the pivot: some of the bits of `mask_small`.
    pub(super) mask_large: u64,
}

impl Gear {
    /// `bits`: binary logarithm of the average chunk length, 8 to 22.
    pub(super) fn derive(key: &[u8; 32], bits: u32) -> Self {
        let mut stream = blake3::Hasher::new_derive_key(CONTEXT).update(key).finalize_xof();
        let mut next = || {
            let mut word = [0; 8];
            stream.fill(&mut word);
            u64::from_le_bytes(word)
        };
        let mut gear = Self { table: [0; 256], shifted: [0; 256], mask_small: 0, mask_large: 0 };
        for (entry, shifted) in gear.table.iter_mut().zip(&mut gear.shifted) {
            *entry = next();
            *shifted = *entry << 1;
        }
        while gear.mask_small.count_ones() < bits + NORMALISATION {
            let [byte, ..] = next().to_le_bytes();
            let bit = byte & 63;
            if MASK_BITS.contains(&bit) {
                gear.mask_small |= 1 << bit;
            }
            if gear.mask_small.count_ones() == bits - NORMALISATION {
                gear.mask_large = gear.mask_small;
            }
        }
        gear
    }

    /// The hash before the first byte that is tested.
    pub(super) fn warm_up(&self, before: &[u8]) -> u64 {
        before.iter().fold(0, |hash, &byte| self.roll(hash, byte))
    }

    /// How many bytes of `data` lead up to and include the first one after which the hash has
    /// none of the bits of `mask`. Without such a byte, `hash` is carried to the end of `data`.
    pub(super) fn find(&self, data: &[u8], hash: &mut u64, mask: u64) -> Option<usize> {
        let mut rolled = *hash;
        let (pairs, odd) = data.as_chunks::<2>();
        for (step, &[first, second]) in pairs.iter().enumerate() {
            rolled = (rolled << 2).wrapping_add(self.shifted[usize::from(first)]);
            if rolled & (mask << 1) == 0 {
                return Some(2 * step + 1);
            }
            rolled = rolled.wrapping_add(self.table[usize::from(second)]);
            if rolled & mask == 0 {
                return Some(2 * step + 2);
            }
        }
        for &byte in odd {
            rolled = self.roll(rolled, byte);
            if rolled & mask == 0 {
                return Some(data.len());
            }
        }
        *hash = rolled;
        None
    }

    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.table[usize::from(byte)])
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &[u64; 256] {
        &self.table
    }
}

impl Drop for Gear {
    fn drop(&mut self) {
        self.table.zeroize();
        self.shifted.zeroize();
        self.mask_small.zeroize();
        self.mask_large.zeroize();
    }
}
