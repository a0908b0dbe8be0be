//! The packs that are being filled: one for file content, one for trees, and a few that are nearly
//! full and wait for something small. All threads fill the same ones, so that memory stays bounded
//! however many threads there are, and little of a pack is left empty.
//!
//! What a thread adds it has compressed already, and nothing is sealed in here: the lock is held
//! for as long as copying a segment takes.
//!
//! A pack that leaves is counted as on its way before the lock is released: whoever waits for all
//! packs must not miss one that holds another thread's segments.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::dedup::SegmentHandle;
use super::upload::Flow;
use crate::crypto::content_id::ChunkKind;
use crate::pack::builder::PackBuilder;
use crate::pack::table::SegmentRow;

/// How many wait.
pub const WAITING: usize = 2;
/// Packs that may be open: one of each kind, and those that wait.
pub const OPEN: usize = 2 + WAITING;
/// A pack with less room than this, in bytes, is full.
pub const FULL: u64 = 96 * 1024;
/// A pack with less room than this, in bytes, does not wait.
const LITTLE: u64 = 256 * 1024;
/// A segment is not made shorter than this, in bytes, so that it fits into a pack.
const LEAST: usize = 256 * 1024;

/// A pack that is being filled.
#[derive(Debug)]
pub struct OpenPack {
    /// The pack.
    pub builder: PackBuilder,
    /// Handles of its segments, in order.
    pub handles: Vec<SegmentHandle>,
    number: u64,
    /// Bytes that threads are about to add.
    promised: u64,
}

/// A segment on its way into a pack.
#[derive(Debug)]
pub struct Segment<'a> {
    /// Its bytes, compressed.
    pub encoded: &'a [u8],
    /// What is in it.
    pub row: SegmentRow,
    /// Under which its pack is asked for.
    pub handle: SegmentHandle,
}

/// Where a segment went.
#[derive(Debug)]
pub enum Placed<'a> {
    /// Into a pack that goes on being filled.
    There,
    /// Into a pack that is full now.
    Full(OpenPack),
    /// It fits none of them. The pack that leaves to make room for another one.
    Nowhere(Segment<'a>, Option<OpenPack>),
}

/// Room that a thread is about to fill, so that others do not count on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    pack: u64,
    bytes: u64,
}

/// How the last segment compressed, and how long the next one may become.
#[derive(Debug, Clone, Copy)]
pub struct Trend {
    /// Bytes of the last one.
    pub raw: usize,
    /// The same, compressed.
    pub encoded: usize,
    /// The most bytes of the next one, before compression.
    pub longest: usize,
}

/// The packs that are open.
#[derive(Debug, Default)]
pub struct OpenPacks {
    open: Mutex<Open>,
    /// Held by who begins a pack, so that two threads do not begin one each.
    beginning: Mutex<()>,
}

#[derive(Debug, Default)]
struct Open {
    data: Option<OpenPack>,
    trees: Option<OpenPack>,
    waiting: Vec<OpenPack>,
    /// Packs so far.
    begun: u64,
}

impl OpenPack {
    /// A pack that nobody shares.
    pub const fn new(builder: PackBuilder) -> Self {
        Self { builder, handles: Vec::new(), number: 0, promised: 0 }
    }

    /// Takes a segment, or hands it back if it does not fit.
    fn take<'a>(&mut self, segment: Segment<'a>) -> Result<(), Segment<'a>> {
        if !self.builder.fits(segment.encoded.len(), &segment.row) {
            return Err(segment);
        }
        let Segment { encoded, row, handle } = segment;
        self.builder.append(encoded, row);
        self.handles.push(handle);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.builder.room() < FULL
    }

    /// Bytes that nobody else is about to fill.
    fn free(&self) -> u64 {
        self.builder.room().saturating_sub(self.promised)
    }
}

