//! What one thread needs to carry chunks into sealed packs: an open segment and a compressor of its
//! own. Packs are filled by all threads together, and sealed by the one whose segment was the last.

use crossbeam_channel::Sender;

use super::BackupError;
use super::dedup::{Dedup, PackRef, SegmentHandle};
use super::open_packs::{OpenPack, OpenPacks, Placed, Promise, Segment, Trend};
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
    /// Packs that are being filled.
    pub open: &'a OpenPacks,
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

/// One thread's open segment.
#[derive(Debug)]
pub struct Packer<'a> {
    context: PackerContext<'a>,
    kind: ChunkKind,
    compressor: Compressor,
    rng: Hedged,
    open: OpenSegment,
    /// When the open segment is closed, in bytes.
    goal: usize,
    /// Room that is kept for it.
    promise: Option<Promise>,
    scratch: Vec<u8>,
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
            promise: None,
            scratch: Vec::new(),
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
        let raw = chunk_len(bytes.len());
        let chunks = vec![ChunkRow { id, length: raw }];
        let (encoding, kind) = (Encoding::Stored, self.kind);
        let row = SegmentRow { sealed: 0, raw, encoding, kind, chunks };
        self.place(Segment { encoded: bytes, row, handle }, None)?;
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

    /// Ends the open segment and seals what is open in any thread, whether full or not. The open
    /// segments of others are theirs to end.
    pub fn flush(&mut self) -> Result<(), BackupError> {
        self.close_segment()?;
        for pack in settle(self.context.open.take_all()) {
            self.count_and_seal(pack)?;
        }
        Ok(())
    }

    /// Ends the open segment.
    pub fn close_segment(&mut self) -> Result<(), BackupError> {
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
        let (length, kind) = (chunk_len(raw.len()), self.kind);
        let row = SegmentRow { sealed: 0, raw: length, encoding, kind, chunks };
        let promise = self.promise.take();
        let placed = self.place(Segment { encoded: &scratch, row, handle }, promise);
        let longest = longest_goal(kind);
        let trend = Trend { raw: raw.len(), encoded: scratch.len(), longest };
        (self.goal, self.promise) = self.context.open.aim(kind, trend);
        self.scratch = scratch;
        self.open.buffer = buffer;
        placed
    }

    fn place(&mut self, segment: Segment<'_>, promise: Option<Promise>) -> Result<(), BackupError> {
        let (raw, packed) = (u64::from(segment.row.raw), segment.encoded.len() as u64);
        self.added.raw += raw;
        self.added.stored += packed;
        self.added.chunks += segment.row.chunks.len() as u64;
        self.context.monitor.stored(Stored { raw, packed });
        let (open, flow) = (self.context.open, self.context.flow);
        let mut placed = open.place(segment, promise, flow);
        loop {
            match placed {
                Placed::There => return Ok(()),
                Placed::Full(full) => return self.seal(full),
                Placed::Nowhere(segment, leaves) => {
                    // Before there is memory for another one.
                    leaves.map_or(Ok(()), |full| self.seal(full))?;
                    let begin = || PackBuilder::new(&self.context.pool);
                    let (now, fits) = open.place_or_begin(segment, flow, begin);
                    if !fits {
                        let what = "a segment does not fit an empty pack";
                        return Err(BackupError::Internal(what));
                    }
                    placed = now;
                }
            }
        }
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
