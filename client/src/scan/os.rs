//! Open directories and what the system says about the entries in them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::listing::Names;
use super::sorted::{Gatherer, ListError, Room, Sorted};
use super::sys;
use super::xattrs::{self, XattrError};
use crate::tree::entry::{DeviceNumber, FileTime, Meta, Name, Xattr};

/// An open directory. Nothing below it is ever reached through a symbolic link.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    listed: AtomicBool,
}

/// The kind of an entry as the file system reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// Not said (some file systems leave it out of a directory listing), or a kind not known here.
    Unknown,
}

/// What the system says about one entry at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub file_type: FileType,
    /// Permission bits with setuid, setgid and sticky (12 bits).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Allocated blocks of 512 bytes, whatever the file system's own block size is.
    pub blocks: u64,
    /// Last modification of the content.
    pub mtime: FileTime,
    /// Last change of the content or of the inode.
    pub ctime: FileTime,
    /// Inode number.
    pub ino: u64,
    /// The file system it is on.
    pub dev: u64,
    /// The number of names it has.
    pub nlink: u64,
    /// For a device: its number.
    pub rdev: DeviceNumber,
    /// The mount it is on; tells bind mounts apart. `None` where the system does not say.
    pub mount_id: Option<u64>,
}

/// Why something could not be read, as far as it matters to a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadTrouble {
    /// It was removed or renamed meanwhile.
    Vanished,
    /// It became something else meanwhile, such as a symbolic link in a file's place.
    Replaced,
    /// This user may not read it.
    Denied,
    /// The file system or the disk failed.
    Failed,
}

impl Dir {
    /// Opens the directory that the user named. Symbolic links in this path are followed.
    pub fn open_root(path: &Path) -> io::Result<Self> {
        open(rustix::fs::CWD, path, OFlags::DIRECTORY).map(Self::from)
    }

    /// Opens the directory `name` in this one.
    ///
    /// A symbolic link is refused as [`ReadTrouble::Replaced`].
    pub fn open_dir(&self, name: &Name) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        open(&self.fd, name.as_os_str(), flags).map(Self::from)
    }

    /// The names in this directory, sorted by their bytes, without `.` and `..`.
    ///
    /// Not to be called from two threads at once on one directory.
    pub fn names(&self) -> io::Result<Names> {
        let mut names = Names::default();
        self.each(|name, kind| names.push(name, kind))?;
        names.sort();
        Ok(names)
    }

    /// The same, however many there are.
    pub fn sorted(&self, room: Room<'_>) -> Result<Sorted, ListError> {
        let mut gatherer = Gatherer::new(room);
        self.each(|name, kind| gatherer.push(name, kind)).map_err(ListError::Source)?;
        gatherer.finish().map_err(ListError::Aside)
    }

    fn each(&self, each: impl FnMut(&[u8], FileType)) -> io::Result<()> {
        if self.listed.swap(true, Ordering::Relaxed) {
            rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(0))?;
        }
        Ok(sys::each_name(self.fd.as_fd(), each)?)
    }

    /// What the entry `name` is; a symbolic link is described itself.
    pub fn stat(&self, name: &Name) -> io::Result<Stat> {
        stat_at(&self.fd, name)
    }

    /// What this directory is.
    pub fn stat_self(&self) -> io::Result<Stat> {
        fstat(&self.fd)
    }

    /// Opens the file `name` for reading, without waiting for anyone at the other end of a pipe.
    ///
    /// The entry may have been replaced since it was listed: compare [`fstat`] of the result with
    /// what was expected before reading. Reads should be positional.
    pub fn open_file(&self, name: &Name) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        open(&self.fd, name.as_os_str(), flags).map(File::from)
    }

    /// The text of the symbolic link `name`.
    pub fn read_link(&self, name: &Name) -> io::Result<Vec<u8>> {
        let target = rustix::fs::readlinkat(&self.fd, name.as_os_str(), Vec::new())?;
        Ok(target.into_bytes())
    }

    /// The extended attributes of this directory, sorted by name.
    pub fn xattrs(&self) -> Result<Vec<Xattr>, XattrError> {
        xattrs::xattrs_of_fd(&self.fd)
    }

    /// The extended attributes of an entry that cannot or must not be opened: a symbolic link, a
    /// pipe, a device, a file that this user may not read. Sorted by name.
    pub fn xattrs_of(&self, name: &Name) -> Result<Vec<Xattr>, XattrError> {
        xattrs::xattrs_of_entry(self.fd.as_fd(), name)
    }
}

