//! What every body of the protocol must refuse.

use bytes::Bytes;
use unseen_common::id::{Hash, PackNumber, VaultId};
use unseen_common::log::entry::{Author, Body};
use unseen_common::vault::{CHALLENGE_SECONDS, PackUpload, Principal, VaultError};

use super::{Bench, Head, Machine, Owner, answer, log_in, name_pack, snapshot_id};

macro_rules! refused {
    ($call:expr, $kind:pat) => {
        let result = $call.await;
        assert!(matches!(result, Err($kind)), "{result:?}");
    };
}

/// Runs all.
pub async fn all(bench: &Bench) {
    accounts(bench).await;
    logins(bench).await;
    rights(bench).await;
    packs(bench).await;
    ranges(bench).await;
    commits(bench).await;
    revoked(bench).await;
    other_accounts(bench).await;
}

async fn accounts(bench: &Bench) {
    let service = &*bench.service;
    let identity = bench.core.identity();
    let owner = Owner::new(20);
    refused!(
        service.create_account(owner.account(identity, b"no such invite here")),
        VaultError::NotFound(_)
    );
    let expired = bench.core.invite(None, 10).expect("made");
    bench.clock.advance(11);
    refused!(service.create_account(owner.account(identity, &expired)), VaultError::NotFound(_));
    let invite = bench.core.invite(None, 60).expect("made");
    refused!(service.create_account(owner.account([9; 32], &invite)), VaultError::Invalid(_));
    let mut other_slots = owner.account(identity, &invite);
    other_slots.slots.reverse();
    refused!(service.create_account(other_slots), VaultError::Invalid(_));
    let mut forged = owner.account(identity, &invite);
    forged.entries[0].signature[0] ^= 1;
    refused!(service.create_account(forged), VaultError::Invalid(_));
    service.create_account(owner.account(identity, &invite)).await.expect("made");
    refused!(
        service.create_account(Owner::new(21).account(identity, &invite)),
        VaultError::NotFound(_)
    );

    let mut thief = Owner::new(22);
    thief.vault = owner.vault;
    let invite = bench.core.invite(None, 60).expect("made");
    refused!(service.create_account(thief.account(identity, &invite)), VaultError::Forbidden(_));
}

async fn logins(bench: &Bench) {
    let service = &*bench.service;
    let owner = bench.owner(23).await;
    let device = Principal::Device(owner.machine.id);
    let key = &owner.machine.login;
    let host = service.host();

    refused!(log_in(service, owner.vault, device, &owner.login), VaultError::Forbidden(_));
    refused!(log_in(service, owner.vault, Principal::Owner, key), VaultError::Forbidden(_));
    let unknown = VaultId::from_bytes([0xee; 16]);
    refused!(log_in(service, unknown, device, key), VaultError::Forbidden(_));
    let no_slots = Principal::Slots(Hash::of(b"no such key"));
    refused!(log_in(service, owner.vault, no_slots, &owner.slots_key), VaultError::Forbidden(_));

    let elsewhere =
        answer(service, owner.vault, device, (key, "evil.example")).await.expect("made");
    refused!(service.login(elsewhere), VaultError::Forbidden(_));
    let late = answer(service, owner.vault, device, (key, &host)).await.expect("made");
    bench.clock.advance(CHALLENGE_SECONDS + 1);
    refused!(service.login(late), VaultError::Unauthorized);
    let good = answer(service, owner.vault, device, (key, &host)).await.expect("made");
    service.login(good.clone()).await.expect("logs in");
    refused!(service.login(good), VaultError::Unauthorized);
    let mut moved = answer(service, owner.vault, device, (key, &host)).await.expect("made");
    moved.principal = Principal::Owner;
    refused!(service.login(moved), VaultError::Unauthorized);
}

