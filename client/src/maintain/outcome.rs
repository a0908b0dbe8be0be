//! What a check finds.

use unseen_common::id::{DeviceId, PackNumber, SnapshotId};

use super::heal::Healing;
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
}

/// A file or directory that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Its path in the snapshot, not escaped.
    pub path: Vec<u8>,
    /// What is wrong with it, as it was found first.
    pub what: String,
}

/// What a snapshot loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Files, and directories that cannot be read, each once; the first ones.
    pub paths: Vec<Lost>,
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
    /// What is wrong with packs, snapshots and devices; the first findings.
    pub damage: Vec<Damage>,
    /// How many findings there are.
    pub damage_count: u64,
    /// What is lost, snapshot by snapshot, oldest first.
    pub affected: Vec<Affected>,
    /// Packs that the vault knows to be damaged, and without which nothing is lost: all that was in
    /// them is in others too.
    pub spare: u64,
    /// Packs that the vault mended from its second copy when it was asked to look.
    pub mended: u64,
    /// Who can send the damaged packs again.
    pub healing: Healing,
    /// Damaged packs that the vault finds to be as they were sent.
    pub as_sent: u64,
    /// The user stopped it.
    pub interrupted: bool,
}

impl CheckOutcome {
    /// Whether nothing is wrong with what was looked at.
    pub fn is_sound(&self) -> bool {
        self.damage_count == 0 && self.affected.is_empty()
    }

    /// Files and directories that are lost, in all snapshots together.
    pub fn lost(&self) -> u64 {
        self.affected.iter().map(|affected| affected.count).sum()
    }
}

/// What ends a check. Damage does not: it is what is looked for.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The vault or the index cannot be used.
    #[error("the vault cannot be checked")]
    Read(#[from] ReadError),
}
