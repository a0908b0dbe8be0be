//! Expiry, deletion, what comes back, compaction, and the clock.

use std::slice::from_ref;

use unseen_common::id::{Hash, PackId, PackNumber, SnapshotId};
use unseen_common::limits::MAX_ENTRY_SNAPSHOTS;
use unseen_common::log::entry::{Author, Body};
use unseen_common::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use unseen_common::packset::PackSet;
use unseen_common::time::Timestamp;
use unseen_common::vault::VaultError;

use super::gc_lab::{DAY, Lab, hash_of};
use crate::ops::metrics::Job;
use crate::store::blobs::Blobs;
use crate::store::key::{self, Key};
use crate::store::lock;
use crate::testkit::START;
use crate::testkit::faults::{Fault, Plan};

const GRACE: u64 = 30 * DAY;

#[test]
fn what_nothing_needs_goes_after_its_grace_and_not_before() {
    let mut lab = Lab::new();
    let (a, b, loose) = (lab.put(1), lab.put(2), lab.put(3));
    let first = lab.commit(&[a.clone(), b.clone()]).unwrap();
    let second = lab.commit(from_ref(&b)).unwrap();
    lab.clock.advance(10 * DAY);
    lab.forget(first);
    assert!(lab.account.with_state(|state| !state.snapshots.contains_key(&first)), "at once");
    lab.clock.advance(GRACE - 10 * DAY - 1);
    assert_eq!(lab.sweep().packs, 0);
    lab.clock.advance(61);
    let swept = lab.sweep();
    assert_eq!((swept.packs, swept.bytes, swept.snapshots), (1, 65536, 0));
    assert!(!lab.is_there(&loose), "it was never needed, and sent 30 days ago");
    assert!(lab.is_there(&a) && lab.is_there(&b));
    lab.clock.advance(10 * DAY - 61);
    assert_eq!(lab.sweep().packs, 0);
    lab.clock.advance(1);
    let swept = lab.sweep();
    assert_eq!((swept.packs, swept.snapshots), (1, 1));
    assert!(!lab.is_there(&a) && lab.is_there(&b));
    let vault = lab.owner.vault;
    for (id, there) in [(first, false), (second, true)] {
        for key in [Key::manifest(vault, id), Key::packset(vault, id)] {
            assert_eq!(lab.blobs.length(&key).unwrap().is_some(), there);
            assert_eq!(lab.blobs.length(&key.second()).unwrap().is_some(), there);
        }
    }
    assert_eq!(lab.blobs.list(&key::log_folder(vault)).unwrap().len(), 5, "the log stays whole");

    // The same pack again: another number, before a restart and after it.
    let again = lab.put(1);
    assert_eq!((again.0, lab.put(3).0), (PackNumber(3), PackNumber(4)));
    lab.restart();
    assert_eq!(lab.put(4).0, PackNumber(5));
    assert!(!lab.has_row(&a) && lab.is_there(&b) && lab.is_there(&again));
    assert_eq!(lab.account.totals().0, 4);
    assert_eq!(lab.fault(), None);
}

#[test]
fn a_pack_that_is_sent_again_begins_its_grace_anew() {
    let mut lab = Lab::new();
    let pack = lab.put(1);
    lab.clock.advance(GRACE - 1);
    assert_eq!(lab.put(1).0, pack.0);
    lab.restart();
    lab.clock.advance(GRACE - 1);
    lab.sweep();
    assert!(lab.is_there(&pack), "the answer was 200, and is remembered");
    lab.clock.advance(120);
    lab.sweep();
    assert!(!lab.is_there(&pack));
    // Within a day no second record is written.
    let pack = lab.put(1);
    let before = lab.account.journal.extent();
    assert_eq!(lab.put(1).0, pack.0);
    assert_eq!(lab.account.journal.extent(), before);
}

#[test]
fn a_commit_makes_packs_needed_again_while_their_rows_are_there() {
    let mut lab = Lab::new();
    let pack = lab.put(1);
    lab.clock.advance(GRACE + 60);
    // It is decided that the pack goes; then it is committed; then it does not go.
    let plan = lab.account.plan_collection(lab.now()).unwrap();
    lab.commit(from_ref(&pack)).unwrap();
    let gone = lab.account.remove_rows(&plan).unwrap();
    lab.account.delete_blobs(&gone);
    assert!(lab.is_there(&pack));
    assert_eq!(lab.fault(), None);

    // Once the row is gone, a client that slept for weeks is told, and sends the pack again.
    let late = lab.put(2);
    lab.clock.advance(GRACE + 60);
    let plan = lab.account.plan_collection(lab.now()).unwrap();
    let gone = lab.account.remove_rows(&plan).unwrap();
    let told = lab.commit(&[pack.clone(), late.clone()]);
    let missing: PackSet = [late.0].into_iter().collect();
    assert!(matches!(told, Err(VaultError::MissingPacks(packs)) if packs == missing));
    let again = lab.put(2);
    assert_ne!(again.0, late.0);
    lab.account.delete_blobs(&gone);
    lab.commit(&[pack, again.clone()]).unwrap();
    assert!(lab.is_there(&again), "the late deletion met the old number alone");
    assert_eq!(lab.fault(), None);
}

