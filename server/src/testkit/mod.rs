//! For tests: owners, machines, fake packs, a clock that is set, and the suite that every body of
//! the protocol must pass. Nothing here is secret or random: everything follows from a seed.

pub mod conformance;
pub mod faults;
pub mod marks;
pub mod refusals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use unseen_common::disclosure::Disclosure;
use unseen_common::id::{DeviceId, Hash, PackNumber, SetTag, SnapshotId, VaultId};
use unseen_common::limits::PACK_HEADER;
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{
    Author, Body, DeviceAdd, DeviceRevoke, Entry, Genesis, PublicKey, Slots, Snapshot, Status,
};
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::time::{Clock, Timestamp};
use unseen_common::vault::{
    CommitRequest, LoginRequest, NewAccount, PackUpload, Principal, Result, Service, Vault,
    login_message, pack_id, slot_set_hash,
};

/// When tests begin.
pub const START: Timestamp = Timestamp(1_800_000_000);

/// A clock that only moves when told, on the wall and beside it.
#[derive(Debug)]
pub struct TestClock {
    wall: AtomicU64,
    steady: AtomicU64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { wall: AtomicU64::new(START.0), steady: AtomicU64::new(0) }
    }
}

impl TestClock {
    /// So much time passes.
    pub fn advance(&self, seconds: u64) {
        self.wall.fetch_add(seconds, Ordering::SeqCst);
        self.steady.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Somebody sets the clock on the wall, back too. No time passes.
    pub fn set(&self, to: Timestamp) {
        self.wall.store(to.0, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.steady.load(Ordering::SeqCst)))
    }
}

fn bytes_of<const N: usize>(what: &str, seed: u64) -> [u8; N] {
    let mut out = [0; N];
    let mut hasher = blake3::Hasher::new_derive_key("unseen test bytes");
    hasher.update(what.as_bytes());
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

fn key_of(what: &str, seed: u64) -> SigningKey {
    SigningKey::from_bytes(&bytes_of(what, seed))
}

fn public(key: &SigningKey) -> PublicKey {
    key.verifying_key().to_bytes()
}

/// An enrolled machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its id.
    pub id: DeviceId,
    /// Signs its log entries.
    pub manifest: SigningKey,
    /// Signs its logins.
    pub login: SigningKey,
    /// It keeps nothing that helps to unlock.
    pub backup_only: bool,
    /// Whose place it takes.
    pub replaces: Option<DeviceId>,
}

impl Machine {
    /// The machine of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            id: DeviceId::from_bytes(bytes_of("device", seed)),
            manifest: key_of("manifest", seed),
            login: key_of("device login", seed),
            backup_only: false,
            replaces: None,
        }
    }

    /// What adds it to a log.
    pub fn add(&self) -> Body {
        Body::DeviceAdd(DeviceAdd {
            device: self.id,
            manifest_key: public(&self.manifest),
            login_key: public(&self.login),
            sealed: b"sealed name".to_vec(),
            backup_only: self.backup_only,
            replaces: self.replaces,
        })
    }

    /// A pack of this machine: everything in it follows from `seed`.
    pub fn pack(&self, seed: u64, length: usize, footer_len: u32) -> PackUpload {
        let mut bytes = vec![0; length];
        let mut hasher = blake3::Hasher::new_derive_key("unseen test pack");
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes[..8].copy_from_slice(b"UNSEENP1");
        bytes[8] = 1;
        bytes[9..13].copy_from_slice(&1_u32.to_le_bytes());
        bytes[13..29].copy_from_slice(self.id.as_bytes());
        let trailer = length - 16;
        bytes[trailer..].fill(0);
        bytes[trailer..trailer + 4].copy_from_slice(&footer_len.to_le_bytes());
        bytes[trailer + 4] = 1;
        name_pack(bytes, footer_len)
    }

    /// The smallest pack there is.
    pub fn small_pack(&self, seed: u64) -> PackUpload {
        self.pack(seed, 65536, 4096)
    }

    /// A snapshot entry and what is committed with it.
    pub fn snapshot(
        &self,
        at: &Head,
        manifest: &[u8],
        packs: &[(PackNumber, PackUpload)],
    ) -> CommitRequest {
        let mut hasher = PackSetHasher::default();
        for (number, pack) in packs {
            hasher.add(*number, &pack.id);
        }
        let body = Body::Snapshot(Snapshot {
            set: SetTag::from_bytes([5; 16]),
            status: Status::Complete,
            manifest: snapshot_id(manifest),
            packset_hash: hasher.finish(),
            disclosure: Disclosure {
                start: START.to_minute(),
                end: START.to_minute(),
                totals: Some((12, 3400)),
                types: Vec::new(),
            },
        });
        CommitRequest {
            manifest: Bytes::copy_from_slice(manifest),
            packs: packs.iter().map(|(number, _)| *number).collect::<PackSet>(),
            entry: at.sign(Author::Device(self.id), body, &self.manifest),
        }
    }
}

