//! Reading little: where chunks may be is told by maps (`pack/chunk_map.rs`), and the tables of
//! contents of those packs are fetched one by one.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;
use unseen_common::id::{PackId, PackNumber};
use unseen_common::limits::{PACK_HEADER, PACK_TRAILER};
use unseen_common::vault::VaultError;

use super::ReaderRepo;
use super::index::{PackEnds, ReaderIndex, contents};
use crate::crypto::content_id::ChunkId;
use crate::crypto::envelope::{EnvelopeKind, HEADER_LEN, HeaderInfo};
use crate::index::IndexError;
use crate::pack::chunk_map::{ChunkMap, MappedPack};
use crate::pack::reader::{OpenedFooter, PackError, SegmentOpener, open_own};
use crate::tree::manifest::MapRef;

/// Tables that may be fetched one by one before it is better to fetch all: each takes a round trip.
const ONE_BY_ONE: u64 = 32;
/// And one more for so many that the index lacks.
const PER_LACKING: u64 = 512;
/// Bytes of them, at most; they are kept in RAM.
const ENDS: u64 = 8 * 1024 * 1024;

impl ReaderRepo {
    /// Fetches a map: all of its pack, so that nobody sees how much of it is padding. `None` if it
    /// is not there, or not as it should be.
    pub async fn fetch_map(&self, at: &MapRef) -> Option<ChunkMap> {
        let found = self.vault.get_pack(at.number, None).await.ok()?;
        self.open_map(at, &found.bytes)
    }

    fn open_map(&self, at: &MapRef, pack: &[u8]) -> Option<ChunkMap> {
        let (header, rest) = pack.split_at_checked(HEADER_LEN)?;
        let (footer, _) = rest.split_last_chunk::<16>()?.1.split_first_chunk()?;
        let footer = usize::try_from(u32::from_le_bytes(*footer)).ok()?.checked_add(16)?;
        let (body, footer) = rest.split_at_checked(rest.len().checked_sub(footer)?)?;
        let whole = (at.pack, u64::try_from(pack.len()).ok()?);
        let opened = self.open_ends(whole, (header, footer)).ok()?;
        let row = opened.table.segments.first()?;
        let mut sealed = body.get(..usize::try_from(row.sealed).ok()?)?.to_vec();
        let (_, key) = self.keys().open_header(EnvelopeKind::Pack, header).ok()?;
        let mut map = None;
        SegmentOpener::default()
            .open::<PackError>(&key, (0, row), &mut sealed, self.ids(), |chunk| {
                if chunk.id == at.chunk {
                    map = ChunkMap::from_bytes(chunk.bytes).ok();
                }
                Ok(())
            })
            .ok()?;
        map
    }

    fn open_ends(
        &self,
        whole: (PackId, u64),
        (header, footer): (&[u8], &[u8]),
    ) -> Result<OpenedFooter, PackError> {
        let device = HeaderInfo::peek(EnvelopeKind::Pack, header)?.device;
        let stranger = PackError::Inconsistent("it was written by an unknown device");
        let known = self.known(device).ok_or(stranger)?;
        Ok(open_own(whole, (header, footer), self.account(), known.keys())?.0)
    }

    /// Fetches both ends of a pack that a map names.
    pub async fn fetch_ends(&self, pack: &MappedPack) -> Result<PackEnds, VaultError> {
        let end = pack.length.saturating_sub(PACK_TRAILER).saturating_sub(pack.footer);
        let get = |range| self.vault.get_pack(pack.number, Some(range));
        let (header, footer) = tokio::try_join!(get(0..PACK_HEADER), get(end..pack.length))?;
        Ok((header.bytes, footer.bytes))
    }

    /// Takes the table of a pack from its ends, if it holds.
    pub fn take_ends(
        &self,
        into: &ReaderIndex,
        pack: &MappedPack,
        ends: PackEnds,
    ) -> Result<(), IndexError> {
        let whole = (pack.id, pack.length);
        let Ok(opened) = self.open_ends(whole, (&ends.0, &ends.1)) else {
            into.pass_over(pack.number);
            return Ok(());
        };
        let lengths = (pack.length, ends.1.len().saturating_sub(16));
        let (info, ids) = contents((pack.number, pack.id), lengths, &opened);
        into.index.add_pack(pack.number, &ids)?;
        let mut known = into.write();
        known.packs.extend(vec![info]);
        known.one_by_one.insert(pack.number, Some(Arc::new(ends)));
        Ok(())
    }
}

impl ReaderIndex {
    /// Looks in these maps for what it does not know. They are in packs that hold nothing else.
    pub fn set_maps(&mut self, (places, maps): (Vec<MapRef>, Vec<ChunkMap>)) {
        (self.map_packs, self.maps) = (places, maps);
        self.one_by_one = ONE_BY_ONE.saturating_add(self.lacking().len() / PER_LACKING);
    }

    /// The packs that its maps know, and those that hold the maps.
    pub fn mapped(&self) -> RoaringBitmap {
        let own = self.map_packs.iter().map(|map| map.number.0).collect();
        self.maps.iter().fold(own, |all: RoaringBitmap, map| all | map.numbers())
    }

    /// The name of a pack, as its table or a map has it.
    pub fn pack_id(&self, number: PackNumber) -> Option<PackId> {
        let own = || self.map_packs.iter().find(|map| map.number == number).map(|map| map.pack);
        let mapped = || self.maps.iter().find_map(|map| map.pack(number)).map(|pack| pack.id);
        self.pack(number).map(|pack| pack.id).or_else(mapped).or_else(own)
    }

    /// Packs that may hold a chunk, by the maps, and whose tables were not asked for yet.
    pub fn may_hold(&self, id: &ChunkId) -> Vec<MappedPack> {
        let known = self.read();
        let unknown = |pack: &&MappedPack| {
            let number = pack.number;
            self.live().contains(number.0)
                && known.packs.get(number).is_none()
                && !known.one_by_one.contains_key(&number)
        };
        let packs = self.maps.iter().flat_map(|map| map.may_hold(id));
        packs.filter(unknown).copied().collect()
    }

    /// Whether these may be fetched one by one as well, after those that were.
    pub fn is_few(&self, packs: &[MappedPack]) -> bool {
        let known = self.read();
        let length = |ends: &Arc<PackEnds>| bytes(&ends.0).saturating_add(bytes(&ends.1));
        let had: u64 = known.one_by_one.values().flatten().map(length).sum();
        let more: u64 = packs.iter().map(|pack| pack.footer.saturating_add(PACK_HEADER)).sum();
        let number = known.one_by_one.len().saturating_add(packs.len());
        u64::try_from(number).is_ok_and(|number| number <= self.one_by_one)
            && had.saturating_add(more) <= ENDS
    }

    /// The table of this pack cannot be had from its ends.
    pub fn pass_over(&self, number: PackNumber) {
        self.write().one_by_one.insert(number, None);
    }

    /// Both ends of a pack that was asked for by itself.
    pub fn ends(&self, number: PackNumber) -> Option<Arc<PackEnds>> {
        self.read().one_by_one.get(&number).cloned().flatten()
    }
}

fn bytes(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
