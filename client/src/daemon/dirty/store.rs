//! What is not saved yet, on disk: sled, in a folder of its own.
//!
//! A tree for each set: path of a directory, one byte of depth. Nothing is written out but on
//! demand: a laptop's disk is not woken for each file that is saved. What is lost when the
//! machine fails is what was marked in the last half minute, and the scan after the start finds
//! it anyway.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use unseen_common::time::Timestamp;

use super::LeftOver;
use crate::backup::{Changes, Depth};
use crate::state::db::{StateError, open_sled};

/// Bytes of sled's cache.
const CACHE: u64 = 1024 * 1024;
const SET: &[u8] = b"set ";
const SINCE: &[u8] = b"since ";

/// The database.
#[derive(Debug)]
pub(super) struct Store {
    db: sled::Db,
    meta: sled::Tree,
}

impl Store {
    /// Opens it, or begins it. A damaged one is begun anew.
    pub(super) fn open(folder: &Path) -> Result<Self, StateError> {
        let config = sled::Config::new().path(folder).cache_capacity(CACHE).flush_every_ms(None);
        let db = open_sled(&config, folder)?;
        let meta = db.open_tree("meta")?;
        Ok(Self { db, meta })
    }

    /// One mark more.
    pub(super) fn put(
        &self,
        set: &str,
        dir: &Path,
        depth: Depth,
        since: Option<Timestamp>,
    ) -> sled::Result<()> {
        self.tree(set)?.insert(dir.as_os_str().as_bytes(), &[to_byte(depth)])?;
        self.set_since(set, since)
    }

    /// These marks and no others.
    pub(super) fn replace(&self, set: &str, all: &LeftOver) -> sled::Result<()> {
        let tree = self.tree(set)?;
        tree.clear()?;
        for (dir, depth) in all.changes.iter() {
            tree.insert(dir.as_os_str().as_bytes(), &[to_byte(depth)])?;
        }
        self.set_since(set, all.since)
    }

    /// What was kept. What is not understood is left out.
    pub(super) fn load(&self, set: &str) -> sled::Result<LeftOver> {
        let mut changes = Changes::default();
        for item in &self.tree(set)? {
            let (dir, depth) = item?;
            let dir = Path::new(OsStr::from_bytes(&dir));
            if let Some(depth) = from_byte(&depth).filter(|_| dir.is_absolute()) {
                changes.add(dir, depth);
            }
        }
        let since = self.meta.get(key(SINCE, set))?;
        let since =
            since.and_then(|bytes| Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?)));
        Ok(LeftOver { changes, since: since.map(Timestamp) })
    }

    /// Forgets a set.
    pub(super) fn remove(&self, set: &str) -> sled::Result<()> {
        self.db.drop_tree(key(SET, set))?;
        self.meta.remove(key(SINCE, set))?;
        Ok(())
    }

    /// Forgets all sets but these.
    pub(super) fn retain(&self, sets: &[&str]) -> sled::Result<()> {
        for tree in self.db.tree_names() {
            let name = tree.strip_prefix(SET).and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = name.filter(|name| !sets.contains(name)) {
                self.remove(name)?;
            }
        }
        Ok(())
    }

    /// Writes everything out.
    pub(super) fn flush(&self) -> sled::Result<()> {
        self.db.flush()?;
        Ok(())
    }

    fn tree(&self, set: &str) -> sled::Result<sled::Tree> {
        self.db.open_tree(key(SET, set))
    }

    fn set_since(&self, set: &str, since: Option<Timestamp>) -> sled::Result<()> {
        match since {
            Some(since) => self.meta.insert(key(SINCE, set), &since.0.to_le_bytes()[..])?,
            None => self.meta.remove(key(SINCE, set))?,
        };
        Ok(())
    }
}

fn key(kind: &[u8], set: &str) -> Vec<u8> {
    [kind, set.as_bytes()].concat()
}

fn to_byte(depth: Depth) -> u8 {
    match depth {
        Depth::Listing => 0,
        Depth::Everything => 1,
    }
}

fn from_byte(bytes: &[u8]) -> Option<Depth> {
    match bytes {
        [0] => Some(Depth::Listing),
        [1] => Some(Depth::Everything),
        _ => None,
    }
}
