//! When far more changes than usual: somebody, or something, rewrites or deletes everything.

use serde::{Deserialize, Serialize};

use crate::daemon::book::Sample;

/// Runs that have to be known before anything is unusual.
const KNOWN: usize = 5;
/// Fewer files than this are never unusual.
const FILES: u64 = 200;
/// Far more is more than so many times as much.
const FAR: u64 = 5;
/// Less new data than this tells nothing of how it can be compressed.
const BYTES: u64 = 16 * 1024 * 1024;
/// So many files that were encrypted are told, if they are one in so many of all. It does not
/// matter what is known of other days: nobody's day is like that.
const TURNED: (u64, u64) = (20, 50);
/// Fewer are, if they are half of all.
const FEW: (u64, u64) = (8, 2);
/// So many files less than before are told, if three quarters of all are gone and never so many
/// were.
const FELL: u64 = 50;

/// An unusual change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mass {
    /// Files that changed or went.
    pub changed: u64,
    /// Of so many.
    pub files: u64,
    /// What is new cannot be compressed, as it always could before.
    pub scrambled: bool,
    /// In what time.
    #[serde(default)]
    pub within: Within,
}

/// The time in which something changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Within {
    /// From one snapshot to the next.
    #[default]
    Once,
    /// A day.
    Day,
    /// A week.
    Week,
    /// More than once.
    Waves,
}

impl Within {
    /// As part of a sentence.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Once => "at once",
            Self::Day => "within a day",
            Self::Week => "within a week",
            Self::Waves => "in several waves",
        }
    }
}

/// What changed in some time, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Amounts {
    /// Files in the set, at its begin or its end.
    pub files: u64,
    /// Different files that changed or went.
    pub touched: u64,
    /// Those that made sense before and look like noise now.
    pub turned: u64,
    /// Those of them whose data could not be compressed.
    pub dense: u64,
    /// The bytes of that data.
    pub dense_raw: u64,
    /// All new bytes.
    pub raw: u64,
    /// What became of them when they were compressed.
    pub packed: u64,
    /// The most that was touched in a few hours.
    pub peak: u64,
}

impl<'a> std::iter::Sum<&'a Amounts> for Amounts {
    /// At most so much: a file may be among several of them.
    fn sum<I: Iterator<Item = &'a Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            files: sum.files.max(one.files),
            touched: sum.touched.saturating_add(one.touched),
            turned: sum.turned.saturating_add(one.turned),
            dense: sum.dense.saturating_add(one.dense),
            dense_raw: sum.dense_raw.saturating_add(one.dense_raw),
            raw: sum.raw.saturating_add(one.raw),
            packed: sum.packed.saturating_add(one.packed),
            peak: sum.peak.max(one.peak),
        })
    }
}

impl Mass {
    /// With what came later.
    #[must_use]
    pub fn and(&self, later: &Self) -> Self {
        let files = self.files.max(later.files);
        Self {
            changed: self.changed.saturating_add(later.changed).min(files),
            files,
            scrambled: self.scrambled || later.scrambled,
            within: Within::Waves,
        }
    }

    /// As part of a sentence.
    pub fn in_words(&self) -> String {
        let scrambled = if self.scrambled { ", and they look encrypted now" } else { "" };
        format!("{} of {} files were changed or deleted{scrambled}", self.changed, self.files)
    }
}

