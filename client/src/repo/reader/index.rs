//! The chunk index over all packs of a vault, of whatever device.

use std::fs;
use std::path::Path;

use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;
use unseen_common::vault::FooterItem;

use super::ReaderRepo;
use super::pack_map::{PackInfo, PackMap};
use crate::crypto::content_id::ChunkId;
use crate::crypto::envelope::{EnvelopeKind, HeaderInfo};
use crate::index::{Index, IndexError};
use crate::pack::reader::PackError;
use crate::repo::RepoError;
use crate::repo::footers::open_item;

/// A pack whose table of contents cannot be used: nothing in it can be found.
#[derive(Debug)]
pub struct DamagedFooter {
    /// The pack.
    pub number: PackNumber,
    /// What is wrong.
    pub error: RepoError,
}

/// Where every chunk of the vault is.
#[derive(Debug)]
pub struct ReaderIndex {
    index: Index,
    packs: PackMap,
    live: RoaringBitmap,
    quarantined: RoaringBitmap,
    damaged: Vec<DamagedFooter>,
    gone: RoaringBitmap,
}

impl ReaderRepo {
    /// Opens the index of all packs that are there in `dir`, damaged ones too, since what is whole
    /// in them can be read, and fetches the tables of contents that are not in it yet. Damaged ones are collected, and do not end it. An index that cannot be read is
    /// made anew.
    pub async fn open_index(&self, dir: &Path) -> Result<ReaderIndex, RepoError> {
        let live = self.vault.live_packs().await?.0;
        // In this order: one that is found damaged in between is in both.
        let quarantined = self.vault.damaged_packs().await?.0;
        let live = live | &quarantined;
        let (index, packs) = self.load_index(dir, &live)?;
        let (damaged, gone) = (Vec::new(), RoaringBitmap::new());
        let mut opened = ReaderIndex { index, packs, live, quarantined, damaged, gone };
        if self.fill(&mut opened).await? {
            opened.index.flush()?;
            let path = dir.join(PACKS);
            opened
                .packs
                .write(&path, self.account())
                .map_err(|source| RepoError::Io { path, source })?;
        }
        Ok(opened)
    }

