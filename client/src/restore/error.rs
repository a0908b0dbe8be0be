//! What can go wrong while writing beneath a target.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::scan::os::FileType;
use crate::tree::entry::Name;

/// Why something could not be written beneath the target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The target directory itself cannot be made or opened.
    #[error("the target {} cannot be opened", .path.display().to_string().escape_debug())]
    Root {
        /// The path that was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No space, no inodes or no quota left: the next file will fail as well.
    #[error("cannot {action} {}: the disk is full or the quota used up", subject(.name.as_ref()))]
    Full {
        /// What was tried.
        action: &'static str,
        /// On which entry; `None` is the directory itself.
        name: Option<Name>,
        /// What the system said.
        source: Errno,
    },
    /// Something else has the name, and it may not or must not be replaced.
    #[error("{name:?} exists as {} and is in the way", kind(*.found))]
    InTheWay {
        /// The name.
        name: Name,
        /// What has it.
        found: FileType,
    },
    /// Another program keeps putting something else in the place of what was just made.
    #[error("{name:?} is being replaced by another program")]
    Raced {
        /// The name.
        name: Name,
    },
    /// The owner cannot be set, and the policy demands it.
    #[error("cannot give {} to user {uid} and group {gid}", subject(.name.as_ref()))]
    Owner {
        /// The entry; `None` is the directory itself.
        name: Option<Name>,
        /// The owner that was to be.
        uid: u32,
        /// The group that was to be.
        gid: u32,
        /// What the system said.
        source: Errno,
    },
    /// A folder above what is restored is a symbolic link of somebody else.
    #[error(
        "{name:?} is a symbolic link that others may have put there, and is not followed: restore \
         with --target to where the files belong"
    )]
    NotFollowed {
        /// The name.
        name: Name,
    },
    /// More directories in one another than any file system's paths have room for.
    #[error("{name:?} is nested too deeply")]
    TooDeep {
        /// The name.
        name: Name,
    },
    /// No random name for a temporary file.
    #[error("no name for a temporary file")]
    TempName(#[source] io::Error),
    /// Anything else that the system refused.
    #[error("cannot {action} {}", subject(.name.as_ref()))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which entry; `None` is the directory itself.
        name: Option<Name>,
        /// What the system said.
        source: Errno,
    },
}

impl TargetError {
    /// Whether the disk is full or the quota used up, so that going on is pointless.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Root { source, .. } => Errno::from_io_error(source).is_some_and(full),
            _ => false,
        }
    }

    /// What the system said, where it said something.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Full { source, .. } | Self::Owner { source, .. } | Self::Io { source, .. } => {
                Some(*source)
            }
            Self::Root { source, .. } | Self::TempName(source) => Errno::from_io_error(source),
            Self::InTheWay { .. }
            | Self::Raced { .. }
            | Self::NotFollowed { .. }
            | Self::TooDeep { .. } => None,
        }
    }

    /// Sorts what the system said when `action` was tried on `name`.
    pub(super) fn of(action: &'static str, name: Option<&Name>, source: Errno) -> Self {
        let name = name.cloned();
        if full(source) {
            Self::Full { action, name, source }
        } else {
            Self::Io { action, name, source }
        }
    }

    pub(super) fn io(action: &'static str, name: Option<&Name>, source: &io::Error) -> Self {
        Self::of(action, name, Errno::from_io_error(source).unwrap_or(Errno::IO))
    }
}

fn full(error: Errno) -> bool {
    matches!(error, Errno::NOSPC | Errno::DQUOT)
}

fn subject(name: Option<&Name>) -> String {
    name.map_or_else(|| "the directory".to_owned(), |name| format!("{name:?}"))
}

fn kind(found: FileType) -> &'static str {
    match found {
        FileType::File => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something",
    }
}
