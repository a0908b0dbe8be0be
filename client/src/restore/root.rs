//! The target of a restore: directories that can only be reached from its root, step by step.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, RawMode};
use rustix::io::Errno;

use super::apply::{ACL_ACCESS, ACL_DEFAULT};
use super::error::TargetError;
use super::policy::{Overwrite, Policy};
use super::unnamed::Unnamed;
use crate::scan::listing::Names;
use crate::scan::os::{Dir, FileType, Stat, fstat, running_as_root, stat_at};
use crate::tree::entry::{FileTime, Name};

/// Where names for temporary files come from: random in a restore, fixed in a test.
pub trait TempNames: fmt::Debug + Send + Sync {
    /// Eight bytes that are not used for another temporary file at the time.
    fn next(&self) -> io::Result<[u8; 8]>;
}

/// Names from the system's random numbers, of which it asks for some at a time.
#[derive(Debug, Default)]
pub struct RandomNames(Mutex<Vec<[u8; 8]>>);

/// Names that are drawn at a time.
const DRAWN: usize = 64;

impl TempNames for RandomNames {
    fn next(&self) -> io::Result<[u8; 8]> {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = drawn.pop() {
            return Ok(name);
        }
        let mut bytes = [0; 8 * DRAWN];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        let (names, _) = bytes.as_chunks();
        drawn.extend_from_slice(names);
        drawn.pop().ok_or_else(|| io::Error::other("no random names"))
    }
}

