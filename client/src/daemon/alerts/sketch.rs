//! How many different things there were, in 256 bytes however many there are: `HyperLogLog`. Two of
//! them put together count what was in both once. About 6 % off, and close to right below 600.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Registers.
const COUNT: usize = 256;
/// Times how much the sum of them is 1.
const ONE: u32 = 60;
/// What 256 registers make of the sum (Flajolet and others, 2007): 0.718273 · 256².
const SCALE: u128 = 47_073;
/// Up to here empty registers tell more.
const FEW: u64 = 640;
/// As text each register is one character, from this one on.
const ZERO: u8 = b'0';
/// The highest that one can be.
const HIGHEST: u8 = 57;

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sketch([u8; COUNT]);

impl Default for Sketch {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sketch(about {})", self.count())
    }
}

impl Sketch {
    /// Counts this, unless it was counted before.
    pub fn add(&mut self, what: &[u8]) {
        let hash = blake3::hash(what);
        let [first, rest @ ..] = hash.as_bytes();
        let rest = rest.first_chunk::<8>().map_or(0, |rest| u64::from_le_bytes(*rest));
        let rank = u8::try_from(rest.trailing_zeros()).unwrap_or(u8::MAX).saturating_add(1);
        if let Some(register) = self.0.get_mut(usize::from(*first)) {
            *register = rank.min(HIGHEST).max(*register);
        }
    }

    /// Counts all that was counted there, too.
    pub fn merge(&mut self, other: &Self) {
        for (mine, other) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*other);
        }
    }

    /// About how many different things were counted.
    pub fn count(&self) -> u64 {
        let sum: u128 = self.0.iter().map(|register| (1 << ONE) >> register).sum();
        let many = (SCALE << ONE).checked_div(sum).unwrap_or(0);
        let many = u64::try_from(many).unwrap_or(u64::MAX);
        let empty: usize = self.0.iter().map(|register| usize::from(*register == 0)).sum();
        if many > FEW || empty == 0 {
            return many;
        }
        // How many it takes until so few are empty, the first of 256, the second of 255…
        let thousandths: usize = (empty + 1..=COUNT).map(|left| COUNT * 1000 / left).sum();
        u64::try_from(thousandths / 1000).unwrap_or(u64::MAX)
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().map(|register| char::from(ZERO + register)).collect();
        to.serialize_str(text.trim_end_matches(char::from(ZERO)))
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut read = Self::default();
        if text.len() > COUNT {
            return Err(serde::de::Error::custom("a count that is too long"));
        }
        for (register, byte) in read.0.iter_mut().zip(text.bytes()) {
            let rank = byte.checked_sub(ZERO).filter(|rank| *rank <= HIGHEST);
            *register = rank.ok_or_else(|| serde::de::Error::custom("not a count"))?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(range: std::ops::Range<u64>) -> Sketch {
        let mut sketch = Sketch::default();
        for n in range {
            sketch.add(&n.to_le_bytes());
        }
        sketch
    }

    #[test]
    fn it_is_about_right() {
        assert_eq!(Sketch::default().count(), 0);
        for (many, off) in [(1, 0), (10, 1), (200, 20), (1000, 150), (30_000, 4000)] {
            assert!(of(0..many).count().abs_diff(many) <= off, "{many}: {:?}", of(0..many));
        }
    }

    #[test]
    fn text_that_is_none_is_refused() {
        let read = |text: String| serde_json::from_str::<Sketch>(&format!("{text:?}"));
        assert_eq!(read("h".repeat(256)).unwrap(), Sketch([56; 256]));
        assert!(read(String::new()).unwrap().is_empty());
        for bad in ["0".repeat(257), "j".to_owned(), "/".to_owned(), "ä".to_owned()] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn together_they_count_nothing_twice(a in 0_u64..3000, b in 0_u64..3000, c in 0_u64..3000) {
            let (low, high) = (a.min(b), a.max(b));
            let (mut one, other) = (of(0..high), of(low..high + c));
            one.merge(&other);
            prop_assert_eq!(one, of(0..high + c));
            let text = serde_json::to_string(&one).unwrap();
            prop_assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), one);
        }
    }
}
