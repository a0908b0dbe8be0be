//! What a check finds.

use unseen_common::id::{DeviceId, PackNumber, SnapshotId};

use crate::browse::error::ReadError;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// A pack.
    Pack {
        /// Its number.
        number: PackNumber,
        /// What is wrong with it.
        what: String,
    },
    /// A device's introduction does not open: nothing it wrote can be read.
    Device {
        /// The device.
        device: DeviceId,
        /// What is wrong with it.
        what: String,
    },
    /// A snapshot's manifest, or its list of packs.
    Snapshot {
        /// The snapshot.
        snapshot: SnapshotId,
        /// What is wrong with it.
        what: String,
    },
    /// A file or directory of a snapshot.
    Path {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The path in it, not escaped.
        path: Vec<u8>,
        /// What is wrong with it.
        what: String,
    },
}

/// What a snapshot loses with the packs that are damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Paths of files, and of directories that cannot be read; the first ones. Not escaped.
    pub paths: Vec<Vec<u8>>,
    /// How many there are.
    pub count: u64,
}

/// What a check did and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOutcome {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Different directories that were read.
    pub trees: u64,
    /// References to chunks that were looked up.
    pub chunks: u64,
    /// Packs that are there.
    pub packs: u64,
    /// Packs that were read whole.
    pub packs_read: u64,
    /// Bytes that were fetched.
    pub fetched: u64,
    /// What is wrong; the first findings.
    pub damage: Vec<Damage>,
    /// How many findings there are.
    pub damage_count: u64,
    /// What the damaged packs cost, snapshot by snapshot, oldest first.
    pub affected: Vec<Affected>,
    /// The user stopped it.
    pub interrupted: bool,
}

impl CheckOutcome {
    /// Whether nothing is wrong with what was looked at.
    pub fn is_sound(&self) -> bool {
        self.damage_count == 0
    }
}

/// What ends a check. Damage does not: it is what is looked for.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The vault or the index cannot be used.
    #[error("the vault cannot be checked")]
    Read(#[from] ReadError),
}
