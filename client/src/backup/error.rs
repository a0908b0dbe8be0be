//! What ends a backup. Trouble with single source files does not: it is reported and counted.

use std::path::PathBuf;

use unseen_common::codec::DecodeError;
use unseen_common::vault::VaultError;

use crate::crypto::envelope::SealError;
use crate::index::IndexError;
use crate::repo::RepoError;
use crate::state::db::StateError;

/// Why a backup did not come about.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// None of the paths can be read, or what is to become one file cannot be read to its end.
    #[error("cannot back up {}", path.display())]
    Source {
        /// The path as named, or the name of that file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No path was named.
    #[error("nothing to back up")]
    NoPaths,
    /// The vault refused, or cannot be reached.
    #[error("the vault did not take the backup")]
    Vault(#[from] VaultError),
    /// The repository cannot be used.
    #[error("the repository cannot be used")]
    Repo(#[from] RepoError),
    /// The chunk index cannot be used.
    #[error("the chunk index cannot be used")]
    Index(#[from] IndexError),
    /// The local state cannot be used.
    #[error("the local state cannot be used")]
    State(#[from] StateError),
    /// Something could not be sealed.
    #[error("a pack cannot be sealed")]
    Seal(#[from] SealError),
    /// Bytes of our own cannot be read back.
    #[error("a file of the local state cannot be read")]
    Decode(#[from] DecodeError),
    /// The spool cannot be read or written.
    #[error("the spool, where packs wait for the vault, cannot be used")]
    Spool(#[source] std::io::Error),
    /// After several rounds the server still misses packs that it acknowledged.
    #[error("the server keeps losing packs of this backup ({missing} in the last round)")]
    KeepsLosing {
        /// How many it missed last.
        missing: u64,
    },
    /// Another part of the run failed first; that part tells why.
    #[error("stopped")]
    Stopped,
    /// The user stopped the run before anything could be committed.
    #[error("stopped before a snapshot could be saved")]
    Interrupted,
    /// A promise of our own code was broken.
    #[error("internal error: {0}")]
    Internal(&'static str),
}
