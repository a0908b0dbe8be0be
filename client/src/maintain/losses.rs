//! Files that are lost, gathered by snapshot: each is told once, whatever finds it.

use std::collections::{BTreeMap, HashSet};

use unseen_common::id::SnapshotId;

use super::outcome::{Affected, Lost};
use crate::browse::snapshots::Row;

/// What snapshots lose.
#[derive(Debug)]
pub(super) struct Losses {
    /// Paths that are kept of one snapshot.
    most: usize,
    /// By the log records that made the snapshots: the oldest first.
    by_snapshot: BTreeMap<u64, OfSnapshot>,
}

#[derive(Debug)]
struct OfSnapshot {
    id: SnapshotId,
    paths: Vec<Lost>,
    /// Hashes of all of them.
    seen: HashSet<u64>,
}

impl Losses {
    pub(super) fn new(most: usize) -> Self {
        Self { most, by_snapshot: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, snapshot: &Row, path: &[u8], what: String) {
        let path = if path.is_empty() { b"/" } else { path };
        let of = self.by_snapshot.entry(snapshot.seq).or_insert_with(|| OfSnapshot {
            id: snapshot.id,
            paths: Vec::new(),
            seen: HashSet::new(),
        });
        if of.seen.insert(digest(path)) && of.paths.len() < self.most {
            of.paths.push(Lost { path: path.to_vec(), what });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_snapshot.is_empty()
    }

    /// How many there are, snapshot by snapshot.
    pub(super) fn count(&self) -> u64 {
        let seen = self.by_snapshot.values().map(|of| of.seen.len());
        u64::try_from(seen.sum::<usize>()).unwrap_or(u64::MAX)
    }

    pub(super) fn into_affected(self) -> Vec<Affected> {
        let all = self.by_snapshot.into_values();
        all.map(|OfSnapshot { id, mut paths, seen }| {
            paths.sort_by(|a, b| a.path.cmp(&b.path));
            let count = u64::try_from(seen.len()).unwrap_or(u64::MAX);
            Affected { snapshot: id, paths, count }
        })
        .collect()
    }
}

fn digest(path: &[u8]) -> u64 {
    let hash = blake3::hash(path);
    let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}
