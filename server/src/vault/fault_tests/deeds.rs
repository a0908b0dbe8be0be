//! The changes.

use std::slice::from_ref;
use std::sync::Mutex;

use bytes::Bytes;
use unseen_common::id::{Hash, PackNumber, SnapshotId};
use unseen_common::log::entry::Body;
use unseen_common::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use unseen_common::packset::PackSet;
use unseen_common::privacy::Looked;
use unseen_common::vault::{CompactRequest, PackUpload, Result, slot_set_hash};

use super::{Deed, wherever_it_breaks_off};
use crate::store::key::Key;
use crate::store::lock;
use crate::vault::gc_lab::{DAY, Lab, Stored};
use crate::vault::scrub::Spot;
use crate::vault::scrub_tests::Through;

fn numbers(packs: &[Stored]) -> PackSet {
    packs.iter().map(|(number, _)| *number).collect()
}

/// One snapshot gets another pack in place of its first.
pub(super) struct Compaction {
    of: SnapshotId,
    lists: [PackSet; 2],
    request: CompactRequest,
}

impl Deed for Compaction {
    const STEPS: u64 = 4;

    fn begin(lab: &mut Lab) -> Self {
        let old = [lab.put(1), lab.put(2)];
        let of = lab.commit(&old).unwrap();
        lab.commit(&old[..1]).unwrap();
        let planned = lab.head();
        let new = lab.put(9);
        let needs = [old[1].clone(), new.clone()];
        let (gone, come) = (&old[..1], from_ref(&new));
        let request = lab.compaction((gone, come), &[(of, needs.to_vec())], &planned);
        Self { of, lists: [numbers(&old), numbers(&needs)], request }
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        lab.account.compact(self.request.clone()).map(drop)
    }

    fn is_done(&self, lab: &Lab) -> bool {
        let list = lab.account.packs_of(self.of).unwrap().unwrap();
        assert!(self.lists.contains(&list), "{list:?}");
        list == self.lists[1]
    }
}

/// The owner has another passphrase.
pub(super) struct NewSlots {
    slots: Vec<Bytes>,
    entry: unseen_common::log::chain::SignedEntry,
}

impl Deed for NewSlots {
    const STEPS: u64 = 4;

    fn begin(lab: &mut Lab) -> Self {
        let slots = vec![Bytes::from(vec![9; 300]), Bytes::from(vec![4; 200])];
        let entry = lab.owner.sign(&lab.head(), Body::Slots(lab.owner.slots_body(&slots)));
        Self { slots, entry }
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        lab.account.put_slots(&self.slots, self.entry.clone()).map(drop)
    }

    fn is_done(&self, lab: &Lab) -> bool {
        let named: Hash = lab.account.with_state(|state| state.slots.hash);
        let there = lab.core.0.slots_of(lab.owner.vault, named).unwrap();
        let done = named == slot_set_hash(&self.slots);
        let wanted = if done { self.slots.clone() } else { owners(lab) };
        assert_eq!(there, wanted);
        done
    }
}

fn owners(lab: &Lab) -> Vec<Bytes> {
    lab.owner.slots.iter().cloned().map(Bytes::from).collect()
}

/// Whoever runs the server sets a quota.
pub(super) struct Quota;

impl Deed for Quota {
    const STEPS: u64 = 2;

    fn begin(lab: &mut Lab) -> Self {
        let pack = lab.put(1);
        lab.commit(&[pack]).unwrap();
        Self
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        lab.core.account_quota(&lab.owner.vault.short(), Some(1 << 20)).map(drop)
    }

    fn is_done(&self, lab: &Lab) -> bool {
        let done = lab.account.quota() == Some(1 << 20);
        assert_eq!(looked(lab, Looked::Quota), done, "the access record has its line");
        done
    }
}

fn looked(lab: &Lab, what: Looked) -> bool {
    lab.account.access().iter().any(|line| line.what == what)
}

