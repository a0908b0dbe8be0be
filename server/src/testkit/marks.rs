//! Entries that mark snapshots or take them away: who may append them to a log.

use unseen_common::id::{Hash, SnapshotId};
use unseen_common::log::chain::SignedEntry;
use unseen_common::log::entry::{Author, Body, Compact, Entry, SnapshotIds};
use unseen_common::log::fold::State;
use unseen_common::packset::PackSet;
use unseen_common::vault::VaultError;

use super::{Bench, Head, START, snapshot_id};

fn one(id: SnapshotId) -> SnapshotIds {
    SnapshotIds::one([id]).expect("one id fits")
}

/// The owner pins, unpins, lifts and forgets; a device holds; nobody but the server expires.
pub async fn all(bench: &Bench) {
    let owner = bench.owner(40).await;
    let service = &*bench.service;
    let machine = &owner.machine;
    let device = owner.log_in_device(service, machine).await.expect("logs in");
    let root = owner.log_in(service).await.expect("logs in");
    let mut head = Head::of(owner.vault, &*root).await;
    let made = device.commit(machine.snapshot(&head, b"marked", &[])).await.expect("committed");
    head = Head::after(owner.vault, &made);
    let id = snapshot_id(b"marked");

    let held = head.sign(Author::Device(machine.id), Body::Hold(one(id)), &machine.manifest);
    head = Head::after(owner.vault, &device.append(held).await.expect("a device holds"));
    let refused = root.append(owner.sign(&head, Body::Forget(one(id)))).await;
    assert!(matches!(refused, Err(VaultError::Invalid(_))), "{refused:?}");

    let no_hash = Hash::from_bytes([0; 32]);
    let compact = Compact {
        planned_at: head.seq - 1,
        planned_head: head.hash,
        removed: PackSet::default(),
        removed_hash: no_hash,
        map_hash: no_hash,
        snapshots: Vec::new(),
    };
    let refused = root.append(owner.sign(&head, Body::Compact(compact))).await;
    assert!(matches!(refused, Err(VaultError::Invalid(_))), "{refused:?}");
    let expire = SignedEntry::unsigned(&Entry {
        vault: owner.vault,
        seq: head.seq,
        prev: head.hash,
        author: Author::Server,
        time: START,
        body: Body::Expire(one(id)),
    });
    for session in [&device, &root] {
        let refused = session.append(expire.clone()).await;
        assert!(matches!(refused, Err(VaultError::Forbidden(_))), "{refused:?}");
    }
    let by_root = owner.sign(&head, Body::Expire(one(id)));
    let refused = root.append(by_root).await;
    assert!(matches!(refused, Err(VaultError::Forbidden(_))), "{refused:?}");

    for body in [Body::LiftHold, Body::Pin, Body::Unpin, Body::Forget] {
        let record = root.append(owner.sign(&head, body(one(id)))).await.expect("the owner may");
        head = Head::after(owner.vault, &record);
    }
    let state = State::of(&root.log(None).await.expect("the log").records).expect("it folds");
    assert!(state.snapshots.is_empty() && state.gone.contains_key(&id));
}
