//! What every body of the protocol must do.

use std::sync::Arc;

use unseen_common::id::{DeviceId, Hash, PackNumber};
use unseen_common::limits::PACK_HEADER;
use unseen_common::log::entry::{Body, Compact, Policy};
use unseen_common::log::fold::{DEFAULT_POLICY, State};
use unseen_common::pack_map::PackMap;
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::vault::{CompactRequest, PackUpload, Vault, VaultError};

use super::{Bench, Head, Machine, Owner, START, snapshot_id};

/// Runs the whole suite.
pub async fn all(bench: &Bench) {
    describes_itself(bench).await;
    accounts(bench).await;
    packs(bench).await;
    commits(bench).await;
    conflicts(bench).await;
    slots(bench).await;
    footers(bench).await;
    compactions(bench).await;
    parallel_uploads(bench).await;
    super::marks::all(bench).await;
    super::refusals::all(bench).await;
}

async fn describes_itself(bench: &Bench) {
    let info = bench.service.describe().await.expect("it describes itself");
    assert_eq!(info.identity, Hash::from_bytes(bench.core.identity()));
    assert_eq!(info.protocols, [1]);
    assert_eq!(info.fault(), None);
    assert_eq!(info.limits.expect("it tells its limits").pack, 16 << 20);
    assert!(!info.privacy.is_empty());
}

async fn accounts(bench: &Bench) {
    let owner = bench.owner(1).await;
    let again = owner.account(bench.core.identity(), b"");
    let repeated = bench.service.create_account(again).await;
    repeated.expect("the same account again is no error");

    let session = owner.log_in(&*bench.service).await.expect("logs in");
    let page = session.log(None).await.expect("the log");
    assert_eq!(page.records.len(), 2);
    assert!(!page.more);
    assert!(page.records.iter().all(|r| r.received == START));
    let state = State::of(&page.records).expect("it folds");
    assert_eq!(state.vault, owner.vault);
    assert!(state.active_device(owner.machine.id).is_ok());
    let tail = session.log(Some(0)).await.expect("the log");
    assert_eq!(tail.records, page.records[1..]);
    let none = session.log(Some(1)).await.expect("the log");
    assert!(none.records.is_empty() && !none.more);
}

async fn packs(bench: &Bench) {
    let owner = bench.owner(2).await;
    let service = &*bench.service;
    let device = owner.log_in_device(service, &owner.machine).await.expect("logs in");
    let reader = owner.log_in(service).await.expect("logs in");
    let small = owner.machine.small_pack(1);
    let large = owner.machine.pack(2, 1 << 20, 16384);
    assert_eq!(device.put_pack(small.clone()).await.expect("stored"), PackNumber(0));
    assert_eq!(device.put_pack(large.clone()).await.expect("stored"), PackNumber(1));
    assert_eq!(device.put_pack(small.clone()).await.expect("known"), PackNumber(0));

    let whole = reader.get_pack(PackNumber(1), None).await.expect("read");
    assert_eq!(whole.bytes, large.bytes);
    assert_eq!((whole.total, whole.damaged), (1 << 20, false));
    let part = reader.get_pack(PackNumber(0), Some(100..4196)).await.expect("read");
    assert_eq!(part.bytes, small.bytes.slice(100..4196));
    assert_eq!(part.total, 65536);
    let live: PackSet = [PackNumber(0), PackNumber(1)].into_iter().collect();
    assert_eq!(device.live_packs().await.expect("listed"), live);
    assert_eq!(reader.live_packs().await.expect("listed"), live);
    assert_eq!(device.damaged_packs().await.expect("listed"), PackSet::default());
    assert_eq!(reader.damaged_packs().await.expect("listed"), PackSet::default());
}

async fn commits(bench: &Bench) {
    let owner = bench.owner(3).await;
    let service = &*bench.service;
    let machine = &owner.machine;
    let device = owner.log_in_device(service, machine).await.expect("logs in");
    let reader = owner.log_in(service).await.expect("logs in");
    let mut packs = Vec::new();
    for seed in 0..3 {
        let pack = machine.small_pack(seed);
        let number = device.put_pack(pack.clone()).await.expect("stored");
        packs.push((number, pack));
    }
    let head = Head::of(owner.vault, &*device).await;
    let request = machine.snapshot(&head, b"sealed manifest", &packs);
    bench.clock.advance(5);
    let record = device.commit(request.clone()).await.expect("committed");
    assert!(record.received > START);
    assert_eq!(record.signed, request.entry);

    let later = machine.snapshot(&Head::after(owner.vault, &record), b"another", &packs[..1]);
    device.commit(later).await.expect("committed");
    let again = device.commit(request).await.expect("idempotent after later records");
    assert_eq!(again, record);

    let id = snapshot_id(b"sealed manifest");
    assert_eq!(reader.manifest(id).await.expect("read"), "sealed manifest");
    let needed = reader.packs_of(id).await.expect("read");
    assert_eq!(needed, packs.iter().map(|(n, _)| *n).collect());
    assert_eq!(device.packs_of(id).await.expect("own"), needed);
    let log = reader.log(None).await.expect("the log").records;
    let state = State::of(&log).expect("it folds");
    assert_eq!(state.snapshots.len(), 2);
    assert_eq!(state.head_seq, 3);
}

