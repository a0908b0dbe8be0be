//! One owner of a folder at a time: a lock (`flock(2)`) that goes with the process, so that no
//! stale one ever stays.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock of the file at `path`, which is made if need be, without waiting; none if
    /// somebody else has it.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether somebody has the lock of the file at `path`, which is not made. For an instant
    /// nobody else can take it.
    pub fn is_taken(path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        match file.try_lock_shared() {
            Ok(()) => file.unlock().map(|()| false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    /// Closing alone would not do: a program that is just being started has the file open, too,
    /// until it runs.
    fn drop(&mut self) {
        drop(self.0.unlock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_owner_until_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap().unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        assert!(Lock::is_taken(&path).unwrap());
        let of_a_child = first.0.try_clone().unwrap();
        drop(first);
        assert!(Lock::take(&path).unwrap().is_some(), "whoever else has the file open");
        drop(of_a_child);
        assert!(
            !Lock::is_taken(&path).unwrap() && !Lock::is_taken(&dir.path().join("no")).unwrap()
        );
        assert!(Lock::take(&dir.path().join("none/lock")).is_err());
    }
}
