//! Files of several names: which was written first.
//!
//! A snapshot does not tell how many names a file has, so each group is remembered to the end: its
//! first name, and the directory that it is in by its number, for directories are many, too.

mod table;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::table::{Found, Key, Table};
use super::dirs::DirNode;
use super::root::FileId;
use crate::browse::lru::Lru;
use crate::progress::Change;
use crate::tree::entry::{Meta, Name};

/// Bytes about groups that stay in memory: some forty thousand. More are in a file.
pub(super) const MEMORY: usize = 4 << 20;
/// Directories of first names that need not be looked up.
const DIRS: usize = 256;

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

/// The groups cannot be remembered: their file cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error(
    "which names are one file cannot be noted in {}: see to it that there is room, and run the \
     same command again",
    .folder.display().to_string().escape_debug()
)]
pub struct LinksError {
    /// Where the file is.
    pub folder: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The groups of a restore.
#[derive(Debug)]
pub(super) struct Links {
    folder: PathBuf,
    groups: Mutex<Groups>,
}

#[derive(Debug)]
struct Groups {
    table: Table,
    target: Option<Arc<DirNode>>,
    /// The directory that was noted last.
    newest: Option<u64>,
    dirs: Lru<u64, Arc<DirNode>>,
}

impl Links {
    /// Remembers groups in so many bytes of memory, and further ones in a file in `folder`.
    pub(super) fn new(folder: &Path, memory: usize) -> Self {
        let folder = folder.to_path_buf();
        let groups = Groups {
            table: Table::new(folder.clone(), memory),
            target: None,
            newest: None,
            dirs: Lru::new(DIRS),
        };
        Self { folder, groups: Mutex::new(groups) }
    }

    /// Notes a name of a group. `digest` tells things that cannot be one file apart.
    pub(super) fn role(
        &self,
        group: u64,
        digest: u64,
        dir: &Arc<DirNode>,
        name: &Name,
    ) -> Result<Role, LinksError> {
        self.with(|groups| groups.role(group, digest, dir, name))
    }

    /// The first name of a group is there.
    pub(super) fn placed(&self, group: u64, id: FileId) -> Result<(), LinksError> {
        self.with(|groups| groups.placed(group, id))
    }

    /// Where the first name of a group is; `None` if it could not be restored.
    pub(super) fn first(
        &self,
        group: u64,
    ) -> Result<Option<(Arc<DirNode>, Name, FileId)>, LinksError> {
        self.with(|groups| groups.first(group))
    }

