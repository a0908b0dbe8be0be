//! Every change of an account, broken off at each of its steps in every way: what was acknowledged
//! before is there, what is told as done is done, nothing is done by halves, and the same again
//! gets through.

use unseen_common::id::{PackNumber, SnapshotId, VaultId};
use unseen_common::log::chain::Record;
use unseen_common::log::fold::State;
use unseen_common::packset::PackSet;
use unseen_common::privacy::Access;
use unseen_common::vault::Result;

use super::Core;
use super::account::Account;
use super::gc_lab::Lab;
use crate::store::key::Key;
use crate::store::lock;
use crate::testkit::faults::{Fault, Plan};

mod deeds;
mod frozen;
mod ledger;

/// A change of an account.
pub(super) trait Deed: Sync + Sized {
    /// It has at least so many steps.
    const STEPS: u64;

    /// What it needs, made on a store that does not fail.
    fn begin(lab: &mut Lab) -> Self;

    /// Does it. Done again, it says so.
    fn act(&self, lab: &Lab) -> Result<()>;

    /// Whether it is done. Fails the test if it is done by halves.
    fn is_done(&self, lab: &Lab) -> bool;

    /// Packs that it takes away.
    fn goes(&self) -> Vec<PackNumber> {
        Vec::new()
    }
}

/// What an account had acknowledged.
pub(super) struct Kept {
    vault: VaultId,
    log: Vec<Record>,
    packs: Vec<(PackNumber, bytes::Bytes)>,
    manifests: Vec<(SnapshotId, bytes::Bytes)>,
    access: Vec<Access>,
}

impl Kept {
    /// All that this account has, without these packs and what is damaged.
    pub(super) fn of(account: &Account, without: &[PackNumber]) -> Self {
        let live = account.live_packs();
        let stays = live.numbers().filter(|number| !without.contains(number));
        let read = |number| account.get_pack(number, None).unwrap();
        let packs = stays.map(|number| (number, read(number).bytes)).collect();
        let snapshots = account.with_state(|state| state.snapshots.keys().copied().collect());
        let snapshots: Vec<SnapshotId> = snapshots;
        let manifest = |id| (id, account.manifest(id).unwrap().unwrap());
        Self {
            vault: account.id,
            log: log(account),
            packs,
            manifests: snapshots.into_iter().map(manifest).collect(),
            access: account.access(),
        }
    }

    /// It can all be read, and what there is besides holds together.
    pub(super) fn holds_as_read(&self, core: &Core) {
        let account = core.account(self.vault).unwrap().unwrap();
        let log = log(&account);
        assert!(log.starts_with(&self.log), "the log goes on from where it was");
        let state = State::of(&log).unwrap();
        assert_eq!(state.head, account.with_state(|state| state.head));
        for (number, bytes) in &self.packs {
            let read = account.get_pack(*number, None).unwrap();
            assert!(read.bytes == *bytes && !read.damaged, "pack {number}");
        }
        for (id, bytes) in &self.manifests {
            assert_eq!(account.manifest(*id).unwrap().as_ref(), Some(bytes));
        }
        assert!(account.access().starts_with(&self.access));
        core.0.slots_of(self.vault, state.slots.hash).unwrap();
        for id in state.snapshots.keys() {
            let packs = account.packs_of(*id).unwrap().unwrap();
            assert!(account.manifest(*id).unwrap().is_some(), "snapshot {id}");
            assert!(packs.0.is_subset(&there(&account).0), "snapshot {id}");
        }
    }

    /// The same, when nothing is under way.
    pub(super) fn holds(&self, core: &Core) {
        self.holds_as_read(core);
        let account = core.account(self.vault).unwrap().unwrap();
        for number in there(&account).numbers() {
            let pack = lock(&account.tables).packs.get(number).unwrap();
            let key = Key::pack(self.vault, number, pack.id);
            assert!(account.store.blobs.length(&key).unwrap().is_some(), "pack {number}: no file");
        }
    }
}

fn log(account: &Account) -> Vec<Record> {
    let page = account.records_after(None).unwrap();
    assert!(!page.more);
    page.records
}

/// Every pack that has a row, damaged ones too.
fn there(account: &Account) -> PackSet {
    PackSet(lock(&account.tables).packs.there().clone())
}

/// No change has so many steps.
const MOST: u64 = 100;

/// What comes after a change that broke off.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// Power is lost.
    Restart,
    /// The process does not end at once: a deletion is under way.
    Sweep,
    /// The client tries again, of the same process if it is still good.
    Again,
}

fn wherever_it_breaks_off<D: Deed>() {
    for fault in Fault::ALL {
        for then in [Then::Restart, Then::Sweep, Then::Again] {
            let steps = (0..MOST).find(|at| !breaks_off::<D>(*at, fault, then)).expect("it ends");
            assert!(steps >= D::STEPS, "{steps} steps");
        }
    }
}

/// Tells whether it had so many steps.
fn breaks_off<D: Deed>(at: u64, fault: Fault, then: Then) -> bool {
    let mut lab = Lab::new();
    let deed = D::begin(&mut lab);
    let before = Kept::of(&lab.account, &deed.goes());
    let plan = Plan::quiet();
    lab.fail_as(&plan);
    assert!(!deed.is_done(&lab));
    plan.fail_after(at, fault);
    let told = deed.act(&lab);
    let struck = plan.calm();
    println!("{fault:?} at {at}, then {then:?}: {told:?}");
    let kept = |lab: &Lab| {
        before.holds(&lab.core);
        assert_eq!(lab.fault(), None);
        if told.is_ok() {
            assert!(deed.is_done(lab), "it was told as done");
        }
    };
    match then {
        Then::Again if !lab.core.has_failed() => kept(&lab),
        Then::Sweep => {
            // It may fail, too.
            drop(lab.account.collect(lab.now(), true));
            lab.restart();
        }
        Then::Restart | Then::Again => lab.restart(),
    }
    kept(&lab);
    deed.act(&lab).unwrap();
    assert!(deed.is_done(&lab));
    lab.account.collect(lab.now(), true).unwrap();
    lab.restart();
    kept(&lab);
    assert!(deed.is_done(&lab), "and it stays so");
    deed.act(&lab).unwrap();
    assert_eq!(lab.account.collect(lab.now(), true).unwrap().strays, 0, "files nobody looked for");
    assert!(struck || told.is_ok(), "{told:?}");
    struck
}
