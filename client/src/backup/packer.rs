//! What one thread needs to carry chunks into sealed packs: an open segment and a compressor of its
//! own. Packs are filled by all threads together, and sealed by the one whose segment was the last.

use crossbeam_channel::Sender;

use super::BackupError;
use super::dedup::{Dedup, PackRef, SegmentHandle};
use super::open_packs::{OpenPack, OpenPacks, Placed, Promise, Segment, Trend};
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
    raw: Vec<u8>,
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
            open: OpenSegment { raw: Vec::new(), chunks: Vec::new(), handle },
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
        self.open.raw.extend_from_slice(bytes);
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

    /// Adds a chunk of about `expected` bytes that `fill` writes straight into the open segment.
    /// It must not be empty.
    pub fn add_with(
        &mut self,
        expected: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), BackupError>,
    ) -> Result<(ChunkId, PackRef), BackupError> {
        self.make_room(expected)?;
        let start = self.open.raw.len();
        fill(&mut self.open.raw)?;
        let bytes = self.open.raw.get(start..).unwrap_or_default();
        let id = self.context.ids.chunk_id(self.kind, bytes);
        let length = bytes.len();
        if let Some(known) = self.context.dedup.claim(&id, self.open.handle)? {
            self.open.raw.truncate(start);
            return Ok((id, known));
        }
        self.added_to_open(id, length)
    }

    fn make_room(&mut self, expected: usize) -> Result<(), BackupError> {
        let long = self.open.raw.len() + expected > LONGEST.min(self.goal + self.goal / 4);
        if long && !self.open.chunks.is_empty() { self.close_segment() } else { Ok(()) }
    }

    /// The open segment ends with this chunk.
    fn added_to_open(
        &mut self,
        id: ChunkId,
        length: usize,
    ) -> Result<(ChunkId, PackRef), BackupError> {
        let here = PackRef::Pending(self.open.handle);
        self.open.chunks.push(ChunkRow { id, length: chunk_len(length) });
        if self.open.raw.len() >= self.goal || self.open.chunks.len() >= SEGMENT_CHUNKS {
            self.close_segment()?;
        }
        Ok((id, here))
    }

    /// Undoes nothing but frees a failed [`Self::add_with`]: drops bytes after the last chunk.
    pub fn discard_partial(&mut self) {
        let kept: usize = self.open.chunks.iter().map(|c| c.length as usize).sum();
        self.open.raw.truncate(kept);
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
        let raw = std::mem::take(&mut self.open.raw);
        let handle = std::mem::replace(&mut self.open.handle, self.context.dedup.new_segment());
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let encoding = self.compressor.compress_into(&raw, &mut scratch);
        let (length, kind) = (chunk_len(raw.len()), self.kind);
        let row = SegmentRow { sealed: 0, raw: length, encoding, kind, chunks };
        let promise = self.promise.take();
        let placed = self.place(Segment { encoded: &scratch, row, handle }, promise);
        let longest = longest_goal(kind);
        let trend = Trend { raw: raw.len(), encoded: scratch.len(), longest };
        (self.goal, self.promise) = self.context.open.aim(kind, trend);
        self.scratch = scratch;
        self.open.raw = raw;
        self.open.raw.clear();
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

const fn longest_goal(kind: ChunkKind) -> usize {
    match kind {
        ChunkKind::Data => SEGMENT,
        ChunkKind::Tree => TREE_SEGMENT,
    }
}

fn chunk_len(length: usize) -> u32 {
    u32::try_from(length).expect("a segment has at most 4 MiB")
}
