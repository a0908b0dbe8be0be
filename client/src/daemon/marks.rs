//! Which directories may have changed since a set was last saved, as the daemon's mind needs it.

use std::path::{Path, PathBuf};

use unseen_common::time::Timestamp;

use super::dirty::{DirtySets, Moment};
use crate::backup::{Changes, Depth};

/// Keeps marks, set by set. What was taken stays kept until it has been saved: a run that fails
/// gives it back, and so does one that never ends.
pub trait Marks: Send + std::fmt::Debug {
    /// A set is there, or has other paths.
    fn set(&mut self, set: &str, roots: &[PathBuf], now: Moment);
    /// A set is gone.
    fn remove(&mut self, set: &str);
    /// Marks a directory.
    fn add(&mut self, set: &str, dir: (&Path, Depth), now: Moment);
    /// Takes all marks of a set.
    fn take(&mut self, set: &str, now: Moment) -> Changes;
    /// What was taken is saved, but for `left`, which stays marked.
    fn saved(&mut self, set: &str, left: &Changes, now: Moment);
    /// What was taken is not saved: it is marked again.
    fn give_back(&mut self, set: &str, now: Moment);
    /// How many directories of a set are marked, with those that were taken.
    fn count(&self, set: &str) -> usize;
    /// Since when any of them is.
    fn since(&self, set: &str) -> Option<Timestamp>;
    /// Time has passed.
    fn tick(&mut self, now: Moment);
}

impl Marks for DirtySets {
    fn set(&mut self, set: &str, roots: &[PathBuf], now: Moment) {
        Self::set(self, set, roots, now);
    }

    fn remove(&mut self, set: &str) {
        Self::remove(self, set);
    }

    fn add(&mut self, _: &str, (dir, depth): (&Path, Depth), now: Moment) {
        // Sets that lie in each other share what changes.
        self.mark(dir, depth, now);
    }

    fn take(&mut self, set: &str, now: Moment) -> Changes {
        Self::take(self, set, now)
    }

    fn saved(&mut self, set: &str, left: &Changes, now: Moment) {
        self.done(set);
        for (dir, depth) in left.iter() {
            self.mark(dir, depth, now);
        }
    }

    fn give_back(&mut self, set: &str, now: Moment) {
        Self::give_back(self, set, now);
    }

    fn count(&self, set: &str) -> usize {
        self.unsaved(set).changes.len()
    }

    fn since(&self, set: &str) -> Option<Timestamp> {
        self.unsaved(set).since
    }

    fn tick(&mut self, now: Moment) {
        Self::tick(self, now.at);
    }
}

/// Marks in memory, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct InMemory(std::collections::BTreeMap<String, (Changes, Changes)>);

#[cfg(test)]
impl Marks for InMemory {
    fn set(&mut self, _: &str, _: &[PathBuf], _: Moment) {}

    fn remove(&mut self, set: &str) {
        self.0.remove(set);
    }

    fn add(&mut self, set: &str, (dir, depth): (&Path, Depth), _: Moment) {
        self.0.entry(set.to_owned()).or_default().0.add(dir, depth);
    }

    fn take(&mut self, set: &str, _: Moment) -> Changes {
        let (open, taken) = self.0.entry(set.to_owned()).or_default();
        taken.merge(&std::mem::take(open));
        taken.clone()
    }

    fn saved(&mut self, set: &str, left: &Changes, _: Moment) {
        if let Some((open, taken)) = self.0.get_mut(set) {
            *taken = Changes::default();
            open.merge(left);
        }
    }

    fn give_back(&mut self, set: &str, _: Moment) {
        if let Some((open, taken)) = self.0.get_mut(set) {
            open.merge(&std::mem::take(taken));
        }
    }

    fn count(&self, set: &str) -> usize {
        self.0.get(set).map_or(0, |(open, taken)| {
            let mut all = open.clone();
            all.merge(taken);
            all.len()
        })
    }

    fn since(&self, _: &str) -> Option<Timestamp> {
        None
    }

    fn tick(&mut self, _: Moment) {}
}
