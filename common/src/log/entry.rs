//! What can be written to the log.

use minicbor::decode::Decoder;
use serde::{Deserialize, Serialize};

use crate::codec::{
    Canonical, DecodeError, Enc, EncodeResult, array_len, array_of, bytes_capped, bytes_n, optional,
};
use crate::disclosure::{Disclosure, Level};
use crate::id::{DeviceId, Hash, SetTag, SnapshotId, VaultId};
use crate::limits::{MAX_DEVICE_SEALED, MAX_ENTRY, MAX_SLOT_KEYS};
use crate::time::Timestamp;

/// An Ed25519 public key, 32 bytes.
pub type PublicKey = [u8; 32];

/// Who signs an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Author {
    /// The owner, by the root signing key.
    Root,
    /// A device, by its manifest key.
    Device(DeviceId),
}

/// One entry, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The vault that it belongs to.
    pub vault: VaultId,
    /// Its place: 0 is the genesis entry.
    pub seq: u64,
    /// Hash of the whole record before it; zeros for the genesis entry.
    pub prev: Hash,
    /// Who signs.
    pub author: Author,
    /// The author's clock. Informs people; decides nothing.
    pub time: Timestamp,
    /// What it says.
    pub body: Body,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Root: the vault begins.
    Genesis(Genesis),
    /// Root: a machine joins.
    DeviceAdd(DeviceAdd),
    /// Root: a machine leaves.
    DeviceRevoke(DeviceRevoke),
    /// Root: the set of unlock slots changes.
    Slots(Slots),
    /// Root: rules change.
    Policy(Policy),
    /// Device: a snapshot exists.
    Snapshot(Snapshot),
}

/// The first entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// Verifies root signatures of epoch 1.
    pub root_key: PublicKey,
    /// BLAKE3 of the vault's public key of epoch 1.
    pub vault_key_hash: Hash,
    /// Verifies the owner's logins.
    pub owner_login: PublicKey,
    /// The identity of the server that the vault was made on.
    pub server_identity: PublicKey,
    /// The first slots.
    pub slots: Slots,
}

/// The unlock slots as a whole: no slot can be swapped or come back from the dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// Hash of the slot set.
    pub hash: Hash,
    /// Keys that may fetch the slots, each derived from one of the secrets that open them.
    pub login_keys: Vec<PublicKey>,
}

/// A machine joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAdd {
    /// The machine.
    pub device: DeviceId,
    /// Verifies its log entries and pack footers.
    pub manifest_key: PublicKey,
    /// Verifies its logins.
    pub login_key: PublicKey,
    /// Its name and index key, sealed to the vault key.
    pub sealed: Vec<u8>,
    /// It keeps nothing that helps to unlock, and may not fetch slots.
    pub backup_only: bool,
    /// The machine whose place it takes. Its packs up to its last valid entry count as own.
    pub replaces: Option<DeviceId>,
}

/// A machine leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRevoke {
    /// The machine.
    pub device: DeviceId,
    /// The last entry of it that is trusted; later ones are marked.
    pub last_valid: u64,
}

/// Rules of the vault. The retention rules join with their commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What snapshots may disclose.
    pub disclosure: Level,
    /// Days that unreferenced packs are kept.
    pub grace_days: u32,
}

/// How whole a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything is in it.
    Complete,
    /// Some files could not be read.
    Partial,
    /// A long run saved what it had so far.
    Checkpoint,
}

/// A snapshot exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its set, as the server may know it.
    pub set: SetTag,
    /// How whole it is.
    pub status: Status,
    /// BLAKE3 of its sealed manifest: its id.
    pub manifest: SnapshotId,
    /// The packs that it needs, by [`crate::packset::PackSetHasher`].
    pub packset_hash: Hash,
    /// What the server may know.
    pub disclosure: Disclosure,
}

const KIND_GENESIS: u64 = 0;
const KIND_DEVICE_ADD: u64 = 1;
const KIND_DEVICE_REVOKE: u64 = 3;
const KIND_SLOTS: u64 = 4;
const KIND_POLICY: u64 = 5;
const KIND_SNAPSHOT: u64 = 16;

impl Canonical for Entry {
    const WHAT: &'static str = "log entry";
    const CAP: usize = MAX_ENTRY;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(7)?.bytes(self.vault.as_bytes())?.u64(self.seq)?.bytes(self.prev.as_bytes())?;
        match &self.author {
            Author::Root => e.null()?,
            Author::Device(device) => e.bytes(device.as_bytes())?,
        };
        e.u64(self.time.0)?;
        encode_body(&self.body, e)
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 7, "log entry")?;
        let vault = VaultId::from_bytes(bytes_n(d, "vault id")?);
        let seq = d.u64()?;
        let prev = Hash::from_bytes(bytes_n(d, "previous hash")?);
        let author = optional(d, |d| Ok(DeviceId::from_bytes(bytes_n(d, "device id")?)))?
            .map_or(Author::Root, Author::Device);
        let time = Timestamp(d.u64()?);
        let body = decode_body(d)?;
        Ok(Self { vault, seq, prev, author, time, body })
    }
}

