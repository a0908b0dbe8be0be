//! The bytes of what an entry says: a number for the kind, then its own shape.

use minicbor::decode::Decoder;

use super::entry::{
    AcceptRollback, Audit, Body, Compact, DeviceAdd, DeviceLabel, DeviceRevoke, Genesis,
    RestoreForgotten, Slots, Snapshot, SnapshotIds, Status,
};
use super::policy::Policy;
use crate::codec::{
    Canonical, DecodeError, Enc, EncodeResult, array_len, array_of, bytes_capped, bytes_n, optional,
};
use crate::disclosure::Disclosure;
use crate::id::{DeviceId, Hash, SetTag, SnapshotId};
use crate::limits::{MAX_COMPACT_SNAPSHOTS, MAX_DEVICE_SEALED, MAX_ENTRY_PACKSET, MAX_SLOT_KEYS};
use crate::packset::PackSet;

const GENESIS: u64 = 0;
const DEVICE_ADD: u64 = 1;
const DEVICE_LABEL: u64 = 2;
const DEVICE_REVOKE: u64 = 3;
const SLOTS: u64 = 4;
const POLICY: u64 = 5;
// 6 is reserved for `epoch`, which comes with the rotation of keys.
const FORGET: u64 = 7;
const RESTORE_FORGOTTEN: u64 = 8;
const PIN: u64 = 9;
const UNPIN: u64 = 10;
const LIFT_HOLD: u64 = 11;
const COMPACT: u64 = 12;
const AUDIT: u64 = 13;
const FOLD: u64 = 14;
const ACCEPT_ROLLBACK: u64 = 15;
const SNAPSHOT: u64 = 16;
const HOLD: u64 = 17;
const ERASE: u64 = 18;
const CANCEL: u64 = 19;
const EXPIRE: u64 = 32;

pub(super) fn encode_body(body: &Body, e: &mut Enc<'_>) -> EncodeResult {
    e.u64(kind(body))?;
    match body {
        Body::Genesis(g) => {
            e.array(5)?.bytes(&g.root_key)?.bytes(g.vault_key_hash.as_bytes())?;
            e.bytes(&g.owner_login)?.bytes(&g.server_identity)?;
            encode_slots(&g.slots, e)?;
        }
        Body::DeviceAdd(add) => encode_device(add, e)?,
        Body::DeviceLabel(l) => {
            e.array(2)?.bytes(l.device.as_bytes())?.bytes(&l.sealed)?;
        }
        Body::DeviceRevoke(r) => {
            e.array(2)?.bytes(r.device.as_bytes())?.u64(r.last_valid)?;
        }
        Body::Slots(slots) => encode_slots(slots, e)?,
        Body::Policy(policy) => policy.encode(e)?,
        Body::RestoreForgotten(r) => {
            e.array(2)?;
            r.snapshots.encode(e)?;
            e.bytes(r.packs_hash.as_bytes())?;
        }
        Body::Forget(ids)
        | Body::Pin(ids)
        | Body::Unpin(ids)
        | Body::LiftHold(ids)
        | Body::Hold(ids)
        | Body::Expire(ids) => ids.encode(e)?,
        Body::Compact(compact) => encode_compact(compact, e)?,
        Body::Audit(a) => {
            e.array(3)?.bytes(a.device.as_bytes())?.bytes(a.packs_hash.as_bytes())?;
            e.u32(a.damaged)?;
        }
        Body::Fold(hash) => {
            e.bytes(hash.as_bytes())?;
        }
        Body::AcceptRollback(a) => {
            e.array(2)?.u64(a.seq)?.bytes(a.hash.as_bytes())?;
        }
        Body::Snapshot(s) => {
            e.array(5)?.bytes(s.set.as_bytes())?.u8(status_number(s.status))?;
            e.bytes(s.manifest.as_bytes())?.bytes(s.packset_hash.as_bytes())?;
            s.disclosure.encode(e)?;
        }
        Body::Erase => {
            e.null()?;
        }
        Body::Cancel { seq } => {
            e.u64(*seq)?;
        }
    }
    Ok(())
}

