//! Random operations against a map in RAM.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Add(u32, BTreeSet<u8>),
    Forget(BTreeSet<u32>),
    Flush,
    Reopen,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_u32..25, btree_set(0_u8..60, 0..30)).prop_map(|(pack, ids)| Op::Add(pack, ids)),
        2 => btree_set(0_u32..25, 0..6).prop_map(Op::Forget),
        1 => Just(Op::Flush),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
    ]
}

/// Ids of which many share their first bytes, and some all but the last.
fn chunk(number: u8) -> ChunkId {
    let mut bytes = [0; 32];
    bytes[0] = number % 3;
    bytes[7] = number % 5;
    bytes[8 + usize::from(number % 2) * 23] = number;
    ChunkId(bytes)
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    packs: BTreeMap<u8, BTreeSet<u32>>,
    covered: BTreeSet<u32>,
}

impl Model {
    fn add(&mut self, pack: u32, ids: &BTreeSet<u8>) {
        self.covered.insert(pack);
        for id in ids {
            self.packs.entry(*id).or_default().insert(pack);
        }
    }

    fn forget(&mut self, gone: &BTreeSet<u32>) {
        self.covered.retain(|pack| !gone.contains(pack));
        for packs in self.packs.values_mut() {
            packs.retain(|pack| !gone.contains(pack));
        }
    }

    fn check(&self, index: &Index) {
        assert_eq!(index.covered(), packs(self.covered.iter().copied()));
        let some = packs([1, 4, 7, 20]);
        for number in 0..60 {
            let expected: Vec<u32> =
                self.packs.get(&number).into_iter().flatten().copied().collect();
            assert_eq!(all(index, &chunk(number)), expected, "chunk {number}");
            let found = index.lookup(&chunk(number), None).unwrap();
            assert_eq!(found.is_some(), !expected.is_empty());
            assert!(found.is_none_or(|pack| expected.contains(&pack.0)));
            let found = index.lookup(&chunk(number), Some(&some)).unwrap();
            assert_eq!(found.is_some(), expected.iter().any(|pack| some.contains(*pack)));
            assert!(found.is_none_or(|p| some.contains(p.0) && expected.contains(&p.0)));
        }
    }
}

fn run_ops(ops: Vec<Op>, limits: Limits) {
    let dir = TempDir::new().unwrap();
    let open = || Index::open_with(dir.path(), ORIGIN, limits).unwrap();
    let mut index = open();
    let mut model = Model::default();
    let mut durable = Model::default();
    for op in ops {
        let runs_before = index.disk().next;
        match op {
            Op::Add(pack, ids) => {
                let before = model.clone();
                model.add(pack, &ids);
                let ids: Vec<_> = ids.into_iter().map(chunk).collect();
                index.add_pack(PackNumber(pack), &ids).unwrap();
                // It makes room before it adds.
                if index.disk().next != runs_before {
                    durable = before;
                }
            }
            Op::Forget(gone) => {
                index.forget_packs(&packs(gone.iter().copied())).unwrap();
                model.forget(&gone);
                durable.forget(&gone);
            }
            Op::Flush => {
                index.flush().unwrap();
                durable = model.clone();
            }
            Op::Reopen => {
                index.flush().unwrap();
                drop(index);
                durable = model.clone();
                index = open();
            }
            Op::Crash => {
                drop(index);
                model = durable.clone();
                index = open();
            }
        }
        model.check(&index);
        assert!(index.read().sealed.runs.len() <= limits.runs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn behaves_like_a_map(ops in vec(op(), 1..40), delta in 1_usize..120, runs in 1_usize..6) {
        run_ops(ops, Limits { delta, runs, blocks: 2 });
    }
}
