mod damage;
mod model;

use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::*;

const VAULT: VaultId = VaultId::from_bytes([5; 16]);
const ORIGIN: Origin = Origin { vault: VAULT, nonce: [6; 16] };

fn id(number: u32) -> ChunkId {
    ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<ChunkId> {
    numbers.into_iter().map(id).collect()
}

fn packs(numbers: impl IntoIterator<Item = u32>) -> RoaringBitmap {
    numbers.into_iter().collect()
}

fn open(dir: &TempDir, delta: usize) -> Index {
    Index::open_with(dir.path(), ORIGIN, Limits { delta, runs: 8, blocks: 3 }).unwrap()
}

fn all(index: &Index, id: &ChunkId) -> Vec<u32> {
    let mut found = vec![PackNumber(77)];
    index.lookup_all(id, &mut found).unwrap();
    found.into_iter().map(|pack| pack.0).collect()
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn answers_are_the_same_in_ram_on_disk_and_after_reopening() {
    let dir = TempDir::new().unwrap();
    let check = |index: &Index| {
        assert_eq!(index.lookup(&id(1), None).unwrap(), Some(PackNumber(10)));
        assert_eq!(index.lookup(&id(1), Some(&packs([11, 12]))).unwrap(), None);
        assert_eq!(index.lookup(&id(2), Some(&packs([11]))).unwrap(), Some(PackNumber(11)));
        assert_eq!(index.lookup(&id(2), Some(&packs([10]))).unwrap(), Some(PackNumber(10)));
        assert_eq!(index.lookup(&id(4), None).unwrap(), None);
        assert_eq!(all(index, &id(2)), [10, 11]);
        assert_eq!(all(index, &id(4)), [0_u32; 0]);
        assert_eq!(index.covered(), packs([10, 11, 12]));
        assert_eq!(index.len(), 4);
    };
    let index = open(&dir, 1000);
    assert!(index.is_empty() && index.covered().is_empty());
    index.add_pack(PackNumber(10), &ids([1, 2, 1])).unwrap();
    index.add_pack(PackNumber(11), &ids([2, 3])).unwrap();
    index.add_pack(PackNumber(12), &[]).unwrap();
    index.add_pack(PackNumber(10), &ids([1, 2])).unwrap();
    check(&index);
    index.flush().unwrap();
    check(&index);
    index.add_pack(PackNumber(10), &ids([1, 2])).unwrap();
    check(&index);
    drop(index);
    let index = open(&dir, 1000);
    check(&index);
    index.flush().unwrap();
    assert_eq!(names(&dir), ["LOCK", "MANIFEST", "run-0000000000000000"]);
}

#[test]
fn a_covered_pack_may_turn_out_to_hold_more() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 1000);
    index.add_pack(PackNumber(1), &ids(0..50)).unwrap();
    index.flush().unwrap();
    index.add_pack(PackNumber(1), &ids(40..60)).unwrap();
    assert_eq!(index.len(), 60);
    index.flush().unwrap();
    assert_eq!(index.len(), 60);
    assert!((0..60).all(|number| all(&index, &id(number)) == [1]));
}

#[test]
fn without_a_flush_only_the_packs_since_the_last_one_are_gone() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 1000);
    index.add_pack(PackNumber(1), &ids([1])).unwrap();
    index.flush().unwrap();
    index.add_pack(PackNumber(2), &ids([2])).unwrap();
    drop(index);
    let index = open(&dir, 1000);
    assert_eq!(index.covered(), packs([1]));
    assert_eq!((all(&index, &id(1)), all(&index, &id(2))), (vec![1], vec![]));
}

#[test]
fn packs_without_chunks_are_covered_durably() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 1000);
    index.add_pack(PackNumber(3), &[]).unwrap();
    index.flush().unwrap();
    drop(index);
    assert_eq!(open(&dir, 1000).covered(), packs([3]));
    assert_eq!(names(&dir), ["LOCK", "MANIFEST"]);
}

