//! The same for what the server's own journal says: invites, and accounts that come and go.

use std::sync::Arc;

use unseen_common::vault::VaultError;

use super::frozen::{End, Other, WAYS, beside};
use super::{Kept, MOST};
use crate::store::memory::{MemBlobs, MemJournals};
use crate::testkit::faults::{self, Fault, Plan};
use crate::testkit::{Owner, TestClock};
use crate::vault::{Core, Options};

const HOUR: u64 = 3600;
const QUOTA: Option<u64> = Some(1 << 20);

/// A server that asks for invites.
struct Host {
    blobs: MemBlobs,
    journals: MemJournals,
    plan: Arc<Plan>,
    core: Core,
}

impl Host {
    fn new() -> Self {
        Self::on(MemBlobs::default(), MemJournals::default(), Plan::quiet())
    }

    fn on(blobs: MemBlobs, journals: MemJournals, plan: Arc<Plan>) -> Self {
        let store = faults::store(&blobs, &journals, &plan);
        let options = Options { clock: Arc::new(TestClock::default()), open_accounts: false };
        let core = Core::with_store(store, [3; 32], options).unwrap();
        Self { blobs, journals, plan, core }
    }

    /// After a loss of power, on a store that does not fail.
    fn restart(self) -> Self {
        let Self { blobs, journals, .. } = self;
        journals.lose_power();
        Self::on(blobs, journals, Plan::quiet())
    }

    /// Goes on as it is if it still can.
    fn go_on(self, restarts: bool) -> Self {
        if restarts || self.core.has_failed() { self.restart() } else { self }
    }

    fn create(&self, seed: u64, invite: &[u8]) -> Result<Owner, VaultError> {
        let owner = Owner::new(seed);
        self.core.0.create_account(&owner.account(self.core.identity(), invite))?;
        Ok(owner)
    }

    fn quota_of(&self, owner: &Owner) -> Option<u64> {
        self.core.account(owner.vault).unwrap().unwrap().quota()
    }

    /// The invite makes one account with this quota, and no second one.
    fn is_good_once(&self, invite: &[u8], quota: Option<u64>, seed: u64) {
        let owner = self.create(seed, invite).unwrap();
        assert_eq!(self.quota_of(&owner), quota);
        let second = self.create(seed + 1000, invite);
        assert!(matches!(second, Err(VaultError::NotFound(_))), "{second:?}");
    }
}

/// Every step of `act`, every kind of fault, with a restart after it and without.
fn wherever(steps: u64, mut breaks_off: impl FnMut(u64, Fault, bool) -> bool) {
    for fault in Fault::ALL {
        for restarts in [false, true] {
            let found = (0..MOST).find(|at| !breaks_off(*at, fault, restarts)).expect("it ends");
            assert!(found >= steps, "{found} steps");
        }
    }
}

#[test]
fn wherever_making_an_invite_breaks_off_it_is_there_or_not_and_the_others_are_good() {
    wherever(2, |at, fault, restarts| {
        let host = Host::new();
        let first = host.core.invite(QUOTA, HOUR).unwrap();
        host.plan.fail_after(at, fault);
        let told = host.core.invite(Some(7), HOUR);
        let struck = host.plan.calm();
        let host = host.go_on(restarts);
        let known = host.core.invites().len();
        assert!(known == 2 || (known == 1 && told.is_err()), "{known}, {told:?}");
        let again = host.core.invite(Some(9), HOUR).unwrap();
        let host = host.restart();
        host.is_good_once(&first, QUOTA, 1);
        host.is_good_once(&again, Some(9), 2);
        if let Ok(secret) = told {
            host.is_good_once(&secret, Some(7), 3);
        }
        assert!(struck || told.is_ok());
        struck
    });
}

#[test]
fn wherever_using_an_invite_breaks_off_the_same_account_gets_it_and_no_other() {
    wherever(6, |at, fault, restarts| {
        let host = Host::new();
        let invite = host.core.invite(QUOTA, HOUR).unwrap();
        let other = host.core.invite(None, HOUR).unwrap();
        host.plan.fail_after(at, fault);
        let told = host.create(1, &invite);
        let struck = host.plan.calm();
        println!("{fault:?} at {at}, {restarts}: {told:?}");
        let host = host.go_on(restarts);
        if told.is_ok() {
            assert_eq!(host.quota_of(&Owner::new(1)), QUOTA);
        }
        host.is_good_once(&invite, QUOTA, 1);
        let before = Kept::of(&host.core.account(Owner::new(1).vault).unwrap().unwrap(), &[]);
        let host = host.restart();
        before.holds(&host.core);
        host.is_good_once(&invite, QUOTA, 1);
        host.is_good_once(&other, None, 2);
        assert!(struck || told.is_ok());
        struck
    });
}

