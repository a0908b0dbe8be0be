//! Why an entry is refused.

use super::chain::BadSignature;
use crate::codec::DecodeError;
use crate::id::{DeviceId, SnapshotId, VaultId};

/// Why an entry is refused.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// Not an entry of this format.
    #[error("log entry cannot be read")]
    Decode(#[from] DecodeError),
    /// Forged, or damaged.
    #[error("log entry is not signed by its author")]
    Signature(#[from] BadSignature),
    /// It does not follow the head.
    #[error("log entry {found} does not follow entry {head}")]
    NotNext {
        /// The number that it claims.
        found: u64,
        /// The head's number.
        head: u64,
    },
    /// The number is right, but the history before it is another.
    #[error("log entry {0} follows another history")]
    OtherHistory(u64),
    /// Another vault's.
    #[error("log entry belongs to vault {0}")]
    OtherVault(VaultId),
    /// The stamp lies before the one of the record before.
    #[error("log record {0} was received before its predecessor")]
    TimeWentBack(u64),
    /// This author may not say this.
    #[error("{author} may not write this kind of entry")]
    Forbidden {
        /// Who tried.
        author: &'static str,
    },
    /// The device is unknown.
    #[error("device {0} is not enrolled")]
    UnknownDevice(DeviceId),
    /// The device was revoked.
    #[error("device {0} is revoked")]
    Revoked(DeviceId),
    /// No such snapshot, or one whose grace has passed.
    #[error("snapshot {0} is not in the log")]
    UnknownSnapshot(SnapshotId),
    /// It was forgotten or has expired.
    #[error("snapshot {0} was forgotten; `undelete` brings it back while its grace lasts")]
    Gone(SnapshotId),
    /// It is pinned.
    #[error("snapshot {0} is pinned; `unpin` it first")]
    Pinned(SnapshotId),
    /// It is held.
    #[error("snapshot {0} is held; the owner must lift the hold first")]
    Held(SnapshotId),
    /// An expire record that the rules do not bear out.
    #[error("log record {0} expires other snapshots than the rules do")]
    NotExpired(u64),
    /// The seven days of an erase entry have passed.
    #[error("the vault was erased by entry {0}")]
    Erased(u64),
    /// The entry contradicts what is already there.
    #[error("{0}")]
    Conflict(&'static str),
}
