//! One daemon for each profile: a lock that goes with the process, so nothing stale can stay. It
//! is not the lock of a run: a daemon that waits stands in nobody's way.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Held as long as the daemon runs.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock goes when the file is closed")] File);

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("a daemon of this profile is running already")]
    Taken,
    /// The file system refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock in a state folder.
    pub fn take(state: &Path) -> Result<Self, LockError> {
        let path = state.join("daemon.lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        std::fs::create_dir_all(state).map_err(io)?;
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Taken),
            Err(errno) => Err(io(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_until_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(&dir.path().join("new")).unwrap();
        assert!(matches!(Lock::take(&dir.path().join("new")), Err(LockError::Taken)));
        drop(first);
        Lock::take(&dir.path().join("new")).unwrap();
    }
}
