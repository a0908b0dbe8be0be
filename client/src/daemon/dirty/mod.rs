//! What may have changed and is not saved yet, set by set.
//!
//! A mark lives until a run that took it has ended well: `take` hands the marks to a run, `done`
//! drops them, `give_back` puts them beside newer ones. After a start everything has to be
//! scanned, whatever was known before: nobody saw what happened meanwhile, not even after an
//! orderly end. So what is kept on disk decides nothing. It says what was known to be unsaved and
//! since when: for `status`, and for a first short run over just that, while the scan is still
//! to come or has to wait for power.

mod marks;
mod one;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use unseen_common::time::Timestamp;

pub use marks::Limits;
pub use one::Dirty;

use crate::backup::{Changes, Depth};
use one::Note;
use store::Store;

/// What was noted is written out so long after it at most.
const FLUSH: Duration = Duration::from_secs(30);

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since some fixed moment, sleep included.
    pub at: Duration,
    /// What the clock on the wall says.
    pub wall: Timestamp,
}

/// What was known to be unsaved when the last daemon ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOver {
    /// What had changed.
    pub changes: Changes,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// The sets of a machine.
#[derive(Debug)]
pub struct DirtySets {
    sets: BTreeMap<String, Dirty>,
    left_over: BTreeMap<String, LeftOver>,
    /// None when it failed: then nothing is kept, and nothing else is different.
    store: Option<Store>,
    flush_at: Option<Duration>,
}

impl DirtySets {
    /// The sets with their roots, as absolute paths. Everything in them may have changed. What is
    /// kept lies in `folder`; what cannot be read there is begun anew.
    pub fn open(folder: &Path, sets: &[(String, Vec<PathBuf>)], now: Moment) -> Self {
        let mut all = Self {
            sets: BTreeMap::new(),
            left_over: BTreeMap::new(),
            store: Store::open(folder).ok(),
            flush_at: None,
        };
        for (name, roots) in sets {
            all.set(name, roots, now);
        }
        let known: Vec<&str> = sets.iter().map(|(name, _)| name.as_str()).collect();
        all.keep(|store| store.retain(&known));
        all
    }

    /// Adds a set, or gives it other roots. Everything in it may have changed.
    pub fn set(&mut self, name: &str, roots: &[PathBuf], now: Moment) {
        if !self.sets.contains_key(name) {
            let left = self.store.as_ref().and_then(|store| store.load(name).ok());
            self.left_over.insert(name.to_owned(), left.unwrap_or_default());
        }
        let mut dirty = Dirty::new(roots.to_vec(), Limits::default());
        dirty.everything(now);
        self.sets.insert(name.to_owned(), dirty);
    }

    /// Forgets a set.
    pub fn remove(&mut self, name: &str) {
        self.sets.remove(name);
        self.left_over.remove(name);
        self.keep(|store| store.remove(name));
    }

    /// Marks a directory in every set that has it.
    pub fn mark(&mut self, dir: &Path, depth: Depth, now: Moment) {
        let mut notes = Vec::new();
        for (name, dirty) in &mut self.sets {
            let note = dirty.mark(dir, depth, now);
            if note != Note::Nothing {
                notes.push((name.clone(), note));
            }
        }
        for (name, note) in notes {
            self.note(&name, note, now);
        }
    }

    /// Everything in a set may have changed: it is scanned.
    pub fn everything(&mut self, name: &str, now: Moment) {
        if let Some(note) = self.sets.get_mut(name).map(|dirty| dirty.everything(now)) {
            self.note(name, note, now);
        }
    }

    /// What a run of this set is to look at; of no set it is nothing. If an earlier run has never
    /// said how it ended, its part as well.
    pub fn take(&mut self, name: &str, now: Moment) -> Changes {
        self.give_back(name, now);
        self.sets.get_mut(name).map(Dirty::take).unwrap_or_default()
    }

    /// The run has ended well: what it took is saved, and so is what an earlier daemon left.
    pub fn done(&mut self, name: &str) {
        let Some(dirty) = self.sets.get_mut(name) else { return };
        if dirty.done() {
            self.left_over.remove(name);
        }
        let all = self.unsaved(name);
        self.keep(|store| store.replace(name, &all).and_then(|()| store.flush()));
    }

    /// What is known to be unsaved, and since when, an earlier daemon's part with it. Not that
    /// everything is to be scanned: that is so after every start, and would hide what is known.
    pub fn unsaved(&self, name: &str) -> LeftOver {
        let mut all = self.left_over.get(name).cloned().unwrap_or_default();
        if let Some(dirty) = self.sets.get(name) {
            let unsaved = dirty.unsaved();
            for (dir, depth) in unsaved.iter().filter(|(dir, depth)| !dirty.is_all(dir, *depth)) {
                all.changes.add(dir, depth);
            }
            all.since = all.since.or(dirty.since());
        }
        all
    }

    /// The run has failed: what it took is not saved.
    pub fn give_back(&mut self, name: &str, now: Moment) {
        if let Some(note) = self.sets.get_mut(name).map(Dirty::give_back) {
            self.note(name, note, now);
        }
    }

    /// A set.
    pub fn get(&self, name: &str) -> Option<&Dirty> {
        self.sets.get(name)
    }

    /// What an earlier daemon knew to be unsaved, until everything has been scanned.
    pub fn left_over(&self, name: &str) -> Option<&LeftOver> {
        self.left_over.get(name).filter(|left| **left != LeftOver::default())
    }

    /// Whether anything is kept on disk.
    pub fn is_kept(&self) -> bool {
        self.store.is_some()
    }

    /// Writes out what has waited long enough. When to call it again; None: after an event.
    pub fn tick(&mut self, now: Duration) -> Option<Duration> {
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.keep(Store::flush);
        }
        self.flush_at
    }

    fn note(&mut self, name: &str, note: Note, now: Moment) {
        match note {
            Note::Nothing => return,
            Note::Put(dir, depth)
                if self.sets.get(name).is_some_and(|set| set.is_all(&dir, depth)) => {}
            Note::Put(dir, depth) => {
                let left = self.left_over.get(name).and_then(|left| left.since);
                let since = left.or(self.sets.get(name).and_then(Dirty::since));
                self.keep(|store| store.put(name, &dir, depth, since));
            }
            Note::Replace => {
                let all = self.unsaved(name);
                self.keep(|store| store.replace(name, &all));
            }
        }
        self.flush_at.get_or_insert(now.at + FLUSH);
    }

    /// A store that fails is not used any more: it decides nothing.
    fn keep(&mut self, job: impl FnOnce(&Store) -> sled::Result<()>) {
        if self.store.as_ref().is_some_and(|store| job(store).is_err()) {
            self.store = None;
        }
    }
}
