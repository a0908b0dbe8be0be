use unseen_common::id::{PackNumber, VaultId};

use super::*;
use crate::index::Index;
use crate::state::queue::RUN;
use crate::state::records::RecordReader;
use crate::state::summary::Summary;

/// More than a pack of tiny files has, many times over.
const MANY: u64 = 20_000;

fn key(number: u64) -> DirKey {
    DirKey::of(&number.to_le_bytes())
}

fn header(number: u64) -> Header {
    let mut tree = [0; 32];
    tree[..8].copy_from_slice(&number.to_le_bytes());
    Header {
        rules: RulesKey([2; 16]),
        summary: Summary::default(),
        tree: ChunkId(tree),
        objects: vec![ChunkId(tree)],
        entries: 1,
        parts: Vec::new(),
    }
}

struct Scene {
    _dir: tempfile::TempDir,
    state: StateDb,
    index: Index,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDb::open(&dir.path().join("state")).unwrap();
        let index = Index::open(&dir.path().join("index"), VaultId::from_bytes([5; 16])).unwrap();
        Self { _dir: dir, state, index }
    }

    fn recorded(&self, number: u64) -> Option<Header> {
        let found = RecordReader::open(&self.state, key(number)).unwrap();
        found.map(|reader| Header::clone(&reader.header))
    }
}

/// All wait for the segment of the first one; the packs of the others have long been stored.
#[test]
fn memory_is_bounded_however_many_records_wait_and_none_is_written_before_its_packs() {
    let scene = Scene::new();
    let (state, dedup) = (&scene.state, Dedup::new(&scene.index, RoaringBitmap::new()));
    let (slow, quick) = (dedup.new_segment(), dedup.new_segment());
    dedup.resolved(PackNumber(7), &[quick], &[]).unwrap();
    let mut recorder = Recorder::new(state);
    let mut most = 0;
    for number in 0..MANY {
        let segment = if number == 0 { slow } else { quick };
        let mut needs = Needs::default();
        needs.add(PackRef::Pending(segment));
        let mut parts = Place { offset: number, length: 9 }.to_bytes().to_vec();
        needs.encode(&mut parts);
        recorder.wait((key(number), &header(number)), &parts, &needs).unwrap();
        recorder.write(&dedup, state, false).unwrap();
        most = most.max(recorder.queue.held());
    }
    let waiting = MANY - 1;
    assert_eq!(recorder.queue.len(), waiting, "one has been taken out to be looked at");
    assert!(most <= 3 * RUN, "{most} bytes for {waiting} records");
    recorder.write(&dedup, state, true).unwrap();
    state.flush().unwrap();
    assert!((0..MANY).all(|number| scene.recorded(number).is_none()));

    dedup.resolved(PackNumber(8), &[slow], &[]).unwrap();
    recorder.write(&dedup, state, true).unwrap();
    state.flush().unwrap();
    assert!(recorder.first.is_none() && recorder.queue.is_empty());
    for number in 0..MANY {
        let packs: RoaringBitmap = [if number == 0 { 8 } else { 7 }].into_iter().collect();
        let place = Place { offset: number, length: 9 };
        let mut expected = header(number);
        expected.parts.push(PartPlace { place, packs: packs.clone() });
        expected.summary.packs = packs;
        assert_eq!(scene.recorded(number), Some(expected));
    }
}

/// A record that waits for the second of its parts stays as it is until that has its pack.
#[test]
fn each_part_names_the_packs_of_its_own_files() {
    let scene = Scene::new();
    let (state, dedup) = (&scene.state, Dedup::new(&scene.index, RoaringBitmap::new()));
    let segments = [dedup.new_segment(), dedup.new_segment(), dedup.new_segment()];
    let (mut parts, mut all) = (Vec::new(), Needs::default());
    for (offset, segment) in (0..).zip(segments) {
        let mut needs = Needs::default();
        needs.add(PackRef::Pending(segment));
        needs.add(PackRef::Known(PackNumber(100)));
        all.merge(&needs);
        parts.extend_from_slice(&Place { offset, length: 9 }.to_bytes());
        needs.encode(&mut parts);
    }
    let mut recorder = Recorder::new(state);
    recorder.wait((key(1), &header(1)), &parts, &all).unwrap();
    for at in [0, 2, 1] {
        recorder.write(&dedup, state, true).unwrap();
        state.flush().unwrap();
        assert_eq!(scene.recorded(1), None);
        let number = PackNumber(u32::try_from(at).unwrap());
        dedup.resolved(number, &segments[at..=at], &[]).unwrap();
    }
    recorder.write(&dedup, state, true).unwrap();
    state.flush().unwrap();
    let found = scene.recorded(1).unwrap();
    let packs: Vec<Vec<u32>> = found.parts.iter().map(|p| p.packs.iter().collect()).collect();
    assert_eq!(packs, [[0, 100], [1, 100], [2, 100]]);
    assert_eq!(found.summary.packs.iter().collect::<Vec<_>>(), [0, 1, 2, 100]);
}
