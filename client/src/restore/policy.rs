//! What a restore may do, and the notes it makes of what it left out.

use std::fmt;
use std::sync::Arc;

use rustix::io::Errno;

use super::apply::{ACL_ACCESS, ACL_DEFAULT, CAPABILITY};
use crate::scan::names::OwnerNames;
use crate::scan::os::running_as_root;

/// What a restore may do to the target.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Restore what gives power: setuid and setgid bits, file capabilities and every other
    /// attribute under `security.`, `trusted.` and `system.` (POSIX ACLs aside), device nodes.
    pub privileged: bool,
    /// Whose the files become.
    pub ownership: Ownership,
    /// An owner that cannot be set is an error and not a note.
    pub strict_owner: bool,
    /// What happens to entries that are there already.
    pub overwrite: Overwrite,
}

/// Whose the restored files become.
#[derive(Debug, Clone)]
pub enum Ownership {
    /// The recorded user and group numbers.
    Numeric,
    /// The users and groups that have the recorded names here; the numbers where there are none.
    ByName(Arc<OwnerNames>),
    /// Whoever runs the restore.
    CurrentUser,
}

/// What happens to an entry that has the name of one to be restored.
///
/// A directory is never replaced by anything else, and an existing directory is always used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It stays, and the restored one is refused as being in the way.
    Never,
    /// It is replaced in one step; a link is replaced itself, not what it points at.
    Replace,
}

impl Policy {
    /// The default: nothing that gives power. Root sets the recorded owners and fails where it
    /// cannot; other users keep the files and cannot fail at it.
    pub fn safe(overwrite: Overwrite) -> Self {
        let root = running_as_root();
        let ownership = if root { Ownership::Numeric } else { Ownership::CurrentUser };
        Self { privileged: false, ownership, strict_owner: root, overwrite }
    }
}

/// A part of an entry's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aspect {
    /// User and group.
    Owner,
    /// The permission bits.
    Mode,
    /// The setuid and setgid bits.
    SpecialBits,
    /// The modification time.
    Times,
    /// The extended attribute of this name.
    Xattr(Vec<u8>),
    /// The whole entry: a device node.
    Device,
    /// The whole entry: a named pipe.
    Fifo,
    /// The whole entry: a socket, which is nothing without the program that listens on it.
    Socket,
}

/// Something that a restore did otherwise than recorded; not an error, but to be reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Left out because the policy says so.
    Skipped(Aspect),
    /// The system refused it.
    Refused {
        /// What was refused.
        aspect: Aspect,
        /// What the system said.
        error: Errno,
    },
    /// It was set without an error, and yet reads back otherwise.
    Differs(Aspect),
}

impl Note {
    /// What it is about.
    pub fn aspect(&self) -> &Aspect {
        let (Self::Skipped(aspect) | Self::Refused { aspect, .. } | Self::Differs(aspect)) = self;
        aspect
    }

    pub(super) fn refused(aspect: Aspect, error: Errno) -> Self {
        Self::Refused { aspect, error }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Mode => f.write_str("permissions"),
            Self::SpecialBits => f.write_str("setuid and setgid bits"),
            Self::Times => f.write_str("modification time"),
            Self::Xattr(name) if name == CAPABILITY => f.write_str("capabilities"),
            Self::Xattr(name) if name == ACL_ACCESS => f.write_str("ACL"),
            Self::Xattr(name) if name == ACL_DEFAULT => f.write_str("default ACL"),
            Self::Xattr(name) => write!(f, "attribute {}", name.escape_ascii()),
            Self::Device => f.write_str("device node"),
            Self::Fifo => f.write_str("named pipe"),
            Self::Socket => f.write_str("socket"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(aspect) => write!(f, "{aspect} left out"),
            Self::Refused { aspect, error } => write!(f, "{aspect} not restored: {error}"),
            Self::Differs(aspect) => write!(f, "{aspect} changed by the file system"),
        }
    }
}