/// The broken protocol: without looking again a committed pack is lost, and the check shows it.
#[test]
fn without_looking_again_a_committed_pack_is_lost() {
    let mut lab = Lab::new();
    let pack = lab.put(1);
    lab.clock.advance(GRACE + 60);
    lab.commit(&[]).unwrap();
    let candidates: roaring::RoaringBitmap = [pack.0.0].into_iter().collect();
    lab.commit(&[pack]).unwrap();
    let gone = lab.account.remove_exactly(&candidates, lab.now()).unwrap();
    lab.account.delete_blobs(&gone);
    assert!(lab.fault().is_some_and(|fault| fault.contains("no row")));
}

#[test]
fn forgotten_snapshots_come_back_with_all_their_packs_or_not_at_all() {
    let mut lab = Lab::new();
    let packs = [lab.put(1), lab.put(2)];
    let id = lab.commit(&packs).unwrap();
    lab.forget(id);
    lab.clock.advance(GRACE - 1);
    lab.sweep();
    assert!(matches!(lab.restore(id, &packs[..1]), Err(VaultError::StaleIndex)));
    lab.restore(id, &packs).unwrap();
    lab.clock.advance(GRACE * 2);
    assert_eq!(lab.core.gc(true).unwrap().packs, 0);
    assert!(packs.iter().all(|pack| lab.is_there(pack)));
    lab.root(Body::Unpin(super::gc_lab::ids(&[id]))).unwrap();
    lab.forget(id);
    lab.clock.advance(GRACE - 1);
    // A pack is gone although it should be there: nothing comes back by halves.
    lock(&lab.account.tables).packs.remove(&[packs[1].0].into_iter().collect());
    let told = lab.restore(id, &packs);
    assert!(matches!(told, Err(VaultError::MissingPacks(packs)) if packs.0.len() == 1));
    lab.clock.advance(1);
    assert!(lab.restore(id, &packs).is_err(), "its grace is over");
}

#[test]
fn what_a_crash_leaves_goes_and_what_is_being_stored_stays() {
    let mut lab = Lab::new();
    let (gone, kept) = (lab.put(1), lab.put(2));
    lab.commit(from_ref(&kept)).unwrap();
    lab.clock.advance(GRACE + 60);
    let plan = lab.account.plan_collection(lab.now()).unwrap();
    lab.account.remove_rows(&plan).unwrap();
    assert!(!lab.has_row(&gone) && lab.has_blob(&gone));
    lab.restart();
    // A commit and an upload that were cut off.
    let vault = lab.owner.vault;
    let stray = SnapshotId::from_bytes([7; 32]);
    let cut = Key::pack(vault, PackNumber(2), PackId::from_bytes([8; 32]));
    let new = Key::pack(vault, PackNumber(3), PackId::from_bytes([9; 32]));
    let lists = [
        Key::packset(vault, stray),
        Key::compacted(vault, stray, Hash::of(b"x")),
        Key::manifest(vault, stray),
        // A deletion that broke off between the two.
        Key::manifest(vault, SnapshotId::from_bytes([6; 32])).second(),
    ];
    for key in lists.iter().chain([&cut, &new]) {
        lab.blobs.put(key, &[b"bytes"]).unwrap();
    }
    {
        let mut tables = lock(&lab.account.tables);
        tables.next_number = 4;
        tables.storing.insert(PackId::from_bytes([9; 32]), PackNumber(3));
    }
    assert_eq!(lab.sweep().strays, 6);
    assert!(!lab.has_blob(&gone) && lab.is_there(&kept));
    assert!(lab.blobs.length(&cut).unwrap().is_none());
    assert!(lab.blobs.length(&new).unwrap().is_some(), "it is on its way");
    assert!(lists.iter().all(|key| lab.blobs.length(key).unwrap().is_none()));
    assert_eq!(lab.core.gc(false).unwrap().strays, 0);
    assert_eq!(lab.fault(), None);
}

