//! The protocol as two traits. The HTTP client implements them, the server's core implements
//! them, and a hostile server for tests wraps them.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, Hash, PackId, PackNumber, SnapshotId, VaultId};
use crate::limits::ServerLimits;
use crate::log::chain::{Record, SignedEntry};
use crate::log::entry::PublicKey;
use crate::pack_map::PackMap;
use crate::packset::PackSet;
use crate::privacy::{Access, ObjectPage, Report, Statement};
use crate::receipt::SignedReceipt;
use crate::time::Timestamp;

/// What can go wrong, by who must act.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no such server, or it does not answer in time.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// Its TLS key or its identity is not the one that was pinned.
    #[error("this is not the server that was set up: {0}")]
    WrongServer(String),
    /// It answered with something that no honest server sends.
    #[error("the server's answer makes no sense: {0}")]
    BadAnswer(String),
    /// The session has ended; log in again.
    #[error("the session has expired")]
    Unauthorized,
    /// This principal may not do this; revoked ones among them.
    #[error("the server refused: {0}")]
    Forbidden(String),
    /// Whoever runs the server has suspended the account: it can be read and not written.
    #[error("this account is suspended: {0}")]
    Suspended(String),
    /// No such account, pack, snapshot or invite.
    #[error("not found: {0}")]
    NotFound(String),
    /// The request itself is wrong.
    #[error("the server did not accept the request: {0}")]
    Invalid(String),
    /// The head moved. These records come after the one that the caller knew.
    #[error("the log has moved on by {} records", .0.len())]
    Conflict(Vec<Record>),
    /// A commit names packs that are not there.
    #[error("{} packs of the snapshot are missing", .0.0.len())]
    MissingPacks(PackSet),
    /// A commit's pack numbers do not name the packs that the client means.
    #[error("the pack numbers of this machine are stale")]
    StaleIndex,
    /// The account's quota is used up.
    #[error("the quota is used up: {0}")]
    Quota(String),
    /// The disk that holds the vault is full.
    #[error("the disk that holds the vault is full")]
    DiskFull,
    /// The same, of a server elsewhere: as a client tells it.
    #[error("the server's disk is full")]
    ServerFull,
    /// Too many requests; try again after so many seconds.
    #[error("the server asks to wait {0} s")]
    Busy(u64),
    /// Something that the vault keeps besides packs is damaged or gone.
    #[error("{what}")]
    Damaged {
        /// Which thing, and what is wrong with it.
        what: String,
        /// What to do next, by whom; empty if there is nothing to be done about it.
        next: String,
    },
    /// Something is wrong on the server's side.
    #[error("the server failed: {0}")]
    Server(String),
}

impl VaultError {
    /// Whether the same request may succeed later without anybody acting.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy(_) | Self::Server(_))
    }
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, VaultError>;

/// Who logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Principal {
    /// A device: appends.
    Device(DeviceId),
    /// The owner, unlocked: reads packs, signs root entries.
    Owner,
    /// Whoever knows the recovery code: fetches slots, nothing else. Names the key.
    Slots(Hash),
}

/// What a server says of itself to anyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerInfo {
    /// Program version.
    pub version: String,
    /// Versions of the protocol that it speaks.
    pub protocols: Vec<u32>,
    /// Its identity key, as hexadecimal digits.
    pub identity: Hash,
    /// What it records about people, in words; each line one fact.
    pub privacy: Vec<String>,
    /// The same for programs.
    #[serde(default)]
    pub policy: Statement,
    /// What it takes at most; older ones do not say.
    #[serde(default)]
    pub limits: Option<ServerLimits>,
}

/// The version of the protocol that this program speaks.
pub const PROTOCOL: u32 = 1;

impl ServerInfo {
    /// Why a client of this version cannot work with it, if so.
    pub fn fault(&self) -> Option<String> {
        if !self.protocols.contains(&PROTOCOL) {
            let theirs = &self.protocols;
            return Some(format!("it speaks protocols {theirs:?}, and this program {PROTOCOL}"));
        }
        let needed = ServerLimits::current();
        let (what, has, needs) = self.limits.as_ref()?.shortfall(&needed)?;
        Some(format!("it takes {what} of at most {has} bytes, and this program may send {needs}"))
    }
}

/// A new account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// The invite's secret; empty for a local vault.
    pub invite: Vec<u8>,
    /// The genesis entry, then the first device. Their records are received at the time that the
    /// genesis entry states, which must be within a day of the server's clock: so each can name
    /// the record before it, and all are signed before the server sees any.
    pub entries: Vec<SignedEntry>,
    /// The slots that the genesis entry hashes.
    pub slots: Vec<Vec<u8>>,
}