/// Whether this is a name that a restore gives its unfinished files, as a crash may leave behind.
pub fn is_temp_name(name: &Name) -> bool {
    let middle = name
        .as_bytes()
        .strip_prefix(TEMP_PREFIX.as_bytes())
        .and_then(|rest| rest.strip_suffix(TEMP_SUFFIX.as_bytes()));
    middle.is_some_and(|hex| {
        hex.len() == 16 && hex.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The open target directory of a restore.
#[derive(Debug)]
pub struct Root {
    dir: TargetDir,
}

impl Root {
    /// Opens the directory that the user named, and makes it (mode 0700) if there is none.
    /// Symbolic links in this path are followed; none below it is.
    pub fn open(path: &Path, names: Arc<dyn TempNames>) -> Result<Self, TargetError> {
        let failed = |source| TargetError::Root { path: path.to_path_buf(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let fd = rustix::fs::openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        Ok(Self { dir: TargetDir::of(fd, names, None) })
    }

    /// The target directory itself.
    pub fn dir(&self) -> &TargetDir {
        &self.dir
    }

    /// Opens an existing directory below, holding no more than two directories open at a time, so
    /// that depth costs no file descriptors.
    pub fn open_path(&self, path: &[Name]) -> Result<TargetDir, TargetError> {
        path.iter().try_fold(self.dir.clone(), |dir, name| dir.open_dir(name))
    }

    /// As [`open_path`](Self::open_path), making what is missing: see [`TargetDir::make_dir`].
    pub fn make_path(&self, path: &[Name], policy: &Policy) -> Result<TargetDir, TargetError> {
        path.iter().try_fold(self.dir.clone(), |dir, name| dir.make_dir(name, policy))
    }

    /// Waits until all that was written is on the disk.
    pub fn sync(&self) -> Result<(), TargetError> {
        #[cfg(target_os = "linux")]
        let synced = rustix::fs::syncfs(self.dir.fd());
        #[cfg(not(target_os = "linux"))]
        let synced = rustix::fs::fsync(self.dir.fd());
        synced.map_err(|error| TargetError::of("sync", None, error))
    }
}

/// An open directory at or below a [`Root`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TargetDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    /// It has a default ACL, of which everything made in it gets a copy.
    inherits_acl: bool,
    /// It is this user's, so that nobody else can have what is made in it belong to another group.
    is_ours: bool,
    /// User and group of what is made in it, once that is known.
    gives: OnceLock<Option<(u32, u32)>>,
    names: Arc<dyn TempNames>,
    /// What is known of its file system.
    unnamed: Arc<Unnamed>,
}

/// What tells one file of a machine from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The file system.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
}

impl From<&Stat> for FileId {
    fn from(stat: &Stat) -> Self {
        Self { dev: stat.dev, ino: stat.ino }
    }
}

impl TargetDir {
    /// Opens an existing directory. A symbolic link is not one, wherever it leads.
    pub fn open_dir(&self, name: &Name) -> Result<Self, TargetError> {
        match self.open_below(name) {
            Ok(fd) => Ok(self.sibling(fd)),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(self.in_the_way(name)),
            Err(error) => Err(TargetError::of("open the directory", Some(name), error)),
        }
    }

    /// As [`open_dir`](Self::open_dir), and sees to it that the owner may write to it.
    pub(super) fn open_own(&self, name: &Name) -> Result<Self, TargetError> {
        match self.open_existing(name) {
            Ok(fd) => Ok(self.sibling(fd)),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(self.in_the_way(name)),
            Err(error) => Err(TargetError::of("open the directory", Some(name), error)),
        }
    }

    /// Makes a directory that only this user may enter until its metadata is applied, or opens the
    /// existing one. Something else of that name is replaced if the policy lets it.
    pub fn make_dir(&self, name: &Name, policy: &Policy) -> Result<Self, TargetError> {
        let failed = |error| TargetError::of("make the directory", Some(name), error);
        for _ in 0..ATTEMPTS {
            match rustix::fs::mkdirat(self.fd(), name.as_os_str(), Mode::RWXU) {
                Ok(()) => match self.open_below(name) {
                    Ok(fd) => return Ok(self.fresh(fd)),
                    Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => {}
                    Err(error) => return Err(failed(error)),
                },
                Err(Errno::EXIST) => match self.open_existing(name) {
                    Ok(fd) => {
                        let dir = self.sibling(fd);
                        dir.remove_leftovers();
                        return Ok(dir);
                    }
                    Err(Errno::NOENT) => {}
                    Err(Errno::LOOP | Errno::NOTDIR) => match policy.overwrite {
                        Overwrite::Never => return Err(self.in_the_way(name)),
                        Overwrite::Replace => self.unlink_if_there(name)?,
                    },
                    Err(error) => return Err(failed(error)),
                },
                Err(error) => return Err(failed(error)),
            }
        }
        Err(TargetError::Raced { name: name.clone() })
    }

    /// Removes temporary files that a restore left behind when it was killed. To be called before
    /// this restore makes any in here. What cannot be removed stays: it is in nobody's way.
    pub fn remove_leftovers(&self) {
        let Ok(names) = self.names() else { return };
        for (name, _) in names.iter().filter(|(name, _)| is_temp_name(name)) {
            rustix::fs::unlinkat(self.fd(), name.as_os_str(), AtFlags::empty()).ok();
        }
    }

    /// Sees to it that its owner may write to it.
    pub(super) fn let_owner_write(&self) {
        let_owner_write(self.fd());
    }

    /// What the entry `name` is; a symbolic link is described itself.
    pub fn stat(&self, name: &Name) -> Result<Stat, TargetError> {
        stat_at(self.fd(), name).map_err(|error| TargetError::io("look at", Some(name), &error))
    }

    /// Whether `name` is a regular file of that size and modification time, so that a restore may
    /// leave it alone. False if there is none or it cannot be looked at.
    pub fn matches(&self, name: &Name, size: u64, mtime: FileTime) -> bool {
        self.stat(name).is_ok_and(|stat| {
            stat.file_type == FileType::File && stat.size == size && stat.mtime == mtime
        })
    }

    /// The same directory, opened anew for reading what is in it.
    pub fn reader(&self) -> Result<Dir, TargetError> {
        let opened = rustix::fs::openat(self.fd(), c".", DIRECTORY, Mode::empty());
        opened.map(Dir::from).map_err(|error| TargetError::of("open", None, error))
    }

    /// The names in it, sorted.
    pub fn names(&self) -> Result<Names, TargetError> {
        Ok(self.listed()?.1)
    }

    /// Opened anew for reading, and the names in it, sorted.
    pub(super) fn listed(&self) -> Result<(Dir, Names), TargetError> {
        let reader = self.reader()?;
        match reader.names() {
            Ok(names) => Ok((reader, names)),
            Err(error) => Err(TargetError::io("list", None, &error)),
        }
    }

    /// What the directory itself is.
    pub(super) fn stat_self(&self) -> Result<Stat, TargetError> {
        fstat(self.fd()).map_err(|error| TargetError::io("look at", None, &error))
    }

    /// Removes an empty directory.
    pub fn remove_empty(&self, name: &Name) -> Result<(), TargetError> {
        rustix::fs::unlinkat(self.fd(), name.as_os_str(), AtFlags::REMOVEDIR)
            .map_err(|error| TargetError::of("remove", Some(name), error))
    }

    /// Removes an entry that is no directory.
    pub fn remove(&self, name: &Name) -> Result<(), TargetError> {
        rustix::fs::unlinkat(self.fd(), name.as_os_str(), AtFlags::empty())
            .map_err(|error| TargetError::of("remove", Some(name), error))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    pub(super) fn inherits_acl(&self) -> bool {
        self.0.inherits_acl
    }

    /// A name that no snapshot and no other restore uses at the time.
    pub(super) fn temp_name(&self) -> Result<Name, TargetError> {
        let bytes = self.0.names.next().map_err(TargetError::TempName)?;
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        let name = format!("{TEMP_PREFIX}{hex}{TEMP_SUFFIX}");
        Ok(Name::new(name.as_bytes()).expect("letters, digits and dots of a fixed length"))
    }

    pub(super) fn in_the_way(&self, name: &Name) -> TargetError {
        let found = self.stat(name).map_or(FileType::Unknown, |stat| stat.file_type);
        TargetError::InTheWay { name: name.clone(), found }
    }

    /// Another open directory, with the same source of temporary names.
    pub(super) fn sibling(&self, fd: OwnedFd) -> Self {
        Self::of(fd, Arc::clone(&self.0.names), Some(self.unnamed()))
    }

    pub(super) fn unnamed(&self) -> &Arc<Unnamed> {
        &self.0.unnamed
    }

    /// `known`: what is known of the file system of another directory.
    fn of(fd: OwnedFd, names: Arc<dyn TempNames>, known: Option<&Arc<Unnamed>>) -> Self {
        let acl = rustix::fs::fgetxattr(&fd, ACL_DEFAULT, &mut [0_u8; 1]);
        // It may have one if it is not open for reading: see `above.rs`.
        let inherits_acl = matches!(acl, Ok(1..) | Err(Errno::RANGE | Errno::BADF));
        let user = rustix::process::geteuid().as_raw();
        let stat = fstat(&fd).ok();
        let is_ours = stat.as_ref().is_some_and(|stat| stat.uid == user);
        let dev = stat.map(|stat| stat.dev);
        let known = known.filter(|known| known.dev == dev).cloned();
        let unnamed = known.unwrap_or_else(|| Arc::new(Unnamed::new(dev)));
        Self(Arc::new(Inner { fd, inherits_acl, is_ours, gives: OnceLock::new(), names, unnamed }))
    }

    /// User and group of a file that was just made in it, where that can be told of all that are
    /// made in it from the first one: it saves a change of the owner for each.
    pub(super) fn owner_of_new(&self, file: BorrowedFd<'_>) -> Option<(u32, u32)> {
        let look = || fstat(file).ok().map(|stat| (stat.uid, stat.gid));
        if self.0.is_ours { *self.0.gives.get_or_init(look) } else { None }
    }

    pub(super) fn open_below(&self, name: &Name) -> Result<OwnedFd, Errno> {
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        rustix::fs::openat(self.fd(), name.as_os_str(), flags, Mode::empty())
    }

    /// A directory that was just made: without the ACLs that it may have got from its parent.
    fn fresh(&self, fd: OwnedFd) -> Self {
        if self.0.inherits_acl {
            for acl in [ACL_DEFAULT, ACL_ACCESS] {
                // Should it fail: what is made inside looks after inherited ACLs itself.
                rustix::fs::fremovexattr(&fd, acl).ok();
            }
        }
        self.sibling(fd)
    }

    /// Opens a directory that was there before, and sees to it that its owner may write to it.
    fn open_existing(&self, name: &Name) -> Result<OwnedFd, Errno> {
        let fd = match self.open_below(name) {
            Err(Errno::ACCESS) => {
                self.let_owner_in(name)?;
                self.open_below(name)?
            }
            other => other?,
        };
        let_owner_write(fd.as_fd());
        Ok(fd)
    }

    #[cfg(target_os = "linux")]
    fn let_owner_in(&self, name: &Name) -> Result<(), Errno> {
        use std::os::fd::AsRawFd;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pin = rustix::fs::openat(self.fd(), name.as_os_str(), flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}", pin.as_raw_fd());
        rustix::fs::chmodat(rustix::fs::CWD, path, Mode::RWXU, AtFlags::empty())
            .map_err(|_refused| Errno::ACCESS)
    }

    #[cfg(not(target_os = "linux"))]
    fn let_owner_in(&self, _name: &Name) -> Result<(), Errno> {
        Err(Errno::ACCESS)
    }

    fn unlink_if_there(&self, name: &Name) -> Result<(), TargetError> {
        match rustix::fs::unlinkat(self.fd(), name.as_os_str(), AtFlags::empty()) {
            // Gone, or a directory by now: the caller looks again.
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            Err(error) => Err(TargetError::of("replace", Some(name), error)),
        }
    }
}

fn let_owner_write(fd: BorrowedFd<'_>) {
    if !running_as_root()
        && let Ok(stat) = fstat(fd)
        && stat.mode & 0o700 != 0o700
        && let Ok(raw) = RawMode::try_from(stat.mode | 0o700)
    {
        // Not the owner: then writing to it will say so.
        rustix::fs::fchmod(fd, Mode::from_raw_mode(raw)).ok();
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const ATTEMPTS: usize = 16;
const TEMP_PREFIX: &str = ".unseen-";
const TEMP_SUFFIX: &str = ".tmp";

#[cfg(test)]
mod tests;
