//! Files that have no name until they are whole (`O_TMPFILE`): nobody reaches them by a name, none
//! is left of a program that ends before, and to give one its name costs less than to change it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::io::Errno;

use super::root::TargetDir;
use super::temp::TempName;
use crate::tree::entry::Name;

/// Whether there are such files on a file system; found out once, by making one.
#[derive(Debug)]
pub(super) struct Unnamed {
    /// The file system, where that is known.
    pub(super) dev: Option<u64>,
    works: OnceLock<bool>,
}

impl Unnamed {
    pub(super) const fn new(dev: Option<u64>) -> Self {
        Self { dev, works: OnceLock::new() }
    }

    /// From now on there are none, as on a file system that has none.
    #[cfg(test)]
    pub(super) fn refuse(&self) {
        self.works.set(false).expect("nothing was made yet");
    }
}

impl TargetDir {
    /// An empty file without a name, mode 0600, that can become `name` in this directory; `None`
    /// where that cannot be, or could not be just now.
    pub(super) fn create_unnamed(&self, name: &Name) -> Option<OwnedFd> {
        let works = &self.unnamed().works;
        if *works.get_or_init(|| self.can_name(name)) { open(self.fd()).ok() } else { None }
    }

    /// Tries: it takes a file system, a kernel and rights that allow both, and no filter of a
    /// container between.
    fn can_name(&self, purpose: &Name) -> bool {
        let tried =
            |fd: OwnedFd| TempName::make(self, "link", purpose, |temp| link(&fd, self.fd(), temp));
        may_link_what_is_given_away() && open(self.fd()).is_ok_and(|fd| tried(fd).is_ok())
    }
}

#[cfg(target_os = "linux")]
fn open(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(dir, c".", flags, Mode::RUSR | Mode::WUSR)
}

#[cfg(not(target_os = "linux"))]
fn open(_: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    Err(Errno::NOTSUP)
}

/// Gives this name to a file that has none; fails if something has it.
///
/// A link by way of `/proc/self/fd` takes no rights on kernels before 6.10, but more time than a
/// temporary name that is changed.
#[cfg(target_os = "linux")]
pub(super) fn link(file: &OwnedFd, dir: BorrowedFd<'_>, name: &Name) -> Result<(), Errno> {
    rustix::fs::linkat(file, c"", dir, name.as_os_str(), rustix::fs::AtFlags::EMPTY_PATH)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn link(_: &OwnedFd, _: BorrowedFd<'_>, _: &Name) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}

/// Who may give files away and not act for their owners is not let give them another name by
/// `fs.protected_hardlinks`; a temporary name may be changed by whoever may write to the directory.
#[cfg(target_os = "linux")]
fn may_link_what_is_given_away() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| {
        !sets.effective.contains(CapabilitySet::CHOWN)
            || sets.effective.contains(CapabilitySet::FOWNER)
    })
}

#[cfg(not(target_os = "linux"))]
const fn may_link_what_is_given_away() -> bool {
    false
}
