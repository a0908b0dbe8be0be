//! Which directories may have changed since the last snapshot of a set.
//!
//! With these, the cost of a run follows what changed, not what exists: a directory in which
//! nothing can have changed is taken from its record without being opened.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

/// How much of a directory may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Itself, and what is directly in it. Of directories in it: their own metadata, not what is
    /// in them.
    Listing,
    /// Everything beneath it as well: it is new, was moved here, or events were lost.
    Everything,
}

/// What a walk does with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// Nothing in it or beneath it changed.
    Skip,
    /// Nothing in it changed, but something further down did.
    Through,
    /// It is listed and its entries are looked at.
    List,
    /// It is walked as a whole.
    Everything,
}

/// Directories that may have changed, by absolute path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// None lies beneath one of which everything may have changed.
    dirs: BTreeMap<PathBuf, Depth>,
}

impl Changes {
    /// Takes in that this directory may have changed.
    pub fn add(&mut self, dir: &Path, depth: Depth) {
        if self.is_whole(dir) {
            return;
        }
        if depth == Depth::Everything {
            let beneath: Vec<PathBuf> = self.beneath(dir).map(|(path, _)| path.clone()).collect();
            for path in beneath {
                self.dirs.remove(&path);
            }
        }
        let known = self.dirs.entry(dir.to_path_buf()).or_insert(depth);
        *known = (*known).max(depth);
    }

    /// Takes in all that `other` has.
    pub fn merge(&mut self, other: &Self) {
        for (dir, depth) in other.iter() {
            self.add(dir, depth);
        }
    }

    /// What to do with a directory.
    pub fn visit(&self, dir: &Path) -> Visit {
        if self.is_whole(dir) {
            Visit::Everything
        } else if self.dirs.contains_key(dir) {
            Visit::List
        } else if self.beneath(dir).next().is_some() {
            Visit::Through
        } else {
            Visit::Skip
        }
    }

    /// All of them, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, Depth)> {
        self.dirs.iter().map(|(dir, depth)| (dir.as_path(), *depth))
    }

    /// Whether this very directory is one of them.
    pub fn contains(&self, dir: &Path) -> bool {
        self.dirs.contains_key(dir)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.dirs.len()
    }

    /// Whether nothing may have changed.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Whether this directory lies in one of which everything may have changed, or is one.
    fn is_whole(&self, dir: &Path) -> bool {
        dir.ancestors().any(|path| self.dirs.get(path) == Some(&Depth::Everything))
    }

    /// Those that lie beneath a directory. Paths are ordered by component, so they follow it.
    fn beneath(&self, dir: &Path) -> impl Iterator<Item = (&PathBuf, &Depth)> {
        self.dirs
            .range::<Path, _>((Bound::Excluded(dir), Bound::Unbounded))
            .take_while(move |(path, _)| path.starts_with(dir))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changes(of: &[(&str, Depth)]) -> Changes {
        let mut changes = Changes::default();
        for (dir, depth) in of {
            changes.add(Path::new(dir), *depth);
        }
        changes
    }

    #[test]
    fn a_walk_goes_where_something_changed_and_nowhere_else() {
        let changes = changes(&[("/h/a/b", Depth::Listing), ("/h/c", Depth::Everything)]);
        for (dir, visit) in [
            ("/", Visit::Through),
            ("/h", Visit::Through),
            ("/h/a", Visit::Through),
            ("/h/a/b", Visit::List),
            ("/h/a/b/c", Visit::Skip),
            ("/h/a/bb", Visit::Skip),
            ("/h/a-b", Visit::Skip),
            ("/h/c", Visit::Everything),
            ("/h/c/d/e", Visit::Everything),
            ("/h/cc", Visit::Skip),
        ] {
            assert_eq!(changes.visit(Path::new(dir)), visit, "{dir}");
        }
    }

    #[test]
    fn the_whole_of_a_directory_takes_the_place_of_what_is_in_it() {
        let mut changes = changes(&[("/a/b/c", Depth::Listing), ("/a/b", Depth::Listing)]);
        changes.add(Path::new("/a/b"), Depth::Everything);
        changes.add(Path::new("/a/b/d"), Depth::Everything);
        assert_eq!(changes.iter().collect::<Vec<_>>(), [(Path::new("/a/b"), Depth::Everything)]);
    }

    fn dirs() -> impl Strategy<Value = Vec<(PathBuf, Depth)>> {
        let dir = prop::collection::vec("[ab]", 0..4)
            .prop_map(|parts| Path::new("/").join(parts.join("/")));
        let depth = prop_oneof![Just(Depth::Listing), Just(Depth::Everything)];
        prop::collection::vec((dir, depth), 0..12)
    }

    proptest! {
        #[test]
        fn it_is_what_a_list_of_all_would_say(added in dirs(), asked in dirs()) {
            let mut changes = Changes::default();
            for (dir, depth) in &added {
                changes.add(dir, *depth);
            }
            for (dir, _) in &asked {
                let whole = |(a, d): &(PathBuf, Depth)| {
                    *d == Depth::Everything && dir.starts_with(a)
                };
                let wanted = if added.iter().any(whole) {
                    Visit::Everything
                } else if added.iter().any(|(a, _)| a == dir) {
                    Visit::List
                } else if added.iter().any(|(a, _)| a.starts_with(dir)) {
                    Visit::Through
                } else {
                    Visit::Skip
                };
                prop_assert_eq!(changes.visit(dir), wanted);
            }
        }
    }
}
