//! Deletion, scrub, rebuild, copy and the operator's commands, beside each other.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use unseen_common::id::PackNumber;
use unseen_common::vault::VaultError;

use super::Options;
use super::gc_lab::{DAY, Lab, Stored};
use super::rebuild::{Fate, Rebuilder, Rebuilt};
use super::rounds::Rounds;
use super::scrub::{Broken, ScrubReport, Spot};
use crate::store::blobs::Blobs;
use crate::store::journal_files::{Journals, aside};
use crate::store::key::Key;
use crate::store::memory;
use crate::testkit::{Owner, TestClock};

const GRACE: u64 = 30 * DAY;

fn scrub(lab: &Lab) -> ScrubReport {
    let rounds = Rounds::new(lab.core.clone(), None);
    rounds.scrub_from(lab.owner.vault, Spot::default(), &mut |_| true).unwrap()
}

fn rot(lab: &Lab, key: &Key) {
    assert!(lab.blobs.edit(key, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }));
}

fn pack_key(lab: &Lab, pack: &Stored) -> Key {
    Key::pack(lab.owner.vault, pack.0, pack.1.id)
}

fn rebuilder(lab: &Lab) -> Rebuilder {
    let clock = Arc::<TestClock>::clone(&lab.clock);
    let options = Options { clock, open_accounts: true };
    let store = memory::store(lab.blobs.clone(), lab.journals.clone());
    Rebuilder::new(store, &options, SigningKey::from_bytes(&[3; 32]).verifying_key())
}

/// One byte of the journal goes bad, early on; what is behind it can be salvaged.
fn rebuild_damaged(lab: &mut Lab) -> Rebuilt {
    lab.journals.edit(&lab.owner.vault.to_string(), |bytes| bytes[70] ^= 1);
    rebuild(lab)
}