impl Machine {
    /// The same snapshot entry over another packset.
    pub fn with_packset(&self, at: &Head, entry: Entry, packset_hash: Hash) -> SignedEntry {
        let body = match entry.body {
            Body::Snapshot(snapshot) => Body::Snapshot(Snapshot { packset_hash, ..snapshot }),
            body => body,
        };
        at.sign(Author::Device(self.id), body, &self.manifest)
    }
}

/// Names a pack by what is in it.
pub fn name_pack(bytes: Vec<u8>, footer_len: u32) -> PackUpload {
    let total = u64::try_from(bytes.len()).expect("a pack's length fits");
    let footer = u64::from(footer_len);
    let split = usize::try_from((total - 16).saturating_sub(footer)).expect("it fits");
    let (content, tail) = bytes.split_at(split);
    PackUpload {
        id: pack_id(Hash::of(content), tail, total, footer),
        footer_len,
        bytes: bytes.into(),
    }
}

/// The id of the snapshot with this manifest.
pub fn snapshot_id(manifest: &[u8]) -> SnapshotId {
    SnapshotId::from_bytes(*blake3::hash(manifest).as_bytes())
}

/// Where the next entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The vault.
    pub vault: VaultId,
    /// The next number.
    pub seq: u64,
    /// Hash of the newest record.
    pub hash: Hash,
}

impl Head {
    /// Behind this record.
    pub fn after(vault: VaultId, record: &Record) -> Self {
        let entry = record.signed.entry().expect("a record that was taken");
        Self { vault, seq: entry.seq + 1, hash: record.hash() }
    }

    /// As this session sees it.
    pub async fn of(vault: VaultId, session: &dyn Vault) -> Self {
        let mut after = None;
        loop {
            let page = session.log(after).await.expect("the log can be read");
            let last = page.records.last().expect("a log is never empty");
            if !page.more {
                return Self::after(vault, last);
            }
            after = Some(last.signed.entry().expect("it was taken").seq);
        }
    }

    /// Signs the next entry.
    pub fn sign(&self, author: Author, body: Body, key: &SigningKey) -> SignedEntry {
        self.sign_at(START, author, (body, key))
    }

    fn sign_at(
        &self,
        time: Timestamp,
        author: Author,
        (body, key): (Body, &SigningKey),
    ) -> SignedEntry {
        let entry = Entry { vault: self.vault, seq: self.seq, prev: self.hash, author, time, body };
        SignedEntry::sign(&entry, key)
    }
}

/// The owner of a vault.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The vault.
    pub vault: VaultId,
    /// Signs root entries.
    pub root: SigningKey,
    /// Signs the owner's logins.
    pub login: SigningKey,
    /// Signs logins that fetch slots.
    pub slots_key: SigningKey,
    /// The slots.
    pub slots: Vec<Vec<u8>>,
    /// The first machine.
    pub machine: Machine,
}

