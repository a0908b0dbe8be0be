//! The chunk index over all packs of a vault, of whatever device.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;
use unseen_common::vault::{FooterItem, FooterPage};

use super::ReaderRepo;
use super::pack_map::{PackInfo, PackMap};
use crate::crypto::content_id::ChunkId;
use crate::crypto::envelope::{EnvelopeKind, HeaderInfo};
use crate::index::{Index, IndexError};
use crate::pack::chunk_map::ChunkMap;
use crate::pack::reader::{OpenedFooter, PackError};
use crate::pins::private_folder;
use crate::repo::RepoError;
use crate::repo::footers::open_item;
use crate::tree::manifest::MapRef;

/// A pack whose table of contents cannot be used: nothing in it can be found.
#[derive(Debug)]
pub struct DamagedFooter {
    /// The pack.
    pub number: PackNumber,
    /// What is wrong.
    pub error: RepoError,
}

/// Where every chunk of the vault is; or, until it is [whole](Self::is_whole), every chunk of the
/// packs whose tables of contents were fetched, and where the others may be.
#[derive(Debug)]
pub struct ReaderIndex {
    pub(super) index: Index,
    dir: PathBuf,
    live: RoaringBitmap,
    quarantined: RoaringBitmap,
    whole: AtomicBool,
    pub(super) maps: Vec<ChunkMap>,
    pub(super) map_packs: Vec<MapRef>,
    /// How many packs may be asked for one by one.
    pub(super) one_by_one: u64,
    known: RwLock<Known>,
}

/// What tables of contents have told besides chunks.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) packs: PackMap,
    damaged: Vec<Arc<DamagedFooter>>,
    gone: RoaringBitmap,
    /// Both ends of packs that were asked for one by one; none of those that could not be had.
    pub(super) one_by_one: HashMap<PackNumber, Option<Arc<PackEnds>>>,
}

/// Header, then sealed footer and trailer, of a pack.
pub type PackEnds = (Bytes, Bytes);

/// The page of tables behind the last pack that was known.
type Newest = (Option<PackNumber>, FooterPage);

impl ReaderRepo {
    /// Opens the index of all packs that are there in `dir`, damaged ones too, since what is whole
    /// in them can be read, and fetches the tables of contents that are not in it yet. Damaged ones
    /// are collected, and do not end it. An index that cannot be read is made anew.
    pub async fn open_index(&self, dir: &Path) -> Result<ReaderIndex, RepoError> {
        let (opened, newest) = self.open_lists(dir, true).await?;
        self.finish(&opened, newest).await?;
        Ok(opened)
    }

    /// The same without most of the tables: of a folder that has an index, the newest are fetched,
    /// of others none.
    pub async fn begin_index(&self, dir: &Path) -> Result<ReaderIndex, RepoError> {
        let (opened, newest) = self.open_lists(dir, false).await?;
        if let Some(newest) = newest {
            let mut missing = opened.lacking();
            self.take_newest(&opened, newest, &mut missing)?;
        }
        Ok(opened)
    }

    /// Fetches all tables that are not there yet.
    pub async fn complete_index(&self, index: &ReaderIndex) -> Result<(), RepoError> {
        if index.is_whole() { Ok(()) } else { self.finish(index, None).await }
    }

