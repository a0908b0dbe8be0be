//! One daemon for each profile. Its lock is not that of a run: a daemon that waits stands in nobody's way.

use std::io;
use std::path::{Path, PathBuf};

use unseen_common::lock::Lock;

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
    let path = state.join("daemon.lock");
    let io = |source| LockError::Io { path: path.clone(), source };
    std::fs::create_dir_all(state).map_err(io)?;
    Lock::take(&path).map_err(io)?.ok_or(LockError::Taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_until_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(&dir.path().join("new")).unwrap();
        assert!(matches!(take(&dir.path().join("new")), Err(LockError::Taken)));
        drop(first);
        take(&dir.path().join("new")).unwrap();
    }
}
