//! Why something stored cannot be read.

use std::sync::Arc;

use unseen_common::id::PackNumber;
use unseen_common::vault::VaultError;

use crate::crypto::content_id::ChunkId;
use crate::index::IndexError;
use crate::pack::reader::PackError;
use crate::tree::reader::TreeError;

/// Why a chunk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The vault refused, or cannot be reached: no other chunk can be read either.
    #[error("the vault cannot be used")]
    Vault(#[from] VaultError),
    /// The chunk index cannot be used. It can be wiped and made anew.
    #[error("the chunk index cannot be used")]
    Index(#[from] IndexError),
    /// No copy of a chunk is whole.
    #[error("{}", lost(.tried))]
    Lost {
        /// The chunk.
        id: ChunkId,
        /// The packs that should have it, and what is wrong with each.
        tried: Vec<(PackNumber, PackTrouble)>,
    },
    /// A tree breaks the rules of the format.
    #[error("a tree of the snapshot breaks the rules of the format")]
    Tree(#[from] TreeError),
    /// The user stopped it.
    #[error("stopped")]
    Stopped,
}

impl ReadError {
    /// Whether this is about one chunk alone, so that others may still be read.
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Tree(_))
    }
}

/// What is wrong with a pack, or with a part of it.
#[derive(Debug, thiserror::Error)]
pub enum PackTrouble {
    /// The server does not have it.
    #[error("it is missing")]
    Missing,
    /// The server has less of it than there was.
    #[error("it is cut short")]
    Short,
    /// The server fails to read it.
    #[error("the server cannot read it: {0}")]
    Unreadable(String),
    /// Nobody who is known wrote it.
    #[error("its table of contents cannot be opened")]
    UnknownWriter,
    /// It does not have the chunk that the index says it has.
    #[error("it does not hold what the index says")]
    NotThere,
    /// It is damaged or forged.
    #[error("{0}")]
    Damaged(#[from] PackError),
    /// As it was told earlier.
    #[error("{0}")]
    Told(Arc<str>),
}

/// What happened to a request about one pack.
#[derive(Debug, thiserror::Error)]
pub enum PackFault {
    /// This pack cannot be read; another may be.
    #[error("the pack cannot be used")]
    Pack(#[from] PackTrouble),
    /// No pack can be read.
    #[error("the vault cannot be used")]
    Vault(#[source] VaultError),
}

impl From<PackError> for PackFault {
    fn from(error: PackError) -> Self {
        Self::Pack(error.into())
    }
}

impl From<VaultError> for PackFault {
    /// Sorts what a server says when asked for a pack.
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::NotFound(_) => Self::Pack(PackTrouble::Missing),
            VaultError::Server(what)
            | VaultError::BadAnswer(what)
            | VaultError::Damaged { what, .. } => Self::Pack(PackTrouble::Unreadable(what)),
            VaultError::Invalid(_) => Self::Pack(PackTrouble::Short),
            other => Self::Vault(other),
        }
    }
}

fn lost(tried: &[(PackNumber, PackTrouble)]) -> String {
    let mut text = match tried.len() {
        0 => return "no pack holds a chunk of it".to_owned(),
        1 => "a chunk of it is damaged".to_owned(),
        copies => format!("all {copies} copies of a chunk of it are damaged"),
    };
    for (number, trouble) in tried.iter().take(3) {
        text = format!("{text}; pack {number}: {trouble}");
    }
    text
}
