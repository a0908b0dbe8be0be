//! Clocks that are wrong, and those that only look like it.

use std::sync::Arc;

use unseen_common::log::chain::Record;
use unseen_common::log::entry::{Author, Body};
use unseen_common::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use unseen_common::time::{Clock, Timestamp};
use unseen_common::vault::{Service, VaultError};

use super::account::Account;
use super::core::{Core, Options};
use super::gc_lab::{DAY, Lab};
use super::guard::Guard;
use crate::ops::metrics::Job;
use crate::store::memory::{self, MemBlobs, MemJournals};
use crate::testkit::{Head, Owner, START, TestClock, snapshot_id};

const TEN_YEARS: u64 = 10 * 365 * DAY;
const HOUR: u64 = 3600;
fn short_grace() -> Policy {
    Policy { grace_days: 2, ..DEFAULT_POLICY }
}

/// A server, not a local vault, with one account.
struct Scene {
    clock: Arc<TestClock>,
    blobs: MemBlobs,
    journals: MemJournals,
    owner: Owner,
    core: Core,
    account: Arc<Account>,
    manifests: u64,
}

impl Scene {
    async fn new() -> Self {
        let clock = Arc::new(TestClock::default());
        let (blobs, journals) = (MemBlobs::default(), MemJournals::default());
        let core = open(&clock, &blobs, &journals);
        let owner = Owner::new(1);
        make(&core, &owner).await.unwrap();
        let account = core.account(owner.vault).unwrap().unwrap();
        let scene = Self { clock, blobs, journals, owner, core, account, manifests: 0 };
        assert_eq!(scene.sweep().held, None);
        scene
    }

    /// The process ends, and another one starts.
    fn restart(&mut self) {
        self.core = open(&self.clock, &self.blobs, &self.journals);
        self.account = self.core.account(self.owner.vault).unwrap().unwrap();
    }

    /// Somebody, or a dying battery, sets the clock.
    fn jump(&self, ahead: u64) {
        self.clock.set(Timestamp(self.clock.now().0 + ahead));
    }

    fn sweep(&self) -> super::Swept {
        self.core.sweep(self.clock.now()).unwrap()
    }

    fn head(&self) -> Head {
        self.account.with_state(|state| Head {
            vault: state.vault,
            seq: state.head_seq + 1,
            hash: state.head,
        })
    }

    fn root(&self, body: Body) -> Record {
        let entry = self.owner.sign(&self.head(), body);
        self.account.append(Author::Root, entry).unwrap()
    }

    /// Makes a snapshot; tells its stamp.
    fn commit(&mut self) -> Timestamp {
        self.manifests += 1;
        let manifest = format!("manifest {}", self.manifests).into_bytes();
        let request = self.owner.machine.snapshot(&self.head(), &manifest, &[]);
        let record = self.account.commit(self.owner.machine.id, request).unwrap();
        let stamp = self.account.with_state(|s| s.snapshots[&snapshot_id(&manifest)].received);
        assert_eq!(record.received, stamp);
        stamp
    }

    fn grace(&self) -> u32 {
        self.account.with_state(|state| state.policy.grace_days)
    }
}

fn open(clock: &Arc<TestClock>, blobs: &MemBlobs, journals: &MemJournals) -> Core {
    let options = Options { clock: Arc::<TestClock>::clone(clock), open_accounts: false };
    Core::with_store(memory::store(blobs.clone(), journals.clone()), [3; 32], options).unwrap()
}

async fn make(core: &Core, owner: &Owner) -> Result<(), VaultError> {
    let invite = core.invite(None, HOUR).unwrap();
    core.create_account(owner.account(core.identity(), &invite)).await
}

