//! A store in memory whose operations can be made to fail, one at a time.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use unseen_common::id::VaultId;

use crate::store::blobs::Blobs;
use crate::store::index::Index;
use crate::store::journal_files::{JournalFile, Journals};
use crate::store::key::Key;
use crate::store::memory::{MemBlobs, MemJournals};
use crate::store::space::{Room, Space};
use crate::store::{Store, lock};

/// What an operation that fails does before it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the disk is full.
    DiskFull,
    /// A part of it, where it has parts.
    Half,
    /// All of it, and only the answer is an error.
    Done,
}

/// Counts the operations that change something, and makes one of them fail.
#[derive(Debug)]
pub struct Plan {
    count: AtomicU64,
    at: AtomicU64,
    fault: Mutex<Fault>,
}

impl Plan {
    /// Fails at operation `at`, counted from 0; never with `u64::MAX`.
    pub fn new(at: u64, fault: Fault) -> Arc<Self> {
        Arc::new(Self { count: AtomicU64::new(0), at: at.into(), fault: fault.into() })
    }

    /// The next operation fails.
    pub fn fail_next(&self, fault: Fault) {
        *lock(&self.fault) = fault;
        self.at.store(self.count(), Ordering::SeqCst);
    }

    /// Operations so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    fn next(&self) -> Option<Fault> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        (number == self.at.load(Ordering::SeqCst)).then(|| *lock(&self.fault))
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::DiskFull => io::ErrorKind::StorageFull.into(),
        Fault::Half | Fault::Done => io::Error::other("injected"),
    }
}

/// A store over these, which fails as planned.
pub fn store(blobs: &MemBlobs, journals: &MemJournals, plan: &Arc<Plan>) -> Store {
    Store {
        blobs: Arc::new(FaultyBlobs(blobs.clone(), Arc::clone(plan))),
        journals: Arc::new(FaultyJournals(journals.clone(), Arc::clone(plan))),
        index: Arc::new(Index::none()),
    }
}

#[derive(Debug)]
struct FaultyBlobs(MemBlobs, Arc<Plan>);

impl Blobs for FaultyBlobs {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> io::Result<()> {
        match self.1.next() {
            None => self.0.put(key, parts),
            Some(Fault::Done) => {
                self.0.put(key, parts)?;
                Err(error(Fault::Done))
            }
            Some(fault) => Err(error(fault)),
        }
    }

    fn get(&self, key: &Key) -> io::Result<Option<Bytes>> {
        self.0.get(key)
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> io::Result<Option<Bytes>> {
        self.0.get_range(key, range)
    }

    fn length(&self, key: &Key) -> io::Result<Option<u64>> {
        self.0.length(key)
    }

    fn delete(&self, key: &Key) -> io::Result<()> {
        match self.1.next() {
            None => self.0.delete(key),
            Some(fault) => Err(error(fault)),
        }
    }

    fn export(&self, key: &Key, root: &Path) -> io::Result<bool> {
        match self.1.next() {
            None => self.0.export(key, root),
            Some(fault) => Err(error(fault)),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn clean(&self, folder: &str) -> io::Result<()> {
        self.0.clean(folder)
    }

    fn remove_account(&self, account: VaultId) -> io::Result<()> {
        match self.1.next() {
            None => self.0.remove_account(account),
            Some(Fault::Done) => {
                self.0.remove_account(account)?;
                Err(error(Fault::Done))
            }
            Some(fault) => Err(error(fault)),
        }
    }
}

#[derive(Debug)]
struct FaultyJournals(MemJournals, Arc<Plan>);

impl Journals for FaultyJournals {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn JournalFile>>> {
        let opened = self.0.open(name)?;
        Ok(opened.map(|file| {
            let file: Arc<dyn JournalFile> = Arc::new(FaultyFile(file, Arc::clone(&self.1)));
            file
        }))
    }

    fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        match self.1.next() {
            None => self.0.create(name, content),
            Some(Fault::Done) => {
                self.0.create(name, content)?;
                Err(error(Fault::Done))
            }
            Some(fault) => Err(error(fault)),
        }
    }

    fn keep_aside(&self, name: &str) -> io::Result<()> {
        match self.1.next() {
            None => self.0.keep_aside(name),
            Some(Fault::Done) => {
                self.0.keep_aside(name)?;
                Err(error(Fault::Done))
            }
            Some(fault) => Err(error(fault)),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.1.next() {
            None => self.0.remove(name),
            Some(Fault::Done) => {
                self.0.remove(name)?;
                Err(error(Fault::Done))
            }
            Some(fault) => Err(error(fault)),
        }
    }
}

#[derive(Debug)]
struct FaultyFile(Arc<dyn JournalFile>, Arc<Plan>);

impl JournalFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(fault) = self.1.next() else {
            return self.0.write_at(offset, bytes);
        };
        let length = match fault {
            Fault::DiskFull => 0,
            Fault::Half => bytes.len() / 2,
            Fault::Done => bytes.len(),
        };
        self.0.write_at(offset, bytes.get(..length).unwrap_or(bytes))?;
        Err(error(fault))
    }

    fn sync(&self) -> io::Result<()> {
        match self.1.next() {
            None => self.0.sync(),
            Some(Fault::Done) => {
                self.0.sync()?;
                Err(error(Fault::Done))
            }
            Some(fault) => Err(error(fault)),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        match self.1.next() {
            None => self.0.truncate(length),
            Some(fault) => Err(error(fault)),
        }
    }
}

/// A disk of so many bytes that exists in numbers alone.
#[derive(Debug)]
pub struct SmallDisk {
    total: u64,
    used: Mutex<(u64, u64)>,
}

impl SmallDisk {
    /// An empty one.
    pub fn new(total: u64) -> Arc<Self> {
        Arc::new(Self { total, used: Mutex::new((0, 0)) })
    }

    /// Something else takes so many bytes of it.
    pub fn use_up(&self, bytes: u64) {
        lock(&self.used).0 += bytes;
    }
}

impl Space for Arc<SmallDisk> {
    fn room(&self) -> io::Result<Room> {
        let (used, reserve) = *lock(&self.used);
        Ok(Room { free: self.total.saturating_sub(used + reserve), total: self.total })
    }

    fn reserve(&self) -> io::Result<u64> {
        Ok(lock(&self.used).1)
    }

    fn set_reserve(&self, length: u64) -> io::Result<()> {
        lock(&self.used).1 = length;
        Ok(())
    }
}
