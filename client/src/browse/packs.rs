//! Reads packs: their tables of contents, their keys, runs of their blocks.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use roaring::RoaringBitmap;
use tokio::runtime::Handle;
use unseen_common::id::PackNumber;
use unseen_common::vault::PackBytes;

use super::error::{PackFault, PackTrouble};
use super::lanes::Lanes;
use super::lru::Lru;
use super::pieces::{BLOCK, Pieces};
use crate::crypto::content_id::{ChunkId, ContentKeys};
use crate::crypto::envelope::{EnvelopeKind, HEADER_LEN};
use crate::crypto::seal::{PackKey, TAG_LEN};
use crate::pack::chunk_map::MappedPack;
use crate::pack::reader::{PackError, SegmentOpener, VerifiedChunk, open_own};
use crate::pack::table::{SegmentRow, Table};
use crate::progress::Monitor;
use crate::repo::reader::PackInfo;
use crate::repo::{ReaderIndex, ReaderRepo};

/// Bytes of tables of contents that are kept.
const TABLES: usize = 6 * 1024 * 1024;
/// Bytes of one request, at most: a multiple of a block. Small ones leave less memory in pieces,
/// and over a network the last ones end at about the same time.
const REQUEST: u64 = 1024 * 1024;

/// The packs of a vault, for reading. Shared by the threads of a command.
#[derive(Debug)]
pub struct Packs<'a> {
    /// The vault.
    pub repo: &'a ReaderRepo,
    /// Where everything is.
    pub index: &'a ReaderIndex,
    runtime: Handle,
    monitor: &'a dyn Monitor,
    opened: Mutex<Lru<PackNumber, Arc<OpenPack>>>,
    lanes: Lanes,
    fetched: AtomicU64,
    /// Held by who fetches tables of contents for the index.
    pub(super) learning: Mutex<()>,
    /// Packs that were not what they should be.
    suspects: Mutex<RoaringBitmap>,
}

/// A pack whose header and table of contents have been opened.
#[derive(Debug)]
pub struct OpenPack {
    /// The pack.
    pub info: PackInfo,
    /// What is in it.
    pub table: Table,
    key: PackKey,
    /// Where each segment begins.
    starts: Vec<u64>,
    places: OnceLock<Vec<Place>>,
}

/// Where a chunk is: the start of its id, its segment, its place in that.
type Place = (u32, u32, u32);

impl<'a> Packs<'a> {
    /// For a command; requests run on `runtime`.
    pub fn new(
        repo: &'a ReaderRepo,
        index: &'a ReaderIndex,
        monitor: &'a dyn Monitor,
        runtime: &Handle,
    ) -> Self {
        Self {
            repo,
            index,
            runtime: runtime.clone(),
            monitor,
            opened: Mutex::new(Lru::new(TABLES)),
            lanes: Lanes::default(),
            fetched: AtomicU64::new(0),
            learning: Mutex::default(),
            suspects: Mutex::default(),
        }
    }

