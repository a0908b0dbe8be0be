//! What a run takes that may read only so many bytes in all: the smallest files first, and of those
//! of about one size the newest.
//!
//! A list of all files would take memory without bound. So they are weighed first, by a walk that
//! reads nothing: how many bytes there are of each size and age. From that follows which sizes and
//! ages fit; of the first that does not, as much as there is room for.

/// Sizes that count as one differ sixteenfold.
const BITS: u32 = 4;
const SIZES: usize = 64 / BITS as usize + 1;
/// Seconds since the last change that divide one age from the next: a day, a week, a month, a year.
const AGES: [i64; 4] = [86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400];
const CLASSES: usize = SIZES * (AGES.len() + 1);

/// Bytes of files by size and age, the first to be taken first.
#[derive(Debug, Clone)]
pub struct Weights {
    now: i64,
    bytes: [u64; CLASSES],
}

/// What may still be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    now: i64,
    /// All before this class is taken.
    cut: usize,
    /// Bytes of this class that are.
    spare: u64,
    /// Bytes of all.
    left: u64,
}

impl Weights {
    /// None yet. `now` is in seconds since 1970.
    pub const fn new(now: i64) -> Self {
        Self { now, bytes: [0; CLASSES] }
    }

    /// A file of so many bytes, changed last at this second.
    pub fn add(&mut self, size: u64, changed: i64) {
        if let Some(bytes) = self.bytes.get_mut(class(self.now, size, changed)) {
            *bytes = bytes.saturating_add(size);
        }
    }

    /// Which of them are taken if they may have so many bytes in all.
    pub fn allow(&self, most: u64) -> Allowance {
        let mut spare = most;
        for (cut, bytes) in self.bytes.iter().enumerate() {
            match spare.checked_sub(*bytes) {
                Some(rest) => spare = rest,
                None => return Allowance { now: self.now, cut, spare, left: most },
            }
        }
        Allowance { now: self.now, cut: CLASSES, spare, left: most }
    }
}

impl Allowance {
    /// Whether a file of so many bytes, changed last at this second, is taken. It counts then.
    pub fn take(&mut self, size: u64, changed: i64) -> bool {
        let class = class(self.now, size, changed);
        let fits = class < self.cut || class == self.cut && size <= self.spare;
        // What has grown or come since they were weighed does not make it more.
        if !fits || size > self.left {
            return false;
        }
        self.left -= size;
        if class == self.cut {
            self.spare -= size;
        }
        true
    }
}

fn class(now: i64, size: u64, changed: i64) -> usize {
    let size = (u64::BITS - size.leading_zeros()) / BITS;
    let since = now.saturating_sub(changed);
    let age = AGES.iter().take_while(|limit| since >= **limit).count();
    usize::try_from(size).unwrap_or(SIZES) * (AGES.len() + 1) + age
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn taken(files: &[(u64, i64)], most: u64) -> Vec<bool> {
        let mut weights = Weights::new(NOW);
        for (size, ago) in files {
            weights.add(*size, NOW - ago);
        }
        let mut allowance = weights.allow(most);
        files.iter().map(|(size, ago)| allowance.take(*size, NOW - ago)).collect()
    }

    #[test]
    fn the_smallest_go_first_and_of_those_the_newest() {
        let (hour, month, years) = (3600, 40 * 86_400, 1000 * 86_400);
        let files = [(900_000, hour), (3_000, years), (3_000, hour), (900_000, month), (0, years)];
        assert_eq!(taken(&files, 0), [false, false, false, false, true]);
        assert_eq!(taken(&files, 3_000), [false, false, true, false, true]);
        assert_eq!(taken(&files, 6_000), [false, true, true, false, true]);
        assert_eq!(taken(&files, 906_000), [true, true, true, false, true]);
        assert_eq!(taken(&files, 2_000_000), [true; 5]);
        // Files from the future are new, and a huge one is one as well.
        assert_eq!(taken(&[(5, -hour), (u64::MAX, hour)], 5), [true, false]);
    }

    proptest! {
        #[test]
        fn never_more_than_is_allowed(
            files in prop::collection::vec((0..2_000_000_u64, -9..90_000_000_i64), 0..60),
            most in 0..9_000_000_u64,
            grow in 0..3_u64,
        ) {
            let mut weights = Weights::new(NOW);
            for (size, ago) in &files {
                weights.add(*size, NOW - ago);
            }
            let mut allowance = weights.allow(most);
            let mut sum = 0;
            for (size, ago) in &files {
                let size = size * grow;
                sum += if allowance.take(size, NOW - ago) { size } else { 0 };
            }
            prop_assert!(sum <= most);
            let all: u64 = files.iter().map(|(size, _)| size).sum();
            if all <= most && grow <= 1 {
                prop_assert_eq!(sum, all * grow);
            }
        }
    }
}
