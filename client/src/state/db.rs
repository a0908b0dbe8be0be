//! The sled database, guarded: opening a damaged one may panic, so it is caught and made anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use unseen_common::id::{PackId, PackNumber, SnapshotId};

use crate::crypto::content_id::ChunkId;

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
    /// Directory records: see [`super::records`].
    pub(super) dirs: sled::Tree,
    packs: sled::Tree,
    meta: sled::Tree,
    /// Held as long as this lives; the lock goes with the process, so nothing stale can stay.
    _lock: std::fs::File,
}

impl StateDb {
    /// Opens the state in `folder`, or begins it.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let io = |source| StateError::Io {
            folder: folder.to_path_buf(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(io)?;
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(io)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::Busy),
            Err(errno) => return Err(io(errno.into())),
        }
        let path = folder.join("db");
        let db = match guarded(&path) {
            Some(db) => db,
            None => {
                std::fs::remove_dir_all(&path).map_err(io)?;
                config(&path).open()?
            }
        };
        let dirs = db.open_tree("dirs")?;
        let packs = db.open_tree("packs")?;
        let meta = db.open_tree("meta")?;
        Ok(Self {
            db,
            dirs,
            packs,
            meta,
            _lock: lock,
        })
    }

    /// Remembers which pack a number names.
    pub fn set_pack(&self, number: PackNumber, id: &PackId) -> Result<(), StateError> {
        self.packs
            .insert(number.0.to_be_bytes(), &id.as_bytes()[..])?;
        Ok(())
    }

    /// The pack that a number names, as far as this machine knows.
    pub fn pack(&self, number: PackNumber) -> Result<Option<PackId>, StateError> {
        let found = self.packs.get(number.0.to_be_bytes())?;
        Ok(found.and_then(|v| PackId::from_slice(&v)))
    }

    /// The tree and the id of the last snapshot of a set that this machine made.
    pub fn last(&self, set: &str) -> Result<Option<(ChunkId, SnapshotId)>, StateError> {
        let found = self.meta.get([b"last ", set.as_bytes()].concat())?;
        Ok(found.and_then(|v| {
            let (root, id) = v.split_first_chunk::<32>()?;
            Some((ChunkId(*root), SnapshotId::from_slice(id)?))
        }))
    }

    /// Remembers the last snapshot of a set.
    pub fn set_last(&self, set: &str, root: &ChunkId, id: &SnapshotId) -> Result<(), StateError> {
        let value = [&root.0[..], id.as_bytes()].concat();
        self.meta
            .insert([b"last ", set.as_bytes()].concat(), value)?;
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

    /// Forgets everything: the next run begins from nothing.
    pub fn clear(&self) -> Result<(), StateError> {
        self.dirs.clear()?;
        self.packs.clear()?;
        self.meta.clear()?;
        Ok(())
    }

    /// Writes everything out.
    pub fn flush(&self) -> Result<(), StateError> {
        self.db.flush()?;
        Ok(())
    }
}

const SYNCED: &[u8] = b"synced";

fn config(path: &Path) -> sled::Config {
    sled::Config::new()
        .path(path)
        .cache_capacity(CACHE)
        .flush_every_ms(Some(2000))
}

/// The database, unless it is damaged; sled may panic on damage (spacejam/sled 1166, 1387).
fn guarded(path: &Path) -> Option<sled::Db> {
    catch_unwind(AssertUnwindSafe(|| config(path).open()))
        .ok()
        .and_then(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_opening_is_busy_and_damage_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDb::open(dir.path()).unwrap();
        assert!(matches!(StateDb::open(dir.path()), Err(StateError::Busy)));
        first
            .set_pack(PackNumber(7), &PackId::from_bytes([1; 32]))
            .unwrap();
        assert_eq!(
            first.pack(PackNumber(7)).unwrap(),
            Some(PackId::from_bytes([1; 32]))
        );
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
