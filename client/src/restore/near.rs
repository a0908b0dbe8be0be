//! Where chunks are, without the index where possible: files that lie next to each other in a tree
//! mostly lie next to each other in packs. A large index reads and verifies a block of 4 KiB a chunk; a
//! table of contents that is open anyway tells at once.

use std::sync::Arc;

use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;

use crate::browse::error::ReadError;
use crate::browse::packs::{OpenPack, Packs};
use crate::browse::pieces::Pieces;
use crate::crypto::content_id::ChunkId;

/// A pack that the index has told so many times in a row, or nearly, is opened: it will be needed
/// anyway.
const OFTEN: u32 = 256;
/// Packs whose tables are looked into first. Each thread of a backup fills one of its own.
const TABLES: usize = 4;

/// The packs that the last chunks were in.
#[derive(Debug, Default)]
pub(super) struct Near {
    /// The last one first.
    open: Vec<(PackNumber, Arc<OpenPack>)>,
    /// Those that are not open, and how often each was told.
    told: Vec<(PackNumber, u32)>,
}

impl Near {
    /// A pack that holds the chunk: one of `within` if there is one, else any.
    pub(super) fn pack_of(
        &mut self,
        packs: &Packs<'_>,
        id: &ChunkId,
        within: &RoaringBitmap,
    ) -> Result<Option<PackNumber>, ReadError> {
        if let Some(at) = self.open.iter().position(|(_, pack)| pack.find(id).is_some()) {
            self.open.get_mut(..=at).unwrap_or_default().rotate_right(1);
            return Ok(self.open.first().map(|(number, _)| *number));
        }
        let found = packs.lookup(id, within)?;
        if let Some(number) = found.filter(|number| within.contains(number.0))
            && self.is_told_often(number)
        {
            self.open(packs, number);
        }
        Ok(found)
    }

    fn is_told_often(&mut self, number: PackNumber) -> bool {
        let known = self.told.iter().position(|(told, _)| *told == number);
        let times = known.map_or(0, |at| self.told.remove(at).1) + 1;
        self.told.truncate(TABLES - 1);
        self.told.insert(0, (number, times));
        times.is_multiple_of(OFTEN)
    }

    /// One that cannot be opened is found out about, and told, when it is its turn.
    fn open(&mut self, packs: &Packs<'_>, number: PackNumber) {
        if let Ok(pack) = packs.open(number, &mut Pieces::default()) {
            self.told.retain(|(told, _)| *told != number);
            self.open.truncate(TABLES - 1);
            self.open.insert(0, (number, pack));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_told_again_and_again_is_told_often() {
        let mut near = Near::default();
        let often = |near: &mut Near, number| near.is_told_often(PackNumber(number));
        for _ in 1..OFTEN {
            assert!(!often(&mut near, 1) && !often(&mut near, 2));
        }
        assert!(often(&mut near, 1) && often(&mut near, 2));
        for number in 10..10 + 10 * OFTEN {
            assert!(!often(&mut near, number), "told once");
        }
        assert!(near.told.len() <= TABLES);
    }
}
