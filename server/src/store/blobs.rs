//! Blobs: written once, read often, named by [`Key`].

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use unseen_common::id::VaultId;

use super::key::{self, Key};
use super::{durable, raw};

/// Storage of blobs. All calls block.
pub trait Blobs: Send + Sync + fmt::Debug {
    /// Stores a blob of these parts, one after the other. Durable when it returns.
    fn put(&self, key: &Key, parts: &[&[u8]]) -> io::Result<()>;
    /// The whole blob, if there is one.
    fn get(&self, key: &Key) -> io::Result<Option<Bytes>>;
    /// The bytes of `range`, fewer where the blob ends before it.
    fn get_range(&self, key: &Key, range: Range<u64>) -> io::Result<Option<Bytes>>;
    /// The length in bytes.
    fn length(&self, key: &Key) -> io::Result<Option<u64>>;
    /// Removes a blob durably. None there is no error.
    fn delete(&self, key: &Key) -> io::Result<()>;
    /// Puts a blob into another data folder, as a second name of the same file where that can be
    /// done; whether there is one. Its name there is durable once the folder is synced.
    fn export(&self, key: &Key, root: &Path) -> io::Result<bool>;
    /// The names in a folder, those of folders in it too, in no order; none if there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Removes from a folder what a process that is gone began to write and did not finish.
    fn clean(&self, folder: &str) -> io::Result<()>;
    /// Removes everything that belongs to an account, durably. Nothing there is no error.
    fn remove_account(&self, account: VaultId) -> io::Result<()>;
}

/// Blobs as files below the data folder.
pub struct FsBlobs {
    root: PathBuf,
    /// Folders below it whose names are known to be durable.
    known: Mutex<HashSet<PathBuf>>,
}

impl fmt::Debug for FsBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsBlobs").field("root", &self.root).finish_non_exhaustive()
    }
}

impl FsBlobs {
    /// Blobs below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), known: Mutex::default() }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.folder()).join(key.name())
    }

    /// Makes a folder, and durably so. One that is there may be the work of a process that was
    /// killed before it synced the folder above, or of a thread that has not come so far.
    fn prepare(&self, folder: &str) -> io::Result<()> {
        let unsure = self.unsure(folder);
        if unsure.is_empty() {
            return Ok(());
        }
        durable::make_dirs(&self.root.join(folder))?;
        for part in &unsure {
            durable::sync_folder(&self.root.join(part.parent().unwrap_or(Path::new(""))))?;
        }
        super::lock(&self.known).extend(unsure);
        Ok(())
    }

    /// A folder and those above it whose own names this process has not made durable.
    fn unsure(&self, folder: &str) -> Vec<PathBuf> {
        let known = super::lock(&self.known);
        let parts = Path::new(folder).ancestors().take_while(|part| !part.as_os_str().is_empty());
        parts.take_while(|part| !known.contains(*part)).map(Path::to_path_buf).collect()
    }
}

impl Blobs for FsBlobs {
    fn put(&self, key: &Key, parts: &[&[u8]]) -> io::Result<()> {
        self.prepare(key.folder())?;
        durable::write(&self.path(key), parts)
    }

    fn get(&self, key: &Key) -> io::Result<Option<Bytes>> {
        found(fs::read(self.path(key)).map(Bytes::from))
    }

    fn get_range(&self, key: &Key, range: Range<u64>) -> io::Result<Option<Bytes>> {
        found(read_range(&self.path(key), range))
    }

    fn length(&self, key: &Key) -> io::Result<Option<u64>> {
        found(fs::metadata(self.path(key)).map(|m| m.len()))
    }

    fn delete(&self, key: &Key) -> io::Result<()> {
        durable::remove(&self.path(key))
    }

    fn export(&self, key: &Key, root: &Path) -> io::Result<bool> {
        let folder = root.join(key.folder());
        durable::make_dirs(&folder)?;
        match raw::link(&self.path(key), &folder.join(key.name())) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // Another disk, or one without links.
            Err(_unsupported) => export_bytes(self.get(key)?, key, root),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = found(fs::read_dir(self.root.join(folder)))?;
        let mut names = Vec::new();
        for entry in entries.into_iter().flatten() {
            match entry?.file_name().into_string() {
                Ok(name) if !name.starts_with('.') => names.push(name),
                // Never written by us, or not finished.
                _ => {}
            }
        }
        Ok(names)
    }

    fn clean(&self, folder: &str) -> io::Result<()> {
        let folder = self.root.join(folder);
        for entry in found(fs::read_dir(&folder))?.into_iter().flatten() {
            let name = entry?.file_name();
            if name.to_str().is_some_and(durable::is_abandoned) {
                // If it comes back after a loss of power, it goes the next time.
                found(raw::remove(&folder.join(name)))?;
            }
        }
        Ok(())
    }

    fn remove_account(&self, account: VaultId) -> io::Result<()> {
        let folder = key::account_folder(account);
        found(raw::remove_tree(&self.root.join(&folder)))?;
        super::lock(&self.known).retain(|known| !known.starts_with(&folder));
        // Where it is gone already, it may have gone under a process that was killed before this.
        found(durable::sync_folder(&self.root.join("accounts"))).map(drop)
    }
}

