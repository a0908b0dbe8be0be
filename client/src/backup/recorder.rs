//! Writes directory records, once the packs that they speak of are on the server.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::BackupError;
use super::dedup::{Dedup, PackRef, SegmentHandle};
use super::events::Old;
use super::replay::{needs_of_row, places, row_of};
use super::subtree::Subtree;
use crate::crypto::content_id::ChunkId;
use crate::state::blocks::Place;
use crate::state::db::StateDb;
use crate::state::queue::Queue;
use crate::state::records::{
    DirKey, Header, PART, PartPlace, Row, RulesKey, header_bytes, parse_keyed, write_row,
};
use crate::state::summary::{decode_packs, encode_packs};

/// Bytes of memory for a part with its last entry.
const ROOM: usize = PART + 512;

/// Fewer bytes than this are not left as a part of their own for the sake of the part that follows.
const SCANT: usize = PART / 4;

/// The number of no pack: they are given out one after the other.
const NO_PACK: u32 = u32::MAX;

/// Packs that something needs, some still without a number.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    known: RoaringBitmap,
    /// Numbers of segments.
    pending: RoaringBitmap,
}

impl Needs {
    /// Exactly these packs.
    pub fn of_packs(packs: &RoaringBitmap) -> Self {
        Self { known: packs.clone(), ..Self::default() }
    }

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

    fn encode(&self, out: &mut Vec<u8>) {
        encode_packs(&self.known, out);
        encode_packs(&self.pending, out);
    }

    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (known, rest) = decode_packs(bytes)?;
        let (pending, rest) = decode_packs(rest)?;
        Some((Self { known, pending }, rest))
    }

    /// What is still on its way does not arrive.
    fn give_up(&mut self, dedup: &Dedup<'_>) {
        for segment in std::mem::take(&mut self.pending) {
            let number = dedup.pack_of(SegmentHandle::numbered(segment));
            self.known.insert(number.map_or(NO_PACK, |number| number.0));
        }
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

/// What an entry needs: both together.
pub type Needed<'n> = (Option<&'n Needs>, &'n [PackRef]);

/// An entry that needs nothing.
pub const NOTHING: Needed<'_> = (None, &[]);

/// Where parts are written, and what tells where their chunks are.
pub type Beside<'b> = (&'b StateDb, &'b Dedup<'b>);