/// What may go, what stays, and a compaction between them.
fn lived() -> (Lab, Vec<super::gc_lab::Stored>, [SnapshotId; 2]) {
    let mut lab = Lab::new();
    let packs: Vec<_> = (0..4).map(|seed| lab.put(seed)).collect();
    let gone = lab.commit(&packs[..2]).unwrap();
    let kept = lab.commit(&packs[1..3]).unwrap();
    let new = lab.put(9);
    let planned = lab.head();
    let needs = vec![packs[1].clone(), new.clone()];
    let request = lab.compaction((&packs[2..3], from_ref(&new)), &[(kept, needs)], &planned);
    lab.account.compact(request).unwrap();
    lab.forget(gone);
    lab.clock.advance(GRACE + 60);
    (lab, packs, [gone, kept])
}

#[test]
fn wherever_a_sweep_breaks_off_nothing_that_is_needed_goes_and_the_next_one_ends_it() {
    let never = Plan::new(u64::MAX, Fault::DiskFull);
    let (mut lab, packs, _) = lived();
    lab.fail_as(&never);
    let opened = never.count();
    assert_eq!(lab.sweep().packs, 3, "one of the forgotten, one compacted, one loose");
    assert!(lab.is_there(&packs[1]));
    let operations = never.count();
    assert!(operations > opened + 6, "{operations}");
    for fault in [Fault::DiskFull, Fault::Half, Fault::Done] {
        for at in opened..operations {
            let (mut lab, packs, [gone, kept]) = lived();
            lab.fail_as(&Plan::new(at, fault));
            // It may fail, or leave something.
            drop(lab.core.sweep(lab.now()));
            lab.restart();
            assert_eq!(lab.fault(), None, "{fault:?} at {at}");
            assert!(lab.account.packs_of(kept).unwrap().is_some());
            assert_eq!(lab.core.gc(true).unwrap().failed, 0);
            assert_eq!(lab.account.totals().0, 2, "{fault:?} at {at}");
            let there: Vec<bool> = packs.iter().map(|pack| lab.is_there(pack)).collect();
            assert_eq!(there, [false, true, false, false]);
            let vault = lab.owner.vault;
            assert_eq!(lab.blobs.list(&key::packset_folder(vault)).unwrap().len(), 1);
            for key in [Key::manifest(vault, gone), Key::manifest(vault, gone).second()] {
                assert!(lab.blobs.length(&key).unwrap().is_none());
            }
        }
    }
}

#[test]
fn uploads_wait_while_rows_go_and_a_busy_pack_stays() {
    let lab = Lab::new();
    let pack = lab.put(1);
    lab.clock.advance(GRACE + 60);
    lock(&lab.account.tables).storing.insert(pack.1.id, pack.0);
    assert_eq!(lab.sweep().packs, 0, "somebody is writing it");
    lock(&lab.account.tables).storing.clear();
    lock(&lab.account.tables).leaving.insert(pack.0.0);
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| lab.send(&pack.1));
        lock(&lab.account.tables).packs.remove(&[pack.0].into_iter().collect());
        lock(&lab.account.tables).leaving.clear();
        lab.account.uploaded.notify_all();
        assert_eq!(sent.join().unwrap().unwrap(), PackNumber(1), "it was told of no old row");
    });
}

#[test]
fn the_rules_are_carried_out_and_prove_themselves() {
    let mut lab = Lab::new();
    let rules = KeepRules { last: 1, ..KeepRules::NONE };
    lab.root(Body::Policy(Policy { keep: rules, floor_days: 2, ..DEFAULT_POLICY })).unwrap();
    let mut made = Vec::new();
    let pack = lab.put(1);
    for _ in 0..MAX_ENTRY_SNAPSHOTS + 3 {
        lab.clock.advance(600);
        made.push(lab.commit(from_ref(&pack)).unwrap());
    }
    let head = lab.head().seq;
    lab.clock.advance(3 * DAY);
    let swept = lab.sweep();
    assert_eq!(swept.expired, u64::try_from(MAX_ENTRY_SNAPSHOTS + 2).unwrap());
    assert_eq!(lab.head().seq, head + 2, "two records of at most 64 KiB");
    let record = lab.account.record(head).unwrap().unwrap();
    let entry = record.signed.entry().unwrap();
    assert!(entry.author == Author::Server && record.signed.is_unsigned());
    assert_eq!((record.received, entry.time), (lab.now(), lab.now()));
    lab.account.with_state(|state| {
        assert_eq!(state.snapshots.keys().collect::<Vec<_>>(), [made.last().unwrap()]);
        assert_eq!(state.gone.len(), MAX_ENTRY_SNAPSHOTS + 2);
    });
    assert_eq!(lab.sweep().expired, 0);
    lab.restart();
    assert_eq!(lab.fault(), None);
}

