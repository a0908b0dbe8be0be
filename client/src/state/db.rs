//! The sled database, guarded: opening a damaged one may panic, so it is caught and made anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use unseen_common::id::{Hash, PackId, PackNumber, SnapshotId};
use unseen_common::lock::Lock;

use super::blocks::{BlockFile, Place};
use super::queue::Queue;
use super::records::{DirKey, Header, header_bytes, parse_header};

use crate::crypto::content_id::ChunkId;
use crate::pack::chunk_map::MappedPack;
use crate::pins::private_folder;
use crate::tree::entry::FileTime;

/// Bytes of sled's cache.
const CACHE: u64 = 24 * 1024 * 1024;

/// Trouble with the local state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another run of this profile is under way.
    #[error("another backup of this profile is running")]
    Busy,
    /// The file system refused.
    #[error("cannot use the state folder {}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// sled refused.
    #[error("the local state cannot be used")]
    Sled(#[from] sled::Error),
}

/// The state of one profile. One process has it at a time.
#[derive(Debug)]
pub struct StateDb {
    db: sled::Db,
    /// Where the records of directories are.
    dirs: sled::Tree,
    /// The records: see [`super::records`].
    pub blocks: BlockFile,
    /// Bytes of them that count, about: a crash may leave it behind, and it is counted anew
    /// before anything is done about it.
    live: AtomicU64,
    folder: PathBuf,
    packs: sled::Tree,
    meta: sled::Tree,
    /// Held as long as this lives.
    _lock: Lock,
}

impl StateDb {
    /// Whether nobody has the state open: [`StateError::Busy`] if somebody does.
    pub fn is_free(folder: &Path) -> Result<(), StateError> {
        match lock(folder) {
            Err(StateError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            lock => lock.map(drop),
        }
    }

    /// Opens the state in `folder`, or begins it.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let io = |source| StateError::Io { folder: folder.to_path_buf(), source };
        private_folder(folder).map_err(io)?;
        let lock = lock(folder)?;
        let path = folder.join("db");
        // Left to itself, sled syncs its file at every flush, changes or none.
        let config = sled::Config::new().path(&path).cache_capacity(CACHE).flush_every_ms(None);
        let db = open_sled(&config, &path)?;
        let dirs = db.open_tree("dirs")?;
        let number = file_number(&dirs)?;
        let blocks = BlockFile::open(&folder.join(records_name(number))).map_err(io)?;
        if blocks.is_empty() {
            // Nothing that sled says about records can be true.
            dirs.clear()?;
        }
        let live = AtomicU64::new(dirs.get(LIVE)?.and_then(|v| u64_of(&v)).unwrap_or(0));
        let packs = db.open_tree("packs")?;
        let meta = db.open_tree("meta")?;
        let folder = folder.to_path_buf();
        Ok(Self { db, dirs, blocks, live, folder, packs, meta, _lock: lock })
    }

    /// Remembers which pack a number names, and the lengths of it and of its footer, which are
    /// powers of two.
    pub fn set_pack(
        &self,
        number: PackNumber,
        id: &PackId,
        (length, footer): (u64, u64),
    ) -> Result<(), StateError> {
        let lengths = [length, footer].map(|length| length.trailing_zeros().to_le_bytes()[0]);
        self.packs.insert(number.0.to_le_bytes(), &[&id.as_bytes()[..], &lengths].concat()[..])?;
        Ok(())
    }

    /// The pack that a number names, as far as this machine knows.
    pub fn pack(&self, number: PackNumber) -> Result<Option<PackId>, StateError> {
        let found = self.packs.get(number.0.to_le_bytes())?;
        Ok(found.and_then(|v| v.first_chunk().copied().map(PackId::from_bytes)))
    }

    /// The same with the lengths of the pack and of its footer; earlier programs did not note them.
    pub fn pack_with_lengths(&self, number: PackNumber) -> Result<Option<MappedPack>, StateError> {
        let found = self.packs.get(number.0.to_le_bytes())?;
        Ok(found.and_then(|v| {
            let (id, lengths) = v.split_first_chunk::<32>()?;
            let [length, footer] = *<&[u8; 2]>::try_from(lengths).ok()?;
            let power = |log2: u8| 1_u64.checked_shl(log2.into());
            let (id, length, footer) = (PackId::from_bytes(*id), power(length)?, power(footer)?);
            Some(MappedPack { number, id, length, footer })
        }))
    }

