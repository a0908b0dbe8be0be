//! Sets of slots that were replaced go, and the one that the log names never does.

use std::sync::Arc;

use bytes::Bytes;
use unseen_common::id::Hash;
use unseen_common::log::chain::Record;
use unseen_common::log::entry::Body;
use unseen_common::time::Clock;
use unseen_common::vault::{Result, slot_set_hash};

use super::Options;
use super::gc_lab::{DAY, Lab};
use super::log::encode_slots;
use super::rebuild::{Fate, Rebuilder};
use crate::store::blobs::Blobs;
use crate::store::key::{self, Key};
use crate::store::memory::{self, MemJournals};
use crate::testkit::TestClock;
use crate::testkit::faults::{Fault, Plan};

type Set = Vec<Vec<u8>>;

const HOUR: u64 = 3600;

fn set(seed: u8) -> Set {
    vec![vec![seed; 300], vec![seed; 200]]
}

fn hash(slots: &Set) -> Hash {
    slot_set_hash(slots)
}

/// The owner's client replaces the slots.
fn replace(lab: &Lab, slots: &Set) -> Result<Record> {
    let body = Body::Slots(lab.owner.slots_body(slots));
    let entry = lab.owner.sign(&lab.head(), body);
    let slots: Vec<Bytes> = slots.iter().cloned().map(Bytes::from).collect();
    lab.account.put_slots(&slots, entry)
}

/// How many copies of a set there are.
fn copies(lab: &Lab, slots: &Set) -> usize {
    let key = Key::slots(lab.owner.vault, hash(slots));
    let there = |key: &Key| lab.blobs.length(key).unwrap().is_some();
    [key.second(), key].iter().filter(|key| there(key)).count()
}

fn served(lab: &Lab) -> Set {
    let hash = lab.account.with_state(|state| state.slots.hash);
    let slots = lab.core.0.slots_of(lab.owner.vault, hash).unwrap();
    slots.iter().map(|slot| slot.to_vec()).collect()
}

#[test]
fn a_set_that_was_replaced_goes_after_a_day_in_both_copies() {
    let mut lab = Lab::new();
    let first = lab.owner.slots.clone();
    lab.clock.advance(100 * DAY);
    lab.core.gc(true).unwrap();
    assert_eq!(copies(&lab, &first), 2, "it is in use, however old");
    // Shortly after a sweep, which is not the next one's time yet.
    lab.clock.advance(HOUR);
    replace(&lab, &set(1)).unwrap();
    replace(&lab, &set(2)).unwrap();
    // A set whose entry never came, and a name that makes no sense.
    let lone = Key::slots(lab.owner.vault, hash(&set(9))).second();
    lab.blobs.put(&lone, &[&encode_slots(&set(9))]).unwrap();
    let odd = Key::listed(lab.owner.vault, "slots", "odd");
    lab.blobs.put(&odd, &[b"x"]).unwrap();
    lab.clock.advance(DAY - HOUR);
    assert_eq!(lab.sweep().strays, 0, "it is time to look, and too early");
    lab.clock.advance(HOUR - 1);
    // A process that lives shorter than a day: the log tells how long it has been.
    lab.restart();
    assert_eq!(lab.core.gc(false).unwrap().strays, 0);
    assert_eq!([copies(&lab, &first), copies(&lab, &set(1)), copies(&lab, &set(2))], [2, 2, 2]);
    lab.clock.advance(1);
    assert_eq!(lab.sweep().strays, 3, "at the very second, without being told to");
    for (old, left) in [(&first, 0), (&set(1), 0), (&set(9), 0), (&set(2), 2)] {
        assert_eq!(copies(&lab, old), left);
    }
    assert_eq!(served(&lab), set(2));
    assert!(lab.blobs.length(&odd).unwrap().is_some());
    assert_eq!(lab.core.gc(false).unwrap().strays, 0);
}

