//! One name in a directory and everything that is kept about it.

use std::sync::Arc;

use crate::crypto::content_id::ChunkId;

/// The longest name of one path component, in bytes.
pub const MAX_NAME: usize = 255;

/// A single path component: not empty, not `.` or `..`, without `/` or NUL, at most 255 bytes.
///
/// A restore builds paths from these alone, so a hostile tree cannot name anything outside.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Bytes that are no path component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a file name: {}", .0.escape_ascii())]
pub struct NotAName(pub Vec<u8>);

impl Name {
    /// Checks and wraps one component.
    pub fn new(bytes: &[u8]) -> Result<Self, NotAName> {
        if Self::is_one(bytes) { Ok(Self(bytes.into())) } else { Err(NotAName(bytes.to_vec())) }
    }

    /// Whether these bytes are a name.
    pub fn is_one(bytes: &[u8]) -> bool {
        !bytes.is_empty()
            && bytes.len() <= MAX_NAME
            && bytes != b"."
            && bytes != b".."
            && !bytes.iter().any(|&b| b == b'/' || b == 0)
    }

    /// The bytes, as the file system has them; not necessarily UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as an operating-system string.
    pub fn as_os_str(&self) -> &std::ffi::OsStr {
        std::os::unix::ffi::OsStrExt::from_bytes(&self.0)
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A point in time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1 000 000 000.
    pub nanos: u32,
}

/// What every kind of entry has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: the low 12 bits of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The owner's name on the source machine, if it has one.
    pub user: Option<Arc<str>>,
    /// The group's name on the source machine, if it has one.
    pub group: Option<Arc<str>>,
    /// Last modification.
    pub mtime: FileTime,
    /// Extended attributes, sorted by name; POSIX ACLs and capabilities are among them.
    pub xattrs: Vec<Xattr>,
    /// Entries of one snapshot with the same group are names of one inode.
    pub hard_link: Option<u64>,
}

/// One extended attribute, raw as the kernel gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// The name with its namespace, such as `user.comment` or `system.posix_acl_access`.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Length in bytes, holes included.
        size: u64,
        /// Where its bytes are.
        content: Content,
    },
    /// A directory.
    Directory {
        /// Its tree object.
        tree: ChunkId,
    },
    /// A symbolic link and what it points at, uninterpreted.
    Symlink {
        /// The link's text.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket: noted, never restored.
    Socket,
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
}

/// The bytes of a file, in order. The lengths add up to the file's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A few extents, in the entry itself.
    Inline(Vec<Extent>),
    /// Long lists live in objects of their own.
    List {
        /// 1: the objects hold extents; 2: the objects name objects that hold extents; and so on.
        depth: u8,
        /// The objects, in order.
        objects: Vec<ChunkId>,
    },
}

/// A run of bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Stored bytes.
    Data {
        /// The chunk that holds them.
        chunk: ChunkId,
        /// Their number, the whole chunk.
        length: u32,
    },
    /// Nothing is stored: reads as zeros.
    Hole {
        /// Length in bytes.
        length: u64,
    },
}

/// A named entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the directory.
    pub name: Name,
    /// Owner, mode, times and so on.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
}