#[test]
fn a_clock_that_jumps_deletes_nothing_until_it_is_confirmed() {
    let mut lab = Lab::new();
    let pack = lab.put(1);
    lab.sweep();
    lab.clock.set(Timestamp(START.0 + 10 * 365 * DAY));
    let swept = lab.sweep();
    let held = swept.held.unwrap();
    assert_eq!((held.last, held.now), (START, lab.now()));
    assert_eq!(lab.core.gc(false).unwrap().held, Some(held));
    assert_eq!(lab.core.held(), Some(held));
    let job = lab.core.metrics().job(Job::Gc);
    assert!(job.trouble.contains("--confirm-clock") && job.failures == 2, "{job:?}");
    lab.restart();
    assert!(lab.sweep().held.is_some(), "a restart confirms nothing");
    // Everything else goes on.
    let kept = lab.put(2);
    let id = lab.commit(from_ref(&kept)).unwrap();
    assert!(lab.is_there(&pack));

    // Back again: the clock that was wrong has stamped nothing.
    lab.clock.set(Timestamp(START.0 + DAY));
    assert_eq!(lab.sweep().held, None);
    lab.forget(id);
    lab.clock.set(Timestamp(START.0 + GRACE));
    let swept = lab.sweep();
    assert_eq!((swept.packs, swept.held), (1, None), "the loose one, by true time");
    assert!(!lab.is_there(&pack) && lab.is_there(&kept));

    lab.clock.set(Timestamp(START.0 + 20 * 365 * DAY));
    assert!(lab.sweep().held.is_some());
    let swept = lab.core.gc(true).unwrap();
    assert_eq!((swept.held, swept.packs), (None, 1));
    assert_eq!(lab.core.held(), None);
    let job = lab.core.metrics().job(Job::Gc);
    assert_eq!((job.succeeded, job.trouble.as_str()), (Some(lab.now()), ""), "by hand, too");
    lab.restart();
    lab.clock.advance(DAY);
    assert_eq!(lab.sweep().held, None, "what was confirmed is remembered");
}

/// An account that was written under a clock that ran ahead: the rules wait for the time.
#[test]
fn nothing_expires_by_stamps_from_the_future() {
    let mut lab = Lab::new();
    let rules = KeepRules { within: DAY, ..KeepRules::NONE };
    lab.root(Body::Policy(Policy { keep: rules, ..DEFAULT_POLICY })).unwrap();
    let good = lab.commit(&[]).unwrap();
    lab.sweep();
    lab.clock.set(Timestamp(START.0 + 365 * DAY));
    lab.commit(&[]).unwrap();
    lab.clock.set(Timestamp(START.0 + 20 * DAY));
    assert_eq!(lab.sweep().expired, 0);
    assert!(lab.account.with_state(|state| state.snapshots.contains_key(&good)));
}

