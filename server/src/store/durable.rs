//! The one place where files become durable.
//!
//! Temporary file in the same folder, write, fsync, rename, fsync of the folder. An error of fsync
//! is final for that file: it is removed and never synced again.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use data_encoding::HEXLOWER;

use super::raw;

/// Names of files that are not finished begin with this.
pub const TEMPORARY: &str = ".tmp-";

/// Writes a whole file, readable by its owner alone. When this returns, the file is there even
/// after a loss of power; when it fails, an older file of that name is untouched.
pub fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let folder = parent(path)?;
    let temporary = folder.join(format!("{}{}", ours(), HEXLOWER.encode(&super::random::<12>())));
    let written = write_and_sync(&temporary, parts).and_then(|()| raw::rename(&temporary, path));
    if let Err(error) = written {
        // What failed first is what counts; a leftover is never taken for a file.
        drop(raw::remove(&temporary));
        return Err(error);
    }
    sync_folder(folder)
}

/// Whether a file was begun by another process, which had its folder before this one and is gone.
pub fn is_abandoned(name: &str) -> bool {
    name.starts_with(TEMPORARY) && !name.starts_with(ours())
}

/// What the names of unfinished files of this process begin with.
fn ours() -> &'static str {
    static OURS: OnceLock<String> = OnceLock::new();
    OURS.get_or_init(|| format!("{TEMPORARY}{}-", HEXLOWER.encode(&super::random::<8>())))
}

/// Removes a file durably; one that is not there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match raw::remove(path) {
        Ok(()) => sync_folder(parent(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a folder, accessible to its owner alone, and durably those above it that are missing.
pub fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir)?;
    make_dirs(above)?;
    match raw::make_folder(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    sync_folder(above)
}

/// Makes the names in a folder durable.
pub fn sync_folder(dir: &Path) -> io::Result<()> {
    raw::sync_folder(dir)
}

/// Makes durable what names there are in a folder, and its own: a process that was killed may have
/// made them and not have come so far.
pub fn settle(dir: &Path) -> io::Result<()> {
    match sync_folder(parent(dir)?) {
        // Whoever may not open it did not make the folder in it; and some file systems sync none.
        Err(error) if UNSYNCED.contains(&error.kind()) => {}
        done => done?,
    }
    sync_folder(dir)
}

/// What is said of a folder above the data folder that is not ours to sync.
const UNSYNCED: [io::ErrorKind; 3] =
    [io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported];

fn write_and_sync(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let file = raw::create(path)?;
    let mut offset = 0;
    for part in parts {
        raw::write_at(&file, offset, part)?;
        offset += u64::try_from(part.len()).map_err(io::Error::other)?;
    }
    raw::sync(&file)
}

fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(above) => Ok(above),
        None => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn writes_replaces_and_removes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b/c");
        make_dirs(&folder).unwrap();
        make_dirs(&folder).unwrap();
        let path = folder.join("file");
        write(&path, &[b"one", b" two"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one two");
        write(&path, &[b"three"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), b"").unwrap();
        assert!(write(&path, &[b"new"]).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
