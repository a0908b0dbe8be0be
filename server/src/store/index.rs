//! sled as an index of the journals: derived, never the only copy, never asked for a decision.
//!
//! Its flush is no barrier against loss of power and opening it may panic, so every call is
//! guarded, and on any trouble the whole index is thrown away. It is filled again from the
//! journals, which say how far it had read.
//!
//! ```text
//! "o" account              -> journal bytes read u64 | salt of the journal 16     (big endian)
//! "p" account | number u32 -> the record of the pack, as the journal has it
//! ```

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use unseen_common::codec::Canonical;
use unseen_common::id::{PackNumber, VaultId};

use super::lock;
use super::row::{AccountRow, PackRow};

/// Memory that sled may use for its cache, in bytes.
const CACHE: u64 = 64 * 1024 * 1024;
/// Rows that are moved at once.
const BATCH: usize = 1000;

/// How far a journal was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the journal.
    pub read: u64,
    /// Which file it was.
    pub salt: [u8; 16],
}

/// The index. All calls block; none fails: what it does not know, it does not know.
#[derive(Debug)]
pub struct Index {
    folder: Option<PathBuf>,
    db: RwLock<Option<sled::Db>>,
    /// Accounts that went while it was open: whoever still fills in theirs fills in nothing.
    erased: Mutex<HashSet<VaultId>>,
}

impl Index {
    /// Opens the index; one that cannot be opened is wiped.
    pub fn open(folder: &Path) -> Self {
        let db = open_guarded(folder).or_else(|| {
            tracing::warn!("the index could not be opened; it is rebuilt from the journals");
            wipe(folder);
            open_guarded(folder)
        });
        Self { folder: Some(folder.to_owned()), db: RwLock::new(db), erased: Mutex::default() }
    }

    /// No index.
    pub fn none() -> Self {
        Self { folder: None, db: RwLock::new(None), erased: Mutex::default() }
    }

    /// How far the journal of an account was read.
    pub fn progress(&self, account: VaultId) -> Option<Progress> {
        let value = self.with(|db| db.get(progress_key(account)))??;
        let (read, salt) = value.split_first_chunk::<8>()?;
        Some(Progress { read: from_big_endian(*read), salt: salt.try_into().ok()? })
    }

    /// Adds packs and, if told, notes how far the journal was read: all at once. What is added
    /// without is read again at the next start.
    pub fn add(&self, account: VaultId, packs: &[PackRow], progress: Option<Progress>) {
        let mut batch = sled::Batch::default();
        for pack in packs {
            let row = AccountRow::Pack(*pack).to_bytes();
            batch.insert(pack_key(account, pack.number), row);
        }
        if let Some(progress) = progress {
            let value = [&big_endian(progress.read)[..], &progress.salt].concat();
            batch.insert(progress_key(account), value);
        }
        self.with(|db| {
            if lock(&self.erased).contains(&account) { Ok(()) } else { db.apply_batch(batch) }
        });
    }

    /// A pack, as the journal has it.
    pub fn pack(&self, account: VaultId, number: PackNumber) -> Option<PackRow> {
        let value = self.with(|db| db.get(pack_key(account, number)))??;
        match AccountRow::from_bytes(&value) {
            Ok(AccountRow::Pack(row)) if row.number == number => Some(row),
            _ => {
                self.drop_all();
                None
            }
        }
    }

    /// Forgets packs.
    pub fn remove(&self, account: VaultId, packs: impl Iterator<Item = PackNumber>) {
        let mut batch = sled::Batch::default();
        for number in packs {
            batch.remove(pack_key(account, number));
        }
        self.with(|db| db.apply_batch(batch));
    }

    /// Forgets an account.
    pub fn forget(&self, account: VaultId) {
        let prefix = [b"p", &account.as_bytes()[..]].concat();
        self.with(|db| {
            db.remove(progress_key(account))?;
            for item in db.scan_prefix(&prefix) {
                db.remove(item?.0)?;
            }
            Ok(())
        });
    }

    /// Forgets an account so that nothing of it stays in the file: what else is known moves to a
    /// new index. One that cannot be moved is thrown away, and filled again at the next start.
    pub fn erase(&self, account: VaultId) {
        let Some(folder) = &self.folder else {
            return;
        };
        let mut guard = self.db.write().unwrap_or_else(PoisonError::into_inner);
        lock(&self.erased).insert(account);
        let Some(old) = guard.take() else {
            return;
        };
        let next = folder.with_extension("new");
        wipe(&next);
        let moved = catch_unwind(AssertUnwindSafe(|| copy_without(&old, &next, account)));
        // Its threads may panic as they end.
        drop(catch_unwind(AssertUnwindSafe(move || drop(old))));
        wipe(folder);
        if matches!(moved, Ok(Some(()))) && fs::rename(&next, folder).is_ok() {
            *guard = open_guarded(folder);
        } else {
            wipe(&next);
            tracing::warn!("the index could not be moved; it is filled again at the next start");
        }
    }