/// Whoever runs the server suspends an account.
pub(super) struct Suspension;

impl Deed for Suspension {
    const STEPS: u64 = 2;

    fn begin(lab: &mut Lab) -> Self {
        let pack = lab.put(1);
        lab.commit(&[pack]).unwrap();
        Self
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        lab.core.account_suspend(&lab.owner.vault.short()).map(drop)
    }

    fn is_done(&self, lab: &Lab) -> bool {
        let done = lock(&lab.account.tables).standing.suspended.is_some();
        assert_eq!(looked(lab, Looked::Suspend), done, "the access record has its line");
        done
    }
}

/// And lets it go on.
pub(super) struct Resumption;

impl Deed for Resumption {
    const STEPS: u64 = 2;

    fn begin(lab: &mut Lab) -> Self {
        Suspension::begin(lab).act(lab).unwrap();
        Self
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        lab.core.account_resume(&lab.owner.vault.short()).map(drop)
    }

    fn is_done(&self, lab: &Lab) -> bool {
        let done = lock(&lab.account.tables).standing.suspended.is_none();
        assert_eq!(looked(lab, Looked::Resume), done, "the access record has its line");
        done
    }
}

/// The server carries out the rules: one of four snapshots stays.
pub(super) struct Expiry {
    stays: SnapshotId,
}

impl Deed for Expiry {
    const STEPS: u64 = 2;

    fn begin(lab: &mut Lab) -> Self {
        let keep = KeepRules { last: 1, ..KeepRules::NONE };
        lab.root(Body::Policy(Policy { keep, floor_days: 1, ..DEFAULT_POLICY })).unwrap();
        let pack = lab.put(1);
        let mut made = Vec::new();
        for _ in 0..4 {
            lab.clock.advance(600);
            made.push(lab.commit(from_ref(&pack)).unwrap());
        }
        lab.clock.advance(3 * DAY);
        Self { stays: made[3] }
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        lab.account.expire(lab.now()).map(drop)
    }

    fn is_done(&self, lab: &Lab) -> bool {
        lab.account.with_state(|state| {
            assert!(state.snapshots.contains_key(&self.stays));
            let (live, gone) = (state.snapshots.len(), state.gone.len());
            assert!([(4, 0), (1, 3)].contains(&(live, gone)), "{live} live, {gone} gone");
            live == 1
        })
    }
}

/// A pack that nothing needs is deleted when its grace is over.
pub(super) struct Deletion {
    loose: Stored,
}

impl Deed for Deletion {
    const STEPS: u64 = 3;

    fn begin(lab: &mut Lab) -> Self {
        let (kept, loose) = (lab.put(1), lab.put(2));
        lab.commit(&[kept]).unwrap();
        lab.clock.advance(31 * DAY);
        Self { loose }
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        lab.account.collect(lab.now(), true).map(drop)
    }

    /// A file that could not be removed is no part of the promise: the next sweep finds it.
    fn is_done(&self, lab: &Lab) -> bool {
        assert!(lab.has_blob(&self.loose) || !lab.has_row(&self.loose));
        !lab.has_row(&self.loose)
    }

    fn goes(&self) -> Vec<PackNumber> {
        vec![self.loose.0]
    }
}

/// A pack is sent, until it has its number: whatever answer was lost, it has one number and one
/// file in the end. The last of a range that is full, so that the second copies are written too.
pub(super) struct Upload {
    pack: PackUpload,
    told: Mutex<Option<PackNumber>>,
}

/// One fewer than have their footers in one file.
const ALL_BUT_ONE: u64 = 63;

impl Deed for Upload {
    const STEPS: u64 = 4;

    fn begin(lab: &mut Lab) -> Self {
        let packs: Vec<Stored> = (0..ALL_BUT_ONE).map(|seed| lab.put(seed)).collect();
        lab.commit(&packs).unwrap();
        Self { pack: lab.machine().small_pack(4711), told: Mutex::default() }
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        let number = lab.send(&self.pack)?;
        let before = lock(&self.told).replace(number);
        assert!(before.is_none_or(|before| before == number), "{before:?}, then {number}");
        Ok(())
    }