    /// What is remembered of the maps of chunks.
    pub fn maps(&self) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.meta.get(MAPS)?.map(|bytes| bytes.to_vec()))
    }

    /// Remembers that.
    pub fn set_maps(&self, bytes: &[u8]) -> Result<(), StateError> {
        self.meta.insert(MAPS, bytes)?;
        Ok(())
    }

    /// The tree and the id of the last snapshot of a set that this machine made.
    pub fn last(&self, set: &str) -> Result<Option<(ChunkId, SnapshotId)>, StateError> {
        let found = self.meta.get([b"last ", set.as_bytes()].concat())?;
        Ok(found.and_then(|v| {
            let (root, id) = v.split_first_chunk::<32>()?;
            Some((ChunkId(*root), SnapshotId::from_slice(id)?))
        }))
    }

    /// The names of the sets that this machine made snapshots of.
    pub fn sets(&self) -> Result<Vec<String>, StateError> {
        let mut names = Vec::new();
        for key in self.meta.scan_prefix(b"last ").keys() {
            let key = key?;
            let name = key.get(b"last ".len()..).and_then(|name| std::str::from_utf8(name).ok());
            names.extend(name.map(str::to_owned));
        }
        Ok(names)
    }

    /// Remembers the last snapshot of a set.
    pub fn set_last(&self, set: &str, root: &ChunkId, id: &SnapshotId) -> Result<(), StateError> {
        let value = [&root.0[..], id.as_bytes()].concat();
        self.meta.insert([b"last ", set.as_bytes()].concat(), value)?;
        Ok(())
    }

    /// What was remembered of a folder above a source: a hash of it without its time, and a time.
    pub fn folder_above(&self, path: &[u8]) -> Result<Option<(Hash, FileTime)>, StateError> {
        let found = self.meta.get([b"above ", path].concat())?;
        Ok(found.and_then(|v| {
            let (rest, time) = v.split_first_chunk::<32>()?;
            let (seconds, nanos) = time.split_first_chunk::<8>()?;
            let nanos = u32::from_le_bytes(nanos.try_into().ok()?);
            let time = FileTime { seconds: i64::from_le_bytes(*seconds), nanos };
            Some((Hash::from_bytes(*rest), time))
        }))
    }

    /// Remembers that.
    pub fn set_folder_above(
        &self,
        path: &[u8],
        rest: &Hash,
        time: FileTime,
    ) -> Result<(), StateError> {
        let (seconds, nanos) = (time.seconds.to_le_bytes(), time.nanos.to_le_bytes());
        let value = [&rest.as_bytes()[..], &seconds, &nanos].concat();
        self.meta.insert([b"above ", path].concat(), value)?;
        Ok(())
    }

    /// Tables of contents of packs up to this number have been taken into the index.
    pub fn synced(&self) -> Result<Option<PackNumber>, StateError> {
        let found = self.meta.get(SYNCED)?;
        Ok(found.and_then(|v| Some(PackNumber(u32::from_le_bytes(v.as_ref().try_into().ok()?)))))
    }

    /// Remembers that.
    pub fn set_synced(&self, number: Option<PackNumber>) -> Result<(), StateError> {
        match number {
            Some(number) => self.meta.insert(SYNCED, &number.0.to_le_bytes()[..])?,
            None => self.meta.remove(SYNCED)?,
        };
        Ok(())
    }

    /// The newest compaction whose packs have been looked for; 0 before any.
    pub fn compacted(&self) -> Result<u64, StateError> {
        let found = self.meta.get(COMPACTED)?;
        Ok(found.and_then(|v| Some(u64::from_le_bytes(v.as_ref().try_into().ok()?))).unwrap_or(0))
    }

    /// Remembers that.
    pub fn set_compacted(&self, seq: u64) -> Result<(), StateError> {
        if seq != self.compacted()? {
            self.meta.insert(COMPACTED, &seq.to_le_bytes()[..])?;
        }
        Ok(())
    }

    /// Forgets everything: the next run begins from nothing.
    pub fn clear(&self) -> Result<(), StateError> {
        self.dirs.clear()?;
        self.packs.clear()?;
        self.meta.clear()?;
        self.live.store(0, Relaxed);
        Ok(())
    }

    /// Where the record of a directory is.
    pub(super) fn record(&self, key: DirKey) -> Result<Option<Place>, StateError> {
        let found = self.dirs.get(key.as_bytes())?;
        Ok(found.and_then(|v| v.first_chunk().map(Place::from_bytes)))
    }

    /// A queue with its files, if it needs them, beside the records.
    pub fn queue(&self) -> Queue {
        Queue::new(self.folder.clone())
    }

    /// Appends a part of a record.
    pub fn append_block(&self, bytes: &[u8]) -> Result<Place, StateError> {
        self.blocks.append(bytes).map_err(|source| self.io(source))
    }

    /// Makes a record valid; its parts have been appended.
    pub fn set_record(&self, key: DirKey, header: &Header) -> Result<(), StateError> {
        let bytes = header_bytes(header, key);
        let place = self.blocks.append(&bytes).map_err(|source| self.io(source))?;
        let before = self.dirs.insert(key.as_bytes(), record_value(place, header))?;
        let length = record_length(place, header);
        let before = before.and_then(|v| u64_of(v.get(Place::LEN..)?)).unwrap_or(0);
        let live = self.live.load(Relaxed).saturating_add(length);
        self.live.store(live.saturating_sub(before), Relaxed);
        Ok(())
    }

    /// Copies what lives into a new file, if more than half of the file and more than `least`
    /// bytes are dead. Costs nothing as long as they are not.
    pub fn rewrite_records(&mut self, least: u64) -> Result<(), StateError> {
        if !self.is_mostly_dead(least) {
            return Ok(());
        }
        let mut live: u64 = 0;
        let mut records = Vec::new();
        for item in &self.dirs {
            let (key, value) = item?;
            let (Some(key), Some(place)) = (key.first_chunk::<16>(), value.first_chunk()) else {
                continue;
            };
            let (key, place) = (DirKey::from_bytes(*key), Place::from_bytes(place));
            let header = self.blocks.read(place).and_then(|bytes| parse_header(&bytes, key));
            let Some(header) = header else { continue };
            live += record_length(place, &header);
            records.push((key, place));
        }
        self.live.store(live, Relaxed);
        if !self.is_mostly_dead(least) {
            return self.flush();
        }
        let number = file_number(&self.dirs)? + 1;
        let path = self.folder.join(records_name(number));
        let fresh = BlockFile::open(&path).map_err(|source| self.io(source))?;
        let mut batch = sled::Batch::default();
        for (key, place) in records {
            if let Some(value) = self.copy((key, place), &fresh)? {
                batch.insert(key.as_bytes(), value);
            } else {
                batch.remove(key.as_bytes());
            }
        }
        batch.insert(FILE_NUMBER, &number.to_le_bytes()[..]);
        fresh.flush().map_err(|source| self.io(source))?;
        self.dirs.apply_batch(batch)?;
        self.db.flush()?;
        let old = std::mem::replace(&mut self.blocks, fresh);
        std::fs::remove_file(old.path()).map_err(|source| self.io(source))
    }

    fn is_mostly_dead(&self, least: u64) -> bool {
        let live = self.live.load(Relaxed);
        let dead = self.blocks.len().saturating_sub(live);
        dead > least && dead > live
    }

    /// Copies a record; tells what sled is to say of it.
    fn copy(
        &self,
        (key, place): (DirKey, Place),
        fresh: &BlockFile,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let header = self.blocks.read(place).and_then(|bytes| parse_header(&bytes, key));
        let Some(mut header) = header else {
            return Ok(None);
        };
        for part in &mut header.parts {
            let Some(bytes) = self.blocks.read(part.place) else {
                return Ok(None);
            };
            part.place = fresh.append(&bytes).map_err(|source| self.io(source))?;
        }
        let bytes = header_bytes(&header, key);
        let place = fresh.append(&bytes).map_err(|source| self.io(source))?;
        Ok(Some(record_value(place, &header)))
    }

    fn io(&self, source: std::io::Error) -> StateError {
        StateError::Io { folder: self.folder.clone(), source }
    }

    /// Hands everything to the system. A run does so now and again: what is in memory alone goes
    /// with a process that is killed, and costs the next run another look.
    pub fn flush(&self) -> Result<(), StateError> {
        self.blocks.flush().map_err(|source| self.io(source))?;
        let live = self.live.load(Relaxed).to_le_bytes();
        if self.dirs.get(LIVE)?.is_none_or(|known| known != live) {
            self.dirs.insert(LIVE, &live[..])?;
        }
        self.db.flush()?;
        Ok(())
    }
}

