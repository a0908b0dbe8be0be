//! Files of several names: which was written first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dirs::DirNode;
use super::root::FileId;
use crate::progress::Change;
use crate::tree::entry::{Meta, Name};

/// Groups that are remembered. Files of later ones are restored as files of their own.
const MOST: usize = 200_000;

/// What a name of a group is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Written like any other; the other names will be linked to it.
    First,
    /// A further name.
    Further,
    /// Written like any other, and nothing is linked to it.
    Alone,
}

/// A further name that is to be made.
#[derive(Debug)]
pub(super) struct LinkPlan {
    pub(super) group: u64,
    pub(super) dir: Arc<DirNode>,
    pub(super) name: Name,
    pub(super) size: u64,
    pub(super) change: Change,
    /// It is a regular file, of which a copy can be made.
    pub(super) is_file: bool,
    /// Needed where the system refuses a link and a copy is made.
    pub(super) meta: Meta,
}

/// The groups of a restore.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<Groups>);

#[derive(Debug, Default)]
struct Groups {
    first: HashMap<u64, Linked>,
    /// Files that were there and stayed, with their groups.
    stayed: HashMap<FileId, u64>,
}

#[derive(Debug)]
struct Linked {
    dir: Arc<DirNode>,
    name: Name,
    /// What kind of thing it is, with its content.
    digest: u64,
    /// Once it is there.
    id: Option<FileId>,
}

impl Links {
    /// Notes a name of a group. `digest` tells things that cannot be one file apart.
    pub(super) fn role(&self, group: u64, digest: u64, dir: &Arc<DirNode>, name: &Name) -> Role {
        let groups = &mut self.lock().first;
        if let Some(first) = groups.get(&group) {
            return if first.digest == digest { Role::Further } else { Role::Alone };
        }
        if groups.len() >= MOST {
            return Role::Alone;
        }
        let first = Linked { dir: Arc::clone(dir), name: name.clone(), digest, id: None };
        groups.insert(group, first);
        Role::First
    }

    /// The first name of a group is there.
    pub(super) fn placed(&self, group: u64, dir: &Arc<DirNode>, name: &Name, id: FileId) {
        if let Some(first) = self.lock().first.get_mut(&group)
            && Arc::ptr_eq(&first.dir, dir)
            && first.name == *name
        {
            first.id = Some(id);
        }
    }

    /// Where the first name of a group is; `None` if it could not be restored.
    pub(super) fn first(&self, group: u64) -> Option<(Arc<DirNode>, Name, FileId)> {
        let groups = self.lock();
        let first = groups.first.get(&group)?;
        Some((Arc::clone(&first.dir), first.name.clone(), first.id?))
    }

    /// Whether a file that is there may stay for a group: not if it stays for another one, whose
    /// names would become its names.
    pub(super) fn may_stay(&self, group: u64, id: FileId) -> bool {
        *self.lock().stayed.entry(id).or_insert(group) == group
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