async fn rights(bench: &Bench) {
    let service = &*bench.service;
    let owner = bench.owner(24).await;
    let machine = &owner.machine;
    let device = owner.log_in_device(service, machine).await.expect("logs in");
    let root = owner.log_in(service).await.expect("logs in");
    let code = owner.log_in_slots(service).await.expect("logs in");
    let number = device.put_pack(machine.small_pack(1)).await.expect("stored");
    let head = Head::of(owner.vault, &*device).await;
    let snapshot = machine.snapshot(&head, b"manifest", &[(number, machine.small_pack(1))]);
    let new_slots = vec![Bytes::from_static(b"slot")];
    let slots = owner.sign(&head, Body::Slots(owner.slots_body(&new_slots)));

    refused!(device.get_pack(number, None), VaultError::Forbidden(_));
    refused!(device.manifest(snapshot_id(b"manifest")), VaultError::Forbidden(_));
    refused!(device.put_slots(new_slots.clone(), slots.clone()), VaultError::Forbidden(_));
    refused!(device.append(owner.sign(&head, Machine::new(240).add())), VaultError::Forbidden(_));
    refused!(device.append(snapshot.entry.clone()), VaultError::Invalid(_));
    refused!(root.append(slots.clone()), VaultError::Invalid(_));
    refused!(root.put_slots(vec![Bytes::from_static(b"other")], slots), VaultError::Invalid(_));
    refused!(root.put_pack(Machine::new(242).small_pack(2)), VaultError::Forbidden(_));
    refused!(root.commit(snapshot.clone()), VaultError::Forbidden(_));
    refused!(root.append(snapshot.entry.clone()), VaultError::Forbidden(_));
    refused!(code.log(None), VaultError::Forbidden(_));
    refused!(code.footers(None, None), VaultError::Forbidden(_));
    refused!(code.live_packs(), VaultError::Forbidden(_));
    refused!(code.damaged_packs(), VaultError::Forbidden(_));
    refused!(code.put_pack(machine.small_pack(2)), VaultError::Forbidden(_));
    refused!(code.commit(snapshot), VaultError::Forbidden(_));

    let blind = Machine { backup_only: true, ..Machine::new(241) };
    root.append(owner.sign(&head, blind.add())).await.expect("added");
    let blind = owner.log_in_device(service, &blind).await.expect("logs in");
    refused!(blind.slots(), VaultError::Forbidden(_));
}