    fn is_done(&self, lab: &Lab) -> bool {
        let found = lock(&lab.account.tables).packs.find(&self.pack.id);
        let (count, told) = (lab.account.totals().0, *lock(&self.told));
        let Some(number) = found else {
            assert_eq!((count, told), (ALL_BUT_ONE, None));
            return false;
        };
        assert_eq!(count, ALL_BUT_ONE + 1, "it is there once");
        assert!(told.is_none_or(|told| told == number), "{told:?}, not {number}");
        assert_eq!(lab.account.get_pack(number, None).unwrap().bytes, self.pack.bytes);
        true
    }
}

/// A pack that is there is sent again: its grace begins anew.
pub(super) struct Again {
    pack: Stored,
}

impl Deed for Again {
    const STEPS: u64 = 2;

    fn begin(lab: &mut Lab) -> Self {
        let pack = lab.put(1);
        lab.clock.advance(2 * DAY);
        Self { pack }
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        assert_eq!(lab.send(&self.pack.1)?, self.pack.0);
        Ok(())
    }

    fn is_done(&self, lab: &Lab) -> bool {
        assert_eq!(lab.account.totals().0, 1);
        let stamp = lock(&lab.account.tables).packs.stamp(self.pack.0);
        // Stamps of packs are rounded up.
        stamp.is_some_and(|stamp| stamp >= lab.now())
    }
}

/// A pack that has rotted is sent again: it is whole afterwards, under its old number.
pub(super) struct Healing {
    pack: Stored,
}

impl Deed for Healing {
    const STEPS: u64 = 3;

    fn begin(lab: &mut Lab) -> Self {
        let pack = lab.put(1);
        lab.commit(from_ref(&pack)).unwrap();
        let key = Key::pack(lab.owner.vault, pack.0, pack.1.id);
        assert!(lab.blobs.edit(&key, |bytes| bytes[30_000] ^= 1));
        let found = lab.account.scrub(Spot::default(), &mut Through).unwrap().found;
        assert_eq!(found, numbers(from_ref(&pack)));
        Self { pack }
    }

    fn act(&self, lab: &Lab) -> Result<()> {
        assert_eq!(lab.send(&self.pack.1)?, self.pack.0);
        Ok(())
    }

    fn is_done(&self, lab: &Lab) -> bool {
        let read = lab.account.get_pack(self.pack.0, None).unwrap();
        assert!(read.damaged || read.bytes == self.pack.1.bytes);
        !read.damaged
    }
}

#[test]
fn wherever_a_compaction_breaks_off_lists_are_old_or_new() {
    wherever_it_breaks_off::<Compaction>();
}

#[test]
fn wherever_new_slots_break_off_the_old_or_the_new_ones_open() {
    wherever_it_breaks_off::<NewSlots>();
}

#[test]
fn wherever_a_quota_breaks_off_it_is_the_old_or_the_new_one() {
    wherever_it_breaks_off::<Quota>();
}

#[test]
fn wherever_a_suspension_breaks_off_it_is_there_or_not() {
    wherever_it_breaks_off::<Suspension>();
    wherever_it_breaks_off::<Resumption>();
}

#[test]
fn wherever_an_expire_record_breaks_off_all_expire_or_none() {
    wherever_it_breaks_off::<Expiry>();
}

#[test]
fn wherever_a_deletion_breaks_off_nothing_needed_goes() {
    wherever_it_breaks_off::<Deletion>();
}

#[test]
fn wherever_an_upload_breaks_off_the_same_pack_gets_one_number() {
    wherever_it_breaks_off::<Upload>();
}

#[test]
fn wherever_a_pack_that_is_sent_again_breaks_off_it_stays() {
    wherever_it_breaks_off::<Again>();
    wherever_it_breaks_off::<Healing>();
}