    /// Notes that a pack, or something in it, cannot be read.
    pub fn suspect(&self, number: PackNumber) {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).insert(number.0);
    }

    /// The packs of which that was noted.
    pub fn suspects(&self) -> RoaringBitmap {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes that were fetched so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// So many bytes more were fetched.
    pub(super) fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
        self.monitor.transfer_planned(bytes);
        self.monitor.transferred(bytes);
    }

    /// Waits for something that is asked of the vault.
    pub fn wait<T>(&self, asked: impl Future<Output = T>) -> T {
        self.runtime.block_on(asked)
    }

    /// Opens a pack, unless it was opened not long ago. What had to be fetched is added to
    /// `pieces`.
    pub fn open(
        &self,
        number: PackNumber,
        pieces: &mut Pieces,
    ) -> Result<Arc<OpenPack>, PackFault> {
        if let Some(pack) = self.opened().get(&number) {
            return Ok(pack);
        }
        let info = self.index.pack(number).ok_or_else(|| {
            let gone =
                !self.index.live().contains(number.0) || self.index.gone().contains(number.0);
            if gone { PackTrouble::Missing } else { PackTrouble::UnknownWriter }
        })?;
        let pack = Arc::new(if let Some(ends) = self.index.ends(number) {
            self.open_ends(info, (&ends.0, &ends.1))?
        } else if comes_by_ends(&info) && !has_ends(&info, pieces) {
            let (id, PackInfo { length, footer, .. }) = (info.id, info);
            let ends = self.wait(self.repo.fetch_ends(&MappedPack { number, id, length, footer }));
            let (header, footer) = ends?;
            self.count(header.len().saturating_add(footer.len()));
            self.open_ends(info, (&header, &footer))?
        } else {
            let ends = [0..header_len(), info.footer_start()..info.length];
            self.fetch(&info, &ends, pieces)?;
            self.open_from(info, pieces)?
        });
        let weight = pack.weight();
        self.opened().put(number, Arc::clone(&pack), weight);
        Ok(pack)
    }

    /// Whether a pack has been opened not long ago, or can be without a request.
    pub fn is_open(&self, number: PackNumber) -> bool {
        self.opened().get(&number).is_some() || self.index.ends(number).is_some()
    }

    /// Opens a pack of which both ends have been fetched.
    pub fn open_from(&self, info: PackInfo, pieces: &Pieces) -> Result<OpenPack, PackTrouble> {
        let (mut header, mut footer) = (Vec::new(), Vec::new());
        let here = pieces.copy(&(0..header_len()), &mut header)
            && pieces.copy(&(info.footer_start()..info.length), &mut footer);
        if !here {
            return Err(PackTrouble::Short);
        }
        self.open_ends(info, (&header, &footer))
    }

    fn open_ends(
        &self,
        info: PackInfo,
        (header, footer): (&[u8], &[u8]),
    ) -> Result<OpenPack, PackTrouble> {
        let known = self.repo.known(info.device).ok_or(PackTrouble::UnknownWriter)?;
        let (mut footer, _) =
            open_own((info.id, info.length), (header, footer), self.repo.account(), known.keys())?;
        let (_, key) =
            self.repo.keys().open_header(EnvelopeKind::Pack, header).map_err(PackError::from)?;
        let mut starts = Vec::with_capacity(footer.table.segments.len());
        let mut at = header_len();
        for segment in &mut footer.table.segments {
            segment.chunks.shrink_to_fit();
            starts.push(at);
            at = at.saturating_add(segment.sealed.into());
        }
        Ok(OpenPack { info, key, starts, table: footer.table, places: OnceLock::new() })
    }

    /// Fetches what `pieces` lacks of these bytes of a pack.
    pub fn fetch(
        &self,
        info: &PackInfo,
        wanted: &[Range<u64>],
        pieces: &mut Pieces,
    ) -> Result<(), PackFault> {
        let runs = lacking(info, wanted, pieces);
        let planned = runs.iter().map(|run| run.end.saturating_sub(run.start));
        self.monitor.transfer_planned(planned.sum());
        self.fetch_runs(info, runs, pieces)
    }

    /// As [`Self::fetch`] of a pack that was announced as planned before.
    pub fn fetch_planned(
        &self,
        info: &PackInfo,
        wanted: &[Range<u64>],
        pieces: &mut Pieces,
    ) -> Result<(), PackFault> {
        self.fetch_runs(info, lacking(info, wanted, pieces), pieces)
    }

    fn fetch_runs(
        &self,
        info: &PackInfo,
        runs: Vec<Range<u64>>,
        pieces: &mut Pieces,
    ) -> Result<(), PackFault> {
        let number = info.number;
        let asks = requests(runs);
        let mut arrived = |(ask, found): (Range<u64>, PackBytes)| {
            let length = u64::try_from(found.bytes.len()).unwrap_or(u64::MAX);
            self.fetched.fetch_add(length, Ordering::Relaxed);
            self.monitor.transferred(length);
            if ask.start.checked_add(length) != Some(ask.end) || found.total != info.length {
                return Err(PackTrouble::Short.into());
            }
            pieces.add(ask.start, found.bytes);
            Ok(())
        };
        if self.repo.is_local() {
            return asks.into_iter().try_for_each(|ask| {
                let found = self.wait(self.repo.vault.get_pack(number, Some(ask.clone())))?;
                arrived((ask, found))
            });
        }
        let ask = |ask: Range<u64>| {
            let vault = Arc::clone(&self.repo.vault);
            async move { Ok((ask.clone(), vault.get_pack(number, Some(ask)).await?)) }
        };
        self.wait(self.lanes.all(asks, ask, arrived))
    }

    fn opened(&self) -> MutexGuard<'_, Lru<PackNumber, Arc<OpenPack>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenPack {
    /// A segment's row.
    pub fn segment(&self, segment: u32) -> Option<&SegmentRow> {
        self.table.segments.get(index(segment))
    }

    /// Where a segment is in the pack.
    pub fn range(&self, segment: u32) -> Option<Range<u64>> {
        let start = *self.starts.get(index(segment))?;
        let sealed = self.segment(segment)?.sealed;
        Some(start..start.saturating_add(sealed.into()))
    }

    /// The segment that holds a chunk, and the chunk's place in it.
    pub fn find(&self, id: &ChunkId) -> Option<(u32, u32)> {
        let places = self.places.get_or_init(|| self.sorted());
        let prefix = prefix(id);
        let first = places.partition_point(|(known, _, _)| *known < prefix);
        places
            .get(first..)?
            .iter()
            .take_while(|(known, _, _)| *known == prefix)
            .find(|(_, segment, place)| {
                let row = self.segment(*segment);
                row.and_then(|row| row.chunks.get(index(*place)))
                    .is_some_and(|chunk| chunk.id == *id)
            })
            .map(|(_, segment, place)| (*segment, *place))
    }

    fn sorted(&self) -> Vec<Place> {
        let chunks = self.table.segments.iter().map(|row| row.chunks.len());
        let mut places = Vec::with_capacity(chunks.sum());
        for (segment, row) in (0..).zip(&self.table.segments) {
            for (place, chunk) in (0..).zip(&row.chunks) {
                places.push((prefix(&chunk.id), segment, place));
            }
        }
        places.sort_unstable();
        places
    }

    /// About how many bytes of RAM it takes.
    fn weight(&self) -> usize {
        let chunks: usize = self.table.segments.iter().map(|s| s.chunks.len()).sum();
        (chunks + 4) * 48 + self.table.segments.len() * 64
    }
}

