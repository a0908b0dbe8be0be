//! A disk that hangs: one operation stands still, at each step in turn. Only what waits for that
//! very answer waits; afterwards, whether the disk comes back or the process is killed, all that
//! was acknowledged is there.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::Scope;
use std::time::Duration;

use unseen_common::log::entry::{Author, Body};
use unseen_common::log::policy::{DEFAULT_POLICY, Policy};
use unseen_common::vault::PackUpload;

use super::deeds::{
    Again, Compaction, Deletion, Expiry, Healing, NewSlots, Quota, Suspension, Upload,
};
use super::{Deed, Kept, MOST};
use crate::testkit::faults::{Halt, Plan};
use crate::testkit::{Head, Owner};
use crate::vault::Core;
use crate::vault::gc_lab::Lab;

/// How it goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// The disk comes back.
    Thaw,
    /// The process is killed, and power is lost.
    Kill,
}

pub(super) const WAYS: [(Halt, End); 4] = [
    (Halt::Before, End::Thaw),
    (Halt::Before, End::Kill),
    (Halt::After, End::Thaw),
    (Halt::After, End::Kill),
];

/// Ends the stillness when the test is through, or has failed.
struct Ending<'p>(&'p Plan, End);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        match self.1 {
            _ if std::thread::panicking() => self.0.thaw(),
            End::Thaw => self.0.thaw(),
            End::Kill => self.0.kill(),
        }
    }
}

/// Does `act`, and `meanwhile` as soon as an operation stands still. What they gave; nothing of
/// `meanwhile` if nothing stood still. This long is no wait for luck: it only ends a test that
/// has failed.
pub(super) fn beside<A: Send, M: Send>(
    plan: &Plan,
    end: End,
    act: impl FnOnce() -> A + Send,
    meanwhile: impl FnOnce() -> M + Send,
) -> (A, Option<M>) {
    std::thread::scope(|scope| {
        let doing = scope.spawn(|| plan.during(act));
        let done = plan.stands_still().then(|| {
            let _ending = Ending(plan, end);
            in_time(scope, meanwhile)
        });
        (doing.join().unwrap(), done)
    })
}

fn in_time<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> T {
    let (send, receive) = mpsc::channel();
    scope.spawn(move || drop(send.send(work())));
    let done = receive.recv_timeout(Duration::from_secs(60));
    done.expect("it went wrong, or waits for what stands still")
}

/// Another account on the same server.
pub(super) struct Other(pub(super) Owner);

impl Other {
    pub(super) fn on(core: &Core) -> Self {
        let owner = Owner::new(77);
        let account = owner.account_at(core.now(), core.identity(), b"");
        core.0.create_account(&account).unwrap();
        Self(owner)
    }

    /// Stores, commits, changes its rules, and reads all that.
    pub(super) fn goes_on(&self, core: &Core) -> Kept {
        let (vault, machine) = (self.0.vault, &self.0.machine);
        let account = core.account(vault).unwrap().unwrap();
        let head = || {
            account.with_state(|state| Head { vault, seq: state.head_seq + 1, hash: state.head })
        };
        let pack: PackUpload = machine.small_pack(5);
        let number = account.put_pack(machine.id, &pack, None).unwrap();
        let commit = machine.snapshot(&head(), b"meanwhile", &[(number, pack)]);
        account.commit(machine.id, commit).unwrap();
        let policy = Policy { grace_days: 77, ..DEFAULT_POLICY };
        let entry = self.0.sign(&head(), Body::Policy(policy));
        account.append(Author::Root, entry).unwrap();
        core.account_show(&vault.short()).unwrap();
        let kept = Kept::of(&account, &[]);
        kept.holds(core);
        kept
    }
}

fn wherever_it_stands_still<D: Deed>() {
    for (halt, end) in WAYS {
        let steps = (0..MOST).find(|at| !stands_still::<D>(*at, halt, end)).expect("it ends");
        assert!(steps >= D::STEPS, "{steps} steps");
    }
}

