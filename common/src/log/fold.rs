//! What a log adds up to. The same function on both sides: what it refuses, nobody accepts.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{BadSignature, Record, SignedEntry};
use super::entry::{Author, Body, DeviceAdd, Entry, Genesis, Policy, PublicKey, Slots, Status};
use crate::codec::DecodeError;
use crate::disclosure::{Disclosure, Level};
use crate::id::{DeviceId, Hash, SetTag, SnapshotId, VaultId};
use crate::limits::MAX_DEVICES;
use crate::time::Timestamp;

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
    /// The entry contradicts what is already there.
    #[error("{0}")]
    Conflict(&'static str),
}

/// A device as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// As it was added.
    pub add: DeviceAdd,
    /// The entry that added it.
    pub added: u64,
    /// Its newest entry, if it wrote any.
    pub last_entry: Option<u64>,
    /// The last entry that is trusted, if it was revoked.
    pub revoked: Option<u64>,
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
    /// What the server knows.
    pub disclosure: Disclosure,
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
    /// The rules.
    pub policy: Policy,
    /// All devices, revoked ones too.
    pub devices: BTreeMap<DeviceId, Device>,
    /// The live snapshots.
    pub snapshots: BTreeMap<SnapshotId, Snapshot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signatures {
    Check,
    Known,
}

/// The rules before any policy entry: disclosure `summary`, 30 days of grace.
pub const DEFAULT_POLICY: Policy = Policy { disclosure: Level::Summary, grace_days: 30 };
const MIN_GRACE_DAYS: u32 = 2;

impl State {
    /// Begins with the genesis record.
    pub fn begin(record: &Record) -> Result<Self, FoldError> {
        let entry = record.signed.entry()?;
        let Body::Genesis(genesis) = entry.body else {
            return Err(FoldError::Conflict("a log begins with its genesis entry"));
        };
        if entry.seq != 0 || entry.prev != Hash::from_bytes([0; 32]) {
            return Err(FoldError::Conflict("the genesis entry has number 0 and no predecessor"));
        }
        if entry.author != Author::Root {
            return Err(FoldError::Forbidden { author: "a device" });
        }
        record.signed.verify(&genesis.root_key)?;
        let Genesis { root_key, vault_key_hash, owner_login, server_identity, slots } = genesis;
        Ok(Self {
            vault: entry.vault,
            head_seq: 0,
            head: record.hash(),
            head_received: record.received,
            root_key,
            vault_key_hash,
            epoch: 0,
            owner_login,
            server_identity,
            slots,
            policy: DEFAULT_POLICY,
            devices: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        })
    }

