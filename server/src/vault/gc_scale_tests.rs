//! How long it takes to decide what is deleted:
//!
//!     cargo test --release -p unseen-server --features testkit --lib million -- --ignored --nocapture

use std::time::Instant;

use unseen_common::id::{DeviceId, Hash, PackId, PackNumber, SetTag, SnapshotId};
use unseen_common::log::entry::Status;
use unseen_common::log::state::Snapshot;
use unseen_common::packset::PackSet;
use unseen_common::time::Timestamp;

use super::gc_lab::{DAY, Lab};
use super::references::Place;
use crate::store::blobs::Blobs;
use crate::store::lock;
use crate::store::row::{AccountRow, PackRow};
use crate::testkit::START;

const GRACE: u64 = 30 * DAY;

#[test]
#[ignore = "a measurement, for an optimised build on a quiet machine"]
fn a_million_packs_and_a_thousand_snapshots() {
    let lab = Lab::new();
    let packs = 1_000_000_u32;
    {
        let mut tables = lock(&lab.account.tables);
        for number in 0..packs {
            let id = PackId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
            let row = PackRow {
                number: PackNumber(number),
                id,
                content_hash: Hash::of(b""),
                device: lab.machine().id,
                length: 65536,
                footer_len: 4096,
                received: START,
            };
            tables.packs.insert(&row).unwrap();
        }
    }
    // Each snapshot needs half of all, scattered, so that its list is as long as lists get.
    let half = |which: u32| {
        let mixed =
            |n: &u32| (n.wrapping_mul(2_654_435_761) >> 7) & 1 == which && !n.is_multiple_of(100);
        (0..packs).filter(mixed).map(PackNumber).collect::<PackSet>().to_bytes()
    };
    let halves = [half(0), half(1)];
    for number in 0..1000_u32 {
        let id = SnapshotId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let list = &halves[usize::from(number % 2 == 1)];
        let place = Place { snapshot: id, compacted: None };
        lab.blobs.put(&place.key(lab.owner.vault), &[list]).unwrap();
        let mut tables = lock(&lab.account.tables);
        let checksum = Hash::of(list);
        tables.references.take(&AccountRow::Packset { snapshot: id, compacted: None, checksum });
        tables.state.snapshots.insert(id, live(lab.machine().id, number));
    }
    let now = Timestamp(START.0 + GRACE + 60);
    let start = Instant::now();
    let plan = lab.account.plan_collection(now).unwrap();
    let planned = start.elapsed();
    let gone = lab.account.remove_rows(&plan).unwrap();
    let removed = start.elapsed();
    println!("decided in {planned:?}, rows gone after {removed:?}");
    lab.account.delete_blobs(&gone);
    assert_eq!(lab.account.totals().0, 990_000);
}

fn live(device: DeviceId, number: u32) -> Snapshot {
    Snapshot {
        seq: 2,
        device,
        set: SetTag::from_bytes([1; 16]),
        status: Status::Complete,
        time: START,
        received: Timestamp(START.0 + u64::from(number)),
        packset_hash: Hash::of(b""),
        packed: 2,
        pinned: false,
        held: false,
        disclosure: unseen_common::disclosure::Disclosure {
            start: START,
            end: START,
            totals: None,
            types: Vec::new(),
        },
    }
}
