//! The chunk index: which packs hold a chunk. On disk, with about 1.3 bytes of RAM a chunk.
//!
//! Records live in sorted immutable files (runs) with a filter each, and the newest ones in RAM.
//! When those are many, or on [`Index::flush`], they become a run, merged with the older runs that
//! are no larger, so that there are never more than eight. A manifest names the runs and the packs
//! that they cover; it is replaced in one step. So a crash loses the packs added since the last
//! flush, no more, and [`Index::covered`] says which are to be added again.
//!
//! The index is a cache: everything in it can be read from the packs' tables of contents. Every
//! byte read back is verified before it is believed, and damage is an error and not a wrong answer.

mod blocks;
mod delta;
mod error;
mod filter;
mod folder;
mod manifest;
mod record;
mod run;
#[cfg(test)]
mod tests;
mod write;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use roaring::RoaringBitmap;
use unseen_common::id::{PackNumber, VaultId};

use crate::crypto::content_id::ChunkId;
use blocks::Blocks;
use delta::Delta;
use folder::Folder;
use manifest::Manifest;
use record::{Origin, Record};
use run::Run;

pub use error::IndexError;
use error::Result;

/// An open index. Lookups from many threads do not wait for each other unless they need the same
/// block, nor for a merge.
#[derive(Debug)]
pub struct Index {
    folder: Folder,
    limits: Limits,
    state: RwLock<State>,
    /// What is on disk. Taken before `state`, and by everything that writes files.
    disk: Mutex<Manifest>,
    blocks: Blocks,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Records in RAM.
    delta: usize,
    /// Runs on disk.
    runs: usize,
    /// Blocks of runs in RAM.
    blocks: usize,
}

impl Limits {
    const DEFAULT: Self = Self { delta: 64 << 10, runs: 8, blocks: 1024 };
}

#[derive(Debug)]
struct State {
    delta: Delta,
    /// Being written; there after a failed attempt as well.
    frozen: Option<Arc<Frozen>>,
    sealed: Arc<Sealed>,
    /// Packs whose records are in any of the three and count.
    covered: RoaringBitmap,
}

#[derive(Debug)]
struct Frozen {
    delta: Delta,
    /// Packs whose records are in the runs or here.
    covered: RoaringBitmap,
}

