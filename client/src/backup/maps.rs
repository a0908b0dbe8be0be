//! Maps of chunks (`pack/chunk_map.rs`): written before a commit, of a checkpoint too, when packs with many tables of
//! contents have come together that no map has yet. Each is a pack of its own. The manifests that
//! follow name the maps, so that a reader who wants one file need not fetch all tables.
//!
//! They are a convenience: where one cannot be written the snapshot is made without it.

use std::collections::HashMap;

use minicbor::decode::Decoder;
use roaring::RoaringBitmap;
use tokio::runtime::Handle;
use unseen_common::codec::{
    Canonical, DecodeError, Enc, EncodeResult, array_len, array_of, bytes_capped,
};
use unseen_common::id::PackNumber;
use unseen_common::limits::{MAX_PACKSET, PACK_HEADER};
use unseen_common::packset::PackSet;
use unseen_common::vault::Vault;

use super::BackupError;
use super::dedup::Dedup;
use super::stop::Stop;
use crate::compress::Encoding;
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::crypto::device_file::DeviceKey;
use crate::index::{Index, IndexError};
use crate::pack::builder::{BufferPool, PackBuilder, SealedPack, Sealer};
use crate::pack::chunk_map::{ChunkMap, MAX_MAP, MappedPack, start_of};
use crate::pack::table::{ChunkRow, SegmentRow};
use crate::state::db::StateDb;
use crate::tree::manifest::{MAX_MAPS, Manifest, MapRef};

/// Bytes of tables of contents that a reader may have to fetch besides the maps.
const TABLES: u64 = 384 * 1024;
/// A shorter map is written anew with the next one.
const SHORT: usize = MAX_MAP / 2;

/// Packs and bytes that the server took.
pub type Sent = (u64, u64);

/// The maps of a device's packs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maps(Vec<Kept>);

/// A map that the vault has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    at: MapRef,
    short: bool,
    packs: PackSet,
}

/// What maps are made of.
#[derive(Debug)]
pub struct Making<'a> {
    /// Seals them.
    pub key: &'a DeviceKey,
    /// Takes them.
    pub vault: &'a dyn Vault,
    /// Knows names and lengths of packs.
    pub state: &'a StateDb,
    /// Knows the chunks of packs.
    pub index: &'a Index,
    /// Runs requests, and ends them.
    pub waiting: (&'a Handle, &'a Stop<'a>),
}

impl Maps {
    /// Those that still are of use: whose pack is among `own`, the packs that the vault has.
    pub fn known(state: &StateDb, own: &RoaringBitmap) -> Result<Self, BackupError> {
        let bytes = state.maps()?.unwrap_or_default();
        // What another version wrote is made anew.
        let Self(mut kept) = Self::from_bytes(&bytes).unwrap_or_default();
        kept.retain(|map| {
            // What a compaction took leaves the others to be mapped anew.
            own.contains(map.at.number.0)
                && map.packs.0.intersection_len(own) * 2 >= map.packs.0.len()
                && state.pack(map.at.number).is_ok_and(|id| id == Some(map.at.pack))
        });
        Ok(Self(kept))
    }

    /// Names them in a manifest; tells the packs that it needs for them.
    pub fn name_in(&self, manifest: &mut Manifest) -> RoaringBitmap {
        manifest.maps = self.0.iter().map(|map| map.at).take(MAX_MAPS).collect();
        manifest.maps.iter().map(|map| map.number.0).collect()
    }

    fn own_packs(&self) -> RoaringBitmap {
        self.0.iter().map(|map| map.at.number.0).collect()
    }

    fn packs(&self) -> RoaringBitmap {
        self.0.iter().fold(RoaringBitmap::new(), |all, map| all | &map.packs.0)
    }
}

