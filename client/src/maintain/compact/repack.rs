//! Puts what is needed of old packs into new ones of the same device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use unseen_common::id::{PackId, PackNumber};
use unseen_common::packset::PackSet;
use unseen_common::vault::Vault;

use super::Used;
use super::rewrite::CompactError;
use crate::backup::dedup::SegmentHandle;
use crate::backup::open_packs::{FULL, OpenPack, WAITING};
use crate::backup::tail::settle;
use crate::browse::error::PackTrouble;
use crate::browse::packs::{OpenPack as OldPack, Opener, Packs};
use crate::browse::pieces::Pieces;
use crate::compress::{Compressor, Level};
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::crypto::rng::Hedged;
use crate::pack::builder::{BufferPool, PackBuilder, Sealer};
use crate::pack::table::{ChunkRow, SegmentRow};

/// A segment that is put together anew is closed at so many bytes, as in a backup.
const SEGMENT: usize = 3 * 1024 * 1024;
/// The same for trees.
const TREE_SEGMENT: usize = 1024 * 1024;
/// Or at so many chunks.
const SEGMENT_CHUNKS: usize = 4 * 1024;
/// Packs in memory: two being filled, those that wait, one on its way, and one to spare.
pub(super) const BUFFERS: usize = WAITING + 4;

/// What the packs of one step became.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// For each old pack the new ones that its chunks went to.
    pub(super) map: BTreeMap<PackNumber, PackSet>,
    /// The new packs, and their lengths in bytes.
    pub(super) packs: BTreeMap<PackNumber, (PackId, u64)>,
}

/// Fills new packs of one device.
pub(super) struct Repacker<'a> {
    packs: &'a Packs<'a>,
    used: &'a Used,
    vault: &'a Arc<dyn Vault>,
    sealer: &'a Sealer<'a>,
    rng: Hedged,
    pool: &'a BufferPool,
    opener: Opener<'a>,
    compressor: Compressor,
    data: Bin,
    trees: Bin,
    waiting: Vec<OpenPack>,
    /// The old packs that each new segment came from, by its handle.
    origins: Vec<BTreeSet<PackNumber>>,
    made: &'a mut Made,
}

/// What is being filled with chunks of one kind.
#[derive(Debug, Default)]
struct Bin {
    pack: Option<OpenPack>,
    raw: Vec<u8>,
    chunks: Vec<ChunkRow>,
    origins: BTreeSet<PackNumber>,
}

