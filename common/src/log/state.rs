//! What a log adds up to, and what can be asked of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::entry::{DeviceAdd, PublicKey, Slots, Status};
use super::error::FoldError;
use super::groups::Groups;
use super::policy::Policy;
use crate::disclosure::Disclosure;
use crate::id::{DeviceId, Hash, SetTag, SnapshotId, VaultId};
use crate::time::Timestamp;

/// Bursts are counted over this many seconds.
pub(crate) const BURST_SPAN: u64 = 3600;

/// A device as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// As it was added.
    pub add: DeviceAdd,
    /// The entry that added it.
    pub added: u64,
    /// Its name, if it was renamed, sealed to the vault key.
    pub label: Option<Vec<u8>>,
    /// Its newest entry, if it wrote any.
    pub last_entry: Option<u64>,
    /// The last entry that is trusted, if it was revoked.
    pub revoked: Option<u64>,
    /// The newest audit of its packs, if there was any.
    pub audited: Option<u64>,
    /// Its newest burst of snapshots, unless the owner has dealt with it.
    pub burst: Option<Burst>,
    /// Stamps of its snapshots in the hour up to its newest.
    pub(super) recent: VecDeque<Timestamp>,
}

/// More snapshots within an hour than the policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// The entry of its last snapshot. A `cancel` of this number ends the pause.
    pub seq: u64,
    /// When that snapshot was received.
    pub received: Timestamp,
}

/// A snapshot as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The entry that made it.
    pub seq: u64,
    /// Who made it.
    pub device: DeviceId,
    /// Its set.
    pub set: SetTag,
    /// How whole it is.
    pub status: Status,
    /// The author's clock.
    pub time: Timestamp,
    /// The server's clock.
    pub received: Timestamp,
    /// Binds its packs.
    pub packset_hash: Hash,
    /// The entry that last said which packs it needs: its own, or a compaction.
    pub packed: u64,
    /// The owner pinned it.
    pub pinned: bool,
    /// It is held.
    pub held: bool,
    /// What the server knows.
    pub disclosure: Disclosure,
}

/// Why a snapshot went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// The owner forgot it.
    Forgotten,
    /// The rules keep it no longer.
    Expired,
}

/// A snapshot that went and can be brought back. Its packs are to be kept until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// As it was.
    pub snapshot: Snapshot,
    /// Why it went.
    pub why: Leave,
    /// The entry by which it went.
    pub by: u64,
    /// When that was received.
    pub received: Timestamp,
    /// From this moment on it cannot be brought back: its grace, as it was in force then, is over.
    pub until: Timestamp,
}

/// What waits for its day, and can be cancelled until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The entry.
    pub seq: u64,
    /// When it was received.
    pub received: Timestamp,
    /// When it takes effect.
    pub effective: Timestamp,
    /// What it brings.
    pub change: Change,
}

/// A change that weakens protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A policy with a shorter grace or floor.
    Policy(Policy),
    /// The end of the account.
    Erase,
}

/// The state of a vault after some record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The vault.
    pub vault: VaultId,
    /// Number of the newest record.
    pub head_seq: u64,
    /// Its hash.
    pub head: Hash,
    /// Its stamp.
    pub head_received: Timestamp,
    /// Verifies root signatures.
    pub root_key: PublicKey,
    /// BLAKE3 of the vault's public key.
    pub vault_key_hash: Hash,
    /// The epoch of these keys.
    pub epoch: u32,
    /// Verifies the owner's logins.
    pub owner_login: PublicKey,
    /// The server that the vault was made on.
    pub server_identity: PublicKey,
    /// The unlock slots.
    pub slots: Slots,
    /// The rules in force when the newest record was received. Those of now: [`Self::policy_at`].
    pub policy: Policy,
    /// What weakens protection and waits: at most one policy and one erase.
    pub pending: Vec<Pending>,
    /// All devices, revoked ones too.
    pub devices: BTreeMap<DeviceId, Device>,
    /// The live snapshots.
    pub snapshots: BTreeMap<SnapshotId, Snapshot>,
    /// The snapshots that went, until a record is received after their grace.
    pub gone: BTreeMap<SnapshotId, Gone>,
    /// The newest `fold` entry, if there is any.
    pub last_fold: Option<u64>,
    pub(crate) groups: Groups,
    /// The same as `gone`, by the end of grace.
    pub(super) leaving: BTreeSet<(Timestamp, SnapshotId)>,
}

impl State {
    /// The rules in force at a moment not before the newest record.
    pub fn policy_at(&self, now: Timestamp) -> &Policy {
        let due = self.pending.iter().filter(|p| p.effective <= now);
        due.filter_map(|p| match &p.change {
            Change::Policy(policy) => Some(policy),
            Change::Erase => None,
        })
        .next_back()
        .unwrap_or(&self.policy)
    }

    /// The erase entry whose seven days are over by `now`: nothing follows, the account goes.
    pub fn erased_at(&self, now: Timestamp) -> Option<&Pending> {
        self.pending.iter().find(|p| p.change == Change::Erase && p.effective <= now)
    }

    /// A snapshot that went and can still be brought back at `now`.
    pub fn restorable(&self, id: &SnapshotId, now: Timestamp) -> Option<&Gone> {
        self.gone.get(id).filter(|gone| now < gone.until)
    }

    /// A device that may act now.
    pub fn active_device(&self, id: DeviceId) -> Result<&Device, FoldError> {
        let device = self.devices.get(&id).ok_or(FoldError::UnknownDevice(id))?;
        if device.revoked.is_some() { Err(FoldError::Revoked(id)) } else { Ok(device) }
    }

    /// Whether a snapshot was written within what is trusted of its device.
    pub fn is_trusted(&self, snapshot: &Snapshot) -> bool {
        self.devices.get(&snapshot.device).is_some_and(|d| d.trusts(snapshot.seq))
    }

    /// The device itself and those whose place it took, nearest first.
    pub fn lineage(&self, device: DeviceId) -> Vec<DeviceId> {
        let mut seen = BTreeSet::new();
        let mut line = Vec::new();
        let mut next = Some(device);
        while let Some(id) = next {
            if !seen.insert(id) {
                break;
            }
            line.push(id);
            next = self.devices.get(&id).and_then(|d| d.add.replaces);
        }
        line
    }
}

impl Device {
    /// Whether an entry of this device is trusted.
    pub fn trusts(&self, seq: u64) -> bool {
        self.revoked.is_none_or(|last| seq <= last)
    }

    /// Until when a burst stops the expiry of this device's snapshots under `policy`.
    pub fn paused_until(&self, policy: &Policy) -> Option<Timestamp> {
        self.burst.map(|burst| burst.received.plus_days(policy.burst_pause_days))
    }
}
