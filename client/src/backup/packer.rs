//! What one thread needs to carry chunks into sealed packs: an open segment, a compressor and a
//! few open packs of its own, so that nothing is locked on the way.

use crossbeam_channel::Sender;

use super::BackupError;
use super::dedup::{Dedup, PackRef, SegmentHandle};
use super::nearly_full::{FULL, NearlyFull, OpenPack, Placed};
use super::reading::ReadError;
use super::tail::settle;
use super::upload::Flow;
use crate::compress::{Compressor, Encoding, Level, MAX_RAW};
use crate::crypto::content_id::{ChunkId, ChunkKind, ContentKeys};
use crate::crypto::rng::Hedged;
use crate::pack::builder::{BufferPool, PackBuilder, SealedPack, Sealer};
use crate::pack::table::{ChunkRow, SegmentRow};
use crate::progress::{Monitor, Stored};

/// A segment of file content is closed when it holds so many bytes: more compress better, and cost
/// more to read when one chunk of them is wanted.
const SEGMENT: usize = 3 * 1024 * 1024;
/// The same for trees, which are read here and there.
const TREE_SEGMENT: usize = 1024 * 1024;
/// It is closed when it holds so many if more would not fit into the pack.
const LEAST: usize = 256 * 1024;
/// It takes no chunk that would make it longer than this.
const LONGEST: usize = MAX_RAW;
/// Or when it holds so many chunks: tiny files must not outgrow the table of contents.
const SEGMENT_CHUNKS: usize = 4 * 1024;
/// A chunk of so many bytes that does not compress is a segment of its own: it gains nothing from
/// neighbours, and is not copied.
const ALONE: usize = 256 * 1024;

/// A pack on its way to the server.
#[derive(Debug)]
pub struct Outgoing {
    /// The pack.
    pub pack: SealedPack,
    /// Handles of its segments, in order.
    pub handles: Vec<SegmentHandle>,
}

/// What all packers of a run share.
#[derive(Debug, Clone)]
pub struct PackerContext<'a> {
    /// Known chunks.
    pub dedup: &'a Dedup<'a>,
    /// Computes chunk ids.
    pub ids: &'a ContentKeys,
    /// Seals packs.
    pub sealer: &'a Sealer<'a>,
    /// Packs that are nearly full.
    pub nearly_full: &'a NearlyFull,
    /// Memory for packs.
    pub pool: BufferPool,
    /// Takes sealed packs.
    pub out: Sender<Outgoing>,
    /// How the run is going.
    pub flow: &'a Flow,
    /// Hears of progress.
    pub monitor: &'a dyn Monitor,
}

/// Bytes that went through a packer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    /// New bytes, before compression.
    pub raw: u64,
    /// The same, compressed.
    pub stored: u64,
    /// New chunks.
    pub chunks: u64,
}

/// One thread's open segment and packs.
#[derive(Debug)]
pub struct Packer<'a> {
    context: PackerContext<'a>,
    kind: ChunkKind,
    compressor: Compressor,
    rng: Hedged,
    open: OpenSegment,
    /// When the open segment is closed, in bytes.
    goal: usize,
    scratch: Vec<u8>,
    pack: Option<OpenPack>,
    /// What was new.
    pub added: Added,
}

#[derive(Debug)]
struct OpenSegment {
    /// Of the longest segment so far; what follows the open one is of no use, and not cleared.
    buffer: Vec<u8>,
    /// Bytes of the open one.
    filled: usize,
    chunks: Vec<ChunkRow>,
    handle: SegmentHandle,
}

/// A segment on its way into a pack.
#[derive(Debug, Clone, Copy)]
struct Segment<'a> {
    raw: &'a [u8],
    encoded: &'a [u8],
    encoding: Encoding,
}

/// A pack that was not full when its thread came to the end.
#[derive(Debug)]
pub struct Leftover(OpenPack);

impl<'a> Packer<'a> {
    /// A packer for chunks of one kind.
    pub fn new(context: PackerContext<'a>, kind: ChunkKind, level: Level, rng: Hedged) -> Self {
        let handle = context.dedup.new_segment();
        Self {
            context,
            kind,
            compressor: Compressor::new(level),
            rng,
            open: OpenSegment { buffer: Vec::new(), filled: 0, chunks: Vec::new(), handle },
            goal: longest_goal(kind),
            scratch: Vec::new(),
            pack: None,
            added: Added::default(),
        }
    }