impl<'a> Repacker<'a> {
    pub(super) fn new(
        (packs, used): (&'a Packs<'a>, &'a Used),
        vault: &'a Arc<dyn Vault>,
        (sealer, rng): (&'a Sealer<'a>, Hedged),
        pool: &'a BufferPool,
        made: &'a mut Made,
    ) -> Self {
        Self {
            packs,
            used,
            vault,
            sealer,
            rng,
            pool,
            opener: Opener::new(packs.repo.ids()),
            compressor: Compressor::new(Level::Default),
            data: Bin::default(),
            trees: Bin::default(),
            waiting: Vec::new(),
            origins: Vec::new(),
            made,
        }
    }

    /// Takes what is needed of a pack that was fetched whole. Every chunk is checked. On trouble,
    /// some of it may have been taken all the same, which is of no use and does no harm.
    pub(super) fn take(&mut self, old: &OldPack, pieces: &Pieces) -> Result<(), Trouble> {
        let number = old.info.number;
        for (segment, row) in (0..).zip(&old.table.segments) {
            let kept: Vec<bool> =
                row.chunks.iter().map(|chunk| self.used.holds(number, &chunk.id)).collect();
            if kept.iter().all(|kept| *kept) {
                self.whole(old, (segment, row), pieces)?;
            } else if kept.contains(&true) {
                self.some(old, (segment, row), &kept, pieces)?;
            }
        }
        Ok(())
    }

    /// A segment all of which is needed goes on as it is compressed.
    fn whole(
        &mut self,
        old: &OldPack,
        (segment, row): (u32, &SegmentRow),
        pieces: &Pieces,
    ) -> Result<(), Trouble> {
        self.opener.open(old, segment, pieces, |_| Ok::<(), PackTrouble>(()))?;
        let encoded = self.opener.encoded().to_vec();
        let origins = BTreeSet::from([old.info.number]);
        Ok(self.place(&encoded, row.clone(), origins)?)
    }

    /// Of another one the chunks that are needed go into a new one.
    fn some(
        &mut self,
        old: &OldPack,
        (segment, row): (u32, &SegmentRow),
        kept: &[bool],
        pieces: &Pieces,
    ) -> Result<(), Trouble> {
        let (mut raw, mut kept) = (Vec::new(), kept.iter());
        self.opener.open(old, segment, pieces, |chunk| {
            if kept.next() == Some(&true) {
                raw.push((chunk.id, chunk.bytes.to_vec()));
            }
            Ok::<(), PackTrouble>(())
        })?;
        for (id, bytes) in raw {
            self.chunk(row.kind, (id, &bytes), old.info.number)?;
        }
        Ok(())
    }

    /// Takes one chunk that was checked, which an old pack has, or had.
    pub(super) fn chunk(
        &mut self,
        kind: ChunkKind,
        (id, bytes): (ChunkId, &[u8]),
        origin: PackNumber,
    ) -> Result<(), CompactError> {
        let goal = match kind {
            ChunkKind::Data => SEGMENT,
            ChunkKind::Tree => TREE_SEGMENT,
        };
        if self.bin(kind).raw.len().saturating_add(bytes.len()) > goal + goal / 4 {
            self.close(kind)?;
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let bin = self.bin(kind);
        bin.raw.extend_from_slice(bytes);
        bin.chunks.push(ChunkRow { id, length });
        bin.origins.insert(origin);
        if bin.raw.len() >= goal || bin.chunks.len() >= SEGMENT_CHUNKS {
            self.close(kind)?;
        }
        Ok(())
    }

    fn bin(&mut self, kind: ChunkKind) -> &mut Bin {
        match kind {
            ChunkKind::Data => &mut self.data,
            ChunkKind::Tree => &mut self.trees,
        }
    }

    /// Ends the segment that is being put together.
    fn close(&mut self, kind: ChunkKind) -> Result<(), CompactError> {
        let bin = self.bin(kind);
        if bin.chunks.is_empty() {
            return Ok(());
        }
        let raw = std::mem::take(&mut bin.raw);
        let chunks = std::mem::take(&mut bin.chunks);
        let origins = std::mem::take(&mut bin.origins);
        let mut encoded = Vec::new();
        let encoding = self.compressor.compress_into(&raw, &mut encoded);
        let length = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        self.place(&encoded, SegmentRow { sealed: 0, raw: length, encoding, kind, chunks }, origins)
    }

    /// Puts a segment into a pack in which there is room.
    fn place(
        &mut self,
        encoded: &[u8],
        row: SegmentRow,
        origins: BTreeSet<PackNumber>,
    ) -> Result<(), CompactError> {
        let number = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
        let handle = SegmentHandle::numbered(number);
        self.origins.push(origins);
        let kind = row.kind;
        let own = self.bin(kind).pack.take();
        let mut rest = std::mem::take(&mut self.waiting);
        let mut tried: Vec<OpenPack> = own.into_iter().collect();
        let had_own = !tried.is_empty();
        tried.append(&mut rest);
        let found = tried.iter_mut().position(|pack| pack.builder.append(encoded, row.clone()));
        if let Some(place) = found
            && let Some(pack) = tried.get_mut(place)
        {
            pack.handles.push(handle);
            if pack.builder.room() < FULL {
                let full = tried.remove(place);
                let own_is_full = had_own && place == 0;
                self.put_back(tried, kind, had_own && !own_is_full);
                return self.send(full);
            }
            self.put_back(tried, kind, had_own);
            return Ok(());
        }
        // Nowhere: what was being filled waits for something smaller.
        self.waiting = tried;
        if self.waiting.len() > WAITING {
            let fullest = self.waiting.iter().enumerate().min_by_key(|(_, p)| p.builder.room());
            if let Some((at, _)) = fullest {
                let full = self.waiting.remove(at);
                self.send(full)?;
            }
        }
        let mut pack = OpenPack::new(PackBuilder::new(self.pool));
        pack.handles.push(handle);
        if !pack.builder.append(encoded, row) {
            return Err(CompactError::Internal("a segment does not fit an empty pack"));
        }
        self.bin(kind).pack = Some(pack);
        Ok(())
    }

    fn put_back(&mut self, mut packs: Vec<OpenPack>, kind: ChunkKind, first_is_own: bool) {
        if first_is_own && !packs.is_empty() {
            self.bin(kind).pack = Some(packs.remove(0));
        }
        self.waiting = packs;
    }

    /// Seals and sends everything that is open.
    pub(super) fn finish(mut self) -> Result<(), CompactError> {
        self.close(ChunkKind::Data)?;
        self.close(ChunkKind::Tree)?;
        let mut packs = std::mem::take(&mut self.waiting);
        packs.extend(self.data.pack.take());
        packs.extend(self.trees.pack.take());
        for pack in settle(packs) {
            self.send(pack)?;
        }
        Ok(())
    }

    fn send(&mut self, pack: OpenPack) -> Result<(), CompactError> {
        let sealed = pack.builder.seal(self.sealer, &mut self.rng)?;
        let number = self.packs.wait(self.vault.put_pack(sealed.upload()))?;
        self.made.packs.insert(number, (sealed.id, sealed.len()));
        for handle in pack.handles {
            for old in self.origins.get(handle.place()).into_iter().flatten() {
                self.made.map.entry(*old).or_default().0.insert(number.0);
            }
        }
        Ok(())
    }
}

/// Why a pack was not taken.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is damaged; another may not be.
    Pack(PackTrouble),
    /// Nothing goes on.
    Fatal(CompactError),
}

impl From<PackTrouble> for Trouble {
    fn from(trouble: PackTrouble) -> Self {
        Self::Pack(trouble)
    }
}

impl From<CompactError> for Trouble {
    fn from(error: CompactError) -> Self {
        Self::Fatal(error)
    }
}
