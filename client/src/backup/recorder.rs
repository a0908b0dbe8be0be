//! Writes directory records, once the packs that they speak of are on the server.

use std::collections::VecDeque;

use roaring::RoaringBitmap;

use super::BackupError;
use super::dedup::{Dedup, PackRef, SegmentHandle};
use crate::crypto::content_id::ChunkId;
use crate::state::db::StateDb;
use crate::state::records::{DirKey, Header, PART, RecordBatch, Row, part_value, write_row};

/// Packs that something needs, some still without a number.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    known: RoaringBitmap,
    pending: Vec<SegmentHandle>,
}

impl Needs {
    /// Adds a place.
    pub fn add(&mut self, place: PackRef) {
        match place {
            PackRef::Known(number) => {
                self.known.insert(number.0);
            }
            PackRef::Pending(handle) if self.pending.last() != Some(&handle) => {
                self.pending.push(handle);
            }
            PackRef::Pending(_) => {}
        }
    }

    /// Adds packs.
    pub fn add_packs(&mut self, packs: &RoaringBitmap) {
        self.known |= packs;
    }

    fn resolve(&mut self, dedup: &Dedup<'_>) -> bool {
        let known = &mut self.known;
        self.pending.retain(|handle| match dedup.pack_of(*handle) {
            Some(number) => {
                known.insert(number.0);
                false
            }
            None => true,
        });
        self.pending.is_empty()
    }
}

/// A record in the making.
#[derive(Debug)]
pub struct RecordBuilder {
    key: DirKey,
    generation: u64,
    parts: u32,
    entries: u64,
    rows: Vec<u8>,
    needs: Needs,
    objects: Vec<ChunkId>,
}

impl RecordBuilder {
    /// An empty record. The generation must differ from that of the record it replaces.
    pub fn new(key: DirKey, generation: u64) -> Self {
        Self {
            key,
            generation,
            parts: 0,
            entries: 0,
            rows: Vec::new(),
            needs: Needs::default(),
            objects: Vec::new(),
        }
    }

    /// Adds an entry. A file with content lists gets a part of its own.
    pub fn push(&mut self, row: &Row<'_>, needs: &Needs, recorder: &mut Recorder) {
        let (lists, _) = row.lists.as_chunks::<32>();
        if !lists.is_empty() && !self.rows.is_empty() {
            self.close(recorder);
        }
        write_row(&mut self.rows, row);
        self.entries += 1;
        self.objects.extend(lists.iter().map(|id| ChunkId(*id)));
        self.needs.add_packs(&needs.known);
        for handle in &needs.pending {
            self.needs.add(PackRef::Pending(*handle));
        }
        if self.rows.len() >= PART || !lists.is_empty() {
            self.close(recorder);
        }
    }

    /// Ends the record. `objects` are those of the tree itself.
    pub fn finish(mut self, tree: ChunkId, objects: Vec<ChunkId>, recorder: &mut Recorder) {
        if !self.rows.is_empty() {
            self.close(recorder);
        }
        self.objects.extend(objects);
        let header = Header {
            tree,
            objects: self.objects,
            entries: self.entries,
            parts: self.parts,
            generation: self.generation,
        };
        recorder.queue.push_back(Queued::Header(self.key, header));
    }

    fn close(&mut self, recorder: &mut Recorder) {
        self.parts += 1;
        recorder.queue.push_back(Queued::Part {
            key: self.key,
            number: self.parts,
            generation: self.generation,
            rows: std::mem::take(&mut self.rows),
            needs: std::mem::take(&mut self.needs),
        });
    }
}

/// Records that wait for their packs, in order.
#[derive(Debug, Default)]
pub struct Recorder {
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
enum Queued {
    Part {
        key: DirKey,
        number: u32,
        generation: u64,
        rows: Vec<u8>,
        needs: Needs,
    },
    Header(DirKey, Header),
}

/// Parts written at once.
const BATCH: usize = 64;

impl Recorder {
    /// Writes what can be written. With `all`, at least a part at a time; else only full batches.
    pub fn write(
        &mut self,
        dedup: &Dedup<'_>,
        state: &StateDb,
        all: bool,
    ) -> Result<(), BackupError> {
        while all || self.queue.len() >= BATCH {
            let mut batch = RecordBatch::default();
            let mut taken = 0;
            while taken < BATCH {
                if let Some(Queued::Part { needs, .. }) = self.queue.front_mut()
                    && !needs.resolve(dedup)
                {
                    break;
                }
                match self.queue.pop_front() {
                    Some(Queued::Part {
                        key,
                        number,
                        generation,
                        rows,
                        needs,
                    }) => {
                        batch.part(key, number, part_value(generation, &needs.known, &rows));
                    }
                    Some(Queued::Header(key, header)) => batch.header(key, &header),
                    None => break,
                }
                taken += 1;
            }
            if taken == 0 {
                break;
            }
            batch.apply(state)?;
        }
        Ok(())
    }
}