    /// Folds a whole log.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Self, FoldError> {
        let mut records = records.into_iter();
        let first = records.next().ok_or(FoldError::Conflict("an empty log"))?;
        let mut state = Self::begin(first)?;
        for record in records {
            state.apply(record)?;
        }
        Ok(state)
    }

    /// Folds a log whose record `seq` must have the hash `head`, as this machine has checked and
    /// pinned it before. The chain binds every earlier record to that hash, so signatures are not
    /// checked again.
    pub fn of_known(records: &[Record], seq: u64, head: &Hash) -> Result<Self, FoldError> {
        let first = records.first().ok_or(FoldError::Conflict("an empty log"))?;
        let mut state = Self::begin(first)?;
        for record in records.iter().skip(1) {
            state.apply_with(record, Signatures::Known)?;
        }
        if state.head_seq != seq || state.head != *head {
            return Err(FoldError::OtherHistory(seq));
        }
        Ok(state)
    }

    /// Whether `signed` may come next: place, history, signature and permission.
    pub fn check(&self, signed: &SignedEntry) -> Result<Entry, FoldError> {
        self.check_with(signed, Signatures::Check)
    }

    fn check_with(&self, signed: &SignedEntry, how: Signatures) -> Result<Entry, FoldError> {
        let entry = signed.entry()?;
        if entry.vault != self.vault {
            return Err(FoldError::OtherVault(entry.vault));
        }
        if self.head_seq.checked_add(1) != Some(entry.seq) {
            return Err(FoldError::NotNext { found: entry.seq, head: self.head_seq });
        }
        if entry.prev != self.head {
            return Err(FoldError::OtherHistory(entry.seq));
        }
        let key = self.author_key(entry.author)?;
        if how == Signatures::Check {
            signed.verify(&key)?;
        }
        self.permit(&entry)?;
        Ok(entry)
    }

    /// Takes the next record.
    pub fn apply(&mut self, record: &Record) -> Result<Entry, FoldError> {
        self.apply_with(record, Signatures::Check)
    }

    fn apply_with(&mut self, record: &Record, how: Signatures) -> Result<Entry, FoldError> {
        let entry = self.check_with(&record.signed, how)?;
        if record.received < self.head_received {
            return Err(FoldError::TimeWentBack(entry.seq));
        }
        self.take(&entry, record.received);
        self.head_seq = entry.seq;
        self.head = record.hash();
        self.head_received = record.received;
        Ok(entry)
    }

    /// A device that may act now.
    pub fn active_device(&self, id: DeviceId) -> Result<&Device, FoldError> {
        let device = self.devices.get(&id).ok_or(FoldError::UnknownDevice(id))?;
        if device.revoked.is_some() { Err(FoldError::Revoked(id)) } else { Ok(device) }
    }

    /// Whether a snapshot was written within what is trusted of its device.
    pub fn is_trusted(&self, snapshot: &Snapshot) -> bool {
        self.devices
            .get(&snapshot.device)
            .is_some_and(|d| d.revoked.is_none_or(|last| snapshot.seq <= last))
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

    fn author_key(&self, author: Author) -> Result<PublicKey, FoldError> {
        match author {
            Author::Root => Ok(self.root_key),
            Author::Device(id) => Ok(self.active_device(id)?.add.manifest_key),
        }
    }

    fn permit(&self, entry: &Entry) -> Result<(), FoldError> {
        let root = entry.author == Author::Root;
        match &entry.body {
            Body::Genesis(_) => Err(FoldError::Conflict("a log has one genesis entry")),
            Body::Snapshot(_) if root => Err(FoldError::Forbidden { author: "the owner" }),
            Body::Snapshot(s) => {
                if self.snapshots.contains_key(&s.manifest) {
                    return Err(FoldError::Conflict("this snapshot is already in the log"));
                }
                self.permit_disclosure(&s.disclosure)
            }
            _ if !root => Err(FoldError::Forbidden { author: "a device" }),
            Body::DeviceAdd(add) => self.permit_device(add),
            Body::DeviceRevoke(r) => {
                self.active_device(r.device)?;
                if r.last_valid >= entry.seq {
                    return Err(FoldError::Conflict("the last valid entry lies in the future"));
                }
                Ok(())
            }
            Body::Policy(p) if p.grace_days < MIN_GRACE_DAYS => {
                Err(FoldError::Conflict("grace is at least 2 days"))
            }
            Body::Slots(_) | Body::Policy(_) => Ok(()),
        }
    }

    fn permit_device(&self, add: &DeviceAdd) -> Result<(), FoldError> {
        if self.devices.len() >= MAX_DEVICES {
            return Err(FoldError::Conflict("a vault has at most 4096 devices"));
        }
        if self.devices.contains_key(&add.device) {
            return Err(FoldError::Conflict("this device is already enrolled"));
        }
        if let Some(old) = add.replaces {
            self.devices.get(&old).ok_or(FoldError::UnknownDevice(old))?;
        }
        Ok(())
    }

    fn permit_disclosure(&self, disclosure: &Disclosure) -> Result<(), FoldError> {
        let told = if !disclosure.types.is_empty() {
            Level::Types
        } else if disclosure.totals.is_some() {
            Level::Summary
        } else {
            Level::None
        };
        if told > self.policy.disclosure {
            return Err(FoldError::Conflict("the snapshot discloses more than the policy allows"));
        }
        Ok(())
    }

    fn take(&mut self, entry: &Entry, received: Timestamp) {
        if let Author::Device(id) = entry.author
            && let Some(device) = self.devices.get_mut(&id)
        {
            device.last_entry = Some(entry.seq);
        }
        match &entry.body {
            Body::Genesis(_) => {}
            Body::DeviceAdd(add) => {
                let device =
                    Device { add: add.clone(), added: entry.seq, last_entry: None, revoked: None };
                self.devices.insert(add.device, device);
            }
            Body::DeviceRevoke(r) => {
                if let Some(device) = self.devices.get_mut(&r.device) {
                    device.revoked = Some(r.last_valid);
                }
            }
            Body::Slots(slots) => self.slots = slots.clone(),
            Body::Policy(policy) => self.policy = *policy,
            Body::Snapshot(s) => {
                if let Author::Device(device) = entry.author {
                    let snapshot = Snapshot {
                        seq: entry.seq,
                        device,
                        set: s.set,
                        status: s.status,
                        time: entry.time,
                        received,
                        packset_hash: s.packset_hash,
                        disclosure: s.disclosure.clone(),
                    };
                    self.snapshots.insert(s.manifest, snapshot);
                }
            }
        }
    }
}
