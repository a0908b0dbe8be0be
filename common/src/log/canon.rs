//! The hash of a state, for `fold` entries: two machines that fold the same log get the same.

use minicbor::encode::Encoder;

use super::body::{count, encode_device, encode_slots, status_number};
use super::state::{Change, Device, Gone, Leave, Pending, Snapshot, State};
use crate::codec::{Canonical, Enc, EncodeResult};
use crate::id::{Hash, SnapshotId};

const CONTEXT: &str = "unseen 2026-11 v1 log state";
/// Counts the shapes of the folded state.
const VERSION: u8 = 1;

/// Feeds one canonical item after the other to the hash.
struct Hashing {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

impl Hashing {
    fn add(&mut self, write: impl FnOnce(&mut Enc<'_>) -> EncodeResult) {
        self.buffer.clear();
        write(&mut Encoder::new(&mut self.buffer)).expect("writing to memory cannot fail");
        self.hasher.update(&self.buffer);
    }
}

impl State {
    /// BLAKE3 of the canonical bytes of this state, as `docs/FORMAT.md` lists them. O(n).
    pub fn hash(&self) -> Hash {
        let hasher = blake3::Hasher::new_derive_key(CONTEXT);
        let mut out = Hashing { hasher, buffer: Vec::new() };
        out.add(|e| {
            e.array(17)?.u8(VERSION)?.bytes(self.vault.as_bytes())?.u64(self.head_seq)?;
            e.bytes(self.head.as_bytes())?.u64(self.head_received.0)?.bytes(&self.root_key)?;
            e.bytes(self.vault_key_hash.as_bytes())?.u32(self.epoch)?.bytes(&self.owner_login)?;
            e.bytes(&self.server_identity)?;
            encode_slots(&self.slots, e)?;
            optional_u64(self.last_fold, e)?;
            self.policy.encode(e)?;
            e.array(count(self.pending.len()))?;
            Ok(())
        });
        for pending in &self.pending {
            out.add(|e| encode_pending(pending, e));
        }
        out.add(|e| e.array(count(self.devices.len())).map(drop));
        for device in self.devices.values() {
            out.add(|e| encode_known_device(device, e));
        }
        out.add(|e| e.array(count(self.snapshots.len())).map(drop));
        for (id, snapshot) in &self.snapshots {
            out.add(|e| encode_snapshot(*id, snapshot, e));
        }
        out.add(|e| e.array(count(self.gone.len())).map(drop));
        for (id, gone) in &self.gone {
            out.add(|e| encode_gone(*id, gone, e));
        }
        Hash::from_bytes(*out.hasher.finalize().as_bytes())
    }
}

fn encode_pending(pending: &Pending, e: &mut Enc<'_>) -> EncodeResult {
    e.array(4)?.u64(pending.seq)?.u64(pending.received.0)?.u64(pending.effective.0)?;
    match &pending.change {
        Change::Policy(policy) => policy.encode(e)?,
        Change::Erase => {
            e.null()?;
        }
    }
    Ok(())
}

fn encode_known_device(device: &Device, e: &mut Enc<'_>) -> EncodeResult {
    e.array(8)?;
    encode_device(&device.add, e)?;
    e.u64(device.added)?;
    match &device.label {
        Some(sealed) => e.bytes(sealed)?,
        None => e.null()?,
    };
    optional_u64(device.last_entry, e)?;
    optional_u64(device.revoked, e)?;
    optional_u64(device.audited, e)?;
    match device.burst {
        Some(burst) => e.array(2)?.u64(burst.seq)?.u64(burst.received.0)?,
        None => e.null()?,
    };
    e.array(count(device.recent.len()))?;
    for stamp in &device.recent {
        e.u64(stamp.0)?;
    }
    Ok(())
}

fn encode_snapshot(id: SnapshotId, snapshot: &Snapshot, e: &mut Enc<'_>) -> EncodeResult {
    e.array(12)?.bytes(id.as_bytes())?.u64(snapshot.seq)?.bytes(snapshot.device.as_bytes())?;
    e.bytes(snapshot.set.as_bytes())?.u8(status_number(snapshot.status))?;
    e.u64(snapshot.time.0)?.u64(snapshot.received.0)?.bytes(snapshot.packset_hash.as_bytes())?;
    e.u64(snapshot.packed)?.bool(snapshot.pinned)?.bool(snapshot.held)?;
    snapshot.disclosure.encode(e)
}

fn encode_gone(id: SnapshotId, gone: &Gone, e: &mut Enc<'_>) -> EncodeResult {
    e.array(5)?;
    encode_snapshot(id, &gone.snapshot, e)?;
    e.bool(gone.why == Leave::Expired)?.u64(gone.by)?.u64(gone.received.0)?;
    e.u64(gone.until.0)?;
    Ok(())
}

fn optional_u64(value: Option<u64>, e: &mut Enc<'_>) -> EncodeResult {
    match value {
        Some(value) => e.u64(value)?,
        None => e.null()?,
    };
    Ok(())
}