/// Whether the last of these runs stands out. That many files became noise, or are gone, does by
/// itself. As soon as others are known: more files changed than ever, by far, and a good part of
/// all; or a part of them did and what is new cannot be compressed, as it always could.
pub fn unusual(samples: &[Sample]) -> Option<Mass> {
    let (last, before) = samples.split_last()?;
    let earlier = last.before.max(before.last().map_or(0, |sample| sample.files));
    let all = last.files.max(earlier).max(1);
    let within = Within::Once;
    if encrypted(last.turned, all) {
        let changed = last.changed.max(last.turned).min(all);
        return Some(Mass { changed, files: all, scrambled: true, within });
    }
    let most = before.iter().map(|sample| sample.changed).max().unwrap_or(0);
    let fell = last.before.saturating_sub(last.files);
    if fell >= FELL && is_part(fell, last.before, 75) && last.changed > most {
        return Some(Mass { changed: last.changed, files: all, scrambled: false, within });
    }
    if before.len() < KNOWN {
        return None;
    }
    let part = |percent: u64| is_part(last.changed, all, percent);
    let far_more = last.changed >= FILES && part(25) && last.changed / FAR > most;
    let raw = sum(before.iter().map(|sample| sample.raw));
    let packed = sum(before.iter().map(|sample| sample.packed));
    let scrambled =
        last.raw >= BYTES && is_dense(last.packed, last.raw) && is_compressible(packed, raw);
    let found = far_more || (scrambled && last.changed >= FILES / 4 && part(10));
    found.then_some(Mass { changed: last.changed, files: all, scrambled, within })
}

/// The same of a longer time, compared with others as long: everything that changed in it counts
/// as one change. Since days differ more than snapshots do, what cannot be compressed must be far
/// more than ever, too.
pub(super) fn far_more(last: &Amounts, usual: &[Amounts], within: Within) -> Option<Mass> {
    let files = last.files.max(1);
    if encrypted(last.turned, files) {
        let changed = last.touched.max(last.turned).min(files);
        return Some(Mass { changed, files, scrambled: true, within });
    }
    let known = if within == Within::Week { 1 } else { KNOWN };
    if usual.len() < known {
        return None;
    }
    let most = |of: fn(&Amounts) -> u64| usual.iter().map(of).max().unwrap_or(0);
    let part = |n: u64, percent: u64| is_part(n, files, percent);
    let stands_out = |n: u64, most: u64| n / FAR > most;
    let touched = last.touched.min(last.files);
    let (raw, packed) =
        (sum(usual.iter().map(|one| one.raw)), sum(usual.iter().map(|one| one.packed)));
    let scrambled = last.dense_raw >= BYTES
        && last.dense >= FILES / 4
        && part(last.dense, 10)
        && stands_out(last.dense, most(|one| one.dense))
        && is_compressible(packed, raw);
    let found = scrambled
        || (touched >= FILES && part(touched, 25) && stands_out(touched, most(|one| one.touched)));
    found.then_some(Mass { changed: touched, files: last.files, scrambled, within })
}

/// Whether this many of all files are so many that somebody encrypts them.
fn encrypted(turned: u64, files: u64) -> bool {
    let reached = |(least, part)| turned >= least && turned.saturating_mul(part) >= files;
    reached(TURNED) || reached(FEW)
}

/// Whether data could not be compressed.
pub(super) fn is_dense(packed: u64, raw: u64) -> bool {
    is_part(packed, raw, 97)
}

/// Whether there was enough data to know, and it could be.
fn is_compressible(packed: u64, raw: u64) -> bool {
    raw >= BYTES && !is_part(packed, raw, 80)
}

fn is_part(packed: u64, raw: u64, percent: u64) -> bool {
    packed.saturating_mul(100) >= raw.saturating_mul(percent)
}

fn sum(all: impl Iterator<Item = u64>) -> u64 {
    all.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(changed: u64, raw: u64, packed: u64) -> Sample {
        Sample { files: 10_000, changed, raw: raw << 20, packed: packed << 20, ..Sample::default() }
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
        let gone = Sample { changed: 10_000, ..Sample::default() };
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
        fn any_numbers_are_borne(numbers in prop::collection::vec(any::<[u64; 6]>(), 0..9)) {
            let to_sample = |[files, before, turned, changed, raw, packed]: [u64; 6]| {
                let (raw, packed) = (raw >> 8, packed >> 8);
                Sample { files, before, turned, changed, raw, packed }
            };
            let samples: Vec<Sample> = numbers.into_iter().map(to_sample).collect();
            if let Some(mass) = unusual(&samples) {
                prop_assert!(mass.changed > 0 && mass.files > 0);
                let last = samples.last().unwrap();
                let judged = samples.len() > KNOWN || mass.scrambled || last.before > last.files;
                prop_assert!(judged, "nothing is known");
            }
        }
    }
}
