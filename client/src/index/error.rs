//! What can go wrong with an index.

use std::io;
use std::path::{Path, PathBuf};

/// An index that cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file is not what was written. Nothing is lost: drop the index, wipe the folder with
    /// [`super::Index::wipe`] and fill a new one from the packs' tables of contents.
    #[error("the chunk index is damaged: {}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another process, or another [`super::Index`] of this one, has the folder.
    #[error("the chunk index in {} is in use", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason the system gives.
        #[source]
        source: io::Error,
    },
}

pub(super) type Result<T, E = IndexError> = std::result::Result<T, E>;

impl IndexError {
    pub(super) fn damaged(path: &Path, what: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), what }
    }

    /// For `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// For `map_err` of a read whose length was promised: an early end is damage.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::damaged(path, "it ends too early"),
            _ => Self::Io { action: "read", path: path.to_owned(), source },
        }
    }
}