/// Writes a blob into another data folder.
pub fn export_bytes(blob: Option<Bytes>, key: &Key, root: &Path) -> io::Result<bool> {
    let Some(blob) = blob else {
        return Ok(false);
    };
    let folder = root.join(key.folder());
    durable::make_dirs(&folder)?;
    durable::write(&folder.join(key.name()), &[&blob])?;
    Ok(true)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_range(path: &Path, range: Range<u64>) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let end = range.end.min(file.metadata()?.len());
    let length = end.saturating_sub(range.start);
    let length = usize::try_from(length).map_err(io::Error::other)?;
    // Nothing is cleared, and one call reads all of it: `read_to_end` of a part of a file begins with
    // 8 KiB and doubles.
    let mut bytes = Vec::with_capacity(length);
    let mut at = range.start;
    while bytes.len() < length {
        match rustix::io::pread(&file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(read) => at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // An allocator may give more than was asked for.
    bytes.truncate(length);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemBlobs;
    use super::*;
    use unseen_common::id::{Hash, PackId, PackNumber};

    #[test]
    fn a_folder_counts_as_durable_once_this_process_synced_those_above_it() {
        let dir = tempfile::tempdir().unwrap();
        // Left by a process that was killed before it synced anything.
        fs::create_dir_all(dir.path().join("accounts/a/packs/00000")).unwrap();
        let blobs = FsBlobs::new(dir.path());
        let unsure = |folder: &str| -> Vec<String> {
            blobs.unsure(folder).iter().map(|part| part.display().to_string()).collect()
        };
        let all = ["accounts/a/packs/00000", "accounts/a/packs", "accounts/a", "accounts"];
        assert_eq!(unsure("accounts/a/packs/00000"), all);
        blobs.prepare("accounts/a/packs/00000").unwrap();
        assert_eq!(unsure("accounts/a/packs/00000"), [""; 0]);
        assert_eq!(unsure("accounts/a/packs/00001"), ["accounts/a/packs/00001"]);
        blobs.prepare("accounts/a/packs/00001").unwrap();
        assert!(dir.path().join("accounts/a/packs/00001").is_dir());
        assert_eq!(unsure("accounts/a/packs/00001"), [""; 0]);
    }

    /// What every body of [`Blobs`] must do.
    fn conforms(blobs: &dyn Blobs) {
        let account = VaultId::from_bytes([1; 16]);
        let key = Key::pack(account, PackNumber(7), PackId::from_bytes([2; 32]));
        assert_eq!(blobs.get(&key).unwrap(), None);
        assert_eq!(blobs.length(&key).unwrap(), None);
        assert_eq!(blobs.get_range(&key, 0..1).unwrap(), None);
        assert!(blobs.list(key.folder()).unwrap().is_empty());
        blobs.delete(&key).unwrap();

        blobs.put(&key, &[b"header", b"", b" body"]).unwrap();
        blobs.put(&key, &[b"header body"]).unwrap();
        assert_eq!(blobs.get(&key).unwrap().unwrap(), "header body");
        assert_eq!(blobs.get_range(&key, 7..11).unwrap().unwrap(), "body");
        assert_eq!(blobs.get_range(&key, 7..99).unwrap().unwrap(), "body");
        assert_eq!(blobs.get_range(&key, 98..99).unwrap().unwrap(), "");
        assert_eq!(blobs.get_range(&key, 0..u64::MAX).unwrap().unwrap(), "header body");
        assert_eq!(blobs.length(&key).unwrap(), Some(11));
        assert_eq!(blobs.list(key.folder()).unwrap(), [key.name()]);
        assert_eq!(blobs.list("accounts").unwrap(), [account.to_string()]);
        assert_eq!(blobs.list(&format!("accounts/{account}/packs")).unwrap(), ["00000"]);
        assert!(blobs.list("account").unwrap().is_empty());

        let dir = tempfile::tempdir().unwrap();
        assert!(blobs.export(&key, dir.path()).unwrap());
        assert!(blobs.export(&key, dir.path()).unwrap(), "again is no error");
        let copy = FsBlobs::new(dir.path());
        blobs.delete(&key).unwrap();
        assert_eq!(blobs.get(&key).unwrap(), None);
        assert!(!blobs.export(&key, dir.path()).unwrap());
        assert_eq!(copy.get(&key).unwrap().unwrap(), "header body");

        let other = Key::log(VaultId::from_bytes([2; 16]), 0);
        let slots = Key::slots(account, Hash::from_bytes([3; 32]));
        for key in [&key, &slots, &other] {
            blobs.put(key, &[b"x"]).unwrap();
        }
        blobs.remove_account(account).unwrap();
        blobs.remove_account(account).unwrap();
        assert_eq!(blobs.get(&key).unwrap(), None);
        assert!(blobs.list(slots.folder()).unwrap().is_empty());
        assert_eq!(blobs.get(&other).unwrap().unwrap(), "x");
        blobs.put(&slots, &[b"y"]).unwrap();
        assert_eq!(blobs.get(&slots).unwrap().unwrap(), "y");
    }

    #[test]
    fn files_conform() {
        let dir = tempfile::tempdir().unwrap();
        conforms(&FsBlobs::new(dir.path()));
    }

    #[test]
    fn memory_conforms() {
        conforms(&MemBlobs::default());
    }

    #[test]
    fn unfinished_files_are_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        fs::write(dir.path().join("log/.tmp-00"), b"").unwrap();
        let blobs = FsBlobs::new(dir.path());
        assert!(blobs.list("log").unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path().join("log")).unwrap().count(), 1);
        fs::write(dir.path().join("log/whole"), b"").unwrap();
        blobs.clean("log").unwrap();
        blobs.clean("nowhere").unwrap();
        let left = fs::read_dir(dir.path().join("log")).unwrap();
        assert_eq!(left.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["whole"]);
    }
}
