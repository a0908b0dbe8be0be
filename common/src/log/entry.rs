//! What can be written to the log.

use minicbor::data::Type;
use minicbor::decode::Decoder;
use serde::{Deserialize, Serialize};

use super::body::{decode_body, encode_body};
use crate::codec::{Canonical, DecodeError, Enc, EncodeResult, array_of, bytes_n};
use crate::disclosure::Disclosure;
use crate::id::{DeviceId, Hash, SetTag, SnapshotId, VaultId};
use crate::limits::MAX_ENTRY;
use crate::packset::PackSet;
use crate::time::Timestamp;

pub use super::ids::SnapshotIds;
pub use super::policy::Policy;

/// An Ed25519 public key, 32 bytes.
pub type PublicKey = [u8; 32];

/// Who writes an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Author {
    /// The owner, by the root signing key.
    Root,
    /// A device, by its manifest key.
    Device(DeviceId),
    /// The server, without a signature: what it writes proves itself.
    Server,
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
    /// Root: a machine gets another name.
    DeviceLabel(DeviceLabel),
    /// Root: a machine leaves.
    DeviceRevoke(DeviceRevoke),
    /// Root: the set of unlock slots changes.
    Slots(Slots),
    /// Root: rules change.
    Policy(Policy),
    /// Root: snapshots go; they can be brought back while their grace lasts.
    Forget(SnapshotIds),
    /// Root: snapshots that went come back, and are pinned.
    RestoreForgotten(RestoreForgotten),
    /// Root: no rule and no forget takes these, until they are unpinned.
    Pin(SnapshotIds),
    /// Root: pins end.
    Unpin(SnapshotIds),
    /// Root: holds end.
    LiftHold(SnapshotIds),
    /// Root: snapshots need other packs than before; what they hold stays the same.
    Compact(Compact),
    /// Root: all packs of a device were read and checked.
    Audit(Audit),
    /// Root: the state so far, by its hash, see [`super::state::State::hash`].
    Fold(Hash),
    /// Root: the server was restored from a copy; history goes on here.
    AcceptRollback(AcceptRollback),
    /// Device: a snapshot exists.
    Snapshot(Snapshot),
    /// Device, of its own snapshots, or root: nothing takes these until the root lifts it.
    Hold(SnapshotIds),
    /// Root: the account goes after seven days, unless this is cancelled.
    Erase,
    /// Root: what entry `seq` was to bring about does not come: a policy, an erase, or the pause
    /// of a burst whose last snapshot that entry is.
    Cancel {
        /// The entry.
        seq: u64,
    },
    /// Server: the rules keep these no longer.
    Expire(SnapshotIds),
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

/// A machine gets another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLabel {
    /// The machine.
    pub device: DeviceId,
    /// Its name, sealed to the vault key.
    pub sealed: Vec<u8>,
}

/// A machine leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRevoke {
    /// The machine.
    pub device: DeviceId,
    /// The last entry of it that is trusted; later ones are marked.
    pub last_valid: u64,
}

/// Snapshots come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreForgotten {
    /// The snapshots.
    pub snapshots: SnapshotIds,
    /// All packs that they need, by [`crate::packset::PackSetHasher`].
    pub packs_hash: Hash,
}

/// Packs were rewritten. More snapshots than one entry holds are spread over several: a pack is
/// kept as long as any snapshot needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compact {
    /// Number of the head at which this was planned. Snapshots after it keep their packs.
    pub planned_at: u64,
    /// Hash of that record.
    pub planned_head: Hash,
    /// The packs whose chunks now lie elsewhere. Clients drop what they know of them.
    pub removed: PackSet,
    /// Those packs, by [`crate::packset::PackSetHasher`].
    pub removed_hash: Hash,
    /// BLAKE3 of the map from old packs to new ones as it was sent.
    pub map_hash: Hash,
    /// Each snapshot and the packs that it needs from now on, by
    /// [`crate::packset::PackSetHasher`]; ascending by snapshot.
    pub snapshots: Vec<(SnapshotId, Hash)>,
}

// Packsets are equal or not; the bitmap type only lacks the marker.
impl Eq for Compact {}

/// All packs of a device were read by someone who can open them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audit {
    /// The device.
    pub device: DeviceId,
    /// The packs, by [`crate::packset::PackSetHasher`].
    pub packs_hash: Hash,
    /// How many of them are damaged.
    pub damaged: u32,
}

/// History goes on from a restored copy of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptRollback {
    /// The last record that both branches have.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
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

/// Stands in place of a device id for what the server writes.
const AUTHOR_SERVER: u8 = 1;

impl Canonical for Entry {
    const WHAT: &'static str = "log entry";
    const CAP: usize = MAX_ENTRY;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(7)?.bytes(self.vault.as_bytes())?.u64(self.seq)?.bytes(self.prev.as_bytes())?;
        match &self.author {
            Author::Root => e.null()?,
            Author::Device(device) => e.bytes(device.as_bytes())?,
            Author::Server => e.u8(AUTHOR_SERVER)?,
        };
        e.u64(self.time.0)?;
        encode_body(&self.body, e)
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 7, "log entry")?;
        let vault = VaultId::from_bytes(bytes_n(d, "vault id")?);
        let seq = d.u64()?;
        let prev = Hash::from_bytes(bytes_n(d, "previous hash")?);
        let author = decode_author(d)?;
        let time = Timestamp(d.u64()?);
        let body = decode_body(d)?;
        Ok(Self { vault, seq, prev, author, time, body })
    }
}

fn decode_author(d: &mut Decoder<'_>) -> Result<Author, DecodeError> {
    match d.datatype()? {
        Type::Null => {
            d.null()?;
            Ok(Author::Root)
        }
        Type::U8 if d.u8()? == AUTHOR_SERVER => Ok(Author::Server),
        Type::U8 => Err(DecodeError::Invalid("author of a log entry")),
        _ => Ok(Author::Device(DeviceId::from_bytes(bytes_n(d, "device id")?))),
    }
}
