//! Bytes that stay: blobs, the journal, and a rebuildable index of the journal.

pub mod blobs;
pub mod durable;
pub mod frame;
pub mod index;
pub mod journal;
pub mod journal_files;
#[cfg(test)]
mod journal_tests;
pub mod key;
pub mod memory;
mod raw;
pub mod row;
pub mod second;
pub mod segment;
pub mod server_row;
pub mod space;
#[cfg(test)]
pub(crate) mod trace;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blobs::{Blobs, FsBlobs};
use index::Index;
use journal_files::{FsJournals, Journals};

/// Everything that a data folder holds.
#[derive(Debug, Clone)]
pub struct Store {
    /// Packs, manifests, packsets, slots, copies of log records.
    pub blobs: Arc<dyn Blobs>,
    /// The truth about everything else.
    pub journals: Arc<dyn Journals>,
    /// Derived from the journals; may be empty.
    pub index: Arc<Index>,
}

impl Store {
    /// The store in a data folder, which is made if absent.
    pub fn folder(dir: &Path) -> std::io::Result<Self> {
        durable::make_dirs(dir)?;
        durable::settle(dir)?;
        Ok(Self {
            blobs: Arc::new(FsBlobs::new(dir)),
            journals: Arc::new(FsJournals::open(&dir.join("journal"))?),
            index: Arc::new(Index::open(&dir.join("index"))),
        })
    }
}

/// Locks what stays whole even when a thread that held it panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system always has randomness after boot");
    bytes
}
