//! One daemon for each profile. Its lock is not that of a run: a daemon that waits stands in nobody's way.

use std::io;
use std::path::{Path, PathBuf};

use std::time::Duration;

use unseen_common::lock::Lock;

use crate::pins::private_folder;

/// A command that looks whether a daemon runs has the lock for an instant: so often it is tried
/// again, and so long it is waited in between.
const TRIES: u32 = 10;
const TRY: Duration = Duration::from_millis(20);

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

/// Takes the lock in a state folder, which is held as long as the daemon runs.
pub fn take(state: &Path) -> Result<Lock, LockError> {
    let path = path_in(state);
    let io = |source| LockError::Io { path: path.clone(), source };
    private_folder(state).map_err(io)?;
    for _ in 1..TRIES {
        if let Some(lock) = Lock::take(&path).map_err(io)? {
            return Ok(lock);
        }
        std::thread::park_timeout(TRY);
    }
    Lock::take(&path).map_err(io)?.ok_or(LockError::Taken)
}

/// Whether a daemon runs with this state folder, wherever it listens. One that cannot be told
/// counts as none.
pub fn is_taken(state: &Path) -> bool {
    Lock::is_taken(&path_in(state)).unwrap_or(false)
}

fn path_in(state: &Path) -> PathBuf {
    state.join("daemon.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_until_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(&dir.path().join("new")).unwrap();
        assert!(matches!(take(&dir.path().join("new")), Err(LockError::Taken)));
        assert!(is_taken(&dir.path().join("new")) && !is_taken(dir.path()));
        drop(first);
        assert!(!is_taken(&dir.path().join("new")));
        take(&dir.path().join("new")).unwrap();
    }
}