/// Tells whether it had so many steps.
fn stands_still<D: Deed>(at: u64, halt: Halt, end: End) -> bool {
    let mut lab = Lab::new();
    let deed = D::begin(&mut lab);
    let other = Other::on(&lab.core);
    let before = Kept::of(&lab.account, &deed.goes());
    let plan = Plan::quiet();
    lab.fail_as(&plan);
    lab.core.account(other.0.vault).unwrap();
    plan.freeze_after(at, halt);
    let (told, others) = beside(
        &plan,
        end,
        || deed.act(&lab),
        || {
            before.holds_as_read(&lab.core);
            other.goes_on(&lab.core)
        },
    );
    println!("at {at}, {halt:?}, {end:?}: {told:?}");
    let Some(others) = others else {
        told.unwrap();
        return false;
    };
    if matches!(end, End::Thaw) {
        told.unwrap();
        assert!(deed.is_done(&lab), "it was only late");
    }
    lab.restart();
    before.holds(&lab.core);
    others.holds(&lab.core);
    assert!(matches!(end, End::Kill) || deed.is_done(&lab), "it was told as done");
    deed.act(&lab).unwrap();
    assert!(deed.is_done(&lab));
    assert_eq!(lab.fault(), None);
    true
}

#[test]
fn an_upload_that_stands_still_holds_up_nobody_else() {
    wherever_it_stands_still::<Upload>();
    wherever_it_stands_still::<Again>();
    wherever_it_stands_still::<Healing>();
}

#[test]
fn what_extends_the_log_and_stands_still_holds_up_nobody_else() {
    wherever_it_stands_still::<Compaction>();
    wherever_it_stands_still::<NewSlots>();
    wherever_it_stands_still::<Expiry>();
}

#[test]
fn what_the_operator_does_and_stands_still_holds_up_nobody_else() {
    wherever_it_stands_still::<Quota>();
    wherever_it_stands_still::<Suspension>();
    wherever_it_stands_still::<Deletion>();
}

/// A commit, with uploads of its own account beside it.
#[test]
fn a_commit_that_stands_still_waits_alone_until_it_needs_the_journal() {
    for (halt, end) in WAYS {
        let mut at = 0;
        loop {
            let mut lab = Lab::new();
            let packs = [lab.put(1), lab.put(2)];
            let other = Other::on(&lab.core);
            let before = Kept::of(&lab.account, &[]);
            let plan = Plan::quiet();
            lab.fail_as(&plan);
            lab.core.account(other.0.vault).unwrap();
            let request = lab.machine().snapshot(&lab.head(), b"manifest", &packs);
            plan.freeze_after(at, halt);
            let commit = || lab.account.commit(lab.machine().id, request.clone());
            let (told, others) = beside(&plan, end, commit, || {
                before.holds_as_read(&lab.core);
                // The two lists come first, then the write and the sync of the journal.
                let beside = (at < 2).then(|| lab.put(3));
                (other.goes_on(&lab.core), beside)
            });
            let Some((others, pack)) = others else {
                told.unwrap();
                break;
            };
            let acked = told.is_ok() && matches!(end, End::Thaw);
            assert!(acked || matches!(end, End::Kill), "{told:?}");
            lab.restart();
            before.holds(&lab.core);
            others.holds(&lab.core);
            assert!(pack.is_none_or(|pack| lab.is_there(&pack)));
            let count = lab.account.with_state(|state| state.snapshots.len());
            assert!(count == 1 || !acked);
            let record = lab.account.commit(lab.machine().id, request).unwrap();
            assert!(told.is_err() || told.unwrap() == record, "the same record");
            assert_eq!(lab.account.with_state(|state| state.snapshots.len()), 1);
            assert_eq!(lab.fault(), None);
            at += 1;
        }
        assert!(at >= 5, "{at}");
    }
}

/// Of two uploads of one pack the second waits for the first, and gets its number; if the process
/// dies, the next one has it once.
#[test]
fn two_uploads_of_one_pack_of_which_the_first_stands_still_get_one_number() {
    for (halt, end) in WAYS {
        for at in 0..3 {
            let mut lab = Lab::new();
            let plan = Plan::quiet();
            lab.fail_as(&plan);
            plan.freeze_after(at, halt);
            let pack = lab.machine().small_pack(1);
            let account = Arc::clone(&lab.account);
            let id = lab.machine().id;
            let (first, second) = std::thread::scope(|scope| {
                let (mut second, own) = (None, &pack);
                let send = || account.put_pack(id, own, None);
                let (first, begun) = beside(&plan, end, send, || {
                    second = Some(scope.spawn(send));
                });
                assert!(begun.is_some(), "{at}: an upload has three steps");
                (first, second.unwrap().join().unwrap())
            });
            if matches!(end, End::Thaw) {
                assert_eq!(first.as_ref().unwrap(), second.as_ref().unwrap());
            }
            lab.restart();
            let number = lab.send(&pack).unwrap();
            assert!(first.is_err() || first.unwrap() == number);
            assert!(second.is_err() || second.unwrap() == number);
            assert_eq!(lab.account.totals().0, 1);
            assert!(lab.is_there(&(number, pack)));
        }
    }
}