impl From<OwnedFd> for Dir {
    /// Takes a directory that is open already and has not been listed.
    fn from(fd: OwnedFd) -> Self {
        Self { fd, listed: AtomicBool::new(false) }
    }
}

impl From<rustix::fs::FileType> for FileType {
    fn from(kind: rustix::fs::FileType) -> Self {
        match kind {
            rustix::fs::FileType::RegularFile => Self::File,
            rustix::fs::FileType::Directory => Self::Directory,
            rustix::fs::FileType::Symlink => Self::Symlink,
            rustix::fs::FileType::Fifo => Self::Fifo,
            rustix::fs::FileType::Socket => Self::Socket,
            rustix::fs::FileType::CharacterDevice => Self::CharDevice,
            rustix::fs::FileType::BlockDevice => Self::BlockDevice,
            rustix::fs::FileType::Unknown => Self::Unknown,
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Stat {
    /// Whether fewer blocks are allocated than the length needs, so that looking for holes pays.
    ///
    /// Also true of compressed files: those turn out to be one run of data.
    pub fn may_have_holes(&self) -> bool {
        self.file_type == FileType::File && self.blocks.saturating_mul(512) < self.size
    }

    /// Whether this still describes the same unchanged thing as `earlier`.
    ///
    /// Compared before and after reading a file: if false, what was read may be torn.
    pub fn same_content(&self, earlier: &Self) -> bool {
        self.dev == earlier.dev
            && self.ino == earlier.ino
            && self.file_type == earlier.file_type
            && self.size == earlier.size
            && self.mtime == earlier.mtime
            && self.ctime == earlier.ctime
    }

    /// The metadata of an entry, without owner names, attributes and hard-link group.
    pub fn meta(&self) -> Meta {
        Meta { mode: self.mode, uid: self.uid, gid: self.gid, mtime: self.mtime, ..Meta::default() }
    }
}

impl ReadTrouble {
    /// Sorts an error of [`Dir`] or of reading a file.
    pub fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::STALE) => Self::Vanished,
            Some(Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO | Errno::INVAL) => {
                Self::Replaced
            }
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied,
            _ => Self::Failed,
        }
    }
}

/// What the entry `name` of an open directory is; a symbolic link is described itself.
pub fn stat_at(dir: impl AsFd, name: &Name) -> io::Result<Stat> {
    Ok(sys::stat_at(dir.as_fd(), name.as_os_str())?)
}

/// What an open file is now.
pub fn fstat(fd: impl AsFd) -> io::Result<Stat> {
    Ok(sys::stat_fd(fd.as_fd())?)
}

/// Reads from a place in an open file, by one system call: it may read less, and reads nothing at
/// the end.
pub fn read_at(file: &File, room: &mut [u8], offset: u64) -> io::Result<usize> {
    Ok(rustix::io::pread(file, room, offset)?)
}

/// Whether this process may do what only root may.
pub fn running_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Raises this process's limit of open files as far as it may; answers the limit now in force.
pub fn raise_fd_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // "Unlimited" is refused by some systems although they report it, so a number is asked for.
    let wanted = limit.maximum.unwrap_or(NO_HARD_LIMIT);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return current;
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}

/// Opens for reading without touching the access time where the system lets us.
fn open(dir: impl AsFd, path: impl rustix::path::Arg + Copy, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    let attempt =
        |flags| rustix::io::retry_on_intr(|| rustix::fs::openat(&dir, path, flags, Mode::empty()));
    match attempt(flags | sys::NO_ACCESS_TIME) {
        // Only the owner and root may leave the access time alone.
        Err(Errno::PERM) => Ok(attempt(flags)?),
        other => Ok(other?),
    }
}

const NO_HARD_LIMIT: u64 = 10_240;

#[cfg(test)]
mod tests;
