use super::*;
use crate::compress::Encoding;
use crate::crypto::content_id::ChunkId;
use crate::pack::builder::BufferPool;
use crate::pack::table::ChunkRow;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn segment(encoded: &[u8], kind: ChunkKind) -> Segment<'_> {
    let raw = u32::try_from(encoded.len()).unwrap();
    let chunks = vec![ChunkRow { id: ChunkId([7; 32]), length: raw }];
    let row = SegmentRow { sealed: 0, raw, encoding: Encoding::Stored, kind, chunks };
    Segment { encoded, row, handle: SegmentHandle::numbered(1) }
}

/// The packs that threads fill, and what became of those that left.
struct Bench {
    packs: OpenPacks,
    pool: BufferPool,
    flow: Flow,
    left: Vec<OpenPack>,
}

impl Bench {
    fn new() -> Self {
        let (packs, pool) = (OpenPacks::default(), BufferPool::new(OPEN + 1));
        Self { packs, pool, flow: Flow::default(), left: Vec::new() }
    }

    fn put(&mut self, bytes: usize, kind: ChunkKind, promise: Option<Promise>) {
        let encoded = vec![1; bytes];
        let mut placed = self.packs.place(segment(&encoded, kind), promise, &self.flow);
        while !matches!(placed, Placed::There) {
            let (segment, left) = match placed {
                Placed::There => return,
                Placed::Full(full) => {
                    self.left.push(full);
                    return;
                }
                Placed::Nowhere(segment, left) => (segment, left),
            };
            self.left.extend(left);
            let begin = || PackBuilder::new(&self.pool);
            let (now, fits) = self.packs.place_or_begin(segment, &self.flow, begin);
            assert!(fits, "{bytes} bytes");
            placed = now;
        }
    }

    fn data(&mut self, bytes: usize) {
        self.put(bytes, ChunkKind::Data, None);
    }

    /// Segments in each pack that is open.
    fn open(&self) -> Vec<usize> {
        let open = self.packs.open();
        let all = open.waiting.iter().chain(&open.data).chain(&open.trees);
        all.map(|pack| pack.builder.segments().len()).collect()
    }
}

#[test]
fn threads_fill_one_pack_and_what_is_small_fills_its_gap() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.data(3 * MIB);
    }
    bench.put(MIB, ChunkKind::Tree, None);
    assert_eq!(bench.open(), [5, 1]);
    // Less than 1 MiB is left in the first.
    bench.data(2 * MIB);
    assert_eq!(bench.open(), [5, 1, 1]);
    bench.data(600 * KIB);
    assert_eq!(bench.open(), [6, 1, 1]);
    bench.data(340 * KIB);
    assert_eq!((bench.open(), bench.left.len()), (vec![1, 1], 1), "the first is full");
    assert_eq!(bench.left[0].handles.len(), 7);
    assert_eq!(bench.packs.take_all().len(), 2);
    assert_eq!(bench.open(), [0; 0]);
}

#[test]
fn of_three_that_wait_the_fullest_leaves_unless_somebody_is_about_to_fill_it() {
    let trend = Trend { raw: 3 * MIB, encoded: 3 * MIB, longest: 3 * MIB };
    for promised in [false, true] {
        let mut bench = Bench::new();
        for bytes in [15 * MIB, 14 * MIB, 13 * MIB] {
            bench.data(bytes);
        }
        if promised {
            let (goal, promise) = bench.packs.aim(ChunkKind::Data, trend);
            assert!((MIB / 2..MIB).contains(&goal) && promise.is_some(), "{goal}");
        }
        bench.data(12 * MIB);
        assert_eq!((bench.open().len(), bench.left.len()), (WAITING + 1, 1));
        let length = bench.left[0].builder.needed() >> 20;
        assert_eq!(length, if promised { 14 } else { 15 });
    }
}

#[test]
fn a_pack_with_little_room_does_not_wait() {
    for (room, waits) in [(200 * KIB, false), (300 * KIB, true)] {
        let mut bench = Bench::new();
        bench.data(8 * MIB);
        let left = bench.packs.open().data.as_ref().unwrap().builder.room();
        bench.data(usize::try_from(left).unwrap() - room);
        assert_eq!((bench.open(), bench.left.len()), (vec![2], 0));
        bench.data(MIB);
        assert_eq!((bench.open().len(), bench.left.len()), if waits { (2, 0) } else { (1, 1) });
    }
}

#[test]
fn two_threads_do_not_aim_at_the_same_room() {
    let mut bench = Bench::new();
    let trend = Trend { raw: 3 * MIB, encoded: MIB, longest: 3 * MIB };
    assert_eq!(bench.packs.aim(ChunkKind::Data, trend), (3 * MIB, None));
    bench.data(14 * MIB);
    let (first, promise) = bench.packs.aim(ChunkKind::Data, trend);
    assert_eq!(first, 3 * MIB, "two are left, one of which is taken");
    let (second, other) = bench.packs.aim(ChunkKind::Data, trend);
    assert!((LEAST..3 * MIB).contains(&second) && other.is_some(), "{second}");
    assert_eq!(bench.packs.aim(ChunkKind::Data, trend), (3 * MIB, None), "nothing is left");
    assert_eq!(bench.packs.aim(ChunkKind::Tree, trend).1, None, "nor is it for trees");
    // Both keep their word: the pack has room for both, and is full then.
    bench.put(MIB, ChunkKind::Data, promise);
    bench.put(second / 3, ChunkKind::Data, other);
    assert_eq!(bench.open(), [3]);
    let (third, _) = bench.packs.aim(ChunkKind::Data, trend);
    assert!((LEAST..second).contains(&third), "{third}");
}

#[test]
fn what_was_promised_and_not_kept_is_free_again() {
    let mut bench = Bench::new();
    let trend = Trend { raw: 3 * MIB, encoded: 3 * MIB, longest: 3 * MIB };
    bench.data(14 * MIB);
    let (_, promise) = bench.packs.aim(ChunkKind::Data, trend);
    assert!(promise.is_some());
    assert_eq!(bench.packs.aim(ChunkKind::Data, trend).1, None);
    // It became longer than was hoped, and went elsewhere.
    bench.put(3 * MIB, ChunkKind::Data, promise);
    assert_eq!(bench.open(), [1, 1]);
    let (goal, _) = bench.packs.aim(ChunkKind::Data, trend);
    assert!((MIB..2 * MIB).contains(&goal), "{goal}");
}
