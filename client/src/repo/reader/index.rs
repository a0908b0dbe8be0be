//! The chunk index over all packs of a vault, of whatever device.

use std::fs;
use std::path::Path;

use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;
use unseen_common::vault::{FooterItem, FooterPage};

use super::ReaderRepo;
use super::pack_map::{PackInfo, PackMap};
use crate::crypto::content_id::ChunkId;
use crate::crypto::envelope::{EnvelopeKind, HeaderInfo};
use crate::index::{Index, IndexError};
use crate::pack::reader::PackError;
use crate::pins::private_folder;
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
    /// in them can be read, and fetches the tables of contents that are not in it yet. Damaged ones
    /// are collected, and do not end it. An index that cannot be read is made anew.
    pub async fn open_index(&self, dir: &Path) -> Result<ReaderIndex, RepoError> {
        let (index, mut packs) = self.load_index(dir)?;
        // What is new is asked for before it is known whether there is anything: over a long link
        // the lists take two round trips.
        let known = (index.covered() & packs.numbers()).max().map(PackNumber);
        let lists = async {
            let live = self.vault.live_packs().await?.0;
            // In this order: one that is found damaged in between is in both.
            let quarantined = self.vault.damaged_packs().await?.0;
            Ok((live, quarantined))
        };
        let newest = self.vault.footers(None, known);
        // Who is polled first gets the connection that is open.
        let (newest, (live, quarantined)) = tokio::try_join!(biased; newest, lists)?;
        let live = live | &quarantined;
        let stale = index.covered() - (packs.numbers() & &live);
        index.forget_packs(&stale)?;
        packs.retain(&index.covered());
        let (damaged, gone) = (Vec::new(), RoaringBitmap::new());
        let mut opened = ReaderIndex { index, packs, live, quarantined, damaged, gone };
        if self.fill(&mut opened, (known, newest)).await? {
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

    /// What an earlier run left.
    fn load_index(&self, dir: &Path) -> Result<(Index, PackMap), RepoError> {
        private_folder(dir).map_err(|source| RepoError::Io { path: dir.to_path_buf(), source })?;
        let folder = dir.join(INDEX);
        let packs = PackMap::read(&dir.join(PACKS), self.account()).unwrap_or_default();
        let index = match Index::open(&folder, self.account()) {
            Err(IndexError::Damaged { .. }) => {
                Index::wipe(&folder)?;
                Index::open(&folder, self.account())?
            }
            opened => opened?,
        };
        Ok((index, packs))
    }

    /// Takes tables of contents: those of the page, which begins after the pack `known`, and then
    /// whatever is lacking. Answers whether there were any.
    async fn fill(
        &self,
        into: &mut ReaderIndex,
        (known, newest): (Option<PackNumber>, FooterPage),
    ) -> Result<bool, RepoError> {
        let mut missing = &into.live - into.index.covered();
        let mut found = Vec::new();
        let first = known.map_or(0, |known| known.0.saturating_add(1));
        let mut newer = missing.clone();
        newer.remove_range(..first);
        if let Some(last) = self.take_page(&newest, (into, &newer), &mut found)? {
            // The page may be older than the list: what would come after it may be there by now.
            missing.remove_range(first..=last);
        }
        while let Some(next) = missing.min() {
            let after = next.checked_sub(1).map(PackNumber);
            let page = self.vault.footers(None, after).await?;
            // Whatever the page skips is not there, though it is said to be live.
            let passed = match self.take_page(&page, (into, &missing), &mut found)? {
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

    /// Takes those of a page that are missing. Answers the number of the last one on it.
    fn take_page(
        &self,
        page: &FooterPage,
        (into, missing): (&mut ReaderIndex, &RoaringBitmap),
        found: &mut Vec<PackInfo>,
    ) -> Result<Option<u32>, RepoError> {
        for item in page.items.iter().filter(|item| missing.contains(item.number.0)) {
            self.take(item, into, found)?;
        }
        Ok(page.items.iter().map(|item| item.number.0).max())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    /// Somebody may put packs between two answers of the server, and nobody has to keep to what it
    /// was asked.
    #[test]
    fn a_page_that_is_older_than_the_list_or_of_other_packs_loses_nothing() {
        let (world, mut desk) = World::new();
        let source = world.folder("source");
        for text in ["1", "2", "3"] {
            fs::write(source.join("f"), text).unwrap();
            world.backup(&mut desk, &source);
        }
        let (repo, index) = world.reader();
        let all = index.live().clone();
        drop(index);
        assert_eq!(all.len(), 3);
        let pages = |after: Option<u32>, most| {
            let asked = repo.vault.footers(None, after.map(PackNumber));
            let mut page = world.runtime.block_on(asked).unwrap();
            page.items.truncate(most);
            page
        };
        for (known, page) in [
            (None, pages(None, 0)),
            (None, pages(None, 1)),
            (None, pages(None, 3)),
            (Some(1), pages(Some(1), 1)),
            (Some(1), pages(None, 3)),
            (Some(2), pages(None, 2)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (index, packs) = repo.load_index(folder.path()).unwrap();
            let (live, quarantined) = (all.clone(), RoaringBitmap::new());
            let (damaged, gone) = (Vec::new(), RoaringBitmap::new());
            let mut opened = ReaderIndex { index, packs, live, quarantined, damaged, gone };
            let filled = repo.fill(&mut opened, (known.map(PackNumber), page));
            assert!(world.runtime.block_on(filled).unwrap());
            assert_eq!(opened.index.covered(), all);
            assert!(opened.gone().is_empty() && opened.damaged().is_empty());
            assert!(all.iter().all(|number| opened.pack(PackNumber(number)).is_some()));
        }
    }
}
