//! Uploads, commits, forgetting and deletion in threads at the same time, with no grace at all:
//! what is committed stays, whatever goes beside it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;

use unseen_common::id::{PackNumber, SnapshotId};
use unseen_common::log::entry::{Author, Body};
use unseen_common::packset::PackSet;
use unseen_common::time::Timestamp;
use unseen_common::vault::{PackUpload, VaultError};

use super::gc_lab::{DAY, Lab, Stored, ids};
use crate::store::lock;
use crate::testkit::snapshot_id;

/// At least; they go on until something was deleted beside them.
const ROUNDS: u64 = 60;
const MOST: u64 = 100_000;
/// Snapshots that are kept, and that there may be while who forgets catches up: locks are not fair.
const KEPT: usize = 3;
const AHEAD: usize = 6;

struct Stage {
    lab: Lab,
    live: Mutex<BTreeMap<SnapshotId, PackSet>>,
    ended: AtomicBool,
    deleted: AtomicU64,
}

impl Stage {
    /// Puts packs and commits what it believes is there; sends again what was deleted meanwhile.
    fn back_up(&self, device: u64) {
        let mut missing = 0;
        for round in 0.. {
            let deleted = self.deleted.load(Ordering::SeqCst);
            if round >= ROUNDS && deleted > 0 {
                break;
            }
            assert!(round < MOST, "nothing is ever deleted");
            let packs: Vec<PackUpload> = (0..3)
                .map(|n| self.lab.machine().small_pack(device * 1000 + (round + n) % 7))
                .collect();
            let manifest = format!("{device} {round}").into_bytes();
            while !self.commit(&manifest, &packs) {
                missing += 1;
                assert!(missing < 10_000, "it never gets through");
            }
            while lock(&self.live).len() > AHEAD {
                std::thread::yield_now();
            }
        }
    }

    fn commit(&self, manifest: &[u8], packs: &[PackUpload]) -> bool {
        let mut stored: Vec<Stored> =
            packs.iter().map(|pack| (self.lab.send(pack).unwrap(), pack.clone())).collect();
        stored.sort_by_key(|(number, _)| *number);
        let numbers: PackSet = stored.iter().map(|(number, _)| *number).collect();
        loop {
            let machine = self.lab.machine();
            let request = machine.snapshot(&self.lab.head(), manifest, &stored);
            // Nobody may forget it before it is written down here.
            let mut live = lock(&self.live);
            match self.lab.account.commit(machine.id, request) {
                Ok(_) => {
                    live.insert(snapshot_id(manifest), numbers);
                    return true;
                }
                Err(VaultError::Conflict(_)) => {}
                Err(VaultError::MissingPacks(_)) => return false,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Keeps the newest.
    fn forget(&self) {
        while !self.ended.load(Ordering::SeqCst) {
            let oldest = {
                let mut live = lock(&self.live);
                if live.len() > KEPT { live.pop_first() } else { None }
            };
            let Some((id, _)) = oldest else {
                std::thread::yield_now();
                continue;
            };
            loop {
                let entry = self.lab.owner.sign(&self.lab.head(), Body::Forget(ids(&[id])));
                match self.lab.account.append(Author::Root, entry) {
                    Ok(_) => break,
                    Err(VaultError::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn collect(&self) {
        let later = Timestamp(self.lab.now().0 + 31 * DAY);
        while !self.ended.load(Ordering::SeqCst) {
            let deleted = self.lab.account.collect(later, true).unwrap().packs;
            self.deleted.fetch_add(deleted, Ordering::SeqCst);
        }
    }

    fn check(&self) {
        for (id, numbers) in lock(&self.live).iter() {
            assert_eq!(self.lab.account.packs_of(*id).unwrap().as_ref(), Some(numbers));
            for number in numbers.numbers() {
                self.lab.account.get_pack(number, None).expect("it is needed");
            }
        }
        let given = lock(&self.lab.account.tables).next_number;
        assert!(self.lab.account.get_pack(PackNumber(given), None).is_err());
    }
}

#[test]
fn deletion_beside_commits_in_threads() {
    let lab = Lab::new();
    let mut stage = Stage {
        lab,
        live: Mutex::default(),
        ended: AtomicBool::new(false),
        deleted: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        let devices = [1, 2].map(|device| {
            scope.spawn({
                let stage = &stage;
                move || stage.back_up(device)
            })
        });
        scope.spawn(|| stage.collect());
        scope.spawn(|| stage.forget());
        let done = devices.map(ScopedJoinHandle::join);
        stage.ended.store(true, Ordering::SeqCst);
        assert!(done.iter().all(Result::is_ok));
    });
    stage.check();
    stage.lab.restart();
    stage.check();
}