const SYNCED: &[u8] = b"synced";
const COMPACTED: &[u8] = b"compacted";
const MAPS: &[u8] = b"maps";
/// Both shorter than the key of any directory.
const FILE_NUMBER: &[u8] = b"file";
const LIVE: &[u8] = b"live";

/// Takes the lock of a state folder, without waiting.
fn lock(folder: &Path) -> Result<Lock, StateError> {
    let io = |source| StateError::Io { folder: folder.to_path_buf(), source };
    Lock::take(&folder.join("lock")).map_err(io)?.ok_or(StateError::Busy)
}

/// Where a record is, and how many bytes it has in all.
fn record_value(place: Place, header: &Header) -> Vec<u8> {
    [&place.to_bytes()[..], &record_length(place, header).to_le_bytes()].concat()
}

fn record_length(place: Place, header: &Header) -> u64 {
    let parts: u64 = header.parts.iter().map(|part| u64::from(part.place.length)).sum();
    u64::from(place.length) + parts
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn records_name(number: u64) -> String {
    format!("records.{number}")
}

fn file_number(dirs: &sled::Tree) -> Result<u64, StateError> {
    let found = dirs.get(FILE_NUMBER)?;
    Ok(found.and_then(|v| u64_of(&v)).unwrap_or(0))
}

/// Opens the database at this path. A damaged one is begun anew.
pub(crate) fn open_sled(config: &sled::Config, path: &Path) -> Result<sled::Db, StateError> {
    if let Some(db) = guarded(config)? {
        return Ok(db);
    }
    std::fs::remove_dir_all(path)
        .map_err(|source| StateError::Io { folder: path.to_path_buf(), source })?;
    Ok(config.open()?)
}

/// How often, and how long each time, a database is waited for whose threads are still ending.
const TRIES: u32 = 100;
const TRY: std::time::Duration = std::time::Duration::from_millis(20);

/// The database, unless it is damaged; sled may panic on damage (spacejam/sled 1166, 1387). Its
/// own lock outlives its handle for a moment: that is no damage.
#[expect(clippy::disallowed_methods, reason = "sled tells nobody when its lock is free")]
fn guarded(config: &sled::Config) -> Result<Option<sled::Db>, StateError> {
    let mut tried = 0;
    loop {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(Some(db)),
            Ok(Err(sled::Error::Io(error))) if tried == TRIES => {
                return Err(sled::Error::Io(error).into());
            }
            Ok(Err(sled::Error::Io(_))) => {
                tried += 1;
                std::thread::sleep(TRY);
            }
            Ok(Err(_)) | Err(_) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_opening_is_busy_and_damage_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDb::open(dir.path()).unwrap();
        assert!(matches!(StateDb::open(dir.path()), Err(StateError::Busy)));
        let (id, lengths) = (PackId::from_bytes([1; 32]), (1 << 24, 4096));
        first.set_pack(PackNumber(7), &id, lengths).unwrap();
        assert_eq!(first.pack(PackNumber(7)).unwrap(), Some(id));
        let known = first.pack_with_lengths(PackNumber(7)).unwrap().unwrap();
        assert_eq!((known.id, (known.length, known.footer)), (id, lengths));
        drop(first);
        for entry in std::fs::read_dir(dir.path().join("db")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::write(path, [0xff; 100]).unwrap();
            }
        }
        let again = StateDb::open(dir.path()).unwrap();
        assert_eq!(again.pack(PackNumber(7)).unwrap(), None);
    }
}
