//! The marks of one set: a state machine without clock and disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use unseen_common::time::Timestamp;

use super::Moment;
use super::marks::{Added, Limits, Marks};
use crate::backup::{Changes, Depth};

/// What of a step is to be kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// Nothing new.
    Nothing,
    /// One mark more.
    Put(PathBuf, Depth),
    /// All that [`Dirty::unsaved`] has, in place of all before.
    Replace,
}

/// What may have changed in one set.
#[derive(Debug, Clone)]
pub struct Dirty {
    roots: Vec<PathBuf>,
    marks: Marks,
    first: Option<Moment>,
    last: Option<Duration>,
    taken: Option<Taken>,
}

/// What a run has.
#[derive(Debug, Clone)]
struct Taken {
    changes: Changes,
    first: Option<Moment>,
}

impl Dirty {
    /// Nothing is marked in these directories yet.
    pub fn new(roots: Vec<PathBuf>, limits: Limits) -> Self {
        let marks = Marks::new(roots.clone(), limits);
        Self { roots, marks, first: None, last: None, taken: None }
    }

    /// Marks a directory, if it is in this set or has some of it.
    pub(super) fn mark(&mut self, dir: &Path, depth: Depth, now: Moment) -> Note {
        let whole = depth == Depth::Everything;
        let mine = |root: &PathBuf| dir.starts_with(root) || whole && root.starts_with(dir);
        if !self.roots.iter().any(mine) {
            return Note::Nothing;
        }
        self.first.get_or_insert(now);
        self.last = Some(now.at);
        match self.marks.add(dir, depth) {
            Added::Nothing => Note::Nothing,
            Added::One(dir, depth) => Note::Put(dir, depth),
            Added::Many => Note::Replace,
        }
    }

    /// Marks everything.
    pub(super) fn everything(&mut self, now: Moment) -> Note {
        self.first.get_or_insert(now);
        self.last = Some(now.at);
        for root in &self.roots {
            self.marks.add(root, Depth::Everything);
        }
        Note::Replace
    }

    /// What a run is to look at. Whoever took before has said how that ended.
    pub(super) fn take(&mut self) -> Changes {
        let taken = Taken { changes: self.marks.take(), first: self.first.take() };
        self.last = None;
        self.taken.insert(taken).changes.clone()
    }

    /// What was taken is saved. Whether it was everything.
    pub(super) fn done(&mut self) -> bool {
        let taken = self.taken.take().map(|taken| taken.changes).unwrap_or_default();
        let whole = |root: &PathBuf| taken.visit(root) == crate::backup::Visit::Everything;
        self.roots.iter().all(whole)
    }

    /// What was taken is not saved.
    pub(super) fn give_back(&mut self) -> Note {
        let Some(taken) = self.taken.take() else { return Note::Nothing };
        for (dir, depth) in taken.changes.iter() {
            self.marks.add(dir, depth);
        }
        self.first = taken.first.or(self.first);
        self.last = self.last.or(self.first.map(|first| first.at));
        // Together they may be too many, and others now.
        Note::Replace
    }

    /// Whether this mark says that everything in one of the set's directories is to be scanned.
    pub(super) fn is_all(&self, dir: &Path, depth: Depth) -> bool {
        depth == Depth::Everything && self.roots.iter().any(|root| root.starts_with(dir))
    }

    /// What no run has taken yet.
    pub fn waiting(&self) -> &Changes {
        self.marks.changes()
    }

    /// All that is not saved: what waits, and what a run has.
    pub fn unsaved(&self) -> Changes {
        let mut all = self.marks.changes().clone();
        if let Some(taken) = &self.taken {
            all.merge(&taken.changes);
        }
        all
    }

    /// When the first of those that wait was marked.
    pub fn first_change(&self) -> Option<Duration> {
        self.first.map(|first| first.at)
    }

    /// When the last one was.
    pub fn last_change(&self) -> Option<Duration> {
        self.last
    }

    /// Since when something is not saved, by the clock on the wall.
    pub fn since(&self) -> Option<Timestamp> {
        let taken = self.taken.as_ref().and_then(|taken| taken.first);
        taken.or(self.first).map(|first| first.wall)
    }
}