/// Seconds in which a challenge must be answered.
pub const CHALLENGE_SECONDS: u64 = 120;

/// What is to be signed to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Random, used once.
    pub nonce: [u8; 32],
    /// When it stops being accepted: [`CHALLENGE_SECONDS`] after it was made.
    pub expires: Timestamp,
}

impl Challenge {
    /// What the server's clock said when it made this: the clock that stamps what it receives.
    pub const fn made(&self) -> Timestamp {
        Timestamp(self.expires.0.saturating_sub(CHALLENGE_SECONDS))
    }
}

/// The answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRequest {
    /// The account.
    pub account: VaultId,
    /// Who logs in.
    pub principal: Principal,
    /// The challenge's nonce.
    pub nonce: [u8; 32],
    /// Ed25519 over [`login_message`].
    pub signature: [u8; 64],
}

/// The bytes that a login signs: they name the server, the host as the client sees it, the
/// account, the principal and the challenge, so that a signature is of no use elsewhere.
pub fn login_message(
    identity: &PublicKey,
    host: &str,
    account: VaultId,
    principal: Principal,
    challenge: &Challenge,
) -> Vec<u8> {
    let mut out = b"unseen auth v1\0".to_vec();
    out.extend_from_slice(identity);
    let host_len = u16::try_from(host.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&host_len.to_le_bytes());
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(account.as_bytes());
    match principal {
        Principal::Device(id) => {
            out.push(1);
            out.extend_from_slice(id.as_bytes());
        }
        Principal::Owner => out.push(2),
        Principal::Slots(key) => {
            out.push(3);
            out.extend_from_slice(key.as_bytes());
        }
    }
    out.extend_from_slice(&challenge.nonce);
    out.extend_from_slice(&challenge.expires.0.to_le_bytes());
    out
}

/// What anyone may ask.
#[async_trait]
pub trait Service: Send + Sync + std::fmt::Debug {
    /// Version, identity, privacy statement.
    async fn describe(&self) -> Result<ServerInfo>;
    /// Makes an account by invite. Idempotent for the same genesis entry.
    async fn create_account(&self, account: NewAccount) -> Result<()>;
    /// A challenge to sign. Unknown accounts get one too.
    async fn challenge(&self, account: VaultId, principal: Principal) -> Result<Challenge>;
    /// Logs in.
    async fn login(&self, request: LoginRequest) -> Result<Arc<dyn Vault>>;
    /// The receipt for an account that was erased. Whoever knows its id may ask.
    async fn erased(&self, account: VaultId) -> Result<SignedReceipt>;
    /// The host name as the client sees it; part of [`login_message`]. Empty for a local vault.
    fn host(&self) -> String;
}

/// Some of the log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPage {
    /// The records.
    pub records: Vec<Record>,
    /// Whether more follow.
    pub more: bool,
}

/// A pack to store.
#[derive(Debug, Clone)]
pub struct PackUpload {
    /// Its name.
    pub id: PackId,
    /// Length of its sealed footer, in bytes, without the trailer.
    pub footer_len: u32,
    /// All of it.
    pub bytes: Bytes,
}

/// Some bytes of a pack.
#[derive(Debug, Clone)]
pub struct PackBytes {
    /// The bytes asked for.
    pub bytes: Bytes,
    /// The length of the whole pack.
    pub total: u64,
    /// The server knows that the pack is damaged.
    pub damaged: bool,
}

/// The sealed table of contents of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FooterItem {
    /// The pack's number.
    pub number: PackNumber,
    /// Its name.
    pub id: PackId,
    /// Plain BLAKE3 of header and body.
    pub content_hash: Hash,
    /// Length of the whole pack, in bytes.
    pub length: u64,
    /// The pack's header: with it the footer can be opened.
    pub header: Bytes,
    /// Sealed footer and trailer.
    pub footer: Bytes,
}

/// Some footers, ascending by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FooterPage {
    /// The footers.
    pub items: Vec<FooterItem>,
    /// Whether more follow.
    pub more: bool,
}

/// What a look at the files of packs has shown, without reading any of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackSurvey {
    /// Packs whose file is not there.
    pub gone: PackSet,
    /// Packs whose file has another length than the pack.
    pub odd: PackSet,
    /// The last pack that was looked at, if there are more after it.
    pub next: Option<PackNumber>,
}

/// A snapshot to make, all or nothing.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The sealed manifest.
    pub manifest: Bytes,
    /// The packs that it needs.
    pub packs: PackSet,
    /// The signed snapshot entry.
    pub entry: SignedEntry,
}

