//! Single chunks, and trees made of them, from whatever copy is whole.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;

use super::error::{PackFault, PackTrouble, ReadError};
use super::lru::Lru;
use super::packs::{OpenPack, Opener, Packs, lacking};
use super::pieces::Pieces;
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::pack::table::ChunkRow;
use crate::tree::reader::ObjectSource;

/// Bytes of opened segments that are kept.
const SEGMENTS: usize = 4 * 1024 * 1024;
/// Bytes of fetched blocks that are kept.
const BLOCKS: usize = 8 * 1024 * 1024;
/// As many of one pack. In bytes.
const HALF: u64 = 4 * 1024 * 1024;
/// The segment of one pack from which on more is fetched than is needed at the moment.
const MANY: u32 = 3;
/// How much that is, in bytes.
const AHEAD: u64 = 2 * 1024 * 1024;

/// Loads chunks one by one and keeps what lay around them. One a thread.
#[derive(Debug)]
pub struct Chunks<'a> {
    packs: &'a Packs<'a>,
    /// The packs of the snapshot, which are asked first.
    within: Arc<RoaringBitmap>,
    segments: Lru<(PackNumber, u32), Arc<Vec<u8>>>,
    pieces: Lru<PackNumber, Arc<Pieces>>,
    /// How many segments of a pack were opened.
    asked: HashMap<PackNumber, u32>,
    /// Where the last chunk was found.
    last: Option<Arc<OpenPack>>,
    opener: Opener<'a>,
}

impl<'a> Chunks<'a> {
    /// Looks in the packs `within` first.
    pub fn new(packs: &'a Packs<'a>, within: Arc<RoaringBitmap>) -> Self {
        Self {
            packs,
            within,
            segments: Lru::new(SEGMENTS),
            pieces: Lru::new(BLOCKS),
            asked: HashMap::new(),
            last: None,
            opener: Opener::new(packs.repo.ids()),
        }
    }

    /// The same, with what it keeps, for chunks of which these packs are asked first.
    #[must_use]
    pub fn for_others(self, within: Arc<RoaringBitmap>) -> Self {
        Self { within, last: None, ..self }
    }

    /// The bytes of a chunk, from any copy that is whole. Packs in `avoid` are not asked.
    pub fn load(
        &mut self,
        kind: ChunkKind,
        id: &ChunkId,
        avoid: &[PackNumber],
    ) -> Result<Vec<u8>, ReadError> {
        if let Some(pack) = self.last.clone()
            && !avoid.contains(&pack.info.number)
            && pack.find(id).is_some()
            && let Ok(bytes) = self.load_from(pack.info.number, kind, id)
        {
            return Ok(bytes);
        }
        let mut tried: Vec<(PackNumber, PackTrouble)> = Vec::new();
        loop {
            let all = self.packs.index.is_whole();
            for number in self.packs.copies(id, &self.within)? {
                if avoid.contains(&number) || tried.iter().any(|(known, _)| *known == number) {
                    continue;
                }
                match self.load_from(number, kind, id) {
                    Ok(bytes) => return Ok(bytes),
                    Err(PackFault::Pack(trouble)) => {
                        self.packs.suspect(number);
                        tried.push((number, trouble));
                    }
                    Err(PackFault::Vault(error)) => return Err(error.into()),
                }
            }
            if all {
                break;
            }
            // Packs of which no map knows may have it as well.
            self.packs.learn_all()?;
        }
        Err(ReadError::Lost { id: *id, tried })
    }

    /// The bytes of a chunk from this pack alone.
    pub fn load_from(
        &mut self,
        number: PackNumber,
        kind: ChunkKind,
        id: &ChunkId,
    ) -> Result<Vec<u8>, PackFault> {
        let kept = self.pieces.get(&number);
        let mut pieces = kept.map(|pieces| (*pieces).clone()).unwrap_or_default();
        let before = pieces.len();
        let pack = self.packs.open(number, &mut pieces)?;
        let (segment, place) = pack.find(id).ok_or(PackTrouble::NotThere)?;
        let row = pack.segment(segment).ok_or(PackTrouble::NotThere)?;
        if row.kind != kind {
            return Err(PackTrouble::NotThere.into());
        }
        let raw = match self.segments.get(&(number, segment)) {
            Some(raw) => raw,
            None => self.open_segment(&pack, segment, &mut pieces)?,
        };
        if pieces.len() != before {
            let weight = usize::try_from(pieces.len()).unwrap_or(usize::MAX);
            self.pieces.put(number, Arc::new(pieces), weight);
        }
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let length = |chunk: &ChunkRow| usize::try_from(chunk.length).unwrap_or(usize::MAX);
        let start: usize = row.chunks.iter().take(place).map(length).sum();
        let size = row.chunks.get(place).map_or(0, length);
        let bytes = raw.get(start..start.saturating_add(size)).ok_or(PackTrouble::NotThere)?;
        let bytes = bytes.to_vec();
        self.last = Some(pack);
        Ok(bytes)
    }

    fn open_segment(
        &mut self,
        pack: &OpenPack,
        segment: u32,
        pieces: &mut Pieces,
    ) -> Result<Arc<Vec<u8>>, PackFault> {
        let number = pack.info.number;
        let asked = self.asked.entry(number).or_default();
        *asked = asked.saturating_add(1);
        let mut wanted = pack.range(segment).ok_or(PackTrouble::NotThere)?;
        let alone = std::slice::from_ref(&wanted);
        let here = lacking(&pack.info, alone, pieces).is_empty();
        if *asked >= MANY && !here {
            // A backup writes trees in about the order in which they are read.
            wanted.end = wanted.end.max(wanted.start.saturating_add(AHEAD));
            wanted.end = wanted.end.min(pack.info.footer_start());
            pieces.trim(wanted.start, HALF);
        }
        self.packs.fetch(&pack.info, &[wanted], pieces)?;
        let length = pack.segment(segment).map_or(0, |row| row.raw);
        let mut raw = Vec::new();
        self.opener.open(pack, segment, pieces, |chunk| {
            if raw.is_empty() {
                // It was checked: the segment has that length, which its row says.
                raw.reserve_exact(usize::try_from(length).unwrap_or(0));
            }
            raw.extend_from_slice(chunk.bytes);
            Ok::<(), PackTrouble>(())
        })?;
        let raw = Arc::new(raw);
        self.segments.put((number, segment), Arc::clone(&raw), raw.len());
        Ok(raw)
    }
}

impl ObjectSource for Chunks<'_> {
    type Error = ReadError;

    fn load(&mut self, id: &ChunkId) -> Result<Vec<u8>, ReadError> {
        Chunks::load(self, ChunkKind::Tree, id, &[])
    }
}
