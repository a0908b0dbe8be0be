//! Random walks of the real core: uploads, commits, forgetting, undelete, compaction, expiry,
//! deletion cut into its three parts, crashes and the passing of time in any order. After every
//! step everything that is promised must be there.

use std::collections::BTreeMap;

use unseen_common::id::{PackNumber, SnapshotId};
use unseen_common::log::entry::Body;
use unseen_common::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use unseen_common::time::Timestamp;
use unseen_common::vault::{CompactRequest, VaultError};

use super::gc::{Gone, Plan};
use super::gc_lab::{DAY, Lab, Stored, ids};
use crate::testkit::Head;

const GRACE_DAYS: u32 = 30;
const SEEDS: u64 = 8;
const STEPS: u32 = 150;
const PACKS: u64 = 10;

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

struct Walk {
    lab: Lab,
    dice: Dice,
    /// What the client believes: by seed, and when it was told.
    known: BTreeMap<u64, (Stored, Timestamp)>,
    /// What every number has named so far.
    dealt: BTreeMap<PackNumber, u64>,
    live: BTreeMap<SnapshotId, Vec<u64>>,
    gone: BTreeMap<SnapshotId, Vec<u64>>,
    plan: Option<Plan>,
    rows_gone: Option<Gone>,
    head: Option<Head>,
    missing: u32,
    removed: u64,
    compacted: u32,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let lab = Lab::new();
        let keep = KeepRules { last: 1, ..KeepRules::NONE };
        lab.root(Body::Policy(Policy { keep, ..DEFAULT_POLICY })).unwrap();
        Self {
            lab,
            dice: Dice(seed),
            known: BTreeMap::new(),
            dealt: BTreeMap::new(),
            live: BTreeMap::new(),
            gone: BTreeMap::new(),
            plan: None,
            rows_gone: None,
            head: None,
            missing: 0,
            removed: 0,
            compacted: 0,
        }
    }

    fn step(&mut self) {
        match self.dice.roll(20) {
            0..=2 => self.put(),
            3..=5 => self.commit(),
            6 | 7 => self.forget(),
            8 => self.undelete(),
            9..=11 => self.lab.clock.advance(DAY * (1 + self.dice.roll(40))),
            12 | 13 => self.plan = Some(self.lab.account.plan_collection(self.lab.now()).unwrap()),
            14 | 15 => self.remove(),
            16 => self.delete(),
            17 => self.expire(),
            18 => self.compact(),
            _ => {
                self.lab.restart();
                (self.plan, self.rows_gone) = (None, None);
                self.lab.account.remove_strays().unwrap();
            }
        }
        self.check();
    }

    fn put(&mut self) {
        let seed = self.dice.roll(PACKS);
        let pack = self.lab.put(seed);
        let known = *self.dealt.entry(pack.0).or_insert(seed);
        assert_eq!(known, seed, "number {} was given twice", pack.0);
        self.known.insert(seed, (pack, self.lab.now()));
    }

    fn commit(&mut self) {
        let mut packs: Vec<_> =
            self.known.iter().map(|(seed, (pack, _))| (*seed, pack.clone())).collect();
        packs.retain(|_| self.dice.roll(3) > 0);
        packs.sort_by_key(|(_, pack)| pack.0);
        let stored: Vec<Stored> = packs.iter().map(|(_, pack)| pack.clone()).collect();
        match self.lab.commit(&stored) {
            Ok(id) => drop(self.live.insert(id, packs.iter().map(|(seed, _)| *seed).collect())),
            Err(VaultError::MissingPacks(missing)) => {
                self.known.retain(|_, (pack, _)| !missing.0.contains(pack.0.0));
                self.missing += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn any(dice: &mut Dice, of: &BTreeMap<SnapshotId, Vec<u64>>) -> Option<SnapshotId> {
        let count = u64::try_from(of.len()).unwrap();
        let at = usize::try_from(dice.roll(count.max(1))).unwrap();
        of.keys().nth(at).copied()
    }

    fn forget(&mut self) {
        if let Some(id) = Self::any(&mut self.dice, &self.live) {
            if self.lab.account.with_state(|state| state.snapshots[&id].pinned) {
                self.lab.root(Body::Unpin(ids(&[id]))).unwrap();
            }
            self.lab.forget(id);
            let packs = self.live.remove(&id).unwrap();
            self.gone.insert(id, packs);
        }
    }

    fn undelete(&mut self) {
        let Some(id) = Self::any(&mut self.dice, &self.gone) else {
            return;
        };
        let state = |lab: &Lab| {
            let now = lab.account.stamp();
            lab.account.with_state(|state| state.restorable(&id, now).map(|g| g.snapshot.clone()))
        };
        let Some(snapshot) = state(&self.lab) else {
            return;
        };
        let list = self.lab.account.list(&super::references::Place::of(id, &snapshot)).unwrap();
        let machine = self.lab.machine().clone();
        let packs: Vec<Stored> =
            list.numbers().map(|n| (n, machine.small_pack(self.dealt[&n]))).collect();
        self.lab.restore(id, &packs).expect("within its grace everything is there");
        let seeds = self.gone.remove(&id).unwrap();
        self.live.insert(id, seeds);
    }

    fn remove(&mut self) {
        if let Some(plan) = self.plan.take().filter(|_| self.rows_gone.is_none()) {
            let before = self.lab.account.totals().0;
            self.rows_gone = Some(self.lab.account.remove_rows(&plan).unwrap());
            self.removed += before - self.lab.account.totals().0;
        }
    }

    fn delete(&mut self) {
        if let Some(gone) = self.rows_gone.take() {
            self.lab.account.delete_blobs(&gone);
        }
    }

    fn expire(&mut self) {
        self.lab.account.expire(self.lab.now()).unwrap();
        let there = |id: &SnapshotId| self.lab.account.with_state(|s| s.snapshots.contains_key(id));
        let went: Vec<_> = self.live.keys().filter(|id| !there(id)).copied().collect();
        for id in went {
            let packs = self.live.remove(&id).unwrap();
            self.gone.insert(id, packs);
        }
    }

    /// Plans at one head, and sends at a later one: what has changed meanwhile refuses it.
    fn compact(&mut self) {
        let Some(planned) = self.head.take() else {
            self.head = Some(self.lab.head());
            return;
        };
        let Some(id) = Self::any(&mut self.dice, &self.live) else {
            return;
        };
        if let Some(request) = self.compaction(id, &planned) {
            match self.lab.account.compact(request) {
                Ok(_) => self.compacted += 1,
                Err(VaultError::Invalid(_) | VaultError::MissingPacks(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn compaction(&mut self, id: SnapshotId, planned: &Head) -> Option<CompactRequest> {
        let machine = self.lab.machine().clone();
        let list = self.lab.account.packs_of(id).unwrap()?;
        let stored = |n: PackNumber| (n, machine.small_pack(self.dealt[&n]));
        let removed = stored(list.numbers().next()?);
        let seed = PACKS + self.dice.roll(2);
        let new = self.lab.put(seed);
        let known = *self.dealt.entry(new.0).or_insert(seed);
        assert_eq!(known, seed);
        if list.0.contains(new.0.0) || new.0 == removed.0 {
            return None;
        }
        let mut packs: Vec<Stored> =
            list.numbers().skip(1).map(|n| (n, machine.small_pack(self.dealt[&n]))).collect();
        packs.push(new.clone());
        packs.sort_by_key(|(number, _)| *number);
        Some(self.lab.compaction((&[removed], &[new]), &[(id, packs)], planned))
    }

    fn check(&self) {
        assert_eq!(self.lab.fault(), None);
        self.lab.account.with_state(|state| {
            assert!(self.live.keys().all(|id| state.snapshots.contains_key(id)));
            assert_eq!(self.live.len(), state.snapshots.len());
        });
        for (pack, told) in self.known.values() {
            if self.lab.now() < told.plus_days(GRACE_DAYS) {
                assert!(
                    self.lab.has_row(pack) && self.lab.has_blob(pack),
                    "{} was promised",
                    pack.0
                );
            }
        }
    }
}

#[test]
fn whatever_happens_nothing_that_is_needed_goes() {
    let (mut missing, mut removed, mut compacted) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut walk = Walk::new(seed);
        for _ in 0..STEPS {
            walk.step();
        }
        missing += walk.missing;
        removed += walk.removed;
        compacted += walk.compacted;
    }
    assert!(missing > 2 && removed > 10 && compacted > 3, "{missing} {removed} {compacted}");
}