    async fn open_lists(
        &self,
        dir: &Path,
        always: bool,
    ) -> Result<(ReaderIndex, Option<Newest>), RepoError> {
        let (index, mut packs) = self.load_index(dir)?;
        // What is new is asked for before it is known whether there is anything: over a long link
        // the lists take two round trips.
        let known = (index.covered() & packs.numbers()).max().map(PackNumber);
        let newest = async {
            if known.is_none() && !always {
                return Ok(None);
            }
            Ok(Some((known, self.vault.footers(None, known).await?)))
        };
        let lists = async {
            let live = self.vault.live_packs().await?.0;
            // In this order: one that is found damaged in between is in both.
            let quarantined = self.vault.damaged_packs().await?.0;
            Ok::<_, RepoError>((live, quarantined))
        };
        // Who is polled first gets the connection that is open.
        let (newest, (live, quarantined)) = tokio::try_join!(biased; newest, lists)?;
        let live = live | &quarantined;
        let stale = index.covered() - (packs.numbers() & &live);
        index.forget_packs(&stale)?;
        packs.retain(&index.covered());
        let opened = ReaderIndex {
            index,
            dir: dir.to_path_buf(),
            live,
            quarantined,
            whole: AtomicBool::new(false),
            maps: Vec::new(),
            map_packs: Vec::new(),
            one_by_one: 0,
            known: RwLock::new(Known { packs, ..Known::default() }),
        };
        Ok((opened, newest))
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

    /// Takes tables of contents: those of the page, and then whatever is lacking; keeps it all.
    async fn finish(&self, into: &ReaderIndex, newest: Option<Newest>) -> Result<(), RepoError> {
        let had = into.index.covered().len();
        let mut missing = into.lacking();
        if let Some(newest) = newest {
            self.take_newest(into, newest, &mut missing)?;
        }
        self.fetch_tables(into, missing).await?;
        let fetched = into.index.covered().len() > had;
        let mut known = into.write();
        known.gone = into.lacking();
        let damaged: RoaringBitmap = known.damaged.iter().map(|one| one.number.0).collect();
        known.gone -= damaged;
        if fetched || !known.one_by_one.is_empty() {
            into.index.flush()?;
            let path = into.dir.join(PACKS);
            let written = known.packs.write(&path, self.account());
            written.map_err(|source| RepoError::Io { path, source })?;
        }
        known.one_by_one.clear();
        into.whole.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes what is missing from a page that begins after the pack `known`.
    fn take_newest(
        &self,
        into: &ReaderIndex,
        (known, page): Newest,
        missing: &mut RoaringBitmap,
    ) -> Result<(), RepoError> {
        let first = known.map_or(0, |known| known.0.saturating_add(1));
        let mut newer = missing.clone();
        newer.remove_range(..first);
        if let Some(last) = self.take_page(&page, (into, &newer))? {
            // The page may be older than the list: what would come after it may be there by now.
            missing.remove_range(first..=last);
        }
        Ok(())
    }

    /// Fetches the tables of these packs, page by page.
    pub(crate) async fn fetch_tables(
        &self,
        into: &ReaderIndex,
        mut missing: RoaringBitmap,
    ) -> Result<(), RepoError> {
        while let Some(next) = missing.min() {
            let after = next.checked_sub(1).map(PackNumber);
            let page = self.vault.footers(None, after).await?;
            // Whatever the page skips is not there, though it is said to be live.
            let passed = match self.take_page(&page, (into, &missing))? {
                Some(last) if page.more && last >= next => last,
                _ => u32::MAX,
            };
            missing.remove_range(..=passed);
        }
        Ok(())
    }

    /// Takes those of a page that are missing. Answers the number of the last one on it.
    fn take_page(
        &self,
        page: &FooterPage,
        (into, missing): (&ReaderIndex, &RoaringBitmap),
    ) -> Result<Option<u32>, RepoError> {
        let mut found = Vec::new();
        for item in page.items.iter().filter(|item| missing.contains(item.number.0)) {
            match self.read_footer(item) {
                Ok((info, ids)) => {
                    into.index.add_pack(item.number, &ids)?;
                    found.push(info);
                }
                Err(error) => {
                    let mut known = into.write();
                    known.damaged.retain(|one| one.number != item.number);
                    let damaged = DamagedFooter { number: item.number, error };
                    known.damaged.push(Arc::new(damaged));
                }
            }
        }
        into.write().packs.extend(found);
        Ok(page.items.iter().map(|item| item.number.0).max())
    }

    fn read_footer(&self, item: &FooterItem) -> Result<(PackInfo, Vec<ChunkId>), RepoError> {
        let damaged = |source| RepoError::Footer { number: item.number.0, source };
        let info = HeaderInfo::peek(EnvelopeKind::Pack, &item.header)
            .map_err(|error| damaged(PackError::from(error)))?;
        let known = self.known(info.device).ok_or_else(|| {
            damaged(PackError::Inconsistent("it was written by an unknown device"))
        })?;
        let opened = open_item(item, self.account(), std::slice::from_ref(known))?;
        let lengths = (item.length, item.footer.len().saturating_sub(16));
        Ok(contents((item.number, item.id), lengths, &opened))
    }
}

/// What an index has of a pack with this table, and the chunks in it.
pub(super) fn contents(
    (number, id): (PackNumber, unseen_common::id::PackId),
    (length, footer): (u64, usize),
    opened: &OpenedFooter,
) -> (PackInfo, Vec<ChunkId>) {
    let table = &opened.table;
    let raw = table.segments.iter().map(|row| u64::from(row.raw)).sum::<u64>();
    let pack = PackInfo {
        number,
        id,
        device: opened.info.device,
        length,
        footer: u64::try_from(footer).unwrap_or(u64::MAX),
        body: u32::try_from(table.body_len()).unwrap_or(u32::MAX),
        raw: u32::try_from(raw).unwrap_or(u32::MAX),
    };
    (pack, table.segments.iter().flat_map(|s| s.chunks.iter().map(|c| c.id)).collect())
}

impl ReaderIndex {
    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

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

    /// What is known of a pack; nothing if its table of contents could not be read, or was not
    /// fetched.
    pub fn pack(&self, number: PackNumber) -> Option<PackInfo> {
        self.read().packs.get(number)
    }

    /// Whether the tables of all packs are in it that can be had.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Packs that are there, and whose tables are not in it.
    pub fn lacking(&self) -> RoaringBitmap {
        &self.live - self.index.covered()
    }

    /// Whether an earlier command, or this one, has put any table into it.
    pub fn is_empty(&self) -> bool {
        self.index.covered().is_empty()
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
    pub fn damaged(&self) -> Vec<Arc<DamagedFooter>> {
        self.read().damaged.clone()
    }

    /// Packs that the server says are there, and whose table of contents it does not give.
    pub fn gone(&self) -> RoaringBitmap {
        self.read().gone.clone()
    }

    /// Bytes of RAM that the index takes, besides 48 a pack.
    pub fn ram_bytes(&self) -> usize {
        self.index.ram_bytes()
    }

    // A panic elsewhere leaves what is known as true as it was.

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
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
            let (mut opened, _) =
                world.runtime.block_on(repo.open_lists(folder.path(), false)).unwrap();
            opened.live = all.clone();
            let finished = repo.finish(&opened, Some((known.map(PackNumber), page)));
            world.runtime.block_on(finished).unwrap();
            assert!(opened.is_whole());
            assert_eq!(opened.index.covered(), all);
            assert!(opened.gone().is_empty() && opened.damaged().is_empty());
            assert!(all.iter().all(|number| opened.pack(PackNumber(number)).is_some()));
        }
    }
}