const fn kind(body: &Body) -> u64 {
    match body {
        Body::Genesis(_) => GENESIS,
        Body::DeviceAdd(_) => DEVICE_ADD,
        Body::DeviceLabel(_) => DEVICE_LABEL,
        Body::DeviceRevoke(_) => DEVICE_REVOKE,
        Body::Slots(_) => SLOTS,
        Body::Policy(_) => POLICY,
        Body::Forget(_) => FORGET,
        Body::RestoreForgotten(_) => RESTORE_FORGOTTEN,
        Body::Pin(_) => PIN,
        Body::Unpin(_) => UNPIN,
        Body::LiftHold(_) => LIFT_HOLD,
        Body::Compact(_) => COMPACT,
        Body::Audit(_) => AUDIT,
        Body::Fold(_) => FOLD,
        Body::AcceptRollback(_) => ACCEPT_ROLLBACK,
        Body::Snapshot(_) => SNAPSHOT,
        Body::Hold(_) => HOLD,
        Body::Erase => ERASE,
        Body::Cancel { .. } => CANCEL,
        Body::Expire(_) => EXPIRE,
    }
}

pub(super) fn decode_body(d: &mut Decoder<'_>) -> Result<Body, DecodeError> {
    Ok(match d.u64()? {
        GENESIS => Body::Genesis(decode_genesis(d)?),
        DEVICE_ADD => Body::DeviceAdd(decode_device(d)?),
        DEVICE_LABEL => {
            array_of(d, 2, "device label")?;
            let device = device_id(d)?;
            let sealed = bytes_capped(d, "sealed device label", MAX_DEVICE_SEALED)?.to_vec();
            Body::DeviceLabel(DeviceLabel { device, sealed })
        }
        DEVICE_REVOKE => {
            array_of(d, 2, "revocation")?;
            Body::DeviceRevoke(DeviceRevoke { device: device_id(d)?, last_valid: d.u64()? })
        }
        SLOTS => Body::Slots(decode_slots(d)?),
        POLICY => Body::Policy(Policy::decode(d)?),
        FORGET => Body::Forget(SnapshotIds::decode(d)?),
        RESTORE_FORGOTTEN => {
            array_of(d, 2, "restore-forgotten")?;
            let snapshots = SnapshotIds::decode(d)?;
            let packs_hash = hash(d, "hash of packs")?;
            Body::RestoreForgotten(RestoreForgotten { snapshots, packs_hash })
        }
        PIN => Body::Pin(SnapshotIds::decode(d)?),
        UNPIN => Body::Unpin(SnapshotIds::decode(d)?),
        LIFT_HOLD => Body::LiftHold(SnapshotIds::decode(d)?),
        COMPACT => Body::Compact(decode_compact(d)?),
        AUDIT => {
            array_of(d, 3, "audit")?;
            let device = device_id(d)?;
            Body::Audit(Audit { device, packs_hash: hash(d, "hash of packs")?, damaged: d.u32()? })
        }
        FOLD => Body::Fold(hash(d, "hash of the state")?),
        ACCEPT_ROLLBACK => {
            array_of(d, 2, "accept-rollback")?;
            Body::AcceptRollback(AcceptRollback { seq: d.u64()?, hash: hash(d, "record hash")? })
        }
        SNAPSHOT => Body::Snapshot(decode_snapshot(d)?),
        HOLD => Body::Hold(SnapshotIds::decode(d)?),
        ERASE => {
            d.null()?;
            Body::Erase
        }
        CANCEL => Body::Cancel { seq: d.u64()? },
        EXPIRE => Body::Expire(SnapshotIds::decode(d)?),
        number => {
            return Err(DecodeError::Unknown { what: "log entry of kind", number });
        }
    })
}

fn decode_genesis(d: &mut Decoder<'_>) -> Result<Genesis, DecodeError> {
    array_of(d, 5, "genesis")?;
    Ok(Genesis {
        root_key: bytes_n(d, "root key")?,
        vault_key_hash: hash(d, "vault key hash")?,
        owner_login: bytes_n(d, "owner login key")?,
        server_identity: bytes_n(d, "server identity")?,
        slots: decode_slots(d)?,
    })
}

pub(super) fn encode_device(add: &DeviceAdd, e: &mut Enc<'_>) -> EncodeResult {
    e.array(6)?.bytes(add.device.as_bytes())?.bytes(&add.manifest_key)?.bytes(&add.login_key)?;
    e.bytes(&add.sealed)?.bool(add.backup_only)?;
    match &add.replaces {
        Some(device) => e.bytes(device.as_bytes())?,
        None => e.null()?,
    };
    Ok(())
}