#[test]
fn forgotten_packs_are_gone_at_once_and_for_good() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 1000);
    index.add_pack(PackNumber(1), &ids([1, 2])).unwrap();
    index.flush().unwrap();
    index.add_pack(PackNumber(2), &ids([2, 3])).unwrap();
    index.forget_packs(&packs([1, 2, 9])).unwrap();
    let check = |index: &Index| {
        assert!((1..4).all(|number| all(index, &id(number)).is_empty()));
        assert_eq!(index.lookup(&id(2), Some(&packs([1, 2]))).unwrap(), None);
        assert!(index.covered().is_empty());
    };
    check(&index);
    drop(index);
    let index = open(&dir, 1000);
    check(&index);
    // Pack 9 was never there, so nothing of it needs clearing away.
    index.add_pack(PackNumber(9), &ids([4])).unwrap();
    assert_eq!(index.len(), 3);
    // Pack 1 comes back with another chunk: the old ones stay away.
    index.add_pack(PackNumber(1), &ids([3])).unwrap();
    assert_eq!(index.len(), 2);
    index.flush().unwrap();
    drop(index);
    let index = open(&dir, 1000);
    assert_eq!(
        [1, 2, 3, 4].map(|number| all(&index, &id(number))),
        [vec![], vec![], vec![1], vec![9]]
    );
    assert_eq!(index.covered(), packs([1, 9]));
}

#[test]
fn many_forgotten_packs_are_cleared_away_by_themselves() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 10_000);
    for pack in 0..200 {
        index.add_pack(PackNumber(pack), &ids(pack * 10..pack * 10 + 10)).unwrap();
    }
    index.flush().unwrap();
    index.forget_packs(&packs(0..150)).unwrap();
    assert_eq!(index.len(), 2000);
    index.add_pack(PackNumber(200), &ids([9999])).unwrap();
    index.flush().unwrap();
    assert_eq!(index.len(), 501);
    assert_eq!(names(&dir).len(), 3);
}

#[test]
fn runs_stay_few_while_records_become_many() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 100);
    let mut most = 0;
    for pack in 0..300_u32 {
        // Packs of changing size make runs of changing size.
        let first = pack * 100;
        index.add_pack(PackNumber(pack), &ids(first..first + 5 + pack * 7 % 90)).unwrap();
        most = most.max(index.read().sealed.runs.len());
    }
    index.flush().unwrap();
    assert!((3..=8).contains(&most), "{most}");
    for pack in 0..300 {
        let first = pack * 100;
        let last = first + 4 + pack * 7 % 90;
        assert_eq!((all(&index, &id(first)), all(&index, &id(last))), (vec![pack], vec![pack]));
        assert_eq!(all(&index, &id(last + 1)), [0_u32; 0]);
    }
    let on_disk = names(&dir).iter().filter(|name| name.starts_with("run-")).count();
    assert_eq!(on_disk, index.read().sealed.runs.len());
}

#[test]
fn equal_beginnings_and_many_packs_of_one_chunk_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 100_000);
    let twin = |last: u8| {
        let mut bytes = [1; 32];
        bytes[31] = last;
        ChunkId(bytes)
    };
    for pack in 0..500 {
        index.add_pack(PackNumber(pack), &[twin(0), twin(2), id(pack)]).unwrap();
    }
    let check = |index: &Index| {
        let everywhere: Vec<u32> = (0..500).collect();
        assert_eq!(all(index, &twin(0)), everywhere);
        assert_eq!(all(index, &twin(2)), everywhere);
        assert!(all(index, &twin(1)).is_empty() && all(index, &twin(3)).is_empty());
        for pack in [0, 250, 499] {
            let only = packs([pack]);
            assert_eq!(index.lookup(&twin(2), Some(&only)).unwrap(), Some(PackNumber(pack)));
        }
    };
    check(&index);
    index.flush().unwrap();
    check(&index);
}