/// A record in the making. Its entries are on disk already; what is in memory of a part is where
/// it is and what it needs, about 60 bytes.
#[derive(Debug)]
pub struct RecordBuilder {
    key: DirKey,
    entries: u64,
    rows: Vec<u8>,
    needs: Needs,
    /// Place and needs of each part that is closed.
    parts: Vec<u8>,
    /// What all of those need.
    all: Needs,
    objects: Vec<ChunkId>,
    /// The part of the record before that entries come from one after the other, and the last of
    /// them. If all of them come, it is part of this record, too, as it stands.
    kept: Option<Old>,
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
            all: Needs::default(),
            objects: Vec::new(),
            kept: None,
        }
    }

    /// Adds an entry and what it needs. A file with content lists gets a part of its own.
    pub fn push(
        &mut self,
        row: &Row<'_>,
        needed: Needed<'_>,
        beside: Beside<'_>,
    ) -> Result<(), BackupError> {
        self.copy_kept(beside)?;
        self.write(row, needed, PART, beside.0)
    }

    /// Adds an entry as the record before has it.
    pub fn keep(&mut self, old: &Old, beside: Beside<'_>) -> Result<(), BackupError> {
        let (state, dedup) = beside;
        let (place, index) = (old.part.place, old.index);
        let goes_on = |kept: &Old| kept.part.place == place && kept.index + 1 == index;
        if !self.kept.as_ref().is_some_and(goes_on) {
            self.copy_kept(beside)?;
            let whole = self.rows.is_empty() || self.rows.len() >= SCANT;
            if index > 0 || !whole || !dedup.has_all(&old.part.packs) {
                return self.copy(old, beside);
            }
            self.close(state)?;
        }
        if index + 1 < old.part.len() {
            self.kept = Some(old.clone());
            return Ok(());
        }
        self.kept = None;
        for row in (0..old.part.len()).filter_map(|index| old.part.row(index)) {
            let (lists, _) = row.lists.as_chunks::<32>();
            self.objects.extend(lists.iter().map(|id| ChunkId(*id)));
        }
        dedup.use_packs(&old.part.packs);
        self.entries += old.part.len() as u64;
        self.needs = Needs::of_packs(&old.part.packs);
        self.add_part(place);
        Ok(())
    }

    /// Writes the entries of a part that were kept: something else stands beside them now.
    fn copy_kept(&mut self, beside: Beside<'_>) -> Result<(), BackupError> {
        let Some(Old { part, index: last }) = self.kept.take() else {
            return Ok(());
        };
        for index in 0..=last {
            self.copy(&Old { part: Arc::clone(&part), index }, beside)?;
        }
        Ok(())
    }

    /// Writes an entry as it was recorded. What comes of one part stays together, so that the next
    /// one begins where it did.
    fn copy(&mut self, old: &Old, (state, dedup): Beside<'_>) -> Result<(), BackupError> {
        let row = row_of(old)?;
        let needs = needs_of_row(&row, &old.part.packs, dedup)?;
        let most = if old.index + 1 < old.part.len() { 2 * PART } else { PART };
        self.write(&row, (Some(&needs), &[]), most, state)
    }

    /// Writes an entry. A part of so many bytes is closed.
    fn write(
        &mut self,
        row: &Row<'_>,
        (needs, places): Needed<'_>,
        most: usize,
        state: &StateDb,
    ) -> Result<(), BackupError> {
        let (lists, _) = row.lists.as_chunks::<32>();
        if !lists.is_empty() {
            self.close(state)?;
        }
        if self.rows.capacity() == 0 {
            self.rows.reserve(ROOM);
        }
        write_row(&mut self.rows, row);
        self.entries += 1;
        self.objects.extend(lists.iter().map(|id| ChunkId(*id)));
        if let Some(needs) = needs {
            self.needs.merge(needs);
        }
        for place in places {
            self.needs.add(*place);
        }
        if self.rows.len() >= most || !lists.is_empty() {
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
        self.copy_kept((state, dedup))?;
        self.close(state)?;
        self.objects.extend(objects);
        let (objects, entries) = (self.objects, self.entries);
        let found = places(&tree, &objects, dedup)?;
        let found = found.ok_or(BackupError::Internal("a new tree is nowhere"))?;
        subtree.needs.merge(&found);
        subtree.needs.merge(&self.all);
        let (summary, own, parts) = (subtree.summary(), RoaringBitmap::new(), Vec::new());
        let header = Header { rules, summary, tree, objects, own, entries, parts };
        recorder.wait((self.key, &header), &self.parts, (&found, &subtree.needs))?;
        Ok(subtree)
    }

    fn close(&mut self, state: &StateDb) -> Result<(), BackupError> {
        if !self.rows.is_empty() {
            let place = state.append_block(&self.rows)?;
            self.rows.clear();
            self.add_part(place);
        }
        Ok(())
    }

    /// Adds a part that is written, and needs what has come together.
    fn add_part(&mut self, place: Place) {
        self.parts.extend_from_slice(&place.to_bytes());
        self.needs.encode(&mut self.parts);
        self.all.merge(&self.needs);
        self.needs = Needs::default();
    }
}

/// Records that wait for their packs, in order. However many do, they take a constant amount of
/// memory: a pack of tiny files is full after fifty thousand of them, each of which may have a
/// directory of its own, and the pack of one thread may be long in filling.
#[derive(Debug)]
pub struct Recorder {
    queue: Queue,
    /// What comes before the queue.
    first: Option<Waiting>,
    item: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    key: DirKey,
    /// With the parts whose packs are known.
    header: Header,
    /// The next part.
    part: Option<(Place, Needs)>,
    /// Place and needs of the parts, of which those up to `at` have been looked at.
    parts: Vec<u8>,
    at: usize,
    /// What the tree needs.
    own: Needs,
    /// What the directory and everything beneath it needs.
    needs: Needs,
}

/// Records that wait before any of them is looked at.
const BATCH: u64 = 64;
const LENGTH: usize = 4;

impl Recorder {
    /// None waits yet.
    pub fn new(state: &StateDb) -> Self {
        Self { queue: state.queue(), first: None, item: Vec::new() }
    }