fn rebuild(lab: &mut Lab) -> Rebuilt {
    let fate = rebuilder(lab).account(lab.owner.vault);
    lab.restart();
    match fate {
        Fate::Rebuilt(rebuilt) => rebuilt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_pack_goes_like_any_and_so_does_the_copy_of_its_footer() {
    let lab = Lab::new();
    let packs: Vec<Stored> = (0..64).map(|seed| lab.put(seed)).collect();
    let footers = Key::footers(lab.owner.vault, PackNumber(0));
    assert!(lab.blobs.length(&footers).unwrap().is_some(), "the range is full");
    rot(&lab, &pack_key(&lab, &packs[5]));
    assert_eq!(scrub(&lab).found.0.len(), 1);
    lab.clock.advance(GRACE - DAY);
    lab.send(&packs[7].1).unwrap();
    lab.clock.advance(2 * DAY);
    let swept = lab.core.gc(true).unwrap();
    assert_eq!((swept.packs, swept.failed), (63, 0));
    assert!(!lab.is_there(&packs[5]) && lab.is_there(&packs[7]));
    assert!(lab.blobs.length(&footers).unwrap().is_some(), "one is left");
    lab.clock.advance(GRACE);
    assert_eq!(lab.core.gc(true).unwrap().packs, 1);
    assert!(lab.blobs.length(&footers).unwrap().is_none());
    let report = scrub(&lab);
    assert!(report.finished && report.packs == 0);
    assert!(lab.blobs.length(&footers).unwrap().is_none());
}

#[test]
fn a_pack_that_is_healed_has_its_grace_anew() {
    let lab = Lab::new();
    let pack = lab.put(1);
    rot(&lab, &pack_key(&lab, &pack));
    assert_eq!(scrub(&lab).found.0.len(), 1);
    lab.clock.advance(GRACE - DAY);
    lab.core.account_suspend(&lab.owner.vault.short()).unwrap();
    assert!(matches!(lab.send(&pack.1), Err(VaultError::Suspended(_))));
    lab.core.account_resume(&lab.owner.vault.short()).unwrap();
    assert_eq!(lab.send(&pack.1).unwrap(), pack.0);
    lab.clock.advance(2 * DAY);
    assert_eq!(lab.core.gc(true).unwrap().packs, 0);
    assert!(lab.is_there(&pack));
    assert!(scrub(&lab).found.0.is_empty());
}

#[test]
fn nothing_is_deleted_while_a_list_cannot_be_read_and_a_scrub_tells() {
    let mut lab = Lab::new();
    let packs = [lab.put(1), lab.put(2)];
    let unneeded = lab.put(3);
    let kept = lab.commit(&packs[..1]).unwrap();
    let graced = lab.commit(&packs).unwrap();
    lab.forget(graced);
    lab.clock.advance(DAY);
    for id in [graced, kept] {
        let key = Key::packset(lab.owner.vault, id);
        let before = lab.blobs.get(&key).unwrap().unwrap();
        rot(&lab, &key);
        rot(&lab, &key.second());
        let broken = scrub(&lab).broken;
        assert!(matches!(broken[..], [Broken::Packset(_)]), "{broken:?}");
        let stray = Key::pack(lab.owner.vault, PackNumber(0), packs[1].1.id);
        lab.blobs.put(&stray, &[b"left over"]).unwrap();
        lab.restart();
        assert_eq!(lab.core.gc(true).unwrap().failed, 1);
        assert!(lab.blobs.length(&stray).unwrap().is_some());
        assert!(lab.is_there(&unneeded));
        lab.blobs.put(&key, &[&before]).unwrap();
        lab.blobs.delete(&stray).unwrap();
    }
    lab.clock.advance(GRACE);
    let swept = lab.core.gc(true).unwrap();
    assert_eq!((swept.packs, swept.failed), (2, 0));
    assert_eq!((scrub(&lab).broken, lab.fault()), (Vec::new(), None));
}

#[test]
fn a_rebuild_keeps_what_the_operator_did_and_what_went_stays_away() {
    let mut lab = Lab::new();
    let name = lab.owner.vault.short();
    let packs = [lab.put(1), lab.put(2), lab.put(3)];
    let live = lab.commit(&packs[..1]).unwrap();
    let old = lab.commit(&packs[..2]).unwrap();
    lab.forget(old);
    lab.clock.advance(GRACE + DAY);
    assert_eq!(lab.core.gc(true).unwrap().packs, 2);
    // A crash before the file was gone.
    lab.blobs.put(&pack_key(&lab, &packs[2]), &[&packs[2].1.bytes]).unwrap();
    lab.core.account_quota(&name, Some(1 << 30)).unwrap();
    let before = lab.core.account_suspend(&name).unwrap();
    let access = lab.account.access();
    let rebuilt = rebuild_damaged(&mut lab);
    assert_eq!((rebuilt.packs, rebuilt.missing, rebuilt.damaged), (1, 0, 0));
    assert_eq!(lab.core.account_show(&name).unwrap(), before);
    assert_eq!(lab.account.access()[..access.len()], access);
    assert_eq!(lab.account.packs_of(live).unwrap().unwrap().0.len(), 1);
    lab.core.account_resume(&name).unwrap();
    let restored = lab.restore(old, &packs[..2]).unwrap_err();
    assert!(matches!(restored, VaultError::NotFound(_) | VaultError::Invalid(_)), "{restored}");
    let swept = lab.core.gc(true).unwrap();
    assert_eq!((swept.packs, swept.strays, swept.failed), (0, 1, 0));
    assert_eq!((scrub(&lab).broken, lab.fault()), (Vec::new(), None));
    assert!(lab.put(9).0.0 > 1 << 16);
}

#[test]
fn a_journal_that_is_gone_is_made_anew_after_a_compaction() {
    let mut lab = Lab::new();
    let old = [lab.put(1), lab.put(2)];
    let ids = [lab.commit(&old).unwrap(), lab.commit(&old[..1]).unwrap()];
    let new = lab.put(3);
    let planned = lab.head();
    let after = vec![new.clone()];
    let request = lab.compaction((&old, std::slice::from_ref(&new)), &[(ids[0], after)], &planned);
    lab.account.compact(request).unwrap();
    let used = lab.core.account_show(&lab.owner.vault.short()).unwrap().used;
    assert!(scrub(&lab).broken.is_empty());
    lab.journals.remove(&lab.owner.vault.to_string()).unwrap();
    let rebuilt = rebuild(&mut lab);
    assert_eq!((rebuilt.packs, rebuilt.missing, rebuilt.strange), (3, 0, 0));
    assert_eq!(lab.core.account_show(&lab.owner.vault.short()).unwrap().used, used);
    let needs = |lab: &Lab, at: usize| lab.account.packs_of(ids[at]).unwrap().unwrap();
    assert_eq!(needs(&lab, 0), [new.0].into_iter().collect());
    assert_eq!(needs(&lab, 1), [old[0].0].into_iter().collect());
    assert!(scrub(&lab).broken.is_empty());
    lab.clock.advance(GRACE + DAY);
    let swept = lab.core.gc(true).unwrap();
    assert_eq!((swept.packs, swept.failed), (1, 0));
    assert!(!lab.is_there(&old[1]) && lab.is_there(&old[0]) && lab.is_there(&new));
    assert_eq!((scrub(&lab).broken, lab.fault()), (Vec::new(), None));
}

#[test]
fn what_lies_under_the_number_of_a_needed_pack_is_no_stray() {
    let mut lab = Lab::new();
    let packs = [lab.put(1), lab.put(2)];
    let live = lab.commit(&packs).unwrap();
    lab.blobs.edit(&pack_key(&lab, &packs[1]), |bytes| bytes[0] ^= 1);
    lab.journals.remove(&lab.owner.vault.to_string()).unwrap();
    let rebuilt = rebuild(&mut lab);
    assert_eq!((rebuilt.packs, rebuilt.missing, rebuilt.strange), (1, 1, 1));
    assert_eq!(lab.account.packs_of(live).unwrap().unwrap().0.len(), 2);
    let swept = lab.core.gc(true).unwrap();
    assert_eq!((swept.strays, swept.failed), (0, 0));
    assert!(lab.has_blob(&packs[1]) && !lab.has_row(&packs[1]));
}

#[test]
fn a_damaged_account_is_left_alone_by_sweeps_and_can_be_erased_with_what_was_kept_aside() {
    let mut lab = Lab::new();
    let pack = lab.put(1);
    rebuild_damaged(&mut lab);
    let name = lab.owner.vault.to_string();
    assert!(lab.journals.open(&aside(&name, 0)).unwrap().is_some());
    lab.journals.edit(&name, |bytes| bytes[70] ^= 1);
    lab.restart();
    assert!(lab.account.read_only.is_some());
    lab.clock.advance(GRACE + DAY);
    let swept = lab.core.gc(true).unwrap();
    assert_eq!((swept.packs, swept.failed), (0, 0));
    assert!(lab.has_blob(&pack));
    lab.core.account_erase(&lab.owner.vault.short()).unwrap();
    assert!(lab.journals.open(&name).unwrap().is_none());
    assert!(lab.journals.open(&aside(&name, 0)).unwrap().is_none());
    assert!(lab.blobs.names().is_empty());
}

#[test]
fn receipts_outlive_a_damaged_journal_of_the_server_and_open_invites_do_not() {
    let lab = Lab::new();
    let clock = Arc::<TestClock>::clone(&lab.clock);
    let receipt = lab.core.account_erase(&lab.owner.vault.short()).unwrap();
    lab.core.invite(None, 60).unwrap();
    let other = Owner::new(2);
    let used = lab.core.invite(Some(5 << 20), 60).unwrap();
    lab.core.0.create_account(&other.account(lab.core.identity(), &used)).unwrap();
    lab.core.gc(true).unwrap();
    lab.journals.edit("server", |bytes| bytes[70] ^= 1);
    let ledger = rebuilder(&lab).server().unwrap();
    assert!(ledger.receipt(lab.owner.vault).is_none_or(|kept| kept == receipt));
    assert!(ledger.is_erased(lab.owner.vault));
    assert!(ledger.invites(unseen_common::time::Clock::now(&*clock)).is_empty());
    assert!(ledger.clock().is_some());
}