fn encode_body(body: &Body, e: &mut Enc<'_>) -> EncodeResult {
    match body {
        Body::Genesis(g) => {
            e.u64(KIND_GENESIS)?
                .array(5)?
                .bytes(&g.root_key)?
                .bytes(g.vault_key_hash.as_bytes())?;
            e.bytes(&g.owner_login)?.bytes(&g.server_identity)?;
            encode_slots(&g.slots, e)?;
        }
        Body::DeviceAdd(a) => {
            e.u64(KIND_DEVICE_ADD)?.array(6)?.bytes(a.device.as_bytes())?;
            e.bytes(&a.manifest_key)?.bytes(&a.login_key)?.bytes(&a.sealed)?.bool(a.backup_only)?;
            match &a.replaces {
                Some(device) => e.bytes(device.as_bytes())?,
                None => e.null()?,
            };
        }
        Body::DeviceRevoke(r) => {
            e.u64(KIND_DEVICE_REVOKE)?.array(2)?.bytes(r.device.as_bytes())?.u64(r.last_valid)?;
        }
        Body::Slots(s) => {
            e.u64(KIND_SLOTS)?;
            encode_slots(s, e)?;
        }
        Body::Policy(p) => {
            e.u64(KIND_POLICY)?.array(2)?.u8(level_number(p.disclosure))?.u32(p.grace_days)?;
        }
        Body::Snapshot(s) => {
            e.u64(KIND_SNAPSHOT)?.array(5)?.bytes(s.set.as_bytes())?.u8(status_number(s.status))?;
            e.bytes(s.manifest.as_bytes())?.bytes(s.packset_hash.as_bytes())?;
            s.disclosure.encode(e)?;
        }
    }
    Ok(())
}

fn decode_body(d: &mut Decoder<'_>) -> Result<Body, DecodeError> {
    Ok(match d.u64()? {
        KIND_GENESIS => {
            array_of(d, 5, "genesis")?;
            Body::Genesis(Genesis {
                root_key: bytes_n(d, "root key")?,
                vault_key_hash: Hash::from_bytes(bytes_n(d, "vault key hash")?),
                owner_login: bytes_n(d, "owner login key")?,
                server_identity: bytes_n(d, "server identity")?,
                slots: decode_slots(d)?,
            })
        }
        KIND_DEVICE_ADD => {
            array_of(d, 6, "device")?;
            Body::DeviceAdd(DeviceAdd {
                device: DeviceId::from_bytes(bytes_n(d, "device id")?),
                manifest_key: bytes_n(d, "manifest key")?,
                login_key: bytes_n(d, "login key")?,
                sealed: bytes_capped(d, "sealed device record", MAX_DEVICE_SEALED)?.to_vec(),
                backup_only: d.bool()?,
                replaces: optional(d, |d| Ok(DeviceId::from_bytes(bytes_n(d, "device id")?)))?,
            })
        }
        KIND_DEVICE_REVOKE => {
            array_of(d, 2, "revocation")?;
            let device = DeviceId::from_bytes(bytes_n(d, "device id")?);
            Body::DeviceRevoke(DeviceRevoke { device, last_valid: d.u64()? })
        }
        KIND_SLOTS => Body::Slots(decode_slots(d)?),
        KIND_POLICY => {
            array_of(d, 2, "policy")?;
            Body::Policy(Policy { disclosure: level_from(d.u8()?)?, grace_days: d.u32()? })
        }
        KIND_SNAPSHOT => {
            array_of(d, 5, "snapshot")?;
            Body::Snapshot(Snapshot {
                set: SetTag::from_bytes(bytes_n(d, "set tag")?),
                status: status_from(d.u8()?)?,
                manifest: SnapshotId::from_bytes(bytes_n(d, "manifest hash")?),
                packset_hash: Hash::from_bytes(bytes_n(d, "packset hash")?),
                disclosure: Disclosure::decode(d)?,
            })
        }
        number => {
            return Err(DecodeError::Unknown { what: "log entry of kind", number });
        }
    })
}

fn encode_slots(slots: &Slots, e: &mut Enc<'_>) -> EncodeResult {
    e.array(2)?.bytes(slots.hash.as_bytes())?;
    e.array(u64::try_from(slots.login_keys.len()).unwrap_or(u64::MAX))?;
    for key in &slots.login_keys {
        e.bytes(key)?;
    }
    Ok(())
}

fn decode_slots(d: &mut Decoder<'_>) -> Result<Slots, DecodeError> {
    array_of(d, 2, "slots")?;
    let hash = Hash::from_bytes(bytes_n(d, "slot set hash")?);
    let count = array_len(d, "slots login keys", MAX_SLOT_KEYS)?;
    let login_keys =
        (0..count).map(|_| bytes_n(d, "slots login key")).collect::<Result<_, DecodeError>>()?;
    Ok(Slots { hash, login_keys })
}

const fn level_number(level: Level) -> u8 {
    match level {
        Level::None => 0,
        Level::Summary => 1,
        Level::Types => 2,
    }
}

fn level_from(number: u8) -> Result<Level, DecodeError> {
    match number {
        0 => Ok(Level::None),
        1 => Ok(Level::Summary),
        2 => Ok(Level::Types),
        _ => Err(DecodeError::Unknown { what: "disclosure level", number: number.into() }),
    }
}

const fn status_number(status: Status) -> u8 {
    match status {
        Status::Complete => 0,
        Status::Partial => 1,
        Status::Checkpoint => 2,
    }
}

fn status_from(number: u8) -> Result<Status, DecodeError> {
    match number {
        0 => Ok(Status::Complete),
        1 => Ok(Status::Partial),
        2 => Ok(Status::Checkpoint),
        _ => Err(DecodeError::Unknown { what: "snapshot status", number: number.into() }),
    }
}
