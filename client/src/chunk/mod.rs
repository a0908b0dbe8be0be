//! Content-defined chunking with a secret key.
//!
//! Where a chunk ends depends only on the 64 bytes before the cut, on the key, and on how far the
//! cut lies from the start of the chunk. So an insertion early in a file moves the cuts near it
//! and leaves the later ones where they were. The exact rules are in `docs/FORMAT.md`.
//!
//! The key keeps two vaults from sharing cut points. It is not what hides chunk lengths from the
//! server: a keyed rolling hash is too weak for that, so lengths never leave the ciphertext.

mod gear;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::fmt;

use gear::{Gear, WINDOW};

/// Sizes of chunks in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    min: usize,
    average: usize,
    max: usize,
}

/// Sizes that the chunker cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "chunk sizes {min}, {average}, {max}: the minimum is at least 64 bytes, the average a larger \
     power of two of at least 256, the maximum larger still and at most 4 MiB"
)]
pub struct ParamsError {
    min: usize,
    average: usize,
    max: usize,
}

impl Params {
    /// 128 KiB, 512 KiB, 2 MiB: what every vault uses.
    pub const DEFAULT: Self = Self { min: 128 << 10, average: 512 << 10, max: 2 << 20 };

    /// The largest chunk that any parameters allow: 4 MiB.
    pub const MAX_CHUNK: usize = 4 << 20;

    /// Other sizes in bytes.
    pub fn new(min: usize, average: usize, max: usize) -> Result<Self, ParamsError> {
        let ordered = WINDOW <= min && min < average && average < max && max <= Self::MAX_CHUNK;
        if ordered && average >= 256 && average.is_power_of_two() {
            Ok(Self { min, average, max })
        } else {
            Err(ParamsError { min, average, max })
        }
    }

    /// The shortest chunk, the last of a file excepted.
    pub const fn min(&self) -> usize {
        self.min
    }

    /// The length that chunks of random data have on average, within a few per cent.
    pub const fn average(&self) -> usize {
        self.average
    }

    /// The longest chunk.
    pub const fn max(&self) -> usize {
        self.max
    }

    /// Where the hard condition gives way to the easy one. Placed so that random data comes out
    /// at `average`: cuts are rare before this point and soon found after it.
    const fn pivot(&self) -> usize {
        self.average - (self.average - self.min) / 4
    }
}

impl Default for Params {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Finds the cuts. Holds no position, so one is shared by all workers.
pub struct Chunker {
    gear: Box<Gear>,
    params: Params,
}

impl Chunker {
    /// Derives tables from the vault's `chunker` key.
    pub fn new(key: &[u8; 32], params: Params) -> Self {
        Self { gear: Box::new(Gear::derive(key, params.average.ilog2())), params }
    }

    /// The sizes it was made with.
    pub const fn params(&self) -> Params {
        self.params
    }

    /// Length of the chunk that starts at `data[0]`.
    ///
    /// `eof` says that nothing follows `data`; then whatever is left is a chunk. `None`: `data` is
    /// empty, or it is shorter than the maximum, has no cut, and more may follow.
    pub fn cut(&self, data: &[u8], eof: bool) -> Option<usize> {
        self.cut_after(data, 0, eof)
    }

    /// As [`Self::cut`], for a caller whose last call with the first `scanned` of these bytes
    /// answered `None`: they are not scanned again.
    pub fn cut_after(&self, data: &[u8], scanned: usize, eof: bool) -> Option<usize> {
        let Params { min, max, .. } = self.params;
        let end = data.len().min(max);
        let first = scanned.max(min - 1);
        if first < end
            && let Some(cut) = self.scan(data, first, end)
        {
            return Some(cut);
        }
        ((eof && end > 0) || end == max).then_some(end)
    }

    /// The first cut in `first + 1 ..= end`.
    fn scan(&self, data: &[u8], first: usize, end: usize) -> Option<usize> {
        let pivot = self.params.pivot().saturating_sub(1).clamp(first, end);
        let mut hash = self.gear.warm_up(data.get(first + 1 - WINDOW..first)?);
        for (part, mask) in
            [(first..pivot, self.gear.mask_small), (pivot..end, self.gear.mask_large)]
        {
            let start = part.start;
            if let Some(length) = self.gear.find(data.get(part)?, &mut hash, mask) {
                return Some(start + length);
            }
        }
        None
    }
}

impl fmt::Debug for Chunker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunker").field("params", &self.params).finish_non_exhaustive()
    }
}
