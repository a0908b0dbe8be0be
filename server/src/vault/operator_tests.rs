//! Quota, full disks, suspension, the access record, erasing: what whoever runs the server does.

use std::collections::BTreeSet;
use std::sync::Arc;

use unseen_common::log::entry::{Body, Policy};
use unseen_common::log::fold::DEFAULT_POLICY;
use unseen_common::privacy::{Looked, inventory};
use unseen_common::vault::{PackUpload, Principal, Vault, VaultError};

use super::{Core, Listed, Options, Session};
use crate::store::Store;
use crate::store::memory::{self, MemBlobs, MemJournals};
use crate::store::space::{DiskLimits, RESERVE, Space};
use crate::testkit::faults::{self, Fault, Plan, SmallDisk};
use crate::testkit::{Bench, Head, Owner, START, TestClock, answer};

pub(super) const PACK: u64 = 65536;

/// The call fails in this way.
macro_rules! refused {
    ($call:expr, $kind:pat) => {
        let result = $call;
        assert!(matches!(result, Err($kind)), "{result:?}");
    };
}

pub(super) use refused;

pub(super) fn on(store: Store) -> Bench {
    let clock = Arc::new(TestClock::default());
    let options = Options { clock: Arc::<TestClock>::clone(&clock), ..Options::default() };
    let core = Core::with_store(store, [3; 32], options).unwrap();
    Bench { service: Arc::new(core.clone()), clock, core }
}

pub(super) fn in_memory() -> (Bench, MemBlobs, MemJournals) {
    let (blobs, journals) = (MemBlobs::default(), MemJournals::default());
    (on(memory::store(blobs.clone(), journals.clone())), blobs, journals)
}

pub(super) async fn owner(bench: &Bench, seed: u64, quota: Option<u64>) -> Owner {
    let owner = Owner::new(seed);
    let invite = bench.core.invite(quota, 60).unwrap();
    let account = owner.account(bench.core.identity(), &invite);
    bench.service.create_account(account).await.unwrap();
    owner
}