async fn packs(bench: &Bench) {
    let service = &*bench.service;
    let owner = bench.owner(25).await;
    let machine = &owner.machine;
    let device = owner.log_in_device(service, machine).await.expect("logs in");
    let good = machine.pack(1, 1 << 17, 4096);
    let changed = |at: usize| {
        let mut bytes = good.bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    // Any byte: the name no longer fits.
    for at in [30, 2000, (1 << 17) - 1000] {
        let pack = PackUpload { bytes: changed(at).into(), ..good.clone() };
        refused!(device.put_pack(pack), VaultError::Invalid(_));
    }
    // Magic, suite; footer length, version and zeros of the trailer: even when the name fits.
    let end = 1 << 17;
    for at in [0, 7, 8, end - 16, end - 15, end - 12, end - 11, end - 10, end - 1] {
        refused!(device.put_pack(name_pack(changed(at), 4096)), VaultError::Invalid(_));
    }
    let lies = PackUpload { footer_len: 8192, ..good.clone() };
    refused!(device.put_pack(lies), VaultError::Invalid(_));
    for footer_len in [0, 2048, 5000, 131_072] {
        refused!(
            device.put_pack(name_pack(good.bytes.to_vec(), footer_len)),
            VaultError::Invalid(_)
        );
    }
    for length in [32768, 65537, 3 << 16] {
        refused!(device.put_pack(machine.pack(1, length, 4096)), VaultError::Invalid(_));
    }
    let foreign = Machine::new(250).small_pack(1);
    refused!(device.put_pack(foreign), VaultError::Forbidden(_));
    assert!(device.live_packs().await.expect("listed").0.is_empty());
}

async fn ranges(bench: &Bench) {
    let service = &*bench.service;
    let owner = bench.owner(30).await;
    let device = owner.log_in_device(service, &owner.machine).await.expect("logs in");
    let root = owner.log_in(service).await.expect("logs in");
    refused!(root.get_pack(PackNumber(0), None), VaultError::NotFound(_));
    let pack = owner.machine.pack(1, 1 << 17, 4096);
    let number = device.put_pack(pack).await.expect("stored");
    refused!(root.get_pack(number, Some(0..(1 << 17) + 1)), VaultError::Invalid(_));
    refused!(root.get_pack(number, Some(5..5)), VaultError::Invalid(_));
    refused!(root.get_pack(PackNumber(number.0 + 1), None), VaultError::NotFound(_));
}

async fn commits(bench: &Bench) {
    let service = &*bench.service;
    let owner = bench.owner(26).await;
    let machine = &owner.machine;
    let device = owner.log_in_device(service, machine).await.expect("logs in");
    let head = Head::of(owner.vault, &*device).await;
    let good = machine.snapshot(&head, b"manifest", &[]);

    let mut other_manifest = good.clone();
    other_manifest.manifest = Bytes::from_static(b"another manifest");
    refused!(device.commit(other_manifest), VaultError::Invalid(_));
    let mut forged = good.clone();
    forged.entry.signature[3] ^= 1;
    refused!(device.commit(forged), VaultError::Invalid(_));
    let mut garbage = good.clone();
    garbage.entry.bytes = vec![0xff; 40];
    refused!(device.commit(garbage), VaultError::Invalid(_));
    let body = good.entry.entry().expect("parses").body;
    let mut by_other = good.clone();
    let other = Machine::new(260);
    by_other.entry = head.sign(Author::Device(other.id), body, &other.manifest);
    refused!(device.commit(by_other), VaultError::Forbidden(_));
    device.commit(good).await.expect("committed");
}

async fn revoked(bench: &Bench) {
    let service = &*bench.service;
    let owner = bench.owner(27).await;
    let machine = &owner.machine;
    let device = owner.log_in_device(service, machine).await.expect("logs in");
    let root = owner.log_in(service).await.expect("logs in");
    device.put_pack(machine.small_pack(1)).await.expect("stored");
    let head = Head::of(owner.vault, &*root).await;
    root.append(owner.revoke(&head, machine.id)).await.expect("revoked");

    refused!(device.put_pack(machine.small_pack(2)), VaultError::Forbidden(_));
    refused!(device.live_packs(), VaultError::Forbidden(_));
    refused!(device.log(None), VaultError::Forbidden(_));
    refused!(device.slots(), VaultError::Forbidden(_));
    let head = Head::of(owner.vault, &*root).await;
    refused!(device.commit(machine.snapshot(&head, b"late", &[])), VaultError::Forbidden(_));
    refused!(owner.log_in_device(service, machine), VaultError::Forbidden(_));
}

async fn other_accounts(bench: &Bench) {
    let service = &*bench.service;
    let ours = bench.owner(28).await;
    let theirs = bench.owner(29).await;
    let them = theirs.log_in_device(service, &theirs.machine).await.expect("logs in");
    let pack = theirs.machine.small_pack(1);
    let number = them.put_pack(pack.clone()).await.expect("stored");
    let head = Head::of(theirs.vault, &*them).await;
    let made = theirs.machine.snapshot(&head, b"theirs", &[(number, pack.clone())]);
    them.commit(made).await.expect("committed");

    let root = ours.log_in(service).await.expect("logs in");
    let device = ours.log_in_device(service, &ours.machine).await.expect("logs in");
    refused!(root.get_pack(number, None), VaultError::NotFound(_));
    refused!(root.manifest(snapshot_id(b"theirs")), VaultError::NotFound(_));
    refused!(root.packs_of(snapshot_id(b"theirs")), VaultError::NotFound(_));
    refused!(device.put_pack(pack.clone()), VaultError::Forbidden(_));
    let head = Head::of(ours.vault, &*device).await;
    let borrowed = ours.machine.snapshot(&head, b"ours", &[(number, pack)]);
    refused!(device.commit(borrowed), VaultError::MissingPacks(_));
    let elsewhere = Head { vault: theirs.vault, ..head };
    refused!(root.append(ours.sign(&elsewhere, Machine::new(280).add())), VaultError::Invalid(_));
    let foreign_key = log_in(service, theirs.vault, Principal::Owner, &ours.login);
    refused!(foreign_key, VaultError::Forbidden(_));
}