#[test]
fn compaction_concerns_what_was_planned_and_keeps_the_old_for_its_grace() {
    let mut lab = Lab::new();
    let (a, b, c) = (lab.put(1), lab.put(2), lab.put(3));
    let one = lab.commit(&[a.clone(), b.clone()]).unwrap();
    let two = lab.commit(&[b.clone(), c.clone()]).unwrap();
    let planned = lab.head();
    let new = lab.put(9);
    let late = lab.commit(from_ref(&a)).unwrap();
    let kept = vec![b.clone(), new.clone()];
    let good = |lab: &Lab| {
        lab.compaction((from_ref(&a), from_ref(&new)), &[(one, kept.clone())], &planned)
    };

    let refuse = |lab: &Lab, change: &dyn Fn(&mut unseen_common::vault::CompactRequest)| {
        let mut request = good(lab);
        change(&mut request);
        assert!(matches!(lab.account.compact(request), Err(VaultError::Invalid(_))));
    };
    refuse(&lab, &|request| request.packs.clear());
    refuse(&lab, &|request| drop(request.map.0.insert(PackNumber(70), PackSet::default())));
    refuse(&lab, &|request| request.entry.signature[0] ^= 1);
    let lossy =
        lab.compaction((from_ref(&a), from_ref(&new)), &[(one, vec![new.clone()])], &planned);
    assert!(matches!(lab.account.compact(lossy), Err(VaultError::Invalid(_))), "b would be lost");
    let foreign = vec![b.clone(), c.clone(), new.clone()];
    let foreign = lab.compaction((from_ref(&a), from_ref(&new)), &[(one, foreign)], &planned);
    assert!(matches!(lab.account.compact(foreign), Err(VaultError::Invalid(_))));
    let after =
        lab.compaction((from_ref(&a), from_ref(&new)), &[(late, vec![new.clone()])], &planned);
    assert!(
        matches!(lab.account.compact(after), Err(VaultError::Invalid(_))),
        "made after the plan"
    );
    let other = crate::testkit::Head { hash: Hash::of(b"?"), ..planned };
    let other = lab.compaction((from_ref(&a), from_ref(&new)), &[(one, kept.clone())], &other);
    assert!(matches!(lab.account.compact(other), Err(VaultError::Invalid(_))));
    let nowhere = (PackNumber(55), new.1.clone());
    let missing = vec![b.clone(), nowhere.clone()];
    let missing = lab.compaction((from_ref(&a), &[nowhere]), &[(one, missing)], &planned);
    assert!(matches!(lab.account.compact(missing), Err(VaultError::MissingPacks(_))));

    let request = good(&lab);
    let record = lab.account.compact(request.clone()).unwrap();
    assert_eq!(lab.account.compact(request).unwrap(), record, "the answer was lost");
    let packs_of = |lab: &Lab, id| lab.account.packs_of(id).unwrap().unwrap();
    let numbers =
        |packs: &[super::gc_lab::Stored]| packs.iter().map(|(n, _)| *n).collect::<PackSet>();
    let agree = |lab: &Lab| {
        assert_eq!(packs_of(lab, one), numbers(&kept));
        assert_eq!(packs_of(lab, two), numbers(&[b.clone(), c.clone()]));
        assert_eq!(packs_of(lab, late), numbers(from_ref(&a)));
        assert_eq!(lab.fault(), None);
    };
    agree(&lab);
    lab.restart();
    agree(&lab);

    // The old pack stays for the snapshot that was made after the plan, then for its grace.
    lab.clock.advance(GRACE + 60);
    assert_eq!(lab.sweep().packs, 0);
    assert!(lab.blobs.length(&Key::packset(lab.owner.vault, one)).unwrap().is_none());
    lab.forget(late);
    lab.clock.advance(GRACE);
    assert_eq!(lab.sweep().packs, 1);
    assert!(!lab.is_there(&a) && lab.is_there(&new));
    // Forgotten after it was compacted, it comes back as it is now.
    lab.forget(one);
    lab.clock.advance(DAY);
    lab.restore(one, &kept).unwrap();
    lab.restart();
    assert_eq!(packs_of(&lab, one), numbers(&kept));
    let hash = lab.account.with_state(|state| state.snapshots[&one].packset_hash);
    assert_eq!(hash, hash_of(&kept));
}

#[test]
fn a_list_that_has_rotted_stops_all_deletion() {
    let mut lab = Lab::new();
    let (kept, loose) = (lab.put(1), lab.put(2));
    let id = lab.commit(from_ref(&kept)).unwrap();
    lab.clock.advance(GRACE + 60);
    let key = Key::packset(lab.owner.vault, id);
    let good = lab.blobs.get(&key).unwrap().unwrap();
    let other: PackSet = [loose.0].into_iter().collect();
    for bad in [Some(other.to_bytes()), Some(b"rot".to_vec()), None] {
        for key in [&key, &key.second()] {
            match &bad {
                Some(bytes) => lab.blobs.put(key, &[bytes]).unwrap(),
                None => lab.blobs.delete(key).unwrap(),
            }
        }
        for _ in 0..2 {
            assert_eq!(lab.sweep().failed, 1);
            assert!(lab.is_there(&kept) && lab.is_there(&loose));
            lab.restart();
        }
    }
    // Either copy will do.
    lab.blobs.put(&key.second(), &[&good]).unwrap();
    assert_eq!(lab.sweep().packs, 1);
    assert!(lab.is_there(&kept));
}

#[test]
fn a_suspended_account_keeps_what_it_has() {
    let lab = Lab::new();
    let pack = lab.put(1);
    lab.clock.advance(GRACE + 60);
    let name = lab.owner.vault.short();
    lab.core.account_suspend(&name).unwrap();
    assert_eq!(lab.core.gc(true).unwrap().packs, 0);
    assert!(lab.is_there(&pack));
    lab.core.account_resume(&name).unwrap();
    assert_eq!(lab.core.gc(true).unwrap().packs, 1);
}
