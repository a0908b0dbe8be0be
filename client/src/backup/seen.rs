//! What is kept of a file's state, and how trouble with it is told.

use std::sync::Arc;

use crate::scan::names::Owner;
use crate::scan::os::{FileType, Stat};
use crate::state::records::Seen;
use crate::tree::entry::{Meta, Name};

/// The path of a directory, sharing what it has in common with others: a copy each would take
/// memory with the square of the depth.
#[derive(Debug, Clone)]
pub struct DirPath(Option<Arc<Step>>);

#[derive(Debug)]
struct Step {
    above: DirPath,
    name: Name,
}

impl DirPath {
    /// The path of `/`.
    pub const fn root() -> Self {
        Self(None)
    }

    /// The path of a directory in this one.
    #[must_use]
    pub fn child(&self, name: &Name) -> Self {
        Self(Some(Arc::new(Step { above: self.clone(), name: name.clone() })))
    }

    /// The path of an entry of this directory.
    pub fn join(&self, name: &Name) -> Vec<u8> {
        let mut names = vec![name];
        let mut at = self;
        while let Some(step) = &at.0 {
            names.push(&step.name);
            at = &step.above;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
        }
        path
    }
}

impl Drop for DirPath {
    /// Step by step: a very deep path must not take the stack with it.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(step) = next {
            next = Arc::into_inner(step).and_then(|mut step| step.above.0.take());
        }
    }
}

/// What a record keeps to compare with.
pub fn seen_of(stat: &Stat, racy_from: i64, racy: bool) -> Seen {
    let number = match stat.file_type {
        FileType::File => 0,
        FileType::Directory => 1,
        FileType::Symlink => 2,
        FileType::Fifo => 3,
        FileType::Socket => 4,
        FileType::CharDevice => 5,
        FileType::BlockDevice => 6,
        FileType::Unknown => 7,
    };
    Seen {
        kind: number,
        racy: racy || stat.ctime.seconds >= racy_from,
        linked: is_linked(stat),
        ino: stat.ino,
        size: stat.size,
        mtime: stat.mtime,
        ctime: stat.ctime,
    }
}

/// Metadata with the names of the owners and the hard-link group; attributes are added later.
pub fn meta_of(stat: &Stat, owner: Owner) -> Meta {
    let mut meta = stat.meta();
    (meta.user, meta.group) = owner;
    if is_linked(stat) {
        meta.hard_link = Some(link_group(stat));
    }
    meta
}

fn is_linked(stat: &Stat) -> bool {
    stat.nlink > 1 && stat.file_type != FileType::Directory
}

fn link_group(stat: &Stat) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&stat.dev.to_le_bytes());
    hasher.update(&stat.ino.to_le_bytes());
    let hash = hasher.finalize();
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// An I/O error in words, without the number.
pub fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// A path from a directory's path and a name in it.
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    [path, b"/", name].concat()
}

/// A path as the operating system has it.
pub fn path_of(bytes: &[u8]) -> &std::path::Path {
    std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}
