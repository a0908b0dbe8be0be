//! Erasing accounts: what goes, what stays, and what a crash in between does.

use std::fs;

use unseen_common::id::VaultId;
use unseen_common::log::entry::Body;
use unseen_common::receipt::{ErasedBy, Receipt};
use unseen_common::time::Timestamp;
use unseen_common::vault::{Service, Vault, VaultError};

use super::copy_tests::begun;
use super::operator_tests::{PACK, in_memory, on, owner, refused, session};
use super::rounds::{HINTS, Rounds};
use crate::store::journal_files::Journals;
use crate::store::memory;
use crate::testkit::faults::{self, Fault, Plan};
use crate::testkit::{Head, Owner, START};

#[tokio::test]
async fn an_erased_account_is_gone_and_leaves_a_receipt() {
    let (bench, blobs, journals) = in_memory();
    let (one, two) = (owner(&bench, 1, None).await, owner(&bench, 2, None).await);
    let device = session(&bench, &one).await;
    let pack = one.machine.small_pack(1);
    let number = device.put_pack(pack.clone()).await.unwrap();
    let head = Head::of(one.vault, &device).await;
    let record = device.commit(one.machine.snapshot(&head, b"m", &[(number, pack)])).await.unwrap();
    refused!(bench.service.erased(one.vault).await, VaultError::NotFound(_));

    let signed = bench.core.account_erase(&one.vault.short()).unwrap();
    let identity = bench.core.identity();
    let receipt = signed.open(one.vault, &identity).unwrap();
    let expected = Receipt {
        account: one.vault,
        by: ErasedBy::Operator,
        requested: START,
        erased: START,
        packs: 1,
        bytes: PACK,
        snapshots: 1,
        head: record.hash(),
        identity,
    };
    assert_eq!(receipt, expected);
    refused!(device.log(None).await, VaultError::Unauthorized);
    refused!(device.put_pack(one.machine.small_pack(2)).await, VaultError::Unauthorized);
    refused!(one.log_in(&*bench.service).await, VaultError::Forbidden(_));
    refused!(bench.core.account_show(&one.vault.short()), VaultError::NotFound(_));
    let invite = bench.core.invite(None, 60).unwrap();
    let again = one.account(identity, &invite);
    refused!(bench.service.create_account(again).await, VaultError::Forbidden(_));
    for list in [blobs.names(), journals.list().unwrap()] {
        assert!(!list.iter().any(|name| name.contains(&one.vault.to_string())), "{list:?}");
        assert!(list.iter().any(|name| name.contains(&two.vault.to_string())));
    }
    assert_eq!(bench.service.erased(one.vault).await.unwrap(), signed);

    let after = on(memory::store(blobs, journals));
    assert_eq!(after.service.erased(one.vault).await.unwrap(), signed);
    assert!(two.log_in(&*after.service).await.is_ok());
    refused!(one.log_in(&*after.service).await, VaultError::Forbidden(_));
}

/// Seven days in which the owner can cancel; then a sweep erases, and not before.
#[tokio::test]
async fn an_owner_erases_the_account_and_can_cancel() {
    const DAY: u64 = 86_400;
    let (bench, blobs, journals) = in_memory();
    let owner = owner(&bench, 1, None).await;
    let root = owner.log_in(&*bench.service).await.unwrap();
    let name = owner.vault.short();
    // Also while it is suspended.
    bench.core.account_suspend(&name).unwrap();
    let head = Head::of(owner.vault, &*root).await;
    let wish = root.append(owner.sign(&head, Body::Erase)).await.unwrap();
    let due = Timestamp(START.0 + 7 * DAY);
    assert_eq!(bench.core.account_show(&name).unwrap().erase_due, Some(due));
    assert_eq!(bench.core.sweep(Timestamp(due.0 - 1)).unwrap().erased, 0);
    let seq = wish.signed.entry().unwrap().seq;
    let head = Head::of(owner.vault, &*root).await;
    root.append(owner.sign(&head, Body::Cancel { seq })).await.unwrap();
    assert_eq!(bench.core.sweep(due).unwrap().erased, 0, "it was cancelled");

    bench.clock.advance(DAY);
    let head = Head::of(owner.vault, &*root).await;
    root.append(owner.sign(&head, Body::Erase)).await.unwrap();
    assert_eq!(bench.core.sweep(due).unwrap().erased, 0);
    bench.clock.advance(7 * DAY);
    let now = Timestamp(due.0 + DAY);
    assert_eq!(bench.core.sweep(now).unwrap().erased, 1);
    assert_eq!(bench.core.sweep(now).unwrap().erased, 0);
    let signed = bench.service.erased(owner.vault).await.unwrap();
    let receipt = signed.open(owner.vault, &bench.core.identity()).unwrap();
    let times = (receipt.by, receipt.requested, receipt.erased);
    assert_eq!(times, (ErasedBy::Owner, Timestamp(START.0 + DAY), now));
    assert!(blobs.names().is_empty(), "{:?}", blobs.names());
    assert_eq!(journals.list().unwrap(), ["server"]);
}

