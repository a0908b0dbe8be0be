//! The directories of a restore: known by their place, opened when something is done in them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::error::TargetError;
use super::policy::Policy;
use super::root::{Root, TargetDir};
use crate::browse::lru::Lru;
use crate::tree::entry::{Meta, Name};

/// Directories that are kept open: by the walk, and by those who write.
const OPEN: usize = 192;

/// A directory that is being restored. Lives as long as something in it is under way.
#[derive(Debug)]
pub(super) struct DirNode {
    id: u64,
    place: Place,
    meta: Option<Box<Meta>>,
    /// It is above what is restored: if it is there, it stays as it is.
    above: bool,
    /// It has been made, or found.
    made: AtomicBool,
    /// It is above what is restored, and was missing.
    was_missing: AtomicBool,
}

#[derive(Debug)]
enum Place {
    /// The target; with the path in the snapshot that it stands for.
    Target(Vec<u8>),
    Below {
        parent: Arc<DirNode>,
        name: Name,
    },
}

impl DirNode {
    /// What it is to get once everything in it is done; nothing if it stays as it is.
    pub(super) fn to_finish(&self) -> Option<&Meta> {
        let ours = if self.above { &self.was_missing } else { &self.made };
        self.meta.as_deref().filter(|_| ours.load(Ordering::Relaxed))
    }

    pub(super) fn is_made(&self) -> bool {
        self.made.load(Ordering::Relaxed)
    }

    /// Its path in the snapshot.
    pub(super) fn path(&self) -> Vec<u8> {
        self.path_to(None)
    }

    /// The path of an entry in it.
    pub(super) fn path_of(&self, name: &Name) -> Vec<u8> {
        self.path_to(Some(name))
    }

    /// In one piece of memory, as there is one for every file.
    fn path_to(&self, last: Option<&Name>) -> Vec<u8> {
        let parts = || last.into_iter().chain(self.names()).map(Name::as_bytes);
        let length: usize = parts().map(|part| part.len().saturating_add(1)).sum();
        let target = self.target_path();
        let mut path = vec![b'/'; target.len().saturating_add(length)];
        let mut rest = path.as_mut_slice();
        for part in parts().chain([target]) {
            let at = rest.len().saturating_sub(part.len());
            let (before, place) = rest.split_at_mut(at);
            place.copy_from_slice(part);
            let slash = before.len().saturating_sub(1);
            rest = before.split_at_mut(slash).0;
        }
        path
    }

    /// Its name and those of the directories above it, the innermost first.
    fn names(&self) -> impl Iterator<Item = &Name> {
        let mut node = self;
        std::iter::from_fn(move || match &node.place {
            Place::Target(_) => None,
            Place::Below { parent, name } => {
                node = parent;
                Some(name)
            }
        })
    }

    /// Which path of the snapshot the target stands for.
    fn target_path(&self) -> &[u8] {
        let mut node = self;
        loop {
            match &node.place {
                Place::Target(path) => return path,
                Place::Below { parent, .. } => node = parent,
            }
        }
    }
}

/// Opens directories, and keeps those that were used last.
#[derive(Debug)]
pub(super) struct Dirs {
    root: Option<Root>,
    policy: Policy,
    next: AtomicU64,
    /// Apart, because the walk is far ahead of the writing.
    walked: Mutex<Lru<u64, TargetDir>>,
    written: Mutex<Lru<u64, TargetDir>>,
}

impl Dirs {
    /// Beneath `root`; `None` in a dry run with no target yet.
    pub(super) fn new(root: Option<Root>, policy: Policy) -> Self {
        Self {
            root,
            policy,
            next: AtomicU64::new(0),
            walked: Mutex::new(Lru::new(OPEN)),
            written: Mutex::new(Lru::new(OPEN)),
        }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The target, standing for this path of the snapshot (without a slash at its end). With
    /// metadata if it is to become that directory.
    pub(super) fn target(&self, path: Vec<u8>, meta: Option<Box<Meta>>) -> Arc<DirNode> {
        self.node(Place::Target(path), meta, false)
    }

    /// A directory in another one; nothing is made yet. `above`: it is above what is restored.
    pub(super) fn below(
        &self,
        parent: &Arc<DirNode>,
        (name, meta): (Name, Meta),
        above: bool,
    ) -> Arc<DirNode> {
        let place = Place::Below { parent: Arc::clone(parent), name };
        self.node(place, Some(Box::new(meta)), above)
    }

    fn node(&self, place: Place, meta: Option<Box<Meta>>, above: bool) -> Arc<DirNode> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (made, was_missing) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(DirNode { id, place, meta, above, made, was_missing })
    }

