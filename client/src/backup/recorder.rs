//! Writes directory records, once the packs that they speak of are on the server.

use std::collections::{HashMap, VecDeque};

use roaring::RoaringBitmap;

use super::BackupError;
use super::dedup::{Dedup, PackRef, SegmentHandle};
use crate::crypto::content_id::ChunkId;
use crate::state::blocks::Place;
use crate::state::db::StateDb;
use crate::state::records::{DirKey, Header, PART, Row, part_bytes, write_row};

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
    entries: u64,
    rows: Vec<u8>,
    needs: Needs,
    objects: Vec<ChunkId>,
}

impl RecordBuilder {
    /// An empty record.
    pub fn new(key: DirKey) -> Self {
        Self { key, entries: 0, rows: Vec::new(), needs: Needs::default(), objects: Vec::new() }
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
        let header =
            Header { tree, objects: self.objects, entries: self.entries, parts: Vec::new() };
        recorder.queue.push_back(Queued::Header(self.key, header));
    }

    fn close(&mut self, recorder: &mut Recorder) {
        recorder.queue.push_back(Queued::Part {
            key: self.key,
            rows: std::mem::take(&mut self.rows),
            needs: std::mem::take(&mut self.needs),
        });
    }
}

/// Records that wait for their packs, in order: the parts of a directory, then its header.
#[derive(Debug, Default)]
pub struct Recorder {
    queue: VecDeque<Queued>,
    /// Parts that were written and whose header is still to come; those of a directory lie
    /// between those of the directory that it is in.
    parts: HashMap<[u8; 16], Vec<Place>>,
}

#[derive(Debug)]
enum Queued {
    Part { key: DirKey, rows: Vec<u8>, needs: Needs },
    Header(DirKey, Header),
}

/// Records that wait before any of them is looked at.
const BATCH: usize = 64;

impl Recorder {
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
        loop {
            if let Some(Queued::Part { needs, .. }) = self.queue.front_mut()
                && !needs.resolve(dedup)
            {
                return Ok(());
            }
            match self.queue.pop_front() {
                Some(Queued::Part { key, rows, needs }) => {
                    let bytes = part_bytes(&needs.known, &rows);
                    let place = state.append_block(&bytes)?;
                    self.parts.entry(*key.as_bytes()).or_default().push(place);
                }
                Some(Queued::Header(key, mut header)) => {
                    header.parts = self.parts.remove(key.as_bytes()).unwrap_or_default();
                    state.set_record(key, &header)?;
                }
                None => return Ok(()),
            }
        }
    }
}