impl Making<'_> {
    /// The maps of the packs `own`, with one of those that no map has yet, if they are many: then
    /// its pack is among them, and among what was `sent`.
    pub fn up_to_date(
        &self,
        own: &mut RoaringBitmap,
        sent: &mut Sent,
    ) -> Result<Maps, BackupError> {
        let mut maps = Maps::known(self.state, own)?;
        let (packs, bytes) = self.update(&mut maps, own)?;
        *sent = (sent.0 + packs, sent.1 + bytes);
        Ok(maps)
    }

    /// The same while packs come: those that have come by now.
    pub fn so_far(&self, dedup: &Dedup<'_>, sent: &mut Sent) -> Result<Maps, BackupError> {
        let mut own = dedup.all_own();
        let maps = self.up_to_date(&mut own, sent)?;
        dedup.add_own(&own);
        Ok(maps)
    }

    /// Writes maps of what is in none of `maps`, if that is much. Tells what was sent.
    fn update(&self, maps: &mut Maps, own: &mut RoaringBitmap) -> Result<Sent, BackupError> {
        let lacking = &*own - (maps.packs() | maps.own_packs());
        let weight =
            self.named(&lacking)?.iter().map(|pack| pack.footer + PACK_HEADER).sum::<u64>();
        if weight < TABLES || self.waiting.1.is_wanted() {
            return Ok((0, 0));
        }
        let mut made = maps.clone();
        made.0.retain(|map| !map.short);
        let packs = self.named(&(&*own - (made.packs() | made.own_packs())))?;
        let mut sent = (0, 0);
        for map in self.fill(packs)? {
            let (chunk, pack) = self.seal(&map)?;
            let put = self.vault.put_pack(pack.upload());
            // The snapshot can do without. If it is the link, the commit will tell.
            let Ok(number) = self.waiting.1.before_long(self.waiting.0, put) else {
                return Ok(sent);
            };
            self.state.set_pack(number, &pack.id, pack.lengths())?;
            self.index.add_pack(number, &[chunk])?;
            own.insert(number.0);
            sent = (sent.0 + 1, sent.1 + pack.len());
            let at = MapRef { number, pack: pack.id, chunk };
            let packs = PackSet(map.numbers());
            made.0.push(Kept { at, short: map.size() < SHORT, packs });
        }
        self.state.set_maps(&made.to_bytes())?;
        *maps = made;
        Ok(sent)
    }

    /// What is known of these packs, ascending.
    fn named(&self, numbers: &RoaringBitmap) -> Result<Vec<MappedPack>, BackupError> {
        let mut named = Vec::new();
        for number in numbers.iter().map(PackNumber) {
            named.extend(self.state.pack_with_lengths(number)?);
        }
        Ok(named)
    }

    /// Maps of these packs, each as long as it may be, the last one aside.
    fn fill(&self, packs: Vec<MappedPack>) -> Result<Vec<ChunkMap>, IndexError> {
        let mut starts: HashMap<PackNumber, Vec<u32>> =
            packs.iter().map(|pack| (pack.number, Vec::new())).collect();
        self.index.for_each(|id, number| {
            if let Some(starts) = starts.get_mut(&number) {
                starts.push(start_of(id));
            }
        })?;
        let (mut maps, mut map) = (Vec::new(), ChunkMap::default());
        for pack in packs {
            let starts = starts.remove(&pack.number).unwrap_or_default();
            if starts.is_empty() {
                continue;
            }
            if !map.push(pack, starts.clone()) {
                maps.push(std::mem::take(&mut map));
                map.push(pack, starts);
            }
        }
        maps.push(map);
        maps.retain(|map| !map.is_empty());
        Ok(maps)
    }

    fn seal(&self, map: &ChunkMap) -> Result<(ChunkId, SealedPack), BackupError> {
        let (bytes, key) = (map.to_bytes(), self.key);
        let chunk = key.write_set.content_keys().chunk_id(ChunkKind::Tree, &bytes);
        let raw = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut builder = PackBuilder::new(&BufferPool::new(1));
        let chunks = vec![ChunkRow { id: chunk, length: raw }];
        let (encoding, kind) = (Encoding::Stored, ChunkKind::Tree);
        let taken = builder.append(&bytes, SegmentRow { sealed: 0, raw, encoding, kind, chunks });
        debug_assert!(taken, "the longest map fits a pack");
        Ok((chunk, builder.seal(&Sealer::of(key), &mut key.secrets.rng())?))
    }
}

impl Canonical for Maps {
    const WHAT: &'static str = "list of maps of chunks";
    const CAP: usize = MAX_PACKSET;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(self.0.len() as u64)?;
        for map in &self.0 {
            e.array(3)?;
            map.at.encode(e)?;
            e.bool(map.short)?.bytes(&map.packs.to_bytes())?;
        }
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut kept = Vec::new();
        for _ in 0..array_len(d, "maps of chunks", MAX_PACKSET)? {
            array_of(d, 3, "map of chunks")?;
            let (at, short) = (MapRef::decode(d)?, d.bool()?);
            let packs = PackSet::from_bytes(bytes_capped(d, "packset", MAX_PACKSET)?)?;
            kept.push(Kept { at, short, packs });
        }
        Ok(Self(kept))
    }
}
