//! A log with an entry of every kind, and what its entries hash.

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use unseen_common::codec::Canonical;
use unseen_common::disclosure::{Disclosure, Level, TypeCount};
use unseen_common::id::{DeviceId, Hash, PackId, PackNumber, SetTag, SnapshotId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{
    AcceptRollback, Audit, Author, Body, Compact, DeviceAdd, DeviceLabel, DeviceRevoke, Entry,
    Genesis, RestoreForgotten, Slots, Snapshot, SnapshotIds, Status,
};
use unseen_common::log::fold::{DEFAULT_POLICY, State};
use unseen_common::log::policy::{DeviceLimit, KeepRules, Policy, SetRules};
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::time::Timestamp;
use unseen_common::vault::{Challenge, Principal, login_message, pack_id, slot_set_hash};

use super::{
    DEVICE, EPOCH, INDEX_KEY, MANIFEST_SEED, VAULT, hex, inputs, published, unhex, unlocked,
};
use crate::crypto::envelope::SealTo;
use crate::crypto::introduction::Introduction;
use crate::crypto::rng::testing::rng;

const OTHER: DeviceId = DeviceId::from_bytes([0x23; 16]);
const TIME: u64 = 1_800_000_000;

fn slots() -> Slots {
    Slots { hash: slot_set_hash(&[[1_u8; 250], [2; 250]]), login_keys: vec![[3; 32], [4; 32]] }
}

fn disclosure() -> Disclosure {
    Disclosure {
        start: Timestamp(TIME),
        end: Timestamp(TIME + 120),
        totals: Some((1200, 3_400_000_000)),
        types: vec![TypeCount { class: "image".into(), files: 99, bytes: 1_000_000 }],
    }
}

fn packs() -> Vec<(PackNumber, PackId)> {
    let pack = |number: u32, byte| (PackNumber(number), PackId::from_bytes([byte; 32]));
    vec![pack(0, 1), pack(1, 2), pack(2, 3), pack(70_000, 4)]
}

fn packset_hash() -> Hash {
    let mut hasher = PackSetHasher::default();
    for (number, id) in packs() {
        hasher.add(number, &id);
    }
    hasher.finish()
}

fn device(device: DeviceId, replaces: Option<DeviceId>) -> Body {
    let unlocked = unlocked();
    let (write_set, vault_key) = (unlocked.write_set(), unlocked.root.vault_key(VAULT));
    let to = SealTo {
        vault: VAULT,
        epoch: EPOCH,
        device,
        public: vault_key.public(),
        psk: &write_set.writer_psk,
    };
    let introduction = Introduction { name: "desk".into(), index_key: INDEX_KEY };
    let sealed = introduction.seal(&to, &mut rng(9)).unwrap().to_vec();
    let manifest = SigningKey::from_bytes(&MANIFEST_SEED);
    Body::DeviceAdd(DeviceAdd {
        device,
        manifest_key: manifest.verifying_key().to_bytes(),
        login_key: [6; 32],
        sealed,
        backup_only: replaces.is_some(),
        replaces,
    })
}

/// What comes next, as it follows from the state so far.
type Next = (&'static str, Author, Box<dyn Fn(&State) -> Body>);

fn by(author: Author, kind: &'static str, body: Body) -> Next {
    (kind, author, Box::new(move |_| body.clone()))
}

fn root(kind: &'static str, body: Body) -> Next {
    by(Author::Root, kind, body)
}

fn genesis() -> Body {
    let unlocked = unlocked();
    let owner = unlocked.owner_keys();
    Body::Genesis(Genesis {
        root_key: owner.root_verify().to_bytes(),
        vault_key_hash: unlocked.root.vault_key(VAULT).public().hash(),
        owner_login: owner.login.verifying_key().to_bytes(),
        server_identity: [5; 32],
        slots: slots(),
    })
}

fn policy() -> Policy {
    let own = KeepRules { daily: 7, weekly: 5, within: 172_800, ..KeepRules::NONE };
    Policy {
        disclosure: Level::Types,
        keep: KeepRules { last: 1, ..KeepRules::NONE },
        sets: vec![SetRules { set: SetTag::from_bytes([0x0a; 16]), keep: own }],
        device_bytes: Some(500_000_000_000),
        devices: vec![DeviceLimit { device: OTHER, bytes: 1_000_000_000 }],
        silent_days: 3,
        ..DEFAULT_POLICY
    }
}

fn snapshot(id: u8, status: Status) -> Next {
    let snapshot = Snapshot {
        set: SetTag::from_bytes([7; 16]),
        status,
        manifest: SnapshotId::from_bytes([id; 32]),
        packset_hash: packset_hash(),
        disclosure: disclosure(),
    };
    by(Author::Device(DEVICE), "snapshot", Body::Snapshot(snapshot))
}

fn ids(of: &[u8]) -> SnapshotIds {
    SnapshotIds::one(of.iter().map(|id| SnapshotId::from_bytes([*id; 32]))).unwrap()
}

fn compact(state: &State) -> Body {
    Body::Compact(Compact {
        planned_at: state.head_seq,
        planned_head: state.head,
        removed: packs().into_iter().map(|(number, _)| number).collect(),
        removed_hash: packset_hash(),
        map_hash: Hash::from_bytes([0x0c; 32]),
        snapshots: vec![(SnapshotId::from_bytes([8; 32]), Hash::from_bytes([0x0d; 32]))],
    })
}

/// A body of every kind, in an order that folds.
fn bodies() -> Vec<Next> {
    let device_author = Author::Device(DEVICE);
    let restored = RestoreForgotten { snapshots: ids(&[8]), packs_hash: packset_hash() };
    let label = DeviceLabel { device: OTHER, sealed: vec![0x0e; 64] };
    let audit = Audit { device: DEVICE, packs_hash: packset_hash(), damaged: 1 };
    let accept = |s: &State| Body::AcceptRollback(AcceptRollback { seq: s.head_seq, hash: s.head });
    vec![
        root("genesis", genesis()),
        root("device-add", device(DEVICE, None)),
        root("policy", Body::Policy(policy())),
        root("slots", Body::Slots(slots())),
        snapshot(8, Status::Partial),
        root("device-add, replaces", device(OTHER, Some(DEVICE))),
        snapshot(9, Status::Complete),
        snapshot(10, Status::Complete),
        by(Author::Server, "expire", Body::Expire(ids(&[8, 9]))),
        root("restore-forgotten", Body::RestoreForgotten(restored)),
        by(device_author, "hold", Body::Hold(ids(&[10]))),
        root("lift-hold", Body::LiftHold(ids(&[10]))),
        root("unpin", Body::Unpin(ids(&[8]))),
        root("pin", Body::Pin(ids(&[8]))),
        root("forget", Body::Forget(ids(&[10]))),
        root("device-label", Body::DeviceLabel(label)),
        root("audit", Body::Audit(audit)),
        ("compact", Author::Root, Box::new(compact)),
        ("fold", Author::Root, Box::new(|state| Body::Fold(state.hash()))),
        ("accept-rollback", Author::Root, Box::new(accept)),
        root("erase", Body::Erase),
        root("cancel", Body::Cancel { seq: 20 }),
        root("device-revoke", Body::DeviceRevoke(DeviceRevoke { device: DEVICE, last_valid: 4 })),
    ]
}

fn log() -> (Vec<Value>, State) {
    let root = unlocked().owner_keys().root;
    let manifest = SigningKey::from_bytes(&MANIFEST_SEED);
    let (mut state, mut log): (Option<State>, _) = (None, Vec::new());
    for (seq, (kind, author, next)) in (0_u64..).zip(bodies()) {
        let prev = state.as_ref().map_or(Hash::from_bytes([0; 32]), |state| state.head);
        let body = state.as_ref().map_or_else(genesis, next);
        let entry = Entry { vault: VAULT, seq, prev, author, time: Timestamp(TIME + seq), body };
        let signed = match author {
            Author::Root => SignedEntry::sign(&entry, &root),
            Author::Device(_) => SignedEntry::sign(&entry, &manifest),
            Author::Server => SignedEntry::unsigned(&entry),
        };
        // An hour and more lies between records: a snapshot counts nowhere in its first.
        let received = Timestamp(TIME + 4000 * seq);
        let record = Record { signed, received };
        log.push(json!({
            "kind": kind,
            "entry": hex(&record.signed.bytes),
            "signature": hex(record.signed.signature),
            "received": received.0,
            "record": hex(record.to_bytes()),
            "record_hash": hex(record.hash().as_bytes()),
        }));
        match &mut state {
            Some(state) => drop(state.apply(&record).unwrap()),
            None => state = Some(State::begin(&record).unwrap()),
        }
    }
    (log, state.unwrap())
}

fn logins() -> Value {
    let challenge = Challenge { nonce: [0xaa; 32], expires: Timestamp(TIME) };
    let message =
        |host: &str, principal| hex(login_message(&[5; 32], host, VAULT, principal, &challenge));
    json!({
        "device": message("nas.example", Principal::Device(DEVICE)),
        "owner": message("", Principal::Owner),
        "slots": message("nas.example", Principal::Slots(Hash::of(&[3; 32]))),
    })
}

#[test]
fn the_log_is_as_it_was() {
    let set: PackSet = packs().into_iter().map(|(number, _)| number).collect();
    let footer = [vec![0x5a; 4096], vec![0; 16]].concat();
    let id = pack_id(Hash::from_bytes([1; 32]), &footer, 65_536, 4096);
    let (log, folded) = log();
    let computed = json!({
        "inputs": inputs(),
        "log": log,
        "state_hash": hex(folded.hash().as_bytes()),
        "slot_set_hash_of_two": hex(slots().hash.as_bytes()),
        "packset": {
            "packs": packs().iter().map(|(n, id)| json!({"number": n.0, "id": hex(id.as_bytes())}))
                .collect::<Vec<_>>(),
            "bytes": hex(set.to_bytes()),
            "hash": hex(packset_hash().as_bytes()),
        },
        "disclosure": {
            "bytes": hex(disclosure().to_bytes()),
            "hash": hex(Hash::of(&disclosure().to_bytes()).as_bytes()),
        },
        "pack_id": {
            "content_hash": hex([1; 32]),
            "footer_and_trailer": "4096 bytes 5a, 16 bytes 00",
            "total": 65_536,
            "footer": 4096,
            "id": hex(id.as_bytes()),
        },
        "login_messages": logins(),
    });
    let stored = published("log.json", &computed);
    let records: Vec<Record> = stored["log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| Record::from_bytes(&unhex(&line["record"])).unwrap())
        .collect();
    let state = State::of(&records).unwrap();
    assert_eq!((state.head_seq, state.snapshots.len(), state.gone.len()), (22, 1, 2));
    assert_eq!(state.hash(), folded.hash());
    assert_eq!(state.lineage(OTHER), [OTHER, DEVICE]);
    assert!(state.active_device(DEVICE).is_err());
    let bytes = unhex(&stored["packset"]["bytes"]);
    assert_eq!(PackSet::from_bytes(&bytes).unwrap(), set);
}