    fn with<T>(&self, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Option<T> {
        let guard = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = guard.as_ref()?;
        if let Ok(Ok(value)) = catch_unwind(AssertUnwindSafe(|| act(db))) {
            return Some(value);
        }
        drop(guard);
        self.drop_all();
        None
    }

    /// Goes on without an index; the next start makes a new one.
    fn drop_all(&self) {
        tracing::warn!("the index is unusable; it is rebuilt at the next start");
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        // Its threads may panic as they end.
        drop(catch_unwind(AssertUnwindSafe(move || drop(db))));
        if let Some(folder) = &self.folder {
            wipe(folder);
        }
    }
}

fn open_guarded(folder: &Path) -> Option<sled::Db> {
    // sled would make it for everybody to read.
    if let Err(error) = private(folder) {
        tracing::warn!(kind = ?error.kind(), "the folder of the index");
    }
    // Nothing flushes it now and again: that is an fsync each time, changes or none, and what a
    // process that is killed loses of it is read in the journals.
    let config = sled::Config::new().path(folder).cache_capacity(CACHE).flush_every_ms(None);
    catch_unwind(AssertUnwindSafe(|| config.open()))
        .ok()?
        .inspect_err(|error| tracing::warn!(%error, "opening the index"))
        .ok()
}

fn private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Copies everything but what belongs to an account.
fn copy_without(old: &sled::Db, next: &Path, account: VaultId) -> Option<()> {
    let new = open_guarded(next)?;
    let mut batch = sled::Batch::default();
    let mut held = 0;
    for item in old.iter() {
        let (key, value) = item.ok()?;
        if key.get(1..17) == Some(account.as_bytes()) {
            continue;
        }
        batch.insert(key, value);
        held += 1;
        if held == BATCH {
            new.apply_batch(std::mem::take(&mut batch)).ok()?;
            held = 0;
        }
    }
    new.apply_batch(batch).ok()?;
    new.flush().ok().map(drop)
}

fn wipe(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(kind = ?error.kind(), "the old index could not be removed");
    }
}

fn progress_key(account: VaultId) -> Vec<u8> {
    [b"o", &account.as_bytes()[..]].concat()
}

fn pack_key(account: VaultId, number: PackNumber) -> Vec<u8> {
    let mut key = [b"p", &account.as_bytes()[..]].concat();
    // Big endian, so that keys sort as numbers do.
    key.extend(number.0.to_le_bytes().iter().rev());
    key
}

fn big_endian(value: u64) -> [u8; 8] {
    let mut bytes = value.to_le_bytes();
    bytes.reverse();
    bytes
}

fn from_big_endian(mut bytes: [u8; 8]) -> u64 {
    bytes.reverse();
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unseen_common::id::{DeviceId, Hash, PackId};
    use unseen_common::time::Timestamp;

    const ACCOUNT: VaultId = VaultId::from_bytes([1; 16]);
    const PROGRESS: Progress = Progress { read: 0x0102_0304_0506_0708, salt: [9; 16] };

    fn row(number: u32) -> PackRow {
        PackRow {
            number: PackNumber(number),
            id: PackId::from_bytes([1; 32]),
            content_hash: Hash::from_bytes([2; 32]),
            device: DeviceId::from_bytes([3; 16]),
            length: 65536,
            footer_len: 4096,
            received: Timestamp(5),
        }
    }

    #[test]
    fn remembers_and_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("index");
        let index = Index::open(&folder);
        assert_eq!(index.progress(ACCOUNT), None);
        index.add(ACCOUNT, &[row(1), row(500)], Some(PROGRESS));
        drop(index);
        let index = Index::open(&folder);
        assert_eq!(index.progress(ACCOUNT), Some(PROGRESS));
        assert_eq!(index.pack(ACCOUNT, PackNumber(500)), Some(row(500)));
        assert_eq!(index.pack(ACCOUNT, PackNumber(2)), None);
        index.remove(ACCOUNT, [PackNumber(500), PackNumber(77)].into_iter());
        assert_eq!(index.pack(ACCOUNT, PackNumber(500)), None);
        assert_eq!(index.pack(ACCOUNT, PackNumber(1)), Some(row(1)));
        index.forget(ACCOUNT);
        assert_eq!(index.progress(ACCOUNT), None);
        assert_eq!(index.pack(ACCOUNT, PackNumber(1)), None);
    }

    #[test]
    fn an_erased_account_leaves_nothing_in_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("index");
        let index = Index::open(&folder);
        let other = VaultId::from_bytes([2; 16]);
        let marked =
            PackRow { id: PackId::from_bytes(*b"a marker that shall not survive!"), ..row(1) };
        index.add(ACCOUNT, &[marked, row(500)], Some(PROGRESS));
        index.add(other, &[row(7)], Some(PROGRESS));
        index.erase(ACCOUNT);
        index.add(ACCOUNT, &[row(500)], Some(PROGRESS));
        let check = |index: &Index| {
            assert_eq!(index.progress(ACCOUNT), None);
            assert_eq!(index.pack(ACCOUNT, PackNumber(500)), None);
            assert_eq!(index.progress(other), Some(PROGRESS));
            assert_eq!(index.pack(other, PackNumber(7)), Some(row(7)));
        };
        check(&index);
        drop(index);
        check(&Index::open(&folder));
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|path| path.is_file()) {
            let bytes = fs::read(&file).unwrap();
            assert!(!bytes.windows(16).any(|w| w == b"a marker that sh"), "{file:?}");
        }
        assert!(!folder.with_extension("new").exists());
    }

    #[test]
    fn a_broken_index_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("index");
        Index::open(&folder).add(ACCOUNT, &[row(1)], Some(PROGRESS));
        for name in ["conf", "db"] {
            fs::write(folder.join(name), b"not what sled wrote").unwrap();
        }
        let index = Index::open(&folder);
        assert_eq!(index.progress(ACCOUNT), None);
        index.add(ACCOUNT, &[row(1)], Some(PROGRESS));
        assert_eq!(index.pack(ACCOUNT, PackNumber(1)), Some(row(1)));
    }

    #[test]
    fn without_an_index_nothing_is_known() {
        let index = Index::none();
        index.add(ACCOUNT, &[row(1)], Some(PROGRESS));
        assert_eq!(index.pack(ACCOUNT, PackNumber(1)), None);
    }
}