    /// Whether a file that is there may stay for a group: not if it stays for another one, whose
    /// names would become its names.
    pub(super) fn may_stay(&self, group: u64, id: FileId) -> Result<bool, LinksError> {
        self.with(|groups| groups.may_stay(group, id))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Groups) -> io::Result<T>) -> Result<T, LinksError> {
        act(&mut self.lock()).map_err(|source| LinksError { folder: self.folder.clone(), source })
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Groups {
    fn role(
        &mut self,
        group: u64,
        digest: u64,
        dir: &Arc<DirNode>,
        name: &Name,
    ) -> io::Result<Role> {
        if let Some(found) = self.table.find(group_key(group))? {
            let first = First::of(&found)?;
            return Ok(if first.digest == digest { Role::Further } else { Role::Alone });
        }
        self.note_dir(dir)?;
        let first = First { digest, dir: dir.id(), id: None, name: name.clone() };
        self.table.add(group_key(group), &first.to_bytes())?;
        Ok(Role::First)
    }

    fn placed(&mut self, group: u64, id: FileId) -> io::Result<()> {
        match self.table.find(group_key(group))? {
            Some(found) => self.table.change(&found, First::ID, &First::id_bytes(Some(id))),
            None => Ok(()),
        }
    }

    fn first(&mut self, group: u64) -> io::Result<Option<(Arc<DirNode>, Name, FileId)>> {
        let Some(found) = self.table.find(group_key(group))? else {
            return Ok(None);
        };
        let First { dir, id, name, .. } = First::of(&found)?;
        match id {
            Some(id) => Ok(Some((self.dir(dir)?, name, id))),
            None => Ok(None),
        }
    }

    fn may_stay(&mut self, group: u64, id: FileId) -> io::Result<bool> {
        let key = [STAYED, id.dev, id.ino];
        match self.table.find(key)? {
            Some(found) => Ok(found.value == group.to_le_bytes()),
            None => self.table.add(key, &group.to_le_bytes()).map(|()| true),
        }
    }

    /// Notes a directory, and those above it, that are not noted yet.
    fn note_dir(&mut self, dir: &Arc<DirNode>) -> io::Result<()> {
        let newest = self.newest.replace(dir.id());
        let mut at = dir;
        while let Some((parent, name)) = at.below() {
            if newest == Some(at.id()) || self.table.find(dir_key(at.id()))?.is_some() {
                return Ok(());
            }
            let parts =
                [&parent.id().to_le_bytes()[..], &[u8::from(at.is_above())], name.as_bytes()];
            self.table.add(dir_key(at.id()), &parts.concat())?;
            at = parent;
        }
        self.target.get_or_insert_with(|| Arc::clone(at));
        Ok(())
    }

    /// A directory that was noted.
    fn dir(&mut self, mut id: u64) -> io::Result<Arc<DirNode>> {
        let mut below = Vec::new();
        let mut dir = loop {
            let target = self.target.as_ref().filter(|target| target.id() == id);
            if let Some(dir) = target.cloned().or_else(|| self.dirs.get(&id)) {
                break dir;
            }
            let found = self.table.find(dir_key(id))?.ok_or(io::ErrorKind::InvalidData)?;
            let (parent, above, name) = noted_dir(&found).ok_or(io::ErrorKind::InvalidData)?;
            below.push((id, above, name));
            id = parent;
        };
        for (id, above, name) in below.into_iter().rev() {
            dir = DirNode::again(dir, (id, above), name);
            self.dirs.put(id, Arc::clone(&dir), 1);
        }
        Ok(dir)
    }
}

/// The first name of a group, as it is noted.
#[derive(Debug, PartialEq, Eq)]
struct First {
    /// What kind of thing it is, with its content.
    digest: u64,
    dir: u64,
    /// Once it is there.
    id: Option<FileId>,
    name: Name,
}

impl First {
    /// Where the id is: whether there is one, device and inode.
    const ID: usize = 16;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.digest.to_le_bytes());
        bytes.extend_from_slice(&self.dir.to_le_bytes());
        bytes.extend_from_slice(&Self::id_bytes(self.id));
        bytes.extend_from_slice(self.name.as_bytes());
        bytes
    }

    fn id_bytes(id: Option<FileId>) -> Vec<u8> {
        let FileId { dev, ino } = id.unwrap_or(FileId { dev: 0, ino: 0 });
        [&[u8::from(id.is_some())][..], &dev.to_le_bytes(), &ino.to_le_bytes()].concat()
    }

    fn of(found: &Found) -> io::Result<Self> {
        let parsed = || {
            let (digest, rest) = word(&found.value)?;
            let (dir, rest) = word(rest)?;
            let (there, rest) = rest.split_first()?;
            let (dev, rest) = word(rest)?;
            let (ino, name) = word(rest)?;
            let id = (*there == 1).then_some(FileId { dev, ino });
            Some(Self { digest, dir, id, name: Name::new(name).ok()? })
        };
        parsed().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

const GROUP: u64 = 0;
const DIR: u64 = 1;
/// Files that were there and stayed, with their groups.
const STAYED: u64 = 2;

fn group_key(group: u64) -> Key {
    [GROUP, group, 0]
}

fn dir_key(id: u64) -> Key {
    [DIR, id, 0]
}

/// The directory it is in, whether it is above what is restored, its name.
fn noted_dir(found: &Found) -> Option<(u64, bool, Name)> {
    let (parent, rest) = word(&found.value)?;
    let (above, name) = rest.split_first()?;
    Some((parent, *above == 1, Name::new(name).ok()?))
}

fn word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests;
