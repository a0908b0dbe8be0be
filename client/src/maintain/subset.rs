//! Which packs a check reads. Pure; the same choice for the same packs.

use std::str::FromStr;

use roaring::RoaringBitmap;

/// A choice of packs, as `--read-data-subset` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subset {
    /// All of them.
    All,
    /// Every pack is in exactly one of so many parts.
    Part {
        /// Which part, from 1.
        part: u32,
        /// How many parts there are.
        of: u32,
    },
    /// About so many millionths of them.
    Millionths(u32),
    /// Packs of about so many bytes together; at least one.
    Size(u64),
}

/// A text that is no choice of packs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a part of the packs: {0:?} (expected for instance 2/7, 2.5% or 500M)")]
pub struct ParseSubsetError(String);

const MILLION: u32 = 1_000_000;

impl FromStr for Subset {
    type Err = ParseSubsetError;

    fn from_str(text: &str) -> Result<Self, ParseSubsetError> {
        let read = || {
            if let Some((part, of)) = text.split_once('/') {
                let (part, of) = (part.parse().ok()?, of.parse().ok()?);
                return (1..=of).contains(&part).then_some(Self::Part { part, of });
            }
            if let Some(percent) = text.strip_suffix('%') {
                return millionths(percent).filter(|share| *share > 0).map(Self::Millionths);
            }
            size(text).map(Self::Size)
        };
        read().ok_or_else(|| ParseSubsetError(text.to_owned()))
    }
}

/// Of up to 100 per cent with up to four decimals.
pub fn millionths(percent: &str) -> Option<u32> {
    let (whole, decimals) = percent.split_once('.').unwrap_or((percent, ""));
    let digits = decimals.len() <= 4 && decimals.bytes().all(|b| b.is_ascii_digit());
    let decimals: u32 = format!("{decimals:0<4}").parse().ok().filter(|_| digits)?;
    let whole: u32 = whole.parse().ok()?;
    let all = whole.checked_mul(10_000)?.checked_add(decimals)?;
    (all <= MILLION).then_some(all)
}

/// A number of bytes, or of KiB, MiB, GiB, TiB.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.strip_prefix(digits)?;
    let shift = match unit.to_ascii_uppercase().trim_end_matches("IB") {
        "" if unit.is_empty() => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (bytes > 0).then_some(bytes)
}

impl Subset {
    /// The packs of `live` that are chosen; `length` tells the length of a pack in bytes.
    pub fn choose(self, live: &RoaringBitmap, length: impl Fn(u32) -> u64) -> RoaringBitmap {
        match self {
            Self::All => live.clone(),
            Self::Part { part, of } => live.iter().filter(|n| n % of == part - 1).collect(),
            Self::Millionths(wanted) => {
                let limit = u64::from(wanted) << 32;
                let million = u64::from(MILLION);
                let drawn = |n: &u32| u64::from(scattered(*n)) * million < limit;
                live.iter().filter(drawn).collect()
            }
            Self::Size(bytes) => {
                let mut order: Vec<u32> = live.iter().collect();
                order.sort_by_key(|n| scattered(*n));
                let mut sum: u64 = 0;
                let chosen = order.into_iter().take_while(|n| {
                    let fits = sum < bytes;
                    sum = sum.saturating_add(length(*n));
                    fits
                });
                chosen.collect()
            }
        }
    }
}

/// A number that is spread over all of 32 bits.
fn scattered(number: u32) -> u32 {
    let hash = blake3::hash(&number.to_le_bytes());
    let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    u32::from_le_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        for (text, subset) in [
            ("1/1", Subset::Part { part: 1, of: 1 }),
            ("3/7", Subset::Part { part: 3, of: 7 }),
            ("100%", Subset::Millionths(1_000_000)),
            ("2.5%", Subset::Millionths(25_000)),
            ("0.0001%", Subset::Millionths(1)),
            ("17", Subset::Size(17)),
            ("500M", Subset::Size(500 << 20)),
            ("2GiB", Subset::Size(2 << 30)),
        ] {
            assert_eq!(text.parse(), Ok(subset), "{text}");
        }
        for bad in [
            "",
            "0/7",
            "8/7",
            "1/0",
            "%",
            "0%",
            "101%",
            "1.00001%",
            "1.-1%",
            "-1",
            "0",
            "1X",
            "IB",
            "M",
            "99999999999G",
        ] {
            assert!(bad.parse::<Subset>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_are_disjoint_and_together_all() {
        let live: RoaringBitmap = (0..1000).collect();
        let length = |_| 1 << 24;
        let mut seen = RoaringBitmap::new();
        for part in 1..=7 {
            let chosen = Subset::Part { part, of: 7 }.choose(&live, length);
            assert!(seen.is_disjoint(&chosen) && (142..=143).contains(&chosen.len()));
            seen |= chosen;
        }
        assert_eq!(seen, live);
        let tenth = Subset::Millionths(100_000).choose(&live, length);
        assert!((70..=130).contains(&tenth.len()), "{}", tenth.len());
        let fifth = Subset::Millionths(200_000).choose(&live, length);
        assert!(tenth.is_subset(&fifth));
        assert_eq!(Subset::Millionths(MILLION).choose(&live, length), live);
        assert_eq!(Subset::Size(1).choose(&live, length).len(), 1);
        assert_eq!(Subset::Size(10 << 24).choose(&live, length).len(), 10);
        assert_eq!(Subset::Size(u64::MAX).choose(&live, length), live);
    }
}