#[derive(Debug, Default)]
struct Sealed {
    /// Oldest first.
    runs: Vec<Arc<Run>>,
    /// Packs that were forgotten while records of theirs are somewhere.
    dead: RoaringBitmap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merge {
    /// As many runs as keeps their number down.
    Some,
    /// All of them; afterwards no pack is dead.
    All,
    /// As `Some`, for records frozen so long ago that newer ones in RAM may be of dead packs.
    LeftOver,
}

impl Index {
    /// Opens the index of `vault` in `dir`; an empty one if there is none yet.
    ///
    /// Files in `dir` that no index needs are deleted. One process at a time: [`IndexError::InUse`].
    pub fn open(dir: &Path, vault: VaultId) -> Result<Self> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| {
            IndexError::io("draw a nonce for", dir)(io::Error::other(error.to_string()))
        })?;
        Self::open_with(dir, Origin { vault, nonce }, Limits::DEFAULT)
    }

    fn open_with(dir: &Path, fresh: Origin, limits: Limits) -> Result<Self> {
        let folder = Folder::open(dir)?;
        let manifest = Manifest::read(&folder.manifest(), fresh)?;
        let mut runs = Vec::with_capacity(manifest.runs.len());
        for entry in &manifest.runs {
            runs.push(Arc::new(Run::open(
                folder.run(entry.number),
                entry.clone(),
                manifest.origin,
            )?));
        }
        folder
            .clean(|path| path == folder.manifest() || runs.iter().any(|run| run.path() == path))?;
        let state = State {
            delta: Delta::default(),
            frozen: None,
            sealed: Arc::new(Sealed { runs, dead: manifest.dead.clone() }),
            covered: manifest.covered.clone(),
        };
        let blocks = Blocks::new(limits.blocks);
        let (state, disk) = (RwLock::new(state), Mutex::new(manifest));
        Ok(Self { folder, limits, state, disk, blocks })
    }

    /// Deletes the index in `dir`, if any. It must not be open.
    pub fn wipe(dir: &Path) -> Result<()> {
        if dir.exists() { Folder::open(dir)?.wipe() } else { Ok(()) }
    }

    /// A pack that holds the chunk: never a forgotten one, and one of `within` if that is given.
    pub fn lookup(
        &self,
        id: &ChunkId,
        within: Option<&RoaringBitmap>,
    ) -> Result<Option<PackNumber>> {
        let wanted = |pack| within.is_none_or(|within| within.contains(pack));
        self.find(id, wanted).map(|found| found.map(PackNumber))
    }

    /// Replaces the content of `out` by all packs that hold the chunk, in order.
    pub fn lookup_all(&self, id: &ChunkId, out: &mut Vec<PackNumber>) -> Result<()> {
        out.clear();
        self.find(id, |pack| {
            out.push(PackNumber(pack));
            false
        })?;
        out.sort_unstable();
        out.dedup();
        Ok(())
    }

    /// Records that `pack` holds the chunks `ids`. Saying so again changes nothing.
    ///
    /// In RAM until the next flush, which happens by itself when many chunks have come together.
    pub fn add_pack(&self, pack: PackNumber, ids: &[ChunkId]) -> Result<()> {
        let PackNumber(pack) = pack;
        loop {
            let mut state = self.write();
            if state.sealed.dead.contains(pack) {
                // Old records of this number must not come back to life with it.
                drop(state);
                self.write_out(Merge::All)?;
            } else if state.delta.len() > 0 && state.delta.len() + ids.len() > self.limits.delta {
                drop(state);
                self.write_out(Merge::Some)?;
            } else if state.covered.contains(pack) {
                drop(state);
                return self.add_missing(pack, ids);
            } else {
                state.covered.insert(pack);
                for id in ids {
                    state.delta.insert(Record { id: *id, pack });
                }
                return Ok(());
            }
        }
    }

    /// Tells every pair of chunk and pack, in no order, some more than once; those of forgotten
    /// packs are not among them.
    pub fn for_each(&self, mut each: impl FnMut(&ChunkId, PackNumber)) -> Result<()> {
        let (frozen, sealed) = {
            let state = self.read();
            for record in state.delta.sorted() {
                if !state.sealed.dead.contains(record.pack) {
                    each(&record.id, PackNumber(record.pack));
                }
            }
            (state.frozen.clone(), Arc::clone(&state.sealed))
        };
        let frozen = frozen.iter().flat_map(|frozen| frozen.delta.sorted());
        let runs = sealed.runs.iter().flat_map(|run| run.records());
        for record in frozen.map(Ok).chain(runs) {
            let record = record?;
            if !sealed.dead.contains(record.pack) {
                each(&record.id, PackNumber(record.pack));
            }
        }
        Ok(())
    }

    /// Packs that were added and not forgotten.
    pub fn covered(&self) -> RoaringBitmap {
        self.read().covered.clone()
    }

    /// Makes packs count no more, durably. One that is added again counts again, with the chunks
    /// it is then said to hold.
    pub fn forget_packs(&self, packs: &RoaringBitmap) -> Result<()> {
        let mut disk = self.disk();
        let gone = packs & &self.read().covered;
        if gone.is_empty() {
            return Ok(());
        }
        let mut manifest = disk.clone();
        manifest.covered -= &gone;
        manifest.dead |= &gone;
        self.replace(&mut disk, manifest)?;
        let mut state = self.write();
        state.covered -= &gone;
        let Sealed { runs, dead } = &*state.sealed;
        state.sealed = Arc::new(Sealed { runs: runs.clone(), dead: dead | &gone });
        Ok(())
    }

    /// Puts everything on disk. Afterwards a crash loses nothing of what was added before.
    pub fn flush(&self) -> Result<()> {
        self.write_out(Merge::Some)
    }

    /// How many pairs of chunk and pack are held, those of forgotten packs among them until they
    /// are cleared away.
    pub fn len(&self) -> u64 {
        let state = self.read();
        let in_ram = state.delta.len() + state.frozen.as_ref().map_or(0, |f| f.delta.len());
        let on_disk: u64 = state.sealed.runs.iter().map(|run| run.entry.records).sum();
        on_disk + u64::try_from(in_ram).unwrap_or(u64::MAX)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of RAM in use for records, filters and tables, besides up to 4 MiB for the blocks that
    /// were read last.
    pub fn ram_bytes(&self) -> usize {
        let state = self.read();
        state.delta.ram_bytes()
            + state.frozen.as_ref().map_or(0, |frozen| frozen.delta.ram_bytes())
            + state.sealed.runs.iter().map(|run| run.ram_bytes()).sum::<usize>()
    }

    /// The first live pack with the chunk that `wanted` agrees to; newest records first.
    fn find(&self, id: &ChunkId, mut wanted: impl FnMut(u32) -> bool) -> Result<Option<u32>> {
        let (in_ram, sealed) = {
            let state = self.read();
            let mut accept = |pack| !state.sealed.dead.contains(pack) && wanted(pack);
            let mut found = state.delta.find(id, &mut accept);
            if let (None, Some(frozen)) = (found, &state.frozen) {
                found = frozen.delta.find(id, &mut accept);
            }
            (found, Arc::clone(&state.sealed))
        };
        if in_ram.is_some() {
            return Ok(in_ram);
        }
        let mut before = sealed.runs.iter().map(|run| run.blocks()).sum::<u64>();
        for run in sealed.runs.iter().rev() {
            before = before.saturating_sub(run.blocks());
            let accept = |pack| !sealed.dead.contains(pack) && wanted(pack);
            let found = run.find(id, (&self.blocks, before), accept)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Adds those chunks that a covered pack is not yet known to hold.
    fn add_missing(&self, pack: u32, ids: &[ChunkId]) -> Result<()> {
        for id in ids {
            if self.find(id, |known| known == pack)?.is_none() {
                let mut state = self.write();
                // Forgotten meanwhile: then it stays so.
                if state.covered.contains(pack) {
                    state.delta.insert(Record { id: *id, pack });
                }
            }
        }
        Ok(())
    }

    /// Turns what is in RAM into a run.
    fn write_out(&self, merge: Merge) -> Result<()> {
        let mut disk = self.disk();
        let left_over = self.read().frozen.is_some();
        if left_over {
            self.compact(&mut disk, Merge::LeftOver)?;
        }
        {
            let mut state = self.write();
            if state.delta.len() > 0 || state.covered != disk.covered {
                let delta = std::mem::take(&mut state.delta);
                let covered = state.covered.clone();
                state.frozen = Some(Arc::new(Frozen { delta, covered }));
            }
        }
        self.compact(&mut disk, merge)
    }

    /// Writes the frozen records, if any, merged with some runs or all.
    fn compact(&self, disk: &mut Manifest, merge: Merge) -> Result<()> {
        let (frozen, sealed) = {
            let state = self.read();
            (state.frozen.clone(), Arc::clone(&state.sealed))
        };
        // Forgetting takes the same lock as this, so the dead of now are those of the end, too.
        let dead = &sealed.dead;
        if frozen.is_none() && (merge != Merge::All || dead.is_empty()) {
            return Ok(());
        }
        let records = frozen.as_ref().map_or(0, |frozen| frozen.delta.len());
        let few_dead = dead.len() <= disk.covered.len() / 4 + 64;
        let merged = if few_dead && merge != Merge::All {
            plan(&sealed.runs, records, self.limits.runs)
        } else {
            sealed.runs.clone()
        };
        let is_merged = |run: &Arc<Run>| merged.iter().any(|other| Arc::ptr_eq(run, other));
        let mut sources: Vec<write::Source<'_>> = Vec::new();
        for run in &merged {
            sources.push(Box::new(run.records()));
        }
        if let Some(frozen) = &frozen {
            sources.push(Box::new(frozen.delta.sorted().map(Ok)));
        }
        let path = self.folder.run(disk.next);
        let made = write::merge(&path, (disk.origin, disk.next), sources, dead)?;
        let mut runs = sealed.runs.clone();
        runs.retain(|run| !is_merged(run));
        runs.extend(made.map(Arc::new));
        let covered = frozen.map_or_else(|| disk.covered.clone(), |frozen| &frozen.covered - dead);
        let cleared = merged.len() == sealed.runs.len() && merge != Merge::LeftOver;
        let dead = if cleared { RoaringBitmap::new() } else { dead.clone() };
        let entries = runs.iter().map(|run| run.entry.clone()).collect();
        let manifest = Manifest {
            origin: disk.origin,
            next: disk.next + 1,
            runs: entries,
            covered,
            dead: dead.clone(),
        };
        self.replace(disk, manifest)?;
        {
            let mut state = self.write();
            state.frozen = None;
            state.sealed = Arc::new(Sealed { runs, dead });
        }
        for run in merged {
            // What stays behind is deleted when the index is next opened.
            fs::remove_file(run.path()).ok();
        }
        Ok(())
    }

    fn replace(&self, disk: &mut Manifest, manifest: Manifest) -> Result<()> {
        let path = self.folder.manifest();
        let encoded = manifest.encode();
        let bytes = encoded.map_err(|what| IndexError::Damaged { path, what })?;
        self.folder.replace_manifest(&bytes)?;
        *disk = manifest;
        Ok(())
    }

    // A panic elsewhere leaves records that are whole, so a poisoned lock is as good as any.

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Manifest> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runs to merge with so many new records: smallest first, as long as a run is no larger than
/// what has come together, or there would be too many.
fn plan(runs: &[Arc<Run>], records: usize, most: usize) -> Vec<Arc<Run>> {
    let mut by_size: Vec<_> = runs.iter().map(Arc::clone).collect();
    by_size.sort_by_key(|run| run.entry.records);
    let mut total = u64::try_from(records).unwrap_or(u64::MAX);
    let mut left = by_size.len();
    by_size
        .into_iter()
        .take_while(|run| {
            let joins = run.entry.records <= total || left >= most;
            total = total.saturating_add(run.entry.records);
            left -= usize::from(joins);
            joins
        })
        .collect()
}
