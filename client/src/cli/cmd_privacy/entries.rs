//! Log records as JSON: what is said in clear, and the bytes that were signed.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use unseen_common::log::chain::Record;
use unseen_common::log::entry::{Author, Body, DeviceAdd, Slots, Snapshot, SnapshotIds};

use crate::cli::reading::machine_time;

/// A record, field by field. One that cannot be read has its bytes alone.
pub(super) fn json_of(record: &Record) -> Value {
    let mut object = json!({
        "hash": record.hash(),
        "received": machine_time(record.received),
        "entry": BASE64URL_NOPAD.encode(&record.signed.bytes),
        "signature": BASE64URL_NOPAD.encode(&record.signed.signature),
    });
    if let (Ok(entry), Some(fields)) = (record.signed.entry(), object.as_object_mut()) {
        let (kind, body) = said(&entry.body);
        fields.insert("seq".into(), entry.seq.into());
        fields.insert("prev".into(), json!(entry.prev));
        fields.insert("author".into(), author(entry.author));
        fields.insert("time".into(), machine_time(entry.time).into());
        fields.insert("kind".into(), kind.into());
        fields.insert("body".into(), body);
    }
    object
}

fn author(author: Author) -> Value {
    match author {
        Author::Root => json!("owner"),
        Author::Device(device) => json!({ "device": device }),
        Author::Server => json!("server"),
    }
}

/// The kind of an entry, as the design names it, and what it says.
fn said(body: &Body) -> (&'static str, Value) {
    match body {
        Body::Genesis(genesis) => (
            "genesis",
            json!({
                "root_key": HEXLOWER.encode(&genesis.root_key),
                "vault_key_hash": genesis.vault_key_hash,
                "owner_login": HEXLOWER.encode(&genesis.owner_login),
                "server_identity": HEXLOWER.encode(&genesis.server_identity),
                "slots": slots(&genesis.slots),
            }),
        ),
        Body::DeviceAdd(add) => ("device-add", device(add)),
        Body::DeviceLabel(label) => {
            let sealed = BASE64URL_NOPAD.encode(&label.sealed);
            ("device-label", json!({ "device": label.device, "sealed": sealed }))
        }
        Body::DeviceRevoke(revoke) => {
            ("device-revoke", json!({ "device": revoke.device, "last_valid": revoke.last_valid }))
        }
        Body::Slots(set) => ("slots", slots(set)),
        Body::Policy(policy) => ("policy", json!(policy)),
        Body::Forget(ids) => ("forget", snapshots(ids)),
        Body::RestoreForgotten(restored) => {
            let ids: Vec<_> = restored.snapshots.iter().collect();
            ("restore-forgotten", json!({ "snapshots": ids, "packs_hash": restored.packs_hash }))
        }
        Body::Pin(ids) => ("pin", snapshots(ids)),
        Body::Unpin(ids) => ("unpin", snapshots(ids)),
        Body::LiftHold(ids) => ("lift-hold", snapshots(ids)),
        Body::Compact(compact) => (
            "compact",
            json!({
                "planned_at": compact.planned_at,
                "planned_head": compact.planned_head,
                "removed": compact.removed.numbers().collect::<Vec<_>>(),
                "removed_hash": compact.removed_hash,
                "map_hash": compact.map_hash,
                "snapshots": compact.snapshots,
            }),
        ),
        Body::Audit(audit) => (
            "audit",
            json!({
                "device": audit.device,
                "packs_hash": audit.packs_hash,
                "damaged": audit.damaged,
            }),
        ),
        Body::Fold(hash) => ("fold", json!({ "hash": hash })),
        Body::AcceptRollback(accepted) => {
            ("accept-rollback", json!({ "seq": accepted.seq, "hash": accepted.hash }))
        }
        Body::Snapshot(made) => ("snapshot", snapshot(made)),
        Body::Hold(ids) => ("hold", snapshots(ids)),
        Body::Erase => ("erase", Value::Null),
        Body::Cancel { seq } => ("cancel", json!({ "seq": seq })),
        Body::Expire(ids) => ("expire", snapshots(ids)),
    }
}

fn device(add: &DeviceAdd) -> Value {
    json!({
        "device": add.device,
        "manifest_key": HEXLOWER.encode(&add.manifest_key),
        "login_key": HEXLOWER.encode(&add.login_key),
        "sealed": BASE64URL_NOPAD.encode(&add.sealed),
        "backup_only": add.backup_only,
        "replaces": add.replaces,
    })
}

fn slots(set: &Slots) -> Value {
    let keys: Vec<_> = set.login_keys.iter().map(|key| HEXLOWER.encode(key)).collect();
    json!({ "hash": set.hash, "login_keys": keys })
}

fn snapshots(ids: &SnapshotIds) -> Value {
    json!({ "snapshots": ids.iter().collect::<Vec<_>>() })
}

fn snapshot(made: &Snapshot) -> Value {
    json!({
        "id": made.manifest,
        "set": made.set,
        "status": made.status,
        "packset_hash": made.packset_hash,
        "disclosure": made.disclosure,
    })
}