#[test]
fn a_failed_flush_loses_nothing_and_is_made_up_for() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 1000);
    index.add_pack(PackNumber(1), &ids(0..10)).unwrap();
    // In the way of the first run.
    let obstacle = dir.path().join("run-0000000000000000");
    fs::create_dir(&obstacle).unwrap();
    assert!(matches!(index.flush(), Err(IndexError::Io { action: "create", .. })));
    assert_eq!(all(&index, &id(3)), [1]);
    // Pack 2 is younger than what waits, and dies before that is written.
    index.add_pack(PackNumber(2), &ids(5..15)).unwrap();
    index.forget_packs(&packs([2])).unwrap();
    index.add_pack(PackNumber(3), &ids(12..13)).unwrap();
    fs::remove_dir(&obstacle).unwrap();
    index.flush().unwrap();
    drop(index);
    let index = open(&dir, 1000);
    assert_eq!((all(&index, &id(7)), all(&index, &id(12))), (vec![1], vec![3]));
    assert_eq!(index.covered(), packs([1, 3]));
    assert_eq!(index.len(), 11);
}

#[test]
fn one_owner_at_a_time() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 10);
    let second = Index::open(dir.path(), VAULT);
    assert!(matches!(second, Err(IndexError::InUse { path }) if path == dir.path()));
    assert!(matches!(Index::wipe(dir.path()), Err(IndexError::InUse { .. })));
    drop(index);
    assert!(Index::open(dir.path(), VAULT).is_ok());
}

#[test]
fn only_files_of_a_known_index_are_deleted() {
    let dir = TempDir::new().unwrap();
    let put = |name: &str| fs::write(dir.path().join(name), b"x").unwrap();
    put("letter.txt");
    put("run-0000000000000007");
    put("MANIFEST.new");
    let index = open(&dir, 10);
    assert_eq!(names(&dir), ["LOCK", "letter.txt"]);
    index.add_pack(PackNumber(1), &ids([1])).unwrap();
    index.flush().unwrap();
    drop(index);
    put("unknown");
    fs::create_dir(dir.path().join("folder")).unwrap();
    assert_eq!(all(&open(&dir, 10), &id(1)), [1]);
    assert_eq!(names(&dir), ["LOCK", "MANIFEST", "folder", "run-0000000000000000"]);
    put("letter.txt");
    Index::wipe(dir.path()).unwrap();
    assert_eq!(names(&dir), ["LOCK", "folder", "letter.txt"]);
    assert!(open(&dir, 10).is_empty());
    Index::wipe(&dir.path().join("nowhere")).unwrap();
}

#[test]
fn ram_stays_under_a_byte_and_a_half_a_chunk() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 30_000);
    for pack in 0..60 {
        index.add_pack(PackNumber(pack), &ids(pack * 1000..(pack + 1) * 1000)).unwrap();
    }
    index.flush().unwrap();
    assert!(index.ram_bytes() < 60_000 * 3 / 2, "{}", index.ram_bytes());
    assert_eq!(index.len(), 60_000);
}

#[test]
fn lookups_see_every_added_pack_while_runs_are_written() {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 200);
    let added = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut asked = 0_u32;
                loop {
                    let known = added.load(Ordering::Acquire);
                    for pack in 0..known {
                        asked = asked.wrapping_mul(31).wrapping_add(7);
                        let number = pack * 10 + asked % 10;
                        assert_eq!(all(&index, &id(number)), [pack], "with {known} packs");
                    }
                    if known == 200 {
                        break;
                    }
                }
            });
        }
        for pack in 0..200 {
            index.add_pack(PackNumber(pack), &ids(pack * 10..pack * 10 + 10)).unwrap();
            added.store(pack + 1, Ordering::Release);
        }
    });
    assert_eq!(index.len(), 2000);
}