impl Owner {
    /// The owner of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            vault: VaultId::from_bytes(bytes_of("vault", seed)),
            root: key_of("root", seed),
            login: key_of("owner login", seed),
            slots_key: key_of("slots login", seed),
            slots: vec![vec![7; 300], vec![8; 300]],
            machine: Machine::new(seed),
        }
    }

    /// The slots entry of these slots.
    pub fn slots_body<T: AsRef<[u8]>>(&self, slots: &[T]) -> Slots {
        Slots { hash: slot_set_hash(slots), login_keys: vec![public(&self.slots_key)] }
    }

    /// A new account on the server of this identity: genesis and first machine.
    pub fn account(&self, identity: PublicKey, invite: &[u8]) -> NewAccount {
        self.account_at(START, identity, invite)
    }

    /// The same, made at another time: a real server takes no genesis from afar.
    pub fn account_at(&self, time: Timestamp, identity: PublicKey, invite: &[u8]) -> NewAccount {
        let genesis = Body::Genesis(Genesis {
            root_key: public(&self.root),
            vault_key_hash: Hash::of(b"vault key"),
            owner_login: public(&self.login),
            server_identity: identity,
            slots: self.slots_body(&self.slots),
        });
        let start = Head { vault: self.vault, seq: 0, hash: Hash::from_bytes([0; 32]) };
        let genesis = start.sign_at(time, Author::Root, (genesis, &self.root));
        let record = Record { signed: genesis.clone(), received: time };
        let head = Head::after(self.vault, &record);
        let device = head.sign(Author::Root, self.machine.add(), &self.root);
        NewAccount {
            invite: invite.to_vec(),
            entries: vec![genesis, device],
            slots: self.slots.clone(),
        }
    }

    /// Signs a root entry.
    pub fn sign(&self, at: &Head, body: Body) -> SignedEntry {
        at.sign(Author::Root, body, &self.root)
    }

    /// Revokes a machine as of now.
    pub fn revoke(&self, at: &Head, device: DeviceId) -> SignedEntry {
        let body = Body::DeviceRevoke(DeviceRevoke { device, last_valid: at.seq - 1 });
        self.sign(at, body)
    }

    /// The owner's session.
    pub async fn log_in(&self, service: &dyn Service) -> Result<Arc<dyn Vault>> {
        log_in(service, self.vault, Principal::Owner, &self.login).await
    }

    /// A machine's session.
    pub async fn log_in_device(
        &self,
        service: &dyn Service,
        machine: &Machine,
    ) -> Result<Arc<dyn Vault>> {
        let principal = Principal::Device(machine.id);
        log_in(service, self.vault, principal, &machine.login).await
    }

    /// The session of who knows a code.
    pub async fn log_in_slots(&self, service: &dyn Service) -> Result<Arc<dyn Vault>> {
        let principal = Principal::Slots(Hash::of(&public(&self.slots_key)));
        log_in(service, self.vault, principal, &self.slots_key).await
    }
}

/// Asks for a challenge and answers it.
pub async fn log_in(
    service: &dyn Service,
    account: VaultId,
    principal: Principal,
    key: &SigningKey,
) -> Result<Arc<dyn Vault>> {
    let host = service.host();
    let request = answer(service, account, principal, (key, &host)).await?;
    service.login(request).await
}

/// An answered challenge, signed by a key for a host.
pub async fn answer(
    service: &dyn Service,
    account: VaultId,
    principal: Principal,
    (key, host): (&SigningKey, &str),
) -> Result<LoginRequest> {
    let identity = *service.describe().await?.identity.as_bytes();
    let challenge = service.challenge(account, principal).await?;
    let message = login_message(&identity, host, account, principal, &challenge);
    Ok(LoginRequest {
        account,
        principal,
        nonce: challenge.nonce,
        signature: key.sign(&message).to_bytes(),
    })
}

/// What the suite runs on.
#[derive(Debug)]
pub struct Bench {
    /// The body that is tested.
    pub service: Arc<dyn Service>,
    /// The clock of the server behind it.
    pub clock: Arc<TestClock>,
    /// The server behind it.
    pub core: crate::vault::Core,
}

impl Bench {
    /// An account of this seed, made with an invite.
    pub async fn owner(&self, seed: u64) -> Owner {
        let owner = Owner::new(seed);
        let invite = self.core.invite(None, 60).expect("an invite can be made");
        let account = owner.account(self.core.identity(), &invite);
        let made = self.service.create_account(account).await;
        made.expect("the account can be made");
        owner
    }
}

/// Where the body of a header begins that a server does not look at.
pub const FIRST_BODY_BYTE: u64 = PACK_HEADER;
