use unseen_common::id::{PackNumber, VaultId};

use super::*;
use crate::index::Index;
use crate::state::queue::RUN;
use crate::state::records::{RecordReader, Seen};
use crate::state::summary::Summary;
use crate::tree::entry::FileTime;

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
        own: RoaringBitmap::new(),
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
        recorder.wait((key(number), &header(number)), &parts, (&needs, &needs)).unwrap();
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
        expected.own = packs.clone();
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
    recorder.wait((key(1), &header(1)), &parts, (&all, &all)).unwrap();
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

/// One entry of a long directory as it was recorded.
fn rows(state: &StateDb, from: u64) -> Vec<Old> {
    let mut reader = RecordReader::open(state, key(from)).unwrap().unwrap();
    let mut all = Vec::new();
    while let Some(part) = reader.next_part() {
        all.extend((0..part.len()).map(|index| Old { part: Arc::clone(&part), index }));
    }
    all
}

fn row<'r>(name: &'r [u8], encoded: &'r [u8]) -> Row<'r> {
    let time = FileTime::default();
    let (kind, racy, linked, ino, size) = (2, false, false, 1, 0);
    let seen = Seen { kind, racy, linked, ino, size, mtime: time, ctime: time };
    Row { seen, name, encoded, lists: &[] }
}

/// Ends a record as if its tree were in pack 1, and tells where its parts are.
fn written(scene: &Scene, mut builder: RecordBuilder, dedup: &Dedup<'_>, to: u64) -> Vec<Place> {
    builder.copy_kept((&scene.state, dedup)).unwrap();
    builder.close(&scene.state).unwrap();
    let mut header = header(to);
    header.entries = builder.entries;
    let mut rest = &builder.parts[..];
    while !rest.is_empty() {
        let ((place, needs), left) = read_part(rest).unwrap();
        header.parts.push(PartPlace { place, packs: needs.known });
        rest = &rest[rest.len() - left..];
    }
    scene.state.set_record(key(to), &header).unwrap();
    scene.state.flush().unwrap();
    header.parts.iter().map(|part| part.place).collect()
}

/// However often something in a long directory changes, only the parts where it did are written,
/// and they become neither many nor long.
#[test]
fn parts_in_which_nothing_changed_are_not_written_again() {
    let scene = Scene::new();
    let dedup = Dedup::new(&scene.index, RoaringBitmap::new());
    let beside = (&scene.state, &dedup);
    let mut builder = RecordBuilder::new(key(0));
    let mut names: Vec<String> = (0..5000).map(|n| format!("{n:05}")).collect();
    let encoded = |name: &str| name.repeat(20).into_bytes();
    for name in &names {
        builder.push(&row(name.as_bytes(), &encoded(name)), NOTHING, beside).unwrap();
    }
    let mut places = written(&scene, builder, &dedup, 0);
    let first = places.len();
    assert!(first > 40, "{first} parts");
    for round in 0..200_usize {
        let before = rows(&scene.state, round as u64);
        let mut builder = RecordBuilder::new(key(round as u64 + 1));
        let at = round * 7919 % before.len();
        for (index, old) in before.iter().enumerate() {
            let name = names[index].clone();
            match round % 3 {
                _ if index != at => builder.keep(old, beside).unwrap(),
                // It is gone.
                0 => {}
                kind => {
                    let changed = [&encoded(&name)[..], b"+"].concat();
                    builder.push(&row(name.as_bytes(), &changed), NOTHING, beside).unwrap();
                    if kind == 2 {
                        let more = name + "a";
                        let new = row(more.as_bytes(), b"new");
                        builder.push(&new, NOTHING, beside).unwrap();
                    }
                }
            }
        }
        match round % 3 {
            0 => drop(names.remove(at)),
            2 => names.insert(at + 1, names[at].clone() + "a"),
            _ => {}
        }
        let now = written(&scene, builder, &dedup, round as u64 + 1);
        let kept = now.iter().filter(|place| places.contains(place)).count();
        assert!(kept + 3 >= places.len(), "{kept} of {} in round {round}", places.len());
        places = now;
        assert!(places.len() <= first + first / 4, "{} parts", places.len());
        assert!(places.iter().all(|place| place.length as usize <= 2 * PART + 1024));
        let found = rows(&scene.state, round as u64 + 1);
        let found = found.iter().map(|old| row_of(old).unwrap().name.to_vec());
        assert!(found.eq(names.iter().map(|name| name.clone().into_bytes())));
    }
}

/// Packs of a part that are gone are not named again.
#[test]
fn a_part_without_its_packs_is_not_kept() {
    let scene = Scene::new();
    let dedup = Dedup::new(&scene.index, [3].into_iter().collect());
    let mut places = Vec::new();
    for (pack, kept) in [(3, true), (4, false)] {
        let mut builder = RecordBuilder::new(key(0));
        let needs = [PackRef::Known(PackNumber(pack))];
        builder.push(&row(b"n", b"e"), (None, &needs), (&scene.state, &dedup)).unwrap();
        let before = written(&scene, builder, &dedup, 0);
        let mut builder = RecordBuilder::new(key(1));
        builder.keep(&rows(&scene.state, 0)[0], (&scene.state, &dedup)).unwrap();
        assert_eq!(builder.entries, 1);
        places = written(&scene, builder, &dedup, 1);
        assert_eq!(places == before, kept);
        assert_eq!(dedup.used().contains(pack), kept);
    }
    assert_eq!(places.len(), 1);
    let reader = RecordReader::open(&scene.state, key(1)).unwrap().unwrap();
    assert!(reader.header.parts[0].packs.is_empty(), "nothing that it needs is there");
}