/// While it runs, or before it starts: a clock that went ten years ahead gives no stamps, nothing
/// comes due by it, and everything else goes on.
#[tokio::test]
async fn a_clock_ten_years_ahead_gives_no_stamps_and_nothing_comes_due() {
    for before_the_start in [false, true] {
        let mut scene = Scene::new().await;
        let waits = scene.root(Body::Policy(short_grace()));
        let invite = scene.core.invite(None, HOUR).unwrap();
        scene.clock.advance(60);
        scene.root(Body::Erase);
        scene.jump(TEN_YEARS);
        if before_the_start {
            scene.restart();
        }
        let now = |scene: &Scene| Timestamp(scene.clock.now().0 - TEN_YEARS);
        // What has passed before a restart is known as far as it was noted.
        let lag = if before_the_start { 60 } else { 0 };
        assert!(now(&scene).since(scene.commit()) <= lag);
        let challenge = scene.core.0.shared.clock.now();
        assert!(now(&scene).since(challenge) <= lag, "what clients compare theirs with");
        assert!(scene.sweep().held.is_some());
        scene.clock.advance(6 * HOUR);
        assert!(now(&scene).since(scene.commit()) <= lag);
        assert!(scene.sweep().held.is_some());
        assert_eq!(scene.grace(), DEFAULT_POLICY.grace_days);
        // Invites are good for as long as was said, and a machine whose clock is right joins.
        scene.clock.set(now(&scene));
        let other = Owner::new(2);
        scene.jump(TEN_YEARS);
        let late = other.account(scene.core.identity(), &invite);
        let refused = scene.core.create_account(late).await;
        assert!(matches!(refused, Err(VaultError::NotFound(_))), "{refused:?}");
        make(&scene.core, &other).await.unwrap();

        // It is put right.
        scene.clock.set(now(&scene));
        assert_eq!(scene.sweep().held, None);
        assert_eq!(scene.commit(), scene.clock.now());
        let pending = scene.account.with_state(|state| state.pending.clone());
        assert_eq!(pending.len(), 2);
        scene.clock.advance(7 * DAY);
        assert_eq!(scene.sweep().erased, 1, "by true time");
        assert_eq!(waits.received, START);
    }
}

#[tokio::test]
async fn a_clock_ten_years_behind_stamps_with_the_newest_stamp() {
    let mut scene = Scene::new().await;
    scene.root(Body::Policy(short_grace()));
    let right = scene.clock.now();
    for restart in [false, true] {
        scene.clock.set(Timestamp(right.0 - TEN_YEARS));
        if restart {
            scene.restart();
        }
        assert_eq!(scene.commit(), right);
        assert_eq!(scene.sweep(), super::Swept::default());
        let succeeded = scene.core.metrics().job(Job::Gc).succeeded;
        assert_eq!(succeeded, Some(right), "not ten years ago once the clock is right");
        scene.clock.set(right);
        assert_eq!((scene.commit(), scene.sweep().held), (right, None));
    }
    scene.clock.advance(30 * DAY - 1);
    scene.commit();
    assert_eq!(scene.grace(), DEFAULT_POLICY.grace_days);
    scene.clock.advance(1);
    scene.commit();
    assert_eq!(scene.grace(), 2);
}

/// A server that was off for long: its clock is most probably right. It stamps, so that snapshots
/// are of the day that they are of; nothing goes and nothing comes due before somebody has looked.
#[tokio::test]
async fn after_a_long_pause_stamps_go_on_and_nothing_comes_due() {
    let mut scene = Scene::new().await;
    scene.jump(3 * DAY);
    scene.restart();
    assert_eq!(scene.commit(), scene.clock.now());
    assert!(scene.sweep().held.is_some());
    assert_eq!(scene.core.gc(true).unwrap().held, None);

    scene.root(Body::Policy(short_grace()));
    scene.clock.advance(DAY);
    let erase = scene.root(Body::Erase);
    let due = erase.received.plus_days(7);
    scene.jump(40 * DAY);
    scene.restart();
    let before = Timestamp(due.0 - 1);
    assert_eq!((scene.commit(), scene.commit()), (before, before));
    assert!(scene.sweep().held.is_some());
    // The owner can still take it back.
    scene.root(Body::Cancel { seq: erase.signed.entry().unwrap().seq });
    let policy = scene.account.with_state(|state| state.pending[0].effective);
    assert_eq!(scene.commit(), Timestamp(policy.0 - 1));
    assert_eq!(scene.grace(), DEFAULT_POLICY.grace_days);
    scene.core.gc(true).unwrap();
    assert_eq!(scene.commit(), scene.clock.now());
    assert_eq!(scene.grace(), 2);
}