async fn compactions(bench: &Bench) {
    let owner = bench.owner(12).await;
    let service = &*bench.service;
    let machine = &owner.machine;
    let device = owner.log_in_device(service, machine).await.expect("logs in");
    let root = owner.log_in(service).await.expect("logs in");
    let (old, new) = (machine.small_pack(1), machine.small_pack(2));
    let from = device.put_pack(old.clone()).await.expect("stored");
    // The owner writes it anew, and the device finds it among its own.
    let to = root.put_pack(new.clone()).await.expect("stored");
    assert_eq!(device.put_pack(new.clone()).await.expect("known"), to);
    let page = device.footers(Some(machine.id), Some(from)).await.expect("listed");
    assert_eq!(page.items.iter().map(|item| item.number).collect::<Vec<_>>(), [to]);
    let head = Head::of(owner.vault, &*device).await;
    let request = machine.snapshot(&head, b"compacted", &[(from, old.clone())]);
    let record = device.commit(request).await.expect("committed");
    let id = snapshot_id(b"compacted");
    let hash = |number, pack: &PackUpload| {
        let mut hasher = PackSetHasher::default();
        hasher.add(number, &pack.id);
        hasher.finish()
    };
    let places: PackSet = [to].into_iter().collect();
    let map = PackMap([(from, places.clone())].into_iter().collect());
    let head = Head::after(owner.vault, &record);
    let body = Body::Compact(Compact {
        planned_at: head.seq - 1,
        planned_head: head.hash,
        removed: map.removed(),
        removed_hash: hash(from, &old),
        map_hash: map.hash(),
        snapshots: vec![(id, hash(to, &new))],
    });
    let entry = owner.sign(&head, body);
    let bare = root.append(entry.clone()).await;
    assert!(matches!(bare, Err(VaultError::Invalid(_))), "it comes with its packsets");
    let request = CompactRequest { map, packs: vec![places.clone()], entry };
    let refused = device.compact(request.clone()).await;
    assert!(matches!(refused, Err(VaultError::Forbidden(_))));
    let done = root.compact(request.clone()).await.expect("compacted");
    assert_eq!(root.compact(request).await.expect("the answer was lost"), done);
    assert_eq!(root.packs_of(id).await.expect("read"), places);
    let state = State::of(&root.log(None).await.expect("the log").records).expect("it folds");
    assert_eq!(state.snapshots[&id].packed, head.seq);
}

async fn conflicts(bench: &Bench) {
    let owner = bench.owner(4).await;
    let service = &*bench.service;
    let machine = &owner.machine;
    let device = owner.log_in_device(service, machine).await.expect("logs in");
    let root = owner.log_in(service).await.expect("logs in");
    let head = Head::of(owner.vault, &*root).await;
    let policy = |days| Body::Policy(Policy { grace_days: days, ..DEFAULT_POLICY });
    let first = owner.sign(&head, policy(40));
    let record = root.append(first.clone()).await.expect("appended");
    assert_eq!(root.append(first).await.expect("the same entry again"), record);

    let lost = root.append(owner.sign(&head, policy(50))).await;
    assert!(matches!(&lost, Err(VaultError::Conflict(missed)) if *missed == [record.clone()]));
    let stale = machine.snapshot(&head, b"stale", &[]);
    let lost = device.commit(stale).await;
    assert!(matches!(&lost, Err(VaultError::Conflict(missed)) if *missed == [record.clone()]));

    let mut fork = Head::after(owner.vault, &record);
    fork.hash = Hash::from_bytes([1; 32]);
    let forked = root.append(owner.sign(&fork, policy(50))).await;
    assert!(matches!(&forked, Err(VaultError::Conflict(missed)) if missed.is_empty()));

    let next = Head::after(owner.vault, &record);
    let pack = machine.small_pack(1);
    let unknown = machine.snapshot(&next, b"unknown", &[(PackNumber(9), pack.clone())]);
    let wanted: PackSet = [PackNumber(9)].into_iter().collect();
    let missing = device.commit(unknown).await;
    assert!(matches!(&missing, Err(VaultError::MissingPacks(set)) if *set == wanted));
    let number = device.put_pack(pack).await.expect("stored");
    let wrong = machine.snapshot(&next, b"wrong", &[(number, machine.small_pack(2))]);
    assert!(matches!(device.commit(wrong).await, Err(VaultError::StaleIndex)));
    assert_eq!(Head::of(owner.vault, &*root).await, next);
}

