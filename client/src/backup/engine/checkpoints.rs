//! What a snapshot of a part of the source has to be read by.

use std::fs;
use std::sync::{Condvar, Mutex};

use super::*;
use crate::backup::spool::Spool;
use crate::browse::snapshots::{manifest, rows};
use crate::crypto::content_id::ChunkKind;
use crate::testing::{Forge, World, noise, options};

/// So many packs that a map of them is worth it.
const PACKS: u64 = 80;

/// Lets the walk end when there is a checkpoint.
#[derive(Debug, Default)]
struct Patient {
    made: Mutex<Vec<SnapshotId>>,
    changed: Condvar,
}

impl Monitor for Patient {
    fn scan_done(&self) {
        let made = self.made.lock().unwrap();
        drop(self.changed.wait_while(made, |made| made.is_empty()).unwrap());
    }
    fn checkpoint(&self, snapshot: &SnapshotId) {
        self.made.lock().unwrap().push(*snapshot);
        self.changed.notify_all();
    }
}

#[test]
fn a_checkpoint_of_many_packs_names_a_map_of_them_and_the_snapshot_the_same_one() {
    let (world, mut desk) = World::new();
    let source = world.folder("source");
    for n in 0..600 {
        fs::create_dir(source.join(format!("folder {n:03}"))).unwrap();
    }
    // As if an earlier run had been cut off.
    let spool = Spool::open(&desk.repo.folders.spool()).unwrap();
    for seed in 0..PACKS {
        let mut forge = Forge::new();
        forge.chunk(ChunkKind::Data, &noise(seed, 100));
        spool.put(&forge.sealed(&desk)).unwrap();
    }
    let patient = Patient::default();
    let often = RunOptions { checkpoint_every: Duration::ZERO, spool: true, ..options("s") };
    let outcome = run(
        &mut desk.repo,
        Source::Paths(vec![source]),
        &often,
        (&patient, &AtomicBool::new(false)),
        world.runtime.handle(),
    )
    .unwrap();
    assert_eq!(outcome.status, Status::Complete);

    let reader = world.try_reader("reader", None).unwrap();
    let named = |id: &SnapshotId| {
        let row = rows(&reader).into_iter().find(|row| row.id == *id).unwrap();
        let packs = world.runtime.block_on(reader.vault.packs_of(*id)).unwrap().0;
        (world.runtime.block_on(manifest(&reader, &row)).unwrap().maps, packs)
    };
    let made = patient.made.into_inner().unwrap();
    let last = outcome.snapshot.unwrap();
    let (maps, _) = named(&last);
    assert_eq!(maps.len(), 1);
    for id in made.iter().chain([&last]) {
        let (its, packs) = named(id);
        assert_eq!(its, maps, "one map is enough for all");
        assert!(packs.contains(maps[0].number.0), "it stays as long as the snapshot");
    }
    // What was left, the map, and the trees.
    let trees = u64::try_from(made.len()).unwrap() + 1;
    assert!((PACKS + 2..=PACKS + 1 + trees).contains(&outcome.packs), "{}", outcome.packs);
}
