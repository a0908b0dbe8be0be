//! Writes directory records, once the packs that they speak of are on the server.

use std::collections::VecDeque;

use roaring::RoaringBitmap;

use super::BackupError;
use super::dedup::{Dedup, PackRef, SegmentHandle};
use super::replay::places;
use super::subtree::Subtree;
use crate::crypto::content_id::ChunkId;
use crate::state::blocks::Place;
use crate::state::db::StateDb;
use crate::state::records::{DirKey, Header, PART, PartPlace, Row, RulesKey, write_row};

/// Packs that something needs, some still without a number.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    known: RoaringBitmap,
    /// Numbers of segments.
    pending: RoaringBitmap,
}

impl Needs {
    /// Adds a place.
    pub fn add(&mut self, place: PackRef) {
        match place {
            PackRef::Known(number) => self.known.insert(number.0),
            PackRef::Pending(handle) => self.pending.insert(handle.number()),
        };
    }

    /// Adds packs.
    pub fn add_packs(&mut self, packs: &RoaringBitmap) {
        self.known |= packs;
    }

    /// Adds what something else needs.
    pub fn merge(&mut self, other: &Self) {
        self.known |= &other.known;
        self.pending |= &other.pending;
    }

    /// Whether exactly these packs are needed.
    pub fn are(&self, packs: &RoaringBitmap) -> bool {
        self.pending.is_empty() && self.known == *packs
    }

    fn resolve(&mut self, dedup: &Dedup<'_>) -> bool {
        let mut done = 0;
        for segment in &self.pending {
            let Some(number) = dedup.pack_of(SegmentHandle::numbered(segment)) else {
                break;
            };
            self.known.insert(number.0);
            done = segment + 1;
        }
        self.pending.remove_range(..done);
        self.pending.is_empty()
    }
}

/// A record in the making. Its entries are on disk already; what is in memory of a part is where
/// it is and what it needs.
#[derive(Debug)]
pub struct RecordBuilder {
    key: DirKey,
    entries: u64,
    rows: Vec<u8>,
    needs: Needs,
    parts: Vec<(Place, Needs)>,
    objects: Vec<ChunkId>,
}

impl RecordBuilder {
    /// An empty record.
    pub fn new(key: DirKey) -> Self {
        Self {
            key,
            entries: 0,
            rows: Vec::new(),
            needs: Needs::default(),
            parts: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// Adds an entry. A file with content lists gets a part of its own.
    pub fn push(
        &mut self,
        row: &Row<'_>,
        needs: &Needs,
        state: &StateDb,
    ) -> Result<(), BackupError> {
        let (lists, _) = row.lists.as_chunks::<32>();
        if !lists.is_empty() {
            self.close(state)?;
        }
        write_row(&mut self.rows, row);
        self.entries += 1;
        self.objects.extend(lists.iter().map(|id| ChunkId(*id)));
        self.needs.merge(needs);
        if self.rows.len() >= PART || !lists.is_empty() {
            self.close(state)?;
        }
        Ok(())
    }

    /// Ends the record. `objects` are those of the tree itself. Tells what the directory and
    /// everything beneath it needs.
    pub fn finish(
        mut self,
        (tree, objects, rules): (ChunkId, Vec<ChunkId>, RulesKey),
        mut subtree: Subtree,
        (recorder, state, dedup): (&mut Recorder, &StateDb, &Dedup<'_>),
    ) -> Result<Subtree, BackupError> {
        self.close(state)?;
        self.objects.extend(objects);
        let (objects, entries) = (self.objects, self.entries);
        let found = places(&tree, &objects, dedup)?;
        subtree.needs.merge(&found.ok_or(BackupError::Internal("a new tree is nowhere"))?);
        for (_, needs) in &self.parts {
            subtree.needs.merge(needs);
        }
        let (summary, needs) = subtree.clone().into_summary();
        let parts = Vec::with_capacity(self.parts.len());
        let header = Header { rules, summary, tree, objects, entries, parts };
        let parts = self.parts.into();
        recorder.queue.push_back(Waiting { key: self.key, header, parts, needs });
        Ok(subtree)
    }

    fn close(&mut self, state: &StateDb) -> Result<(), BackupError> {
        if !self.rows.is_empty() {
            let place = state.append_block(&self.rows)?;
            self.rows.clear();
            self.parts.push((place, std::mem::take(&mut self.needs)));
        }
        Ok(())
    }
}

/// Records that wait for their packs, in order.
#[derive(Debug, Default)]
pub struct Recorder {
    queue: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    key: DirKey,
    /// With the parts whose packs are known.
    header: Header,
    /// The other parts.
    parts: VecDeque<(Place, Needs)>,
    /// What the directory and everything beneath it needs.
    needs: Needs,
}

/// Records that wait before any of them is looked at.
const BATCH: usize = 64;

impl Recorder {
    /// Makes a record say something else of the directory as a whole: its entries are the same.
    pub fn renew(&mut self, key: DirKey, before: &Header, rules: RulesKey, subtree: Subtree) {
        let (summary, needs) = subtree.into_summary();
        let header = Header { rules, summary, ..before.clone() };
        self.queue.push_back(Waiting { key, header, parts: VecDeque::new(), needs });
    }

    /// Writes what can be written: with `all` whatever has its packs, else once enough waits.
    pub fn write(
        &mut self,
        dedup: &Dedup<'_>,
        state: &StateDb,
        all: bool,
    ) -> Result<(), BackupError> {
        if !all && self.queue.len() < BATCH {
            return Ok(());
        }
        while let Some(front) = self.queue.front_mut() {
            while let Some((place, needs)) = front.parts.front_mut() {
                if !needs.resolve(dedup) {
                    return Ok(());
                }
                let packs = std::mem::take(&mut needs.known);
                front.header.parts.push(PartPlace { place: *place, packs });
                front.parts.pop_front();
            }
            if !front.needs.resolve(dedup) {
                return Ok(());
            }
            front.header.summary.packs = std::mem::take(&mut front.needs.known);
            state.set_record(front.key, &front.header)?;
            self.queue.pop_front();
        }
        Ok(())
    }
}
