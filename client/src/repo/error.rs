//! What can be wrong with a repository.

use std::path::PathBuf;

use unseen_common::codec::DecodeError;
use unseen_common::id::DeviceId;
use unseen_common::log::fold::FoldError;
use unseen_common::vault::VaultError;

use super::clocks::ClocksApart;
use crate::index::IndexError;
use crate::pack::reader::PackError;
use crate::pins::PinError;
use crate::state::db::StateError;

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The vault refused, or cannot be reached.
    #[error("the vault cannot be used")]
    Vault(#[from] VaultError),
    /// The log breaks its own rules.
    #[error("the log of the vault does not hold")]
    Log(#[from] FoldError),
    /// The server shows another history than the one this machine remembers.
    #[error(
        "the server's history is not the one that this machine remembers: record {seq} is {}",
        if *missing { "missing" } else { "another" }
    )]
    RolledBack {
        /// The record in question.
        seq: u64,
        /// It is missing: rolled back; else it differs: forked.
        missing: bool,
    },
    /// The log belongs to another owner: root key or vault key differ from those pinned here.
    #[error("the log was signed by another owner than this device was enrolled by")]
    OtherOwner,
    /// An entry carries this device's signature, and this machine did not write it.
    #[error("record {seq} of the log is signed with this device's key, and not by this machine")]
    Cloned {
        /// This device.
        device: DeviceId,
        /// The record.
        seq: u64,
    },
    /// This device was revoked.
    #[error("this device was revoked")]
    Revoked(DeviceId),
    /// The clocks of the server and of this machine are too far apart.
    #[error(transparent)]
    Clocks(#[from] ClocksApart),
    /// The pin cannot be used.
    #[error("the remembered head of the log cannot be used")]
    Pin(#[from] PinError),
    /// The local state cannot be used.
    #[error("the local state cannot be used")]
    State(#[from] StateError),
    /// The chunk index cannot be used.
    #[error("the chunk index cannot be used")]
    Index(#[from] IndexError),
    /// A table of contents does not hold.
    #[error("the table of contents of pack {number} is damaged or forged")]
    Footer {
        /// The pack's number.
        number: u32,
        /// What is wrong.
        source: PackError,
    },
    /// A local file cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A local file makes no sense.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        source: DecodeError,
    },
}