pub(super) async fn session(bench: &Bench, owner: &Owner) -> Session {
    let principal = Principal::Device(owner.machine.id);
    let request = answer(&bench.core, owner.vault, principal, (&owner.machine.login, ""));
    bench.core.login_at(String::new(), request.await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_quota_of_the_invite_is_the_accounts() {
    let (bench, _, _) = in_memory();
    let owner = owner(&bench, 1, Some(2 * PACK)).await;
    let device = session(&bench, &owner).await;
    let packs: Vec<PackUpload> = (0..3).map(|seed| owner.machine.small_pack(seed)).collect();
    let first = device.put_pack(packs[0].clone()).await.unwrap();
    let second = device.put_pack(packs[1].clone()).await.unwrap();
    let full = device.put_pack(packs[2].clone()).await.unwrap_err();
    let VaultError::Quota(text) = full else { panic!("{full:?}") };
    assert_eq!(text, "128 KiB of 128 KiB are in use, and 64 KiB more do not fit");
    // What is there is answered all the same.
    assert_eq!(device.put_pack(packs[0].clone()).await.unwrap(), first);

    // What was sent can still be committed, and counts.
    let head = Head::of(owner.vault, &device).await;
    let kept = [(first, packs[0].clone()), (second, packs[1].clone())];
    device.commit(owner.machine.snapshot(&head, b"manifest", &kept)).await.unwrap();
    let name = owner.vault.short();
    let shown = bench.core.account_show(&name).unwrap();
    assert!(shown.used > 2 * PACK, "{shown:?}");
    assert_eq!((shown.packs, shown.snapshots, shown.quota), (2, 1, Some(2 * PACK)));

    // A new quota counts at once, and after a restart.
    bench.core.account_quota(&name, Some(4 * PACK)).unwrap();
    device.put_pack(packs[2].clone()).await.unwrap();
    bench.core.account_quota(&name, Some(PACK)).unwrap();
    refused!(device.put_pack(owner.machine.small_pack(9)).await, VaultError::Quota(_));
    bench.core.account_quota(&name, None).unwrap();
    device.put_pack(owner.machine.small_pack(9)).await.unwrap();
}

#[tokio::test]
async fn standing_survives_a_restart() {
    let (before, blobs, journals) = in_memory();
    let owner = owner(&before, 1, Some(2 * PACK)).await;
    let device = session(&before, &owner).await;
    let pack = owner.machine.small_pack(1);
    let number = device.put_pack(pack.clone()).await.unwrap();
    let head = Head::of(owner.vault, &device).await;
    device.commit(owner.machine.snapshot(&head, b"manifest", &[(number, pack)])).await.unwrap();
    let name = owner.vault.short();
    before.core.account_quota(&name, Some(3 * PACK)).unwrap();
    let wanted = before.core.account_suspend(&name).unwrap();
    let access = device.access().await.unwrap();
    drop((before, device));

    let after = on(memory::store(blobs, journals));
    let device = session(&after, &owner).await;
    assert_eq!(device.access().await.unwrap(), access);
    assert_eq!(after.core.account_show(&name).unwrap(), wanted);
}

#[tokio::test]
async fn manifests_may_go_over_the_quota_by_a_margin_and_no_further() {
    let (bench, _, _) = in_memory();
    let owner = owner(&bench, 1, Some(PACK)).await;
    let device = session(&bench, &owner).await;
    let pack = owner.machine.small_pack(1);
    let number = device.put_pack(pack.clone()).await.unwrap();
    let packs = [(number, pack)];
    let mut manifest = vec![0; 400 * 1024];
    for round in 0..2_u8 {
        manifest[0] = round;
        let head = Head::of(owner.vault, &device).await;
        device.commit(owner.machine.snapshot(&head, &manifest, &packs)).await.unwrap();
    }
    manifest[0] = 2;
    let head = Head::of(owner.vault, &device).await;
    let third = owner.machine.snapshot(&head, &manifest, &packs);
    refused!(device.commit(third).await, VaultError::Quota(_));
    assert_eq!(bench.core.account_show(&owner.vault.short()).unwrap().snapshots, 2);
}

/// Eight uploads at a time, room for three: exactly three are taken, whatever the order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_uploads_never_exceed_the_quota() {
    let (bench, _, _) = in_memory();
    for seed in 0..8 {
        let owner = owner(&bench, seed, Some(3 * PACK + 1)).await;
        let device = session(&bench, &owner).await;
        let uploads: Vec<_> = (0..8)
            .map(|seed| {
                let (device, pack) = (device.clone(), owner.machine.small_pack(seed));
                tokio::spawn(async move { device.put_pack(pack).await })
            })
            .collect();
        let mut taken = 0;
        for upload in uploads {
            match upload.await.unwrap() {
                Ok(_) => taken += 1,
                Err(error) => assert!(matches!(error, VaultError::Quota(_)), "{error:?}"),
            }
        }
        // A refusal may come from a reservation that was still open, never a fourth pack.
        assert!((1..=3).contains(&taken), "{taken}");
        let info = bench.core.account_show(&owner.vault.short()).unwrap();
        assert_eq!(info.used, taken * PACK);
    }
}

#[tokio::test]
async fn reservations_count_and_are_given_back() {
    let (bench, _, _) = in_memory();
    let owner = owner(&bench, 1, Some(2 * PACK)).await;
    let device = session(&bench, &owner).await;
    let pack = |seed| owner.machine.small_pack(seed);
    let reserve = async |seed| device.reserve(pack(seed).id, PACK).await;
    let first = reserve(1).await.unwrap().unwrap();
    let again = reserve(1).await.unwrap().unwrap();
    let second = reserve(2).await.unwrap().unwrap();
    refused!(reserve(3).await, VaultError::Quota(_));
    drop(again);
    refused!(reserve(3).await, VaultError::Quota(_));
    // One that broke off.
    drop(second);
    let third = reserve(3).await.unwrap();
    device.put_reserved(pack(1), Some(first)).await.unwrap();
    assert!(reserve(1).await.unwrap().is_none(), "it is there");
    refused!(reserve(4).await, VaultError::Quota(_));
    device.put_reserved(pack(3), third).await.unwrap();
    refused!(device.put_pack(pack(4)).await, VaultError::Quota(_));

    // A pack that is refused gives its share back, too.
    bench.core.account_quota(&owner.vault.short(), Some(3 * PACK)).unwrap();
    let mut wrong = pack(5);
    wrong.id = pack(6).id;
    let reserved = device.reserve(wrong.id, PACK).await.unwrap();
    refused!(device.put_reserved(wrong, reserved).await, VaultError::Invalid(_));
    device.put_pack(pack(7)).await.unwrap();
    // What the owner writes anew counts as well.
    let principal = Principal::Owner;
    let request = answer(&bench.core, owner.vault, principal, (&owner.login, "")).await.unwrap();
    let root = bench.core.login_at(String::new(), request).await.unwrap();
    refused!(root.reserve(pack(8).id, PACK).await, VaultError::Quota(_));
}

/// No packs below the floor; at 0 bytes free the reserve pays for the log.
#[tokio::test]
async fn a_full_disk_takes_no_packs_and_keeps_the_log() {
    // Every operation is counted; the disk is full from operation `full` on.
    let (blobs, journals) = (MemBlobs::default(), MemJournals::default());
    let probe = Plan::new(u64::MAX, Fault::DiskFull);
    let bench = on(faults::store(&blobs, &journals, &probe));
    let small = SmallDisk::new(1 << 40);
    let limits = DiskLimits { keep_free: Some(0), ..DiskLimits::default() };
    bench.core.disk().watch(Box::new(Arc::clone(&small)), limits);
    let owner = owner(&bench, 1, None).await;
    let device = session(&bench, &owner).await;
    let number = device.put_pack(owner.machine.small_pack(1)).await.unwrap();
    small.use_up((1 << 40) - RESERVE - PACK);
    refused!(
        device.reserve(owner.machine.pack(2, 1 << 17, 4096).id, 1 << 17).await,
        VaultError::DiskFull
    );
    device.put_pack(owner.machine.small_pack(2)).await.unwrap();
    small.use_up(PACK);
    refused!(device.put_pack(owner.machine.small_pack(3)).await, VaultError::DiskFull);

    let root = owner.log_in(&*bench.service).await.unwrap();
    root.get_pack(number, None).await.unwrap();
    // The next operation is the write of the journal: it finds no room, and the reserve gives it.
    probe.fail_next(Fault::DiskFull);
    let head = Head::of(owner.vault, &*root).await;
    let policy = Policy { grace_days: 77, ..DEFAULT_POLICY };
    root.append(owner.sign(&head, Body::Policy(policy.clone()))).await.unwrap();
    assert!(small.reserve().unwrap() < RESERVE);

    // Nothing pays for what is no record.
    let unwatched = Plan::new(u64::MAX, Fault::DiskFull);
    let other = on(faults::store(&blobs, &journals, &unwatched));
    let root = owner.log_in(&*other.service).await.unwrap();
    let head = Head::of(owner.vault, &*root).await;
    unwatched.fail_next(Fault::DiskFull);
    refused!(root.append(owner.sign(&head, Body::Policy(policy))).await, VaultError::DiskFull);
}

#[tokio::test]
async fn a_suspended_account_is_read_and_not_written() {
    let (bench, _, _) = in_memory();
    let owner = owner(&bench, 1, None).await;
    let device = session(&bench, &owner).await;
    let root = owner.log_in(&*bench.service).await.unwrap();
    let pack = owner.machine.small_pack(1);
    let number = device.put_pack(pack.clone()).await.unwrap();
    let name = owner.vault.short();
    assert_eq!(bench.core.account_suspend(&name).unwrap().suspended, Some(START));

    refused!(device.put_pack(owner.machine.small_pack(2)).await, VaultError::Suspended(_));
    refused!(device.reserve(owner.machine.small_pack(2).id, PACK).await, VaultError::Suspended(_));
    let head = Head::of(owner.vault, &device).await;
    let commit = owner.machine.snapshot(&head, b"m", &[(number, pack)]);
    refused!(device.commit(commit.clone()).await, VaultError::Suspended(_));
    let policy = owner.sign(&head, Body::Policy(DEFAULT_POLICY));
    refused!(root.append(policy.clone()).await, VaultError::Suspended(_));
    let slots = vec![bytes::Bytes::from_static(b"new")];
    let entry = owner.sign(&head, Body::Slots(owner.slots_body(&slots)));
    refused!(root.put_slots(slots, entry).await, VaultError::Suspended(_));

    // The owner gets out, and can shut a device out.
    assert!(root.get_pack(number, None).await.is_ok());
    assert_eq!(root.slots().await.unwrap(), owner.slots);
    assert!(owner.log_in_device(&*bench.service, &owner.machine).await.is_ok());
    bench.core.account_resume(&name).unwrap();
    device.commit(commit).await.unwrap();
    bench.core.account_suspend(&name).unwrap();
    let head = Head::of(owner.vault, &*root).await;
    root.append(owner.revoke(&head, owner.machine.id)).await.unwrap();
}

#[tokio::test]
async fn every_look_lands_in_the_access_record() {
    let (bench, _, _) = in_memory();
    let (one, two) = (owner(&bench, 1, None).await, owner(&bench, 2, None).await);
    let device = session(&bench, &one).await;
    assert!(device.access().await.unwrap().is_empty());
    let name = one.vault.short();
    bench.core.account_list().unwrap();
    bench.core.account_list().unwrap();
    bench.core.account_show(&name).unwrap();
    bench.clock.advance(3600);
    bench.core.account_list().unwrap();
    bench.core.account_quota(&name, Some(1)).unwrap();
    bench.core.account_quota(&name, Some(2)).unwrap();
    bench.core.account_suspend(&name).unwrap();
    assert_eq!(bench.core.account_suspend(&name).unwrap().suspended, Some(bench.core.now()));
    bench.core.account_resume(&name).unwrap();
    bench.core.account_resume(&name).unwrap();
    let seen: Vec<_> = device.access().await.unwrap();
    let kinds: Vec<_> = seen.iter().map(|line| line.what).collect();
    let [list, show, quota, suspend, resume, ..] = Looked::ALL;
    // What was so already is shown, and not changed.
    assert_eq!(kinds, [list, show, list, quota, quota, suspend, show, resume]);
    assert_eq!((seen[0].at, seen[2].at.since(seen[0].at)), (START, 3600));
    let other = session(&bench, &two).await.access().await.unwrap();
    assert_eq!(other.iter().map(|line| line.what).collect::<Vec<_>>(), [Looked::List; 2]);
}

#[tokio::test]
async fn accounts_and_invites_are_named_by_their_first_digits() {
    let (bench, _, journals) = in_memory();
    let core = &bench.core;
    refused!(core.account_show("deadbeef"), VaultError::NotFound(_));
    for bad in ["", "abc", "ABCDEF", "../../etc", "g h i j"] {
        refused!(core.account_show(bad), VaultError::Invalid(_));
    }
    let owner = owner(&bench, 1, None).await;
    assert_eq!(core.account_show(&owner.vault.to_string()).unwrap().account, owner.vault.short());
    let secret = core.invite(Some(5), 60).unwrap();
    let listed = core.invites();
    assert_eq!(listed.len(), 1, "the used one is no more");
    assert_eq!((listed[0].quota, listed[0].expires.since(START)), (Some(5), 60));
    core.revoke_invite(&listed[0].invite).unwrap();
    assert!(core.invites().is_empty());
    refused!(core.revoke_invite(&listed[0].invite), VaultError::NotFound(_));
    let account = Owner::new(2).account(core.identity(), &secret);
    refused!(bench.service.create_account(account).await, VaultError::NotFound(_));
    core.invite(None, 60).unwrap();
    bench.clock.advance(61);
    assert!(core.invites().is_empty(), "expired");
    // A damaged account is listed as such.
    journals.edit(&owner.vault.to_string(), |bytes| bytes[100] ^= 1);
    let again = on(memory::store(MemBlobs::default(), journals));
    let listed = again.core.account_list().unwrap();
    assert!(
        matches!(&listed[..], [Listed::Damaged { account, .. }] if *account == owner.vault.short())
    );
}

/// The report has every field of the inventory, and no other.
#[tokio::test]
async fn the_report_is_the_inventory() {
    let (bench, _, _) = in_memory();
    let owner = owner(&bench, 1, Some(1 << 20)).await;
    let device = session(&bench, &owner).await;
    let report = device.privacy().await.unwrap();
    let told: BTreeSet<_> = report.held.iter().map(|held| held.name.clone()).collect();
    assert_eq!(told.len(), report.held.len(), "each once");
    let declared: BTreeSet<_> =
        inventory::ACCOUNT.iter().map(|field| field.name.clone().into_owned()).collect();
    assert_eq!(told, declared);
    let value = |name: &str| {
        let held = report.held.iter().find(|held| held.name == name).unwrap();
        (held.count, held.value.clone())
    };
    assert_eq!(value("account.quota"), (1, "1 MiB".to_owned()));
    assert_eq!(value("device.id"), (1, owner.machine.id.short()));
    assert_eq!(value("invite.account"), (1, owner.vault.to_string()));
    assert_eq!(value("account.access").0, 0);
    assert_eq!(value("policy.disclosure").1, "summary");
}
