//! The blocks of runs that were read last. Ids are spread evenly, so whoever looks up many chunks
//! comes by the same blocks again and again; each is read and verified once, as long as they fit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::Result;
use super::record::Record;
use super::run::{BLOCK, Run};

/// One place for each of so many blocks: threads that need different ones do not wait.
#[derive(Debug)]
pub(super) struct Blocks(Vec<Mutex<Slot>>);

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The run, by its number, and the place of the block in it.
    holds: Option<(u64, u64)>,
    bytes: Option<Box<[u8; BLOCK]>>,
}

impl Blocks {
    /// Keeps so many, at least one.
    pub(super) fn new(most: usize) -> Self {
        Self((0..most.max(1)).map(|_| Mutex::default()).collect())
    }

    /// Where a block is kept, by its place among the blocks of all runs: they do not get into each
    /// other's way before there are too many.
    pub(super) fn slot(&self, place: u64) -> MutexGuard<'_, Slot> {
        let slots = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        let slot = usize::try_from(place % slots).unwrap_or(0);
        self.0[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The records of a block, verified when it was read.
    pub(super) fn records(&mut self, run: &Run, place: u64) -> Result<&[[u8; Record::LEN]]> {
        let wanted = Some((run.entry.number, place));
        let bytes = self.bytes.get_or_insert_with(|| Box::new([0; BLOCK]));
        if self.holds != wanted {
            self.holds = None;
            run.read_block(place, bytes)?;
            self.holds = wanted;
        }
        Ok(run.records_of(place, bytes))
    }
}