fn decode_device(d: &mut Decoder<'_>) -> Result<DeviceAdd, DecodeError> {
    array_of(d, 6, "device")?;
    Ok(DeviceAdd {
        device: device_id(d)?,
        manifest_key: bytes_n(d, "manifest key")?,
        login_key: bytes_n(d, "login key")?,
        sealed: bytes_capped(d, "sealed device record", MAX_DEVICE_SEALED)?.to_vec(),
        backup_only: d.bool()?,
        replaces: optional(d, device_id)?,
    })
}

fn decode_snapshot(d: &mut Decoder<'_>) -> Result<Snapshot, DecodeError> {
    array_of(d, 5, "snapshot")?;
    Ok(Snapshot {
        set: SetTag::from_bytes(bytes_n(d, "set tag")?),
        status: status_from(d.u8()?)?,
        manifest: SnapshotId::from_bytes(bytes_n(d, "manifest hash")?),
        packset_hash: hash(d, "packset hash")?,
        disclosure: Disclosure::decode(d)?,
    })
}

pub(super) fn encode_slots(slots: &Slots, e: &mut Enc<'_>) -> EncodeResult {
    e.array(2)?.bytes(slots.hash.as_bytes())?.array(count(slots.login_keys.len()))?;
    for key in &slots.login_keys {
        e.bytes(key)?;
    }
    Ok(())
}

fn decode_slots(d: &mut Decoder<'_>) -> Result<Slots, DecodeError> {
    array_of(d, 2, "slots")?;
    let hash = hash(d, "slot set hash")?;
    let count = array_len(d, "slots login keys", MAX_SLOT_KEYS)?;
    let login_keys =
        (0..count).map(|_| bytes_n(d, "slots login key")).collect::<Result<_, DecodeError>>()?;
    Ok(Slots { hash, login_keys })
}

fn encode_compact(compact: &Compact, e: &mut Enc<'_>) -> EncodeResult {
    e.array(6)?.u64(compact.planned_at)?.bytes(compact.planned_head.as_bytes())?;
    e.bytes(&compact.removed.to_bytes())?.bytes(compact.removed_hash.as_bytes())?;
    e.bytes(compact.map_hash.as_bytes())?.array(count(compact.snapshots.len()))?;
    for (snapshot, packs) in &compact.snapshots {
        e.array(2)?.bytes(snapshot.as_bytes())?.bytes(packs.as_bytes())?;
    }
    Ok(())
}

fn decode_compact(d: &mut Decoder<'_>) -> Result<Compact, DecodeError> {
    array_of(d, 6, "compaction")?;
    let planned_at = d.u64()?;
    let planned_head = hash(d, "planned head")?;
    let removed = PackSet::from_bytes(bytes_capped(d, "packs of an entry", MAX_ENTRY_PACKSET)?)?;
    let removed_hash = hash(d, "hash of packs")?;
    let map_hash = hash(d, "hash of the map")?;
    let mut snapshots: Vec<(SnapshotId, Hash)> = Vec::new();
    for _ in 0..array_len(d, "snapshots of a compaction", MAX_COMPACT_SNAPSHOTS)? {
        array_of(d, 2, "snapshot of a compaction")?;
        let id = SnapshotId::from_bytes(bytes_n(d, "snapshot id")?);
        if snapshots.last().is_some_and(|(last, _)| *last >= id) {
            return Err(DecodeError::NotCanonical("snapshots of a compaction must ascend"));
        }
        snapshots.push((id, hash(d, "packset hash")?));
    }
    Ok(Compact { planned_at, planned_head, removed, removed_hash, map_hash, snapshots })
}

fn device_id(d: &mut Decoder<'_>) -> Result<DeviceId, DecodeError> {
    Ok(DeviceId::from_bytes(bytes_n(d, "device id")?))
}

fn hash(d: &mut Decoder<'_>, what: &'static str) -> Result<Hash, DecodeError> {
    Ok(Hash::from_bytes(bytes_n(d, what)?))
}

pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

pub(super) const fn status_number(status: Status) -> u8 {
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
