//! When far more changes than usual: somebody, or something, rewrites or deletes everything.

use serde::{Deserialize, Serialize};

use crate::daemon::book::Sample;

/// Runs that have to be known before anything is unusual.
const KNOWN: usize = 5;
/// Fewer files than this are never unusual.
const FILES: u64 = 200;
/// Less new data than this is never unusual.
const BYTES: u64 = 16 * 1024 * 1024;

/// An unusual change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mass {
    /// Files that changed or went.
    pub changed: u64,
    /// Of so many.
    pub files: u64,
    /// What is new cannot be compressed, as it always could before.
    pub scrambled: bool,
}

impl Mass {
    /// As part of a sentence.
    pub fn in_words(&self) -> String {
        let scrambled = if self.scrambled { ", and they look encrypted now" } else { "" };
        format!("{} of {} files were changed or deleted{scrambled}", self.changed, self.files)
    }
}

/// Whether the last of these runs stands out from those before it. Either more files changed than
/// ever, by far, and a good part of all; or a part of them did and cannot be compressed any more.
pub fn unusual(samples: &[Sample]) -> Option<Mass> {
    let (last, before) = samples.split_last()?;
    if before.len() < KNOWN {
        return None;
    }
    let all = last.files.max(before.last().map_or(0, |sample| sample.files)).max(1);
    let part = |percent: u64| last.changed.saturating_mul(100) >= all.saturating_mul(percent);
    let most = before.iter().map(|sample| sample.changed).max().unwrap_or(0);
    let far_more = last.changed >= FILES && part(25) && last.changed / 5 > most;
    let raw: u64 = before.iter().map(|sample| sample.raw).sum();
    let packed: u64 = before.iter().map(|sample| sample.packed).sum();
    let dense = |packed: u64, raw: u64, percent: u64| {
        packed.saturating_mul(100) >= raw.saturating_mul(percent)
    };
    let scrambled = last.raw >= BYTES
        && dense(last.packed, last.raw, 97)
        && raw >= BYTES
        && !dense(packed, raw, 80);
    let found = far_more || (scrambled && last.changed >= FILES / 4 && part(10));
    found.then_some(Mass { changed: last.changed, files: all, scrambled })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(changed: u64, raw: u64, packed: u64) -> Sample {
        Sample { files: 10_000, changed, raw: raw << 20, packed: packed << 20 }
    }

    fn after_usual(last: Sample) -> Option<Mass> {
        let mut samples: Vec<Sample> = (0..8).map(|n| sample(20 + n, 10, 4)).collect();
        samples.push(last);
        unusual(&samples)
    }

    #[test]
    fn everything_at_once_is_unusual_and_a_busy_day_is_not() {
        assert_eq!(after_usual(sample(60, 10, 4)), None);
        assert_eq!(after_usual(sample(2000, 500, 200)), None, "a fifth of all");
        let mass = after_usual(sample(6000, 500, 200)).unwrap();
        assert!(!mass.scrambled && mass.in_words().starts_with("6000 of 10000 files"));
        // Photos do not compress either, but nothing old changes with them.
        assert_eq!(after_usual(sample(3, 900, 900)), None);
        let mass = after_usual(sample(1500, 900, 899)).unwrap();
        assert!(mass.scrambled && mass.in_words().ends_with("look encrypted now"));
        let gone = Sample { files: 0, changed: 10_000, raw: 0, packed: 0 };
        assert_eq!(after_usual(gone).unwrap().changed, 10_000);
    }

    #[test]
    fn where_nothing_is_known_nothing_is_unusual() {
        assert_eq!(unusual(&[]), None);
        assert_eq!(unusual(&[sample(9000, 900, 900); 5]), None);
        // Whoever rewrites everything every day does so today.
        assert_eq!(unusual(&[sample(9000, 900, 900); 20]), None);
    }

    proptest! {
        #[test]
        fn any_numbers_are_borne(numbers in prop::collection::vec(any::<[u64; 4]>(), 0..9)) {
            let to_sample = |[files, changed, raw, packed]: [u64; 4]| {
                Sample { files, changed, raw: raw >> 8, packed: packed >> 8 }
            };
            let samples: Vec<Sample> = numbers.into_iter().map(to_sample).collect();
            if let Some(mass) = unusual(&samples) {
                prop_assert!(mass.changed >= FILES / 4);
            }
        }
    }
}