    /// Makes a record say something else of the directory as a whole: its entries are the same.
    /// `own` is where its tree is.
    pub fn renew(
        &mut self,
        (key, before): (DirKey, &Header),
        rules: RulesKey,
        own: &Needs,
        subtree: &Subtree,
    ) -> Result<(), BackupError> {
        // Its parts keep their places, and what they need has been found.
        let mut parts = Vec::new();
        for part in &before.parts {
            parts.extend_from_slice(&part.place.to_bytes());
            Needs::of_packs(&part.packs).encode(&mut parts);
        }
        let header =
            Header { rules, summary: subtree.summary(), parts: Vec::new(), ..before.clone() };
        self.wait((key, &header), &parts, (own, &subtree.needs))
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
        loop {
            if self.first.is_none() {
                self.first = self.queue.pop()?.map(Waiting::read).transpose()?;
            }
            let Some(first) = &mut self.first else {
                return Ok(());
            };
            if !first.resolve(dedup)? {
                return Ok(());
            }
            state.set_record(first.key, &first.header)?;
            self.first = None;
        }
    }

    /// Writes all that wait, though packs of theirs are not on the server: what says so is the
    /// number of a pack that is never there, so that each file is looked for by itself.
    pub fn write_as_far(&mut self, dedup: &Dedup<'_>, state: &StateDb) -> Result<(), BackupError> {
        loop {
            let waiting = match self.first.take() {
                Some(first) => Some(first),
                None => self.queue.pop()?.map(Waiting::read).transpose()?,
            };
            let Some(mut waiting) = waiting else {
                return Ok(());
            };
            waiting.resolve_as_far(dedup)?;
            state.set_record(waiting.key, &waiting.header)?;
        }
    }

    /// Adds a record whose parts are only in `parts`.
    fn wait(
        &mut self,
        (key, header): (DirKey, &Header),
        parts: &[u8],
        (own, needs): (&Needs, &Needs),
    ) -> Result<(), BackupError> {
        self.item.clear();
        for bytes in [&header_bytes(header, key), parts] {
            let length = u32::try_from(bytes.len()).expect("a directory is far below 4 GiB");
            self.item.extend_from_slice(&length.to_le_bytes());
            self.item.extend_from_slice(bytes);
        }
        own.encode(&mut self.item);
        needs.encode(&mut self.item);
        Ok(self.queue.push(&self.item)?)
    }
}

/// Bytes that this run wrote cannot be read.
const UNREADABLE: BackupError = BackupError::Internal("a record that waited cannot be read");

impl Waiting {
    /// Reads what [`Recorder::wait`] wrote.
    fn read(item: &[u8]) -> Result<Self, BackupError> {
        let read = || {
            let (header, rest) = counted(item)?;
            let (key, header) = parse_keyed(header)?;
            let (parts, rest) = counted(rest)?;
            let (own, rest) = Needs::decode(rest)?;
            let (needs, _) = Needs::decode(rest)?;
            Some(Self { key, header, part: None, parts: parts.to_vec(), at: 0, own, needs })
        };
        read().ok_or(UNREADABLE)
    }

    /// Whether all packs are known by now; then they are in the header.
    fn resolve(&mut self, dedup: &Dedup<'_>) -> Result<bool, BackupError> {
        loop {
            if let Some((place, needs)) = &mut self.part {
                if !needs.resolve(dedup) {
                    return Ok(false);
                }
                let packs = std::mem::take(&mut needs.known);
                self.header.parts.push(PartPlace { place: *place, packs });
                self.part = None;
            }
            let rest = self.parts.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let (part, left) = read_part(rest).ok_or(UNREADABLE)?;
            self.at = self.parts.len() - left;
            self.part = Some(part);
        }
        if !self.own.resolve(dedup) || !self.needs.resolve(dedup) {
            return Ok(false);
        }
        self.header.own = std::mem::take(&mut self.own.known);
        self.header.summary.packs = std::mem::take(&mut self.needs.known);
        Ok(true)
    }
}

impl Waiting {
    /// Puts the packs that are known into the header, and for those that are not a number that no
    /// pack has.
    fn resolve_as_far(&mut self, dedup: &Dedup<'_>) -> Result<(), BackupError> {
        while !self.resolve(dedup)? {
            if let Some((_, needs)) = &mut self.part {
                needs.give_up(dedup);
            } else {
                self.own.give_up(dedup);
                self.needs.give_up(dedup);
            }
        }
        Ok(())
    }
}

/// The next part, and the number of bytes that follow it.
fn read_part(bytes: &[u8]) -> Option<((Place, Needs), usize)> {
    let (place, rest) = bytes.split_first_chunk()?;
    let (needs, rest) = Needs::decode(rest)?;
    Some(((Place::from_bytes(place), needs), rest.len()))
}

/// Bytes after their length, and what follows them.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests;