    /// Deletes the index in `dir`, which must not be open: for when a lookup in it finds damage.
    pub fn wipe_index(&self, dir: &Path) -> Result<(), RepoError> {
        let path = dir.join(PACKS);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(RepoError::Io { path, source });
            }
            _ => {}
        }
        Ok(Index::wipe(&dir.join(INDEX))?)
    }

    /// What an earlier run left, without packs that are gone or that only one of both knows.
    fn load_index(&self, dir: &Path, live: &RoaringBitmap) -> Result<(Index, PackMap), RepoError> {
        fs::create_dir_all(dir)
            .map_err(|source| RepoError::Io { path: dir.to_path_buf(), source })?;
        let folder = dir.join(INDEX);
        let mut packs = PackMap::read(&dir.join(PACKS), self.account()).unwrap_or_default();
        let open = || -> Result<Index, IndexError> {
            let index = Index::open(&folder, self.account())?;
            let stale = index.covered() - (packs.numbers() & live);
            if !stale.is_empty() {
                index.forget_packs(&stale)?;
            }
            Ok(index)
        };
        let index = match open() {
            Err(IndexError::Damaged { .. }) => {
                Index::wipe(&folder)?;
                Index::open(&folder, self.account())?
            }
            opened => opened?,
        };
        packs.retain(&index.covered());
        Ok((index, packs))
    }

    /// Fetches tables of contents; answers whether there were any.
    async fn fill(&self, into: &mut ReaderIndex) -> Result<bool, RepoError> {
        let mut missing = &into.live - into.index.covered();
        let mut found = Vec::new();
        while let Some(next) = missing.min() {
            let after = next.checked_sub(1).map(PackNumber);
            let page = self.vault.footers(None, after).await?;
            // Whatever the page skips is not there, though it is said to be live.
            let last = page.items.iter().map(|item| item.number.0).max();
            for item in &page.items {
                if missing.contains(item.number.0) {
                    self.take(item, into, &mut found)?;
                }
            }
            let passed = match last {
                Some(last) if page.more && last >= next => last,
                _ => u32::MAX,
            };
            missing.remove_range(..=passed);
        }
        let fetched = !found.is_empty();
        into.packs.extend(found);
        into.gone = &into.live - into.index.covered();
        for damaged in &into.damaged {
            into.gone.remove(damaged.number.0);
        }
        Ok(fetched)
    }

    fn take(
        &self,
        item: &FooterItem,
        into: &mut ReaderIndex,
        found: &mut Vec<PackInfo>,
    ) -> Result<(), RepoError> {
        match self.read_footer(item) {
            Ok((info, ids)) => {
                into.index.add_pack(item.number, &ids)?;
                found.push(info);
            }
            Err(error) => into.damaged.push(DamagedFooter { number: item.number, error }),
        }
        Ok(())
    }

    fn read_footer(&self, item: &FooterItem) -> Result<(PackInfo, Vec<ChunkId>), RepoError> {
        let damaged = |source| RepoError::Footer { number: item.number.0, source };
        let info = HeaderInfo::peek(EnvelopeKind::Pack, &item.header)
            .map_err(|error| damaged(PackError::from(error)))?;
        let known = self.known(info.device).ok_or_else(|| {
            damaged(PackError::Inconsistent("it was written by an unknown device"))
        })?;
        let opened = open_item(item, self.account(), std::slice::from_ref(known))?;
        let sealed = item.footer.len().saturating_sub(16);
        let raw = opened.table.segments.iter().map(|row| u64::from(row.raw)).sum::<u64>();
        let pack = PackInfo {
            number: item.number,
            id: item.id,
            device: info.device,
            length: item.length,
            footer: u64::try_from(sealed).unwrap_or(u64::MAX),
            body: u32::try_from(opened.table.body_len()).unwrap_or(u32::MAX),
            raw: u32::try_from(raw).unwrap_or(u32::MAX),
        };
        let segments = opened.table.segments.iter();
        let ids = segments.flat_map(|s| s.chunks.iter().map(|c| c.id));
        Ok((pack, ids.collect()))
    }
}

impl ReaderIndex {
    /// A pack that holds the chunk: one of `within` if there is one, else any.
    pub fn lookup(
        &self,
        id: &ChunkId,
        within: &RoaringBitmap,
    ) -> Result<Option<PackNumber>, IndexError> {
        match self.index.lookup(id, Some(within))? {
            Some(found) => Ok(Some(found)),
            None => self.index.lookup(id, None),
        }
    }

    /// A pack of `within` that holds the chunk.
    pub fn lookup_within(
        &self,
        id: &ChunkId,
        within: &RoaringBitmap,
    ) -> Result<Option<PackNumber>, IndexError> {
        self.index.lookup(id, Some(within))
    }

    /// All packs that hold the chunk: those of `within` first, then the others.
    pub fn copies(
        &self,
        id: &ChunkId,
        within: &RoaringBitmap,
    ) -> Result<Vec<PackNumber>, IndexError> {
        let mut all = Vec::new();
        self.index.lookup_all(id, &mut all)?;
        all.sort_by_key(|pack| !within.contains(pack.0));
        Ok(all)
    }

    /// What is known of a pack; nothing if its table of contents could not be read.
    pub fn pack(&self, number: PackNumber) -> Option<PackInfo> {
        self.packs.get(number)
    }

    /// The packs that the server says are there, damaged ones too.
    pub fn live(&self) -> &RoaringBitmap {
        &self.live
    }

    /// Those of them that the server knows to be damaged.
    pub fn quarantined(&self) -> &RoaringBitmap {
        &self.quarantined
    }

    /// Live packs whose table of contents is damaged or forged.
    pub fn damaged(&self) -> &[DamagedFooter] {
        &self.damaged
    }

    /// Packs that the server says are there, and whose table of contents it does not give.
    pub fn gone(&self) -> &RoaringBitmap {
        &self.gone
    }

    /// Bytes of RAM that the index takes, besides 48 a pack.
    pub fn ram_bytes(&self) -> usize {
        self.index.ram_bytes()
    }
}

const INDEX: &str = "index";
const PACKS: &str = "packs";