    /// Adds a chunk unless the vault has it, and tells its id and where it is.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(ChunkId, PackRef), BackupError> {
        let id = self.context.ids.chunk_id(self.kind, bytes);
        // Most of an image that was saved before is known: no more than this is done for it.
        if let Some(known) = self.context.dedup.find(&id)? {
            return Ok((id, known));
        }
        if bytes.len() >= ALONE && !self.compressor.is_worth_compressing(bytes) {
            return self.add_alone(id, bytes);
        }
        self.make_room(bytes.len())?;
        if let Some(known) = self.context.dedup.claim(&id, self.open.handle)? {
            return Ok((id, known));
        }
        self.open.room(bytes.len()).copy_from_slice(bytes);
        self.added_to_open(id, bytes.len())
    }

    fn add_alone(&mut self, id: ChunkId, bytes: &[u8]) -> Result<(ChunkId, PackRef), BackupError> {
        let handle = self.context.dedup.new_segment();
        if let Some(known) = self.context.dedup.claim(&id, handle)? {
            return Ok((id, known));
        }
        let length = chunk_len(bytes.len());
        let segment = Segment { raw: bytes, encoded: bytes, encoding: Encoding::Stored };
        self.place(segment, vec![ChunkRow { id, length }], handle)?;
        Ok((id, PackRef::Pending(handle)))
    }

    /// Adds a chunk of at most `most` bytes that `fill` writes straight into the open segment. It
    /// tells how many it wrote; none makes no chunk. What was there before is not zero.
    pub fn add_with(
        &mut self,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
    ) -> Result<Option<(ChunkId, PackRef)>, ReadError> {
        self.make_room(most)?;
        let room = self.open.room(most);
        let length = fill(room).map_err(ReadError::Source)?;
        let bytes = room.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(None);
        }
        let id = self.context.ids.chunk_id(self.kind, bytes);
        let known = self.context.dedup.claim(&id, self.open.handle).map_err(BackupError::from)?;
        if let Some(known) = known {
            return Ok(Some((id, known)));
        }
        Ok(Some(self.added_to_open(id, length)?))
    }

    fn make_room(&mut self, expected: usize) -> Result<(), BackupError> {
        let long = self.open.filled + expected > LONGEST.min(self.goal + self.goal / 4);
        if long && !self.open.chunks.is_empty() { self.close_segment() } else { Ok(()) }
    }

    /// The open segment goes on with the chunk that was written to its room.
    fn added_to_open(
        &mut self,
        id: ChunkId,
        length: usize,
    ) -> Result<(ChunkId, PackRef), BackupError> {
        let here = PackRef::Pending(self.open.handle);
        self.open.chunks.push(ChunkRow { id, length: chunk_len(length) });
        self.open.filled += length;
        if self.open.filled >= self.goal || self.open.chunks.len() >= SEGMENT_CHUNKS {
            self.close_segment()?;
        }
        Ok((id, here))
    }

    /// Ends the open segment and seals what is open, whether full or not.
    pub fn flush(&mut self) -> Result<(), BackupError> {
        self.close_segment()?;
        let mut open = self.context.nearly_full.take_all();
        open.extend(self.pack.take());
        self.settle(open)
    }

    /// Ends the open segment and hands over packs that are not full, to be joined with others'.
    pub fn into_leftovers(mut self) -> Result<(Vec<Leftover>, Added), BackupError> {
        self.close_segment()?;
        Ok((self.pack.take().into_iter().map(Leftover).collect(), self.added))
    }

    /// Joins what other packers left over with what is open here, then seals everything.
    pub fn finish(mut self, others: Vec<Leftover>) -> Result<Added, BackupError> {
        self.close_segment()?;
        let mut packs = self.context.nearly_full.take_all();
        packs.extend(self.pack.take());
        packs.extend(others.into_iter().map(|l| l.0));
        self.settle(packs)?;
        Ok(self.added)
    }

    fn settle(&mut self, packs: Vec<OpenPack>) -> Result<(), BackupError> {
        for pack in settle(packs) {
            self.count_and_seal(pack)?;
        }
        Ok(())
    }

    fn close_segment(&mut self) -> Result<(), BackupError> {
        if self.open.chunks.is_empty() {
            return Ok(());
        }
        let chunks = std::mem::take(&mut self.open.chunks);
        let buffer = std::mem::take(&mut self.open.buffer);
        let raw = buffer.get(..std::mem::take(&mut self.open.filled)).unwrap_or_default();
        let handle = std::mem::replace(&mut self.open.handle, self.context.dedup.new_segment());
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let encoding = self.compressor.compress_into(raw, &mut scratch);
        let segment = Segment { raw, encoded: &scratch, encoding };
        let placed = self.place(segment, chunks, handle);
        self.aim(raw.len(), scratch.len());
        self.scratch = scratch;
        self.open.buffer = buffer;
        placed
    }

    /// Decides how long the next segment becomes: as long as fits into the pack, if it compresses
    /// like the last one.
    fn aim(&mut self, raw: usize, encoded: usize) {
        let longest = longest_goal(self.kind);
        self.goal = match &self.pack {
            None => longest,
            Some(pack) => {
                let room = usize::try_from(pack.builder.room()).unwrap_or(usize::MAX);
                let fits = room.saturating_mul(raw) / encoded.max(1);
                (fits - fits / 8).clamp(LEAST, longest)
            }
        };
    }

    fn place(
        &mut self,
        segment: Segment<'_>,
        chunks: Vec<ChunkRow>,
        handle: SegmentHandle,
    ) -> Result<(), BackupError> {
        let Segment { raw, encoded, encoding } = segment;
        self.added.raw += raw.len() as u64;
        self.added.stored += encoded.len() as u64;
        self.added.chunks += chunks.len() as u64;
        let stored = Stored { raw: raw.len() as u64, packed: encoded.len() as u64 };
        self.context.monitor.stored(stored);
        let row =
            SegmentRow { sealed: 0, raw: chunk_len(raw.len()), encoding, kind: self.kind, chunks };
        if let Some(pack) = &mut self.pack
            && pack.builder.append(encoded, row.clone())
        {
            pack.handles.push(handle);
            if pack.builder.room() >= FULL {
                return Ok(());
            }
            return self.pack.take().map_or(Ok(()), |full| self.count_and_seal(full));
        }
        match self.context.nearly_full.place(encoded, &row, (handle, self.context.flow)) {
            Placed::There => return Ok(()),
            Placed::Full(full) => return self.seal(full),
            Placed::Nowhere => {}
        }
        if let Some(full) =
            self.pack.take().and_then(|pack| self.context.nearly_full.wait(pack, self.context.flow))
        {
            self.seal(full)?;
        }
        let builder = PackBuilder::new(&self.context.pool);
        let mut pack = OpenPack { builder, handles: vec![handle] };
        if !pack.builder.append(encoded, row) {
            return Err(BackupError::Internal("a segment does not fit an empty pack"));
        }
        self.pack = Some(pack);
        Ok(())
    }

    fn count_and_seal(&mut self, pack: OpenPack) -> Result<(), BackupError> {
        self.context.flow.sealed();
        self.seal(pack)
    }

    /// Seals a pack that has been counted as on its way.
    fn seal(&mut self, pack: OpenPack) -> Result<(), BackupError> {
        let sealed = pack.builder.seal(self.context.sealer, &mut self.rng)?;
        let outgoing = Outgoing { pack: sealed, handles: pack.handles };
        // The other end hangs up only after it has recorded why.
        self.context.out.send(outgoing).map_err(|_e| BackupError::Stopped)
    }
}

impl OpenSegment {
    /// Room for so many bytes after what it holds.
    fn room(&mut self, length: usize) -> &mut [u8] {
        let end = self.filled + length;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.buffer.get_mut(self.filled..end).unwrap_or_default()
    }
}

const fn longest_goal(kind: ChunkKind) -> usize {
    match kind {
        ChunkKind::Data => SEGMENT,
        ChunkKind::Tree => TREE_SEGMENT,
    }
}

fn chunk_len(length: usize) -> u32 {
    u32::try_from(length).expect("a segment has at most 4 MiB")
}