#[test]
fn wherever_taking_an_invite_back_breaks_off_it_is_good_or_not() {
    wherever(2, |at, fault, restarts| {
        let host = Host::new();
        let invite = host.core.invite(QUOTA, HOUR).unwrap();
        let name = host.core.invites()[0].invite.clone();
        host.plan.fail_after(at, fault);
        let told = host.core.revoke_invite(&name);
        let struck = host.plan.calm();
        let host = host.go_on(restarts);
        assert!(told.is_err() || host.core.invites().is_empty());
        match host.core.revoke_invite(&name) {
            Ok(_) => assert!(told.is_err()),
            Err(error) => assert!(matches!(error, VaultError::NotFound(_)), "{error}"),
        }
        let host = host.restart();
        let refused = host.create(1, &invite);
        assert!(matches!(refused, Err(VaultError::NotFound(_))), "{refused:?}");
        assert!(struck || told.is_ok());
        struck
    });
}

/// An account that is there, beside `act`, which stands still at each step; how many there were.
fn beside_accounts<T: Send + std::fmt::Debug>(
    ready: impl Fn(&Host) -> Vec<u8>,
    act: impl Fn(&Host, &[u8]) -> Result<T, VaultError> + Sync,
    after: impl Fn(&Host, &[u8], bool),
) {
    for (halt, end) in WAYS {
        let mut at = 0;
        loop {
            let host = Host::new();
            let other = Other(host.create(77, &host.core.invite(None, HOUR).unwrap()).unwrap());
            let given = ready(&host);
            host.plan.freeze_after(at, halt);
            let acting = || act(&host, &given);
            let (told, kept) = beside(&host.plan, end, acting, || other.goes_on(&host.core));
            println!("at {at}, {halt:?}, {end:?}: {told:?}");
            let Some(kept) = kept else {
                told.unwrap();
                break;
            };
            let acked = matches!(end, End::Thaw);
            assert!(told.is_ok() || !acked, "{told:?}");
            let host = host.restart();
            kept.holds(&host.core);
            after(&host, &given, acked);
            at += 1;
        }
        assert!(at >= 2, "{at}");
    }
}

#[test]
fn an_invite_that_stands_still_holds_up_no_account() {
    beside_accounts(
        |_| Vec::new(),
        |host, _| host.core.invite(QUOTA, HOUR),
        |host, _, acked| {
            let known = host.core.invites().len();
            assert!(known == 1 || (known == 0 && !acked), "{known}");
        },
    );
}

#[test]
fn a_new_account_that_stands_still_holds_up_no_other() {
    beside_accounts(
        |host| host.core.invite(QUOTA, HOUR).unwrap().to_vec(),
        |host, invite| host.create(1, invite),
        |host, invite, acked| {
            let there = host.core.account(Owner::new(1).vault);
            assert!(!acked || there.unwrap().is_some());
            host.is_good_once(invite, QUOTA, 1);
        },
    );
}

#[test]
fn an_erasure_that_stands_still_holds_up_no_other() {
    let one = Owner::new(1);
    beside_accounts(
        |host| {
            let invite = host.core.invite(QUOTA, HOUR).unwrap();
            host.create(1, &invite).unwrap();
            let account = host.core.account(one.vault).unwrap().unwrap();
            account.put_pack(one.machine.id, &one.machine.small_pack(1), None).unwrap();
            Vec::new()
        },
        |host, _| host.core.account_erase(&one.vault.short()),
        |host, _, acked| {
            let begun = host.core.0.ledger.is_erased(one.vault);
            assert!(begun || !acked);
            if !begun {
                host.core.account_erase(&one.vault.short()).unwrap();
            }
            host.core.gc(true).unwrap();
            assert!(host.core.0.ledger.receipt(one.vault).is_some());
            let left = |name: &String| name.contains(&one.vault.to_string());
            assert!(!host.blobs.names().iter().any(left));
        },
    );
}

/// What comes before an account's own files, and after them, is in the server's journal, which all
/// share; they themselves hold up that account alone.
#[test]
fn accounts_are_made_and_erased_beside_one_whose_files_stand_still() {
    let one = Owner::new(1);
    for (halt, end) in WAYS {
        for (erases, steps) in [(false, 2..7), (true, 2..4)] {
            for at in steps {
                let host = Host::new();
                let invite = || host.core.invite(None, HOUR).unwrap();
                let (first, second, gone) = (invite(), invite(), invite());
                let gone = host.create(77, &gone).unwrap();
                if erases {
                    host.create(1, &first).unwrap();
                }
                host.plan.freeze_after(at, halt);
                let acting = || {
                    if erases {
                        host.core.account_erase(&one.vault.short()).map(drop)
                    } else {
                        host.create(1, &first).map(drop)
                    }
                };
                let (told, others) = beside(&host.plan, end, acting, || {
                    host.core.account_erase(&gone.vault.short()).unwrap();
                    host.create(2, &second).unwrap()
                });
                let made = others.expect("it has so many steps");
                assert!(told.is_ok() || matches!(end, End::Kill), "at {at}: {told:?}");
                let host = host.restart();
                assert!(host.core.account(made.vault).unwrap().is_some());
                assert!(host.core.0.ledger.receipt(gone.vault).is_some());
            }
        }
    }
}