/// What somebody confirmed by mistake is taken back by confirming the right clock.
#[tokio::test]
async fn a_wrong_clock_that_was_confirmed_is_taken_back() {
    let mut scene = Scene::new().await;
    let right = scene.clock.now();
    scene.jump(TEN_YEARS);
    scene.core.gc(true).unwrap();
    let wrong = scene.commit();
    assert_eq!(wrong, scene.clock.now());
    scene.clock.set(right);
    assert_eq!(scene.core.gc(true).unwrap().held, None);
    assert_eq!(scene.commit(), wrong, "stamps never fall");
    for _ in 0..2 {
        scene.jump(TEN_YEARS / 2);
        assert!(scene.sweep().held.is_some(), "it is watched as before");
        scene.clock.set(right);
        scene.restart();
    }
}

/// A log that was stamped ahead: nothing expires until the day has come, and then snapshots of one
/// stamp are kept together.
#[test]
fn what_was_stamped_ahead_is_kept_and_goes_together() {
    let mut lab = Lab::new();
    let rules = KeepRules { daily: 3, ..KeepRules::NONE };
    lab.root(Body::Policy(Policy { keep: rules, ..DEFAULT_POLICY })).unwrap();
    let good = lab.commit(&[]).unwrap();
    let right = lab.now();
    lab.clock.set(Timestamp(right.0 + TEN_YEARS));
    lab.core.gc(true).unwrap();
    let stamp = lab.now();
    let mut stand = vec![lab.commit(&[]).unwrap()];
    lab.clock.set(right);
    lab.core.gc(true).unwrap();
    for _ in 0..50 {
        lab.clock.advance(DAY);
        stand.push(lab.commit(&[]).unwrap());
        assert_eq!(lab.sweep().expired, 0);
    }
    lab.restart();
    assert_eq!(lab.core.gc(true).unwrap().expired, 0);
    let live = |lab: &Lab, ids: &[_]| {
        lab.account.with_state(|s| ids.iter().filter(|id| s.snapshots.contains_key(*id)).count())
    };
    assert_eq!(live(&lab, &stand), 51);

    lab.clock.advance(stamp.since(lab.now()) + HOUR);
    for day in 1..=3 {
        lab.clock.advance(DAY);
        lab.commit(&[]).unwrap();
        lab.clock.advance(HOUR);
        lab.core.gc(true).unwrap();
        assert_eq!(live(&lab, &stand), if day < 3 { 51 } else { 0 }, "{day}");
        assert_eq!(live(&lab, &[good]), usize::from(day < 2), "{day}");
    }
}

#[test]
fn time_that_has_passed_for_certain_is_believed() {
    let clock = Arc::new(TestClock::default());
    let guard = Guard::new(Arc::<TestClock>::clone(&clock), Some(START), false);
    // The machine slept for a month.
    clock.advance(30 * DAY);
    assert_eq!(guard.look(clock.now()), Ok(()));
    assert_eq!((guard.now(), guard.sure()), (clock.now(), clock.now()));
    // A day more than that is believed, and not a second more.
    let seen = clock.now();
    clock.set(Timestamp(seen.0 + DAY));
    assert_eq!((guard.sure(), guard.look(seen)), (clock.now(), Ok(())));
    clock.set(Timestamp(seen.0 + DAY + 1));
    assert_eq!(guard.sure(), seen);
    let held = guard.look(clock.now()).unwrap_err();
    assert_eq!((held.last, held.seconds()), (seen, DAY + 1));
    // It stamps by a clock in doubt, and not by one that is wrong.
    assert_eq!(guard.now(), clock.now());
    let doubt = clock.now();
    clock.set(doubt.plus_days(400));
    assert_eq!(guard.now(), clock.now());
    clock.set(Timestamp(doubt.plus_days(800).0 + 1));
    assert_eq!(guard.now(), doubt.plus_days(400));
}
