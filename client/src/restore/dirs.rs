//! The directories of a restore: known by their place, opened when something is done in them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// It has been made, or found.
    made: AtomicBool,
}

#[derive(Debug)]
enum Place {
    /// The target; with the path in the snapshot that it stands for.
    Target(Vec<u8>),
    Below {
        parent: Arc<DirNode>,
        name: Name,
        meta: Box<Meta>,
    },
}

impl DirNode {
    /// What is recorded of it; nothing of the target itself.
    pub(super) fn meta(&self) -> Option<&Meta> {
        match &self.place {
            Place::Target(_) => None,
            Place::Below { meta, .. } => Some(meta),
        }
    }

    pub(super) fn is_made(&self) -> bool {
        self.made.load(Ordering::Relaxed)
    }

    /// Its path in the snapshot.
    pub(super) fn path(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut node = self;
        let mut path = loop {
            match &node.place {
                Place::Target(path) => break path.clone(),
                Place::Below { parent, name, .. } => {
                    parts.push(name);
                    node = parent;
                }
            }
        };
        for name in parts.into_iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
        }
        path
    }

    /// The path of an entry in it.
    pub(super) fn path_of(&self, name: &Name) -> Vec<u8> {
        let mut path = self.path();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        path
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

    /// The target, standing for this path of the snapshot (without a slash at its end).
    pub(super) fn target(&self, path: Vec<u8>) -> Arc<DirNode> {
        Arc::new(DirNode {
            id: self.number(),
            place: Place::Target(path),
            made: AtomicBool::new(true),
        })
    }

    /// A directory in another one; nothing is made yet.
    pub(super) fn below(&self, parent: &Arc<DirNode>, name: Name, meta: Meta) -> Arc<DirNode> {
        Arc::new(DirNode {
            id: self.number(),
            place: Place::Below { parent: Arc::clone(parent), name, meta: Box::new(meta) },
            made: AtomicBool::new(false),
        })
    }

    /// For the walk: makes a directory, and those above it that are not made yet.
    pub(super) fn make(&self, node: &DirNode) -> Result<TargetDir, TargetError> {
        let mut above = Vec::new();
        let mut at = node;
        while let Place::Below { parent, name, .. } = &at.place
            && !at.is_made()
        {
            above.push((at, name));
            at = parent;
        }
        let mut dir = self.look(at)?;
        for (node, name) in above.into_iter().rev() {
            dir = dir.make_dir(name, &self.policy)?;
            node.made.store(true, Ordering::Relaxed);
            lock(&self.walked).put(node.id, dir.clone(), 1);
        }
        Ok(dir)
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
                Place::Below { parent, name, .. } => {
                    below.push((at.id, name));
                    at = parent;
                }
            }
        };
        for (id, name) in below.into_iter().rev() {
            dir = dir.open_dir(name)?;
            lock(kept).put(id, dir.clone(), 1);
        }
        Ok(dir)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_target() -> TargetError {
    TargetError::Io { action: "open", name: None, source: rustix::io::Errno::NOENT }
}