    /// For the walk: makes a directory, and those above it that are not made yet.
    pub(super) fn make(&self, node: &DirNode) -> Result<TargetDir, TargetError> {
        let mut above = Vec::new();
        let mut at = node;
        while let Place::Below { parent, name } = &at.place
            && !at.is_made()
        {
            above.push((at, name));
            at = parent;
        }
        let mut dir = self.look(at)?;
        at.made.store(true, Ordering::Relaxed);
        for (node, name) in above.into_iter().rev() {
            dir = match node.meta.as_deref().filter(|_| node.above) {
                None => dir.make_dir(name, &self.policy)?,
                Some(meta) => {
                    let (dir, new) = dir.pass_or_make(name, meta, &self.policy)?;
                    node.was_missing.store(new, Ordering::Relaxed);
                    dir
                }
            };
            node.made.store(true, Ordering::Relaxed);
            lock(&self.walked).put(node.id, dir.clone(), 1);
        }
        Ok(dir)
    }

    /// For a dry run: what [`Self::make`] would make or use counts as made.
    pub(super) fn foresee(&self, node: &DirNode) {
        let mut at = node;
        while !at.made.swap(true, Ordering::Relaxed)
            && let Place::Below { parent, .. } = &at.place
        {
            if at.above {
                let missing = self.look(at).is_err_and(|e| e.errno() == Some(Errno::NOENT));
                at.was_missing.store(missing, Ordering::Relaxed);
            }
            at = parent;
        }
    }

    /// For the walk: opens a directory that is there.
    pub(super) fn look(&self, node: &DirNode) -> Result<TargetDir, TargetError> {
        self.open_with(node, &self.walked)
    }

    /// For the walk: opens a directory that is there and is to be emptied, and lets its owner do so.
    pub(super) fn enter(&self, node: &DirNode) -> Result<TargetDir, TargetError> {
        let Place::Below { parent, name, .. } = &node.place else {
            return self.look(node);
        };
        let dir = self.look(parent)?.open_own(name)?;
        lock(&self.walked).put(node.id, dir.clone(), 1);
        Ok(dir)
    }

    /// For those who write: opens a directory that is there.
    pub(super) fn open(&self, node: &DirNode) -> Result<TargetDir, TargetError> {
        self.open_with(node, &self.written)
    }

    fn open_with(
        &self,
        node: &DirNode,
        kept: &Mutex<Lru<u64, TargetDir>>,
    ) -> Result<TargetDir, TargetError> {
        let mut below = Vec::new();
        let mut at = node;
        let mut dir = loop {
            if let Some(dir) = lock(kept).get(&at.id) {
                break dir;
            }
            match &at.place {
                Place::Target(_) => {
                    let root = self.root.as_ref().ok_or_else(no_target)?;
                    break root.dir().clone();
                }
                Place::Below { parent, name } => {
                    below.push((at, name));
                    at = parent;
                }
            }
        };
        for (node, name) in below.into_iter().rev() {
            dir = if node.above { dir.pass(name)? } else { dir.open_dir(name)? };
            lock(kept).put(node.id, dir.clone(), 1);
        }
        Ok(dir)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_target() -> TargetError {
    TargetError::Io { action: "open", name: None, source: Errno::NOENT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::testkit::{name, plain, safe};

    #[test]
    fn paths_are_those_of_the_snapshot() {
        let dirs = Dirs::new(None, safe());
        for (target, begins) in [("", ""), ("/home/me", "/home/me")] {
            let target = dirs.target(target.into(), None);
            let path = |node: &DirNode| String::from_utf8(node.path()).expect("text");
            assert_eq!(path(&target), begins);
            let below = dirs.below(&target, (name("a"), plain(0o700)), false);
            let deeper = dirs.below(&below, (name("bcd"), plain(0o700)), false);
            assert_eq!(path(&below), format!("{begins}/a"));
            assert_eq!(path(&deeper), format!("{begins}/a/bcd"));
            let file = deeper.path_of(&name("f"));
            assert_eq!(file, format!("{begins}/a/bcd/f").into_bytes());
            assert_eq!(target.path_of(&name("f")), format!("{begins}/f").into_bytes());
        }
    }
}
