//! Which directories may have changed since a set was last saved.

use std::collections::BTreeMap;
use std::path::Path;

use crate::backup::{Changes, Depth};

/// Keeps marks, set by set. What was taken stays kept until it has been saved: a run that fails
/// gives it back, and so does one that never ends.
pub trait Marks: Send + std::fmt::Debug {
    /// Marks a directory.
    fn add(&mut self, set: &str, dir: &Path, depth: Depth);
    /// Takes all marks of a set.
    fn take(&mut self, set: &str) -> Changes;
    /// What was taken is saved, but for `left`, which stays marked.
    fn saved(&mut self, set: &str, left: &Changes);
    /// What was taken is not saved: it is marked again.
    fn give_back(&mut self, set: &str);
    /// How many directories of a set are marked, with those that were taken.
    fn count(&self, set: &str) -> usize;
}

/// Marks in memory.
#[derive(Debug, Default)]
pub struct InMemory(BTreeMap<String, Marked>);

#[derive(Debug, Default)]
struct Marked {
    open: Changes,
    taken: Changes,
}

impl Marks for InMemory {
    fn add(&mut self, set: &str, dir: &Path, depth: Depth) {
        self.0.entry(set.to_owned()).or_default().open.add(dir, depth);
    }

    fn take(&mut self, set: &str) -> Changes {
        let marked = self.0.entry(set.to_owned()).or_default();
        let open = std::mem::take(&mut marked.open);
        marked.taken.merge(&open);
        marked.taken.clone()
    }

    fn saved(&mut self, set: &str, left: &Changes) {
        if let Some(marked) = self.0.get_mut(set) {
            marked.taken = Changes::default();
            marked.open.merge(left);
        }
    }

    fn give_back(&mut self, set: &str) {
        if let Some(marked) = self.0.get_mut(set) {
            let taken = std::mem::take(&mut marked.taken);
            marked.open.merge(&taken);
        }
    }

    fn count(&self, set: &str) -> usize {
        self.0.get(set).map_or(0, |marked| {
            let mut all = marked.open.clone();
            all.merge(&marked.taken);
            all.len()
        })
    }
}