impl OpenPacks {
    /// Puts a segment into one of them, if it fits; what was promised for it is promised no more.
    pub fn place<'a>(
        &self,
        segment: Segment<'a>,
        promise: Option<Promise>,
        flow: &Flow,
    ) -> Placed<'a> {
        let mut open = self.open();
        if let Some(promise) = promise {
            open.take_back(promise);
        }
        let placed = open.place(segment);
        if matches!(placed, Placed::Full(_) | Placed::Nowhere(_, Some(_))) {
            flow.sealed();
        }
        placed
    }

    /// As [`Self::place`], and if it fits nowhere, and no pack had to leave, begins a pack with it,
    /// for which `new` waits as long as it has to. False if it does not fit that one either.
    pub fn place_or_begin<'a>(
        &self,
        segment: Segment<'a>,
        flow: &Flow,
        new: impl FnOnce() -> PackBuilder,
    ) -> (Placed<'a>, bool) {
        let _one_at_a_time = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        match self.place(segment, None, flow) {
            Placed::Nowhere(segment, None) => {
                let mut pack = OpenPack::new(new());
                let kind = segment.row.kind;
                let fits = pack.take(segment).is_ok();
                let mut open = self.open();
                open.begun += 1;
                pack.number = open.begun;
                *open.filling(kind) = Some(pack);
                (Placed::There, fits)
            }
            placed => (placed, true),
        }
    }

    /// How long the next segment best becomes before it is compressed, if it compresses like the
    /// last one: as long as fits into a pack that others leave it. The room is promised to it.
    pub fn aim(&self, kind: ChunkKind, trend: Trend) -> (usize, Option<Promise>) {
        let mut open = self.open();
        let Open { data, trees, waiting, .. } = &mut *open;
        // Trees are not scattered over packs of content to fill their gaps.
        let (filling, gaps) = match kind {
            ChunkKind::Data => (data, waiting.as_mut_slice()),
            ChunkKind::Tree => (trees, [].as_mut_slice()),
        };
        for pack in gaps.iter_mut().chain(filling) {
            let fits = trend.fitting(pack.free());
            if fits >= LEAST {
                let goal = fits.min(trend.longest);
                let bytes = if fits > goal { trend.encoded(goal) } else { pack.free() };
                pack.promised += bytes;
                return (goal, Some(Promise { pack: pack.number, bytes }));
            }
        }
        (trend.longest, None)
    }

    /// Takes all of them.
    pub fn take_all(&self) -> Vec<OpenPack> {
        let mut open = self.open();
        let mut all = std::mem::take(&mut open.waiting);
        all.extend(open.data.take());
        all.extend(open.trees.take());
        all
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trend {
    /// Bytes that compress to so many, with an eighth to spare.
    fn fitting(self, encoded: u64) -> usize {
        let encoded = usize::try_from(encoded).unwrap_or(usize::MAX);
        let fits = encoded.saturating_mul(self.raw) / self.encoded.max(1);
        fits - fits / 8
    }

    /// Bytes to which so many compress, with an eighth to spare.
    fn encoded(self, raw: usize) -> u64 {
        let encoded = raw.saturating_mul(self.encoded) / self.raw.max(1);
        (encoded + encoded / 8) as u64
    }
}

impl Open {
    fn filling(&mut self, kind: ChunkKind) -> &mut Option<OpenPack> {
        match kind {
            ChunkKind::Data => &mut self.data,
            ChunkKind::Tree => &mut self.trees,
        }
    }

    fn take_back(&mut self, promise: Promise) {
        let all = self.waiting.iter_mut().chain(&mut self.data).chain(&mut self.trees);
        // It may have left meanwhile.
        for pack in all.filter(|pack| pack.number == promise.pack) {
            pack.promised = pack.promised.saturating_sub(promise.bytes);
        }
    }

    fn place<'a>(&mut self, segment: Segment<'a>) -> Placed<'a> {
        // Content fills gaps first; trees stay together where they can.
        let placed = match segment.row.kind {
            ChunkKind::Data => self.fill_waiting(segment).or_else(|s| fill(&mut self.data, s)),
            ChunkKind::Tree => fill(&mut self.trees, segment).or_else(|s| self.fill_waiting(s)),
        };
        match placed {
            Ok(None) => Placed::There,
            Ok(Some(full)) => Placed::Full(full),
            Err(segment) => {
                let leaves = self.let_wait(segment.row.kind);
                Placed::Nowhere(segment, leaves)
            }
        }
    }

    /// Tells of the pack that is full now.
    fn fill_waiting<'a>(
        &mut self,
        mut segment: Segment<'a>,
    ) -> Result<Option<OpenPack>, Segment<'a>> {
        for at in 0..self.waiting.len() {
            let Some(pack) = self.waiting.get_mut(at) else {
                break;
            };
            match pack.take(segment) {
                Ok(()) if pack.is_full() => return Ok(Some(self.waiting.swap_remove(at))),
                Ok(()) => return Ok(None),
                Err(back) => segment = back,
            }
        }
        Err(segment)
    }

    /// Lets the pack that was being filled wait; hands back the fullest if there are too many,
    /// but rather one that nobody is about to fill. One with little room does not wait: that costs
    /// 16 MiB of memory and saves next to no padding.
    fn let_wait(&mut self, kind: ChunkKind) -> Option<OpenPack> {
        let pack = self.filling(kind).take()?;
        if pack.builder.room() < LITTLE {
            return Some(pack);
        }
        self.waiting.push(pack);
        if self.waiting.len() <= WAITING {
            return None;
        }
        let rank = |pack: &OpenPack| (pack.promised > 0, pack.builder.room());
        let fullest = self.waiting.iter().enumerate().min_by_key(|(_, pack)| rank(pack))?.0;
        Some(self.waiting.swap_remove(fullest))
    }
}

fn fill<'a>(
    filling: &mut Option<OpenPack>,
    segment: Segment<'a>,
) -> Result<Option<OpenPack>, Segment<'a>> {
    match filling {
        None => Err(segment),
        Some(pack) => {
            pack.take(segment)?;
            Ok(if pack.is_full() { filling.take() } else { None })
        }
    }
}

#[cfg(test)]
mod tests;
