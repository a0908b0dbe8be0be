//! A log for tests: entries are permitted and take effect, unsigned unless signing is the subject.

use ed25519_dalek::SigningKey;

use super::chain::{Record, SignedEntry};
use super::entry::{
    Author, Body, DeviceAdd, DeviceRevoke, Entry, Genesis, Slots, Snapshot, SnapshotIds, Status,
};
use super::fold::{FoldError, Proof};
use super::policy::{DEFAULT_POLICY, Policy};
use super::state::State;
use crate::disclosure::Disclosure;
use crate::id::{DeviceId, Hash, SetTag, SnapshotId, VaultId};
use crate::retention;
use crate::time::{SECONDS_A_DAY, Timestamp};

pub(crate) const VAULT: VaultId = VaultId::from_bytes([1; 16]);
/// 2026-11-22 is a Sunday.
pub(crate) const START: Timestamp = Timestamp(1_795_305_600);
pub(crate) const DAY: u64 = SECONDS_A_DAY;

pub(crate) fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

pub(crate) fn set(n: u8) -> SetTag {
    SetTag::from_bytes([n; 16])
}

/// Ascending with the number.
pub(crate) fn id(n: u64) -> SnapshotId {
    let mut bytes = [0; 32];
    for (at, byte) in bytes[..8].iter_mut().enumerate() {
        *byte = u8::try_from(n >> (56 - 8 * at) & 0xff).unwrap();
    }
    SnapshotId::from_bytes(bytes)
}

pub(crate) fn ids(of: &[SnapshotId]) -> SnapshotIds {
    SnapshotIds::one(of.iter().copied()).unwrap()
}

pub(crate) fn root_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn device_key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

pub(crate) fn quiet() -> Disclosure {
    let zero = Timestamp(0);
    Disclosure { start: zero, end: zero, totals: None, types: Vec::new() }
}

pub(crate) fn snapshot(n: u64, of: SetTag, status: Status) -> Body {
    Body::Snapshot(Snapshot {
        set: of,
        status,
        manifest: id(n),
        packset_hash: Hash::from_bytes([2; 32]),
        disclosure: quiet(),
    })
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        root_key: root_key().verifying_key().to_bytes(),
        vault_key_hash: Hash::from_bytes([3; 32]),
        owner_login: [4; 32],
        server_identity: [5; 32],
        slots: Slots { hash: Hash::from_bytes([6; 32]), login_keys: Vec::new() },
    }
}

pub(crate) fn add(n: u8) -> DeviceAdd {
    DeviceAdd {
        device: device(n),
        manifest_key: device_key(n).verifying_key().to_bytes(),
        login_key: [n; 32],
        sealed: vec![n; 8],
        backup_only: false,
        replaces: None,
    }
}

/// A state, and the clock of its server.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    snapshots: u64,
}

impl Lab {
    /// A vault with devices 1 to 3.
    pub(crate) fn new() -> Self {
        let entry = Entry {
            vault: VAULT,
            seq: 0,
            prev: Hash::from_bytes([0; 32]),
            author: Author::Root,
            time: START,
            body: Body::Genesis(genesis()),
        };
        let signed = SignedEntry::sign(&entry, &root_key());
        let state = State::begin(&Record { signed, received: START }).unwrap();
        let mut lab = Self { state, now: START, snapshots: 0 };
        for n in 1..=3 {
            lab.root(Body::DeviceAdd(add(n))).unwrap();
        }
        lab
    }

    pub(crate) fn with(policy: Policy) -> Self {
        let mut lab = Self::new();
        lab.root(Body::Policy(policy)).unwrap();
        lab
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = Timestamp(self.now.0 + seconds);
    }

    pub(crate) fn entry(&self, author: Author, body: Body) -> Entry {
        let (seq, prev) = (self.state.head_seq + 1, self.state.head);
        Entry { vault: VAULT, seq, prev, author, time: self.now, body }
    }

    /// Permits and takes; signatures and hashes are left out.
    pub(crate) fn say(&mut self, author: Author, body: Body) -> Result<u64, FoldError> {
        let entry = self.entry(author, body);
        self.state.permit(&entry, self.now, Proof::Check)?;
        self.state.take(&entry, self.now);
        self.state.head_seq = entry.seq;
        self.state.head_received = self.now;
        Ok(entry.seq)
    }

    pub(crate) fn root(&mut self, body: Body) -> Result<u64, FoldError> {
        self.say(Author::Root, body)
    }

    pub(crate) fn snap(&mut self, by: u8, of: u8, status: Status) -> SnapshotId {
        self.snapshots += 1;
        let body = snapshot(self.snapshots, set(of), status);
        self.say(Author::Device(device(by)), body).unwrap();
        id(self.snapshots)
    }

    pub(crate) fn complete(&mut self) -> SnapshotId {
        self.snap(1, 1, Status::Complete)
    }

    pub(crate) fn revoke(&mut self, n: u8, last_valid: u64) {
        let body = DeviceRevoke { device: device(n), last_valid };
        self.root(Body::DeviceRevoke(body)).unwrap();
    }

    /// What the server does: writes expire records until nothing is left to expire.
    pub(crate) fn expire(&mut self) -> Vec<SnapshotId> {
        let mut all = Vec::new();
        while let Some(ids) = retention::next_expire(&self.state, self.now) {
            all.extend(ids.iter());
            self.say(Author::Server, Body::Expire(ids)).unwrap();
        }
        all
    }
}

/// The default policy with other days of grace and floor.
pub(crate) fn days(grace_days: u32, floor_days: u32) -> Policy {
    Policy { grace_days, floor_days, ..DEFAULT_POLICY }
}