#[test]
fn a_set_that_is_named_again_stays() {
    let lab = Lab::new();
    let first = lab.owner.slots.clone();
    replace(&lab, &set(1)).unwrap();
    replace(&lab, &first).unwrap();
    lab.clock.advance(DAY);
    assert_eq!(lab.core.gc(false).unwrap().strays, 1);
    assert_eq!((copies(&lab, &first), copies(&lab, &set(1))), (2, 0));
    assert_eq!(served(&lab), first);
    // Gone, it can be put again.
    replace(&lab, &set(1)).unwrap();
    assert_eq!(served(&lab), set(1));
}

#[test]
fn old_slots_go_although_a_list_has_rotted() {
    let mut lab = Lab::new();
    let id = lab.commit(&[]).unwrap();
    replace(&lab, &set(1)).unwrap();
    let list = Key::packset(lab.owner.vault, id);
    for key in [list.second(), list] {
        lab.blobs.put(&key, &[b"rot"]).unwrap();
    }
    lab.clock.advance(DAY);
    assert_eq!(lab.sweep().failed, 1);
    assert_eq!((copies(&lab, &lab.owner.slots.clone()), served(&lab)), (0, set(1)));
}

#[test]
fn a_suspended_account_keeps_its_old_slots_until_it_goes_on() {
    let lab = Lab::new();
    let name = lab.owner.vault.short();
    replace(&lab, &set(1)).unwrap();
    lab.core.account_suspend(&name).unwrap();
    lab.clock.advance(DAY);
    assert_eq!(lab.core.gc(false).unwrap().strays, 0);
    lab.core.account_resume(&name).unwrap();
    assert_eq!(lab.core.gc(false).unwrap().strays, 1);
}

/// Replaced, and a day later.
fn replaced() -> Lab {
    let lab = Lab::new();
    replace(&lab, &set(1)).unwrap();
    replace(&lab, &set(2)).unwrap();
    lab.clock.advance(DAY);
    lab
}

#[test]
fn wherever_the_removal_breaks_off_the_set_in_use_stays_and_the_next_sweep_ends_it() {
    let never = Plan::new(u64::MAX, Fault::DiskFull);
    let mut lab = replaced();
    lab.fail_as(&never);
    let opened = never.count();
    assert_eq!(lab.sweep().strays, 2);
    let operations = never.count();
    assert!(operations >= opened + 4, "{operations}");
    for fault in [Fault::DiskFull, Fault::Half, Fault::Done] {
        for at in opened..operations {
            let mut lab = replaced();
            lab.fail_as(&Plan::new(at, fault));
            // It may fail, or leave something.
            drop(lab.core.sweep(lab.now()));
            lab.restart();
            assert_eq!(served(&lab), set(2), "{fault:?} at {at}");
            assert_eq!(lab.sweep().failed, 0);
            let folder = key::slots_folder(lab.owner.vault);
            for folder in [key::second_folder(&folder), folder] {
                let named = vec![hash(&set(2)).to_string()];
                assert_eq!(lab.blobs.list(&folder).unwrap(), named, "{fault:?} at {at}");
            }
        }
    }
}

#[test]
fn an_account_that_was_rebuilt_keeps_the_set_of_its_log_alone() {
    let mut lab = replaced();
    lab.journals = MemJournals::default();
    let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&lab.clock);
    let options = Options { clock, open_accounts: true };
    let identity = ed25519_dalek::SigningKey::from_bytes(&[3; 32]).verifying_key();
    let store = memory::store(lab.blobs.clone(), lab.journals.clone());
    let fate = Rebuilder::new(store, &options, identity).account(lab.owner.vault);
    assert!(matches!(fate, Fate::Rebuilt(_)), "{fate:?}");
    assert_eq!(copies(&lab, &set(1)), 2, "a rebuild deletes nothing");
    lab.restart();
    assert_eq!(lab.sweep().strays, 2);
    assert_eq!((copies(&lab, &set(1)), copies(&lab, &set(2))), (0, 2));
    assert_eq!(served(&lab), set(2));
}