/// Wherever an erasure breaks off, the next sweep ends it, and the other account is whole.
#[tokio::test]
async fn an_erasure_that_broke_off_is_finished() {
    let mut finished = 0;
    for at in 0..8 {
        for fault in [Fault::Half, Fault::Done] {
            let (first, blobs, journals) = in_memory();
            let (one, two) = (owner(&first, 1, None).await, owner(&first, 2, None).await);
            session(&first, &one).await.put_pack(one.machine.small_pack(1)).await.unwrap();
            drop(first);
            let broken = on(faults::store(&blobs, &journals, &Plan::new(at, fault)));
            let done = broken.core.account_erase(&one.vault.short());
            drop(broken);

            let after = on(memory::store(blobs.clone(), journals.clone()));
            let swept = after.core.sweep(START).unwrap().erased;
            assert!(two.log_in(&*after.service).await.is_ok());
            let receipt = after.service.erased(one.vault).await;
            if done.is_ok() || swept > 0 {
                assert_eq!(
                    receipt.unwrap().open(one.vault, &after.core.identity()).unwrap().packs,
                    1
                );
                assert!(!blobs.names().iter().any(|name| name.contains(&one.vault.to_string())));
                finished += usize::from(done.is_err());
            } else if receipt.is_err() {
                assert!(one.log_in(&*after.service).await.is_ok(), "nothing happened");
            }
        }
    }
    assert!(finished > 3, "{finished}");
}

/// One that cannot be ended keeps no other account from being swept.
#[tokio::test]
async fn an_erasure_that_is_stuck_holds_up_nobody_else() {
    for at in 0..8 {
        let (first, blobs, journals) = in_memory();
        let (one, two) = (owner(&first, 1, None).await, owner(&first, 2, None).await);
        let loose = session(&first, &two).await;
        loose.put_pack(two.machine.small_pack(1)).await.unwrap();
        drop((first, loose));
        let plan = Plan::new(at, Fault::Half);
        let bench = on(faults::store(&blobs, &journals, &plan));
        if bench.core.account_erase(&one.vault.short()).is_ok() || bench.core.has_failed() {
            continue;
        }
        let stuck = bench.core.0.ledger.erasing().len() == 1;
        if !stuck {
            continue;
        }
        let later = Timestamp(START.0 + 31 * 86_400);
        bench.clock.set(later);
        plan.fail_next(Fault::Half);
        let swept = bench.core.sweep(later).unwrap();
        assert_eq!((swept.erased, swept.failed, swept.packs), (0, 1, 1));
        let swept = bench.core.sweep(later).unwrap();
        assert_eq!((swept.erased, swept.failed), (1, 0));
        return;
    }
    panic!("no erasure was stuck");
}

#[tokio::test]
async fn no_hint_of_a_scrub_is_left_of_an_erased_account() {
    let dir = tempfile::tempdir().unwrap();
    let (core, one, _device) = begun(dir.path()).await;
    let two = Owner::new(2);
    core.create_account(two.account(core.identity(), b"")).await.unwrap();
    let rounds = Rounds::new(core.clone(), Some(dir.path()));
    for id in [one.vault, two.vault] {
        rounds.scrub(id, &mut |_| true).unwrap();
    }
    let path = dir.path().join(HINTS);
    let has = |id: VaultId| fs::read_to_string(&path).unwrap().contains(&id.to_string());
    assert!(has(one.vault) && has(two.vault));
    core.account_erase(&one.vault.short()).unwrap();
    assert!(!has(one.vault) && has(two.vault));
    // The rounds knew it, and write their file again.
    rounds.scrub(two.vault, &mut |_| true).unwrap();
    assert!(!has(one.vault) && has(two.vault));
    // A file that makes no sense may have the name, too.
    fs::write(&path, two.vault.to_string()).unwrap();
    core.account_erase(&two.vault.short()).unwrap();
    assert!(!path.exists());
}