/// Packs that were rewritten, and what the snapshots need from now on; all or nothing.
#[derive(Debug, Clone)]
pub struct CompactRequest {
    /// Which packs took the place of which.
    pub map: PackMap,
    /// The packs of each snapshot that the entry names, in the entry's order.
    pub packs: Vec<PackSet>,
    /// The root-signed compact entry.
    pub entry: SignedEntry,
}

/// What a logged-in principal may ask of its vault.
#[async_trait]
pub trait Vault: Send + Sync + std::fmt::Debug {
    /// The unlock slots.
    async fn slots(&self) -> Result<Vec<Bytes>>;
    /// Replaces the slots, by a root-signed slots entry.
    async fn put_slots(&self, slots: Vec<Bytes>, entry: SignedEntry) -> Result<Record>;
    /// Records after number `after`; from the genesis record with `None`.
    async fn log(&self, after: Option<u64>) -> Result<LogPage>;
    /// Appends by compare-and-swap on the head. A lost swap answers [`VaultError::Conflict`].
    async fn append(&self, entry: SignedEntry) -> Result<Record>;
    /// Stores a pack durably and tells its number; the same pack again tells the same number.
    async fn put_pack(&self, pack: PackUpload) -> Result<PackNumber>;
    /// Reads a pack, or the given byte range of it.
    async fn get_pack(&self, number: PackNumber, range: Option<Range<u64>>) -> Result<PackBytes>;
    /// The packs that are there and whole, as far as the server knows.
    async fn live_packs(&self) -> Result<PackSet>;
    /// The packs that are there and damaged: they are read as they are, and count as missing for a
    /// commit.
    async fn damaged_packs(&self) -> Result<PackSet>;
    /// Footers of the packs numbered above `after`, of one device or of all. A device gets those
    /// of itself and of the devices whose place it took.
    async fn footers(
        &self,
        device: Option<DeviceId>,
        after: Option<PackNumber>,
    ) -> Result<FooterPage>;
    /// Looks whether the files of packs above `after` are there and as long as their packs; so
    /// many of them that it does not take long. Those that are not are damaged from then on.
    async fn survey_packs(&self, after: Option<PackNumber>) -> Result<PackSurvey>;
    /// Reads packs again, at most [`MAX_VERIFY`](crate::limits::MAX_VERIFY), and tells those that
    /// are not there whole, which are damaged from then on. What the caller thinks of them counts
    /// for nothing.
    async fn verify_packs(&self, packs: PackSet) -> Result<PackSet>;
    /// Makes a snapshot. Idempotent by (device, manifest hash). Answers
    /// [`VaultError::MissingPacks`], [`VaultError::StaleIndex`] or [`VaultError::Conflict`].
    async fn commit(&self, request: CommitRequest) -> Result<Record>;
    /// Gives snapshots other packs. Answers [`VaultError::MissingPacks`],
    /// [`VaultError::StaleIndex`] or [`VaultError::Conflict`]; with anything else it was planned
    /// on what is no longer so.
    async fn compact(&self, request: CompactRequest) -> Result<Record>;
    /// The sealed manifest of a snapshot.
    async fn manifest(&self, snapshot: SnapshotId) -> Result<Bytes>;
    /// The packs that a snapshot needs.
    async fn packs_of(&self, snapshot: SnapshotId) -> Result<PackSet>;
    /// Everything that is held about this account, field by field.
    async fn privacy(&self) -> Result<Report>;
    /// What whoever runs the server did with this account, oldest first.
    async fn access(&self) -> Result<Vec<Access>>;
    /// The files that are kept for this account, by name, after the one of the name `after`.
    async fn objects(&self, after: Option<String>) -> Result<ObjectPage>;
}

/// The name of a pack: everything in it, in two parts, so that a footer can be checked against it
/// without the body.
///
/// `derive_key("unseen 2026-11 v1 pack id", content hash || BLAKE3(footer || trailer) ||
/// total length u64 LE || footer length u64 LE)`.
pub fn pack_id(
    content_hash: Hash,
    footer_and_trailer: &[u8],
    total: u64,
    footer_len: u64,
) -> PackId {
    let mut hasher = blake3::Hasher::new_derive_key("unseen 2026-11 v1 pack id");
    hasher.update(content_hash.as_bytes());
    hasher.update(blake3::hash(footer_and_trailer).as_bytes());
    hasher.update(&total.to_le_bytes());
    hasher.update(&footer_len.to_le_bytes());
    PackId::from_bytes(*hasher.finalize().as_bytes())
}

/// What a slots entry of the log hashes: BLAKE3 over the slots, one after the other, in the order
/// in which they are stored. Slots have one fixed length.
pub fn slot_set_hash<T: AsRef<[u8]>>(slots: &[T]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for slot in slots {
        hasher.update(slot.as_ref());
    }
    Hash::from_bytes(*hasher.finalize().as_bytes())
}
