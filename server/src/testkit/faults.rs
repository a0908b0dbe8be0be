//! A store whose operations can be made to fail or to stand still, one at a time.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use unseen_common::id::VaultId;

use crate::store::blobs::Blobs;
use crate::store::journal_files::{JournalFile, Journals};
use crate::store::key::Key;
use crate::store::memory::{self, MemBlobs, MemJournals};
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

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::DiskFull, Self::Half, Self::Done];

    fn error(self) -> io::Error {
        match self {
            Self::DiskFull => io::ErrorKind::StorageFull.into(),
            Self::Half | Self::Done => io::Error::other("injected"),
        }
    }
}

/// Where an operation stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// Before anything is done.
    Before,
    /// All of it is durable, and the answer does not come.
    After,
}

/// What happens to an operation.
#[derive(Debug, Clone, Copy)]
enum Event {
    Fail(Fault),
    Freeze(Halt),
}

/// How far an operation that stands still has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ice {
    /// It has not come yet.
    #[default]
    Water,
    /// It stands still.
    Stands,
    /// It goes on.
    Thawed,
    /// The process is gone: nothing that it does reaches the store any more.
    Killed,
    /// What was to meet it has ended without it.
    Over,
}

/// Counts the operations that change something, and makes one of them fail or stand still.
#[derive(Debug)]
pub struct Plan {
    count: AtomicU64,
    at: AtomicU64,
    event: Mutex<Event>,
    ice: Mutex<Ice>,
    changed: Condvar,
}

impl Plan {
    /// Fails at operation `at`, counted from 0; never with `u64::MAX`.
    pub fn new(at: u64, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicU64::new(0),
            at: at.into(),
            event: Event::Fail(fault).into(),
            ice: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Nothing happens, until something is planned.
    pub fn quiet() -> Arc<Self> {
        Self::new(u64::MAX, Fault::Done)
    }

    /// The next operation fails.
    pub fn fail_next(&self, fault: Fault) {
        self.fail_after(0, fault);
    }

    /// After so many more operations one fails.
    pub fn fail_after(&self, more: u64, fault: Fault) {
        self.plan(more, Event::Fail(fault));
    }

    /// After so many more operations one stands still, until [`Self::thaw`] or [`Self::kill`].
    pub fn freeze_after(&self, more: u64, halt: Halt) {
        self.plan(more, Event::Freeze(halt));
    }

    fn plan(&self, more: u64, event: Event) {
        *lock(&self.event) = event;
        self.at.store(self.count() + more, Ordering::SeqCst);
    }

    /// Nothing happens any more, if it has not yet; whether it has.
    pub fn calm(&self) -> bool {
        let struck = self.count() > self.at.load(Ordering::SeqCst);
        self.at.store(u64::MAX, Ordering::SeqCst);
        struck
    }

    /// Operations so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Does the work that is to meet the planned operation, and tells [`Self::stands_still`] when
    /// it has ended.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Over<'p>(&'p Plan);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.turn(Ice::Water, Ice::Over);
            }
        }
        let _over = Over(self);
        work()
    }

    /// Waits until an operation stands still, or until the work has ended without that.
    pub fn stands_still(&self) -> bool {
        let ice = lock(&self.ice);
        let waited = self.changed.wait_while(ice, |ice| *ice == Ice::Water);
        *waited.unwrap_or_else(PoisonError::into_inner) == Ice::Stands
    }

    /// What stands still goes on.
    pub fn thaw(&self) {
        self.turn(Ice::Stands, Ice::Thawed);
    }

    /// The process ends where it stands: neither what stands still nor anything after it is done.
    pub fn kill(&self) {
        self.turn(Ice::Stands, Ice::Killed);
    }

    fn turn(&self, from: Ice, to: Ice) {
        let mut ice = lock(&self.ice);
        if *ice == from {
            *ice = to;
        }
        self.changed.notify_all();
    }

    fn freeze(&self) -> io::Result<()> {
        self.turn(Ice::Water, Ice::Stands);
        let ice = lock(&self.ice);
        let waited = self.changed.wait_while(ice, |ice| *ice == Ice::Stands);
        match *waited.unwrap_or_else(PoisonError::into_inner) {
            Ice::Killed => Err(killed()),
            _ => Ok(()),
        }
    }

    fn next(&self) -> io::Result<Option<Event>> {
        if *lock(&self.ice) == Ice::Killed {
            return Err(killed());
        }
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        Ok((number == self.at.load(Ordering::SeqCst)).then(|| *lock(&self.event)))
    }

    /// Does an operation, unless something else is planned for it. `half` is what is left of one
    /// that breaks off.
    fn meet<T>(
        &self,
        whole: impl FnOnce() -> io::Result<T>,
        half: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<T> {
        match self.next()? {
            None => whole(),
            Some(Event::Fail(fault)) => {
                match fault {
                    Fault::DiskFull => {}
                    Fault::Half => half()?,
                    Fault::Done => drop(whole()?),
                }
                Err(fault.error())
            }
            Some(Event::Freeze(Halt::Before)) => {
                self.freeze()?;
                whole()
            }
            Some(Event::Freeze(Halt::After)) => {
                let done = whole()?;
                self.freeze()?;
                Ok(done)
            }
        }
    }

    /// One that leaves nothing when it breaks off.
    fn whole_or_none<T>(&self, whole: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.meet(whole, || Ok(()))
    }
}

fn killed() -> io::Error {
    io::Error::other("the process is gone")
}

/// A store over these, to which happens what is planned.
pub fn store(blobs: &MemBlobs, journals: &MemJournals, plan: &Arc<Plan>) -> Store {
    over(memory::store(blobs.clone(), journals.clone()), plan)
}

/// A store over another one.
pub fn over(store: Store, plan: &Arc<Plan>) -> Store {
    Store {
        blobs: Arc::new(FaultyBlobs(store.blobs, Arc::clone(plan))),
        journals: Arc::new(FaultyJournals(store.journals, Arc::clone(plan))),
        index: store.index,
    }
}

#[derive(Debug)]
struct FaultyBlobs(Arc<dyn Blobs>, Arc<Plan>);

impl Blobs for FaultyBlobs {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> io::Result<()> {
        self.1.whole_or_none(|| self.0.put(key, parts))
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
        self.1.whole_or_none(|| self.0.delete(key))
    }

    fn export(&self, key: &Key, root: &Path) -> io::Result<bool> {
        self.1.whole_or_none(|| self.0.export(key, root))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn clean(&self, folder: &str) -> io::Result<()> {
        self.0.clean(folder)
    }

    fn remove_account(&self, account: VaultId) -> io::Result<()> {
        self.1.whole_or_none(|| self.0.remove_account(account))
    }
}

#[derive(Debug)]
struct FaultyJournals(Arc<dyn Journals>, Arc<Plan>);

impl Journals for FaultyJournals {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn JournalFile>>> {
        let opened = self.0.open(name)?;
        Ok(opened.map(|file| {
            let file: Arc<dyn JournalFile> = Arc::new(FaultyFile(file, Arc::clone(&self.1)));
            file
        }))
    }

    fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.1.whole_or_none(|| self.0.create(name, content))
    }

    fn keep_aside(&self, name: &str) -> io::Result<()> {
        self.1.whole_or_none(|| self.0.keep_aside(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.1.whole_or_none(|| self.0.remove(name))
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
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let write = |bytes| self.0.write_at(offset, bytes);
        self.1.meet(|| write(bytes), || write(half))
    }

    fn sync(&self) -> io::Result<()> {
        self.1.whole_or_none(|| self.0.sync())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.1.whole_or_none(|| self.0.truncate(length))
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
