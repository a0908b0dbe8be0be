//! Marks of directories, never more than so many.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::backup::{Changes, Depth, Visit};

/// How many marks there may be before one takes the place of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Altogether.
    pub total: usize,
    /// Directly in one directory: then everything in it is marked.
    pub in_one: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: 50_000, in_one: 128 }
    }
}

/// What a mark has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Added {
    /// It was known.
    Nothing,
    /// This directory is marked now, with all beneath it if several became one.
    One(PathBuf, Depth),
    /// Much: there were too many.
    Many,
}

/// The marks.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    changes: Changes,
    /// Of how many directories in a directory there are marks.
    inside: BTreeMap<PathBuf, u32>,
    roots: Vec<PathBuf>,
    limits: Limits,
}

impl Marks {
    pub(super) fn new(roots: Vec<PathBuf>, limits: Limits) -> Self {
        Self { changes: Changes::default(), inside: BTreeMap::new(), roots, limits }
    }

    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    pub(super) fn take(&mut self) -> Changes {
        self.inside.clear();
        std::mem::take(&mut self.changes)
    }

    /// Marks a directory.
    pub(super) fn add(&mut self, dir: &Path, depth: Depth) -> Added {
        let mut added = Added::Nothing;
        let mut next = Some((dir.to_path_buf(), depth));
        // From many in one directory follows a mark of that one, and so on upwards.
        while let Some((dir, depth)) = next.take() {
            let before = self.changes.visit(&dir);
            if before == Visit::Everything || before == Visit::List && depth == Depth::Listing {
                break;
            }
            self.changes.add(&dir, depth);
            if depth == Depth::Everything {
                self.forget_inside(&dir);
            }
            if before != Visit::List {
                next = self.count(&dir).map(|above| (above, Depth::Everything));
            }
            added = Added::One(dir, depth);
        }
        if self.changes.len() > self.limits.total.max(self.roots.len()) {
            self.squeeze();
            added = Added::Many;
        }
        added
    }

    /// Takes in that there is one mark more in the directory above; that, if they are too many.
    fn count(&mut self, dir: &Path) -> Option<PathBuf> {
        if self.is_root(dir) {
            return None;
        }
        let above = dir.parent()?;
        let count = self.inside.entry(above.to_path_buf()).or_insert(0);
        *count += 1;
        (*count > self.limits.in_one).then(|| above.to_path_buf())
    }

    fn is_root(&self, dir: &Path) -> bool {
        // What lies above a root comes from a source that watches more than this set.
        !self.roots.iter().any(|root| dir.starts_with(root) && dir != root)
    }

    fn forget_inside(&mut self, dir: &Path) {
        let gone: Vec<PathBuf> = self
            .inside
            .range::<Path, _>((Bound::Included(dir), Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(dir))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.inside.remove(&path);
        }
    }

    /// Marks those above in place of the deepest, level by level, until half as many are left.
    fn squeeze(&mut self) {
        let mut all: Vec<(PathBuf, Depth)> =
            self.take().iter().map(|(dir, depth)| (dir.to_path_buf(), depth)).collect();
        let level = |dir: &Path| dir.components().count();
        while all.len() > self.limits.total / 2 {
            let inner = all.iter().filter(|(dir, _)| !self.is_root(dir));
            let Some(deepest) = inner.map(|(dir, _)| level(dir)).max() else { break };
            let mut fewer = Changes::default();
            for (dir, depth) in &all {
                match dir.parent().filter(|_| level(dir) == deepest && !self.is_root(dir)) {
                    Some(above) => fewer.add(above, Depth::Everything),
                    None => fewer.add(dir, *depth),
                }
            }
            all = fewer.iter().map(|(dir, depth)| (dir.to_path_buf(), depth)).collect();
        }
        for (dir, depth) in all {
            self.changes.add(&dir, depth);
            if !self.is_root(&dir)
                && let Some(above) = dir.parent()
            {
                *self.inside.entry(above.to_path_buf()).or_insert(0) += 1;
            }
        }
    }
}