async fn slots(bench: &Bench) {
    let owner = bench.owner(5).await;
    let service = &*bench.service;
    let by_code = owner.log_in_slots(service).await.expect("logs in");
    assert_eq!(by_code.slots().await.expect("slots"), owner.slots);
    let device = owner.log_in_device(service, &owner.machine).await.expect("logs in");
    assert_eq!(device.slots().await.expect("slots"), owner.slots);

    let root = owner.log_in(service).await.expect("logs in");
    let head = Head::of(owner.vault, &*root).await;
    let new = vec![bytes::Bytes::from(vec![9; 300])];
    let entry = owner.sign(&head, Body::Slots(owner.slots_body(&new)));
    let record = root.put_slots(new.clone(), entry.clone()).await.expect("replaced");
    assert_eq!(root.slots().await.expect("slots"), new);
    assert_eq!(root.put_slots(new, entry).await.expect("again"), record);
}

async fn footers(bench: &Bench) {
    let owner = bench.owner(6).await;
    let service = &*bench.service;
    let root = owner.log_in(service).await.expect("logs in");
    let other = Machine::new(601);
    let heir = Machine { replaces: Some(owner.machine.id), ..Machine::new(602) };
    for machine in [&other, &heir] {
        let head = Head::of(owner.vault, &*root).await;
        root.append(owner.sign(&head, machine.add())).await.expect("added");
    }
    let mut sessions = Vec::new();
    for machine in [&owner.machine, &other, &heir] {
        let session = owner.log_in_device(service, machine).await.expect("logs in");
        session.put_pack(machine.small_pack(1)).await.expect("stored");
        sessions.push(session);
    }
    assert_eq!(numbers(&*root, None, None).await, [0, 1, 2]);
    assert_eq!(numbers(&*root, Some(other.id), None).await, [1]);
    assert_eq!(numbers(&*root, None, Some(0)).await, [1, 2]);
    assert_eq!(numbers(&*sessions[0], None, None).await, [0]);
    assert_eq!(numbers(&*sessions[2], None, None).await, [0, 2]);
    assert_eq!(numbers(&*sessions[2], Some(owner.machine.id), None).await, [0]);
    let foreign = sessions[2].footers(Some(other.id), None).await;
    assert!(matches!(foreign, Err(VaultError::Forbidden(_))));

    let pack = owner.machine.small_pack(1);
    let page = sessions[0].footers(None, None).await.expect("footers");
    let item = page.items.first().expect("one footer");
    let header = usize::try_from(PACK_HEADER).expect("it fits");
    assert_eq!(item.header, pack.bytes.slice(..header));
    assert_eq!(item.footer, pack.bytes.slice(65536 - 4096 - 16..));
    assert_eq!(item.content_hash, Hash::of(&pack.bytes[..65536 - 4096 - 16]));
    assert_eq!((item.id, item.length), (pack.id, 65536));
}

async fn numbers(vault: &dyn Vault, device: Option<DeviceId>, after: Option<u32>) -> Vec<u32> {
    let mut after = after.map(PackNumber);
    let mut found = Vec::new();
    loop {
        let page = vault.footers(device, after).await.expect("footers");
        found.extend(page.items.iter().map(|item| item.number.0));
        if !page.more {
            return found;
        }
        after = page.items.last().map(|item| item.number);
    }
}

async fn parallel_uploads(bench: &Bench) {
    let owner = bench.owner(7).await;
    let device = upload_session(bench, &owner).await;
    let mut uploads = Vec::new();
    for round in 0..4_u64 {
        for _ in 0..3 {
            let session = Arc::clone(&device);
            let pack = owner.machine.small_pack(round);
            uploads.push(tokio::spawn(async move { session.put_pack(pack).await }));
        }
    }
    let mut answers = Vec::new();
    for upload in uploads {
        answers.push(upload.await.expect("no panic").expect("stored"));
    }
    for same in answers.chunks(3) {
        assert!(same.iter().all(|number| number == &same[0]), "{answers:?}");
    }
    let live = device.live_packs().await.expect("listed");
    assert_eq!(live.0.len(), 4);
    assert_eq!(live, answers.into_iter().collect());
}

async fn upload_session(bench: &Bench, owner: &Owner) -> Arc<dyn Vault> {
    let session = owner.log_in_device(&*bench.service, &owner.machine).await;
    session.expect("logs in")
}