/// Opens segments, one after another. One a thread.
#[derive(Debug)]
pub struct Opener<'a> {
    ids: &'a ContentKeys,
    segments: SegmentOpener,
    scratch: Vec<u8>,
}

impl<'a> Opener<'a> {
    /// Checks chunks by these keys.
    pub fn new(ids: &'a ContentKeys) -> Self {
        Self { ids, segments: SegmentOpener::default(), scratch: Vec::new() }
    }

    /// Opens a segment that was fetched, and hands on its chunks in order, each checked.
    pub fn open<E: From<PackTrouble>>(
        &mut self,
        pack: &OpenPack,
        segment: u32,
        pieces: &Pieces,
        mut each: impl FnMut(VerifiedChunk<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (Some(row), Some(range)) = (pack.segment(segment), pack.range(segment)) else {
            return Err(PackTrouble::NotThere.into());
        };
        if !pieces.copy(&range, &mut self.scratch) {
            return Err(PackTrouble::Short.into());
        }
        let place = (u64::from(segment), row);
        let sealed = self.scratch.as_mut_slice();
        let opened = self
            .segments
            .open(&pack.key, place, sealed, self.ids, |chunk| each(chunk).map_err(Inner::Each));
        opened.map_err(|error| match error {
            Inner::Pack(error) => PackTrouble::from(error).into(),
            Inner::Each(error) => error,
        })
    }
}

impl Opener<'_> {
    /// The content of the segment that was opened last, as it was before it was sealed.
    pub fn encoded(&self) -> &[u8] {
        let length = self.scratch.len().saturating_sub(TAG_LEN);
        self.scratch.get(..length).unwrap_or_default()
    }
}

enum Inner<E> {
    Pack(PackError),
    Each(E),
}

impl<E> From<PackError> for Inner<E> {
    fn from(error: PackError) -> Self {
        Self::Pack(error)
    }
}

/// What [`Packs::fetch`] would fetch of these bytes of a pack. Who wants content only does not get
/// the table of contents with it.
pub fn lacking(info: &PackInfo, wanted: &[Range<u64>], pieces: &Pieces) -> Vec<Range<u64>> {
    let start = info.footer_start();
    let content = comes_by_ends(info) && wanted.iter().all(|range| range.end <= start);
    pieces.lacking(wanted, if content { start } else { info.length })
}

/// Whether both ends of a pack are fetched without the blocks that they are in. Where they are
/// everybody knows, so nothing is told by that. Of a short pack all comes with the first answer.
fn comes_by_ends(info: &PackInfo) -> bool {
    info.length > 2 * BLOCK
}

fn has_ends(info: &PackInfo, pieces: &Pieces) -> bool {
    pieces.has(&(0..header_len())) && pieces.has(&(info.footer_start()..info.length))
}

/// Runs of a pack as requests for it.
fn requests(runs: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut requests = Vec::new();
    for Range { mut start, end } in runs {
        while start < end {
            let next = end.min(start.saturating_add(REQUEST));
            requests.push(start..next);
            start = next;
        }
    }
    requests
}

fn prefix(id: &ChunkId) -> u32 {
    let first = id.0.first_chunk().expect("an id has 32 bytes");
    u32::from_le_bytes(*first)
}

fn header_len() -> u64 {
    u64::try_from(HEADER_LEN).expect("a small constant")
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_of_blocks_and_leave_nothing_out() {
        assert_eq!(REQUEST % BLOCK, 0);
        let end = 4 * REQUEST + 7;
        let runs = vec![0..BLOCK, REQUEST..2 * REQUEST, 2 * REQUEST + BLOCK..end];
        let expected = [
            0..BLOCK,
            REQUEST..2 * REQUEST,
            2 * REQUEST + BLOCK..3 * REQUEST + BLOCK,
            3 * REQUEST + BLOCK..end,
        ];
        assert_eq!(requests(runs), expected);
        assert!(requests(Vec::new()).is_empty());
    }
}
