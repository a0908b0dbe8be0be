//! One object to set metadata on, held so that nobody can put another in its place.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, RawMode, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use rustix::io::{Errno, Result};
use rustix::process::{Gid, Uid};

use crate::scan::os::fstat;
use crate::scan::xattrs::xattrs_of_fd;
#[cfg(target_os = "linux")]
use crate::scan::xattrs::xattrs_of_pin;
use crate::tree::entry::{FileTime, Meta};

/// Something to set metadata on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Handle<'a> {
    /// A file or directory open for reading or writing.
    Open(BorrowedFd<'a>),
    /// Anything else: held by `O_PATH` where there is such a thing.
    Pinned(Pin<'a>),
}

/// A link, pipe or device that is not opened: opening a device may do something to it.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    target_os = "linux",
    expect(dead_code, reason = "the name is used where there is no O_PATH")
)]
pub(super) struct Pin<'a> {
    /// Linux: the object by `O_PATH`. Elsewhere: the directory that holds it.
    pub(super) fd: BorrowedFd<'a>,
    /// Its name in the directory, for systems without `O_PATH`.
    pub(super) name: &'a OsStr,
}

impl Handle<'_> {
    pub(super) fn chown(&self, owner: Option<Uid>, group: Option<Gid>) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, owner, group),
            Self::Pinned(pin) => pin.chown(owner, group),
        }
    }

    pub(super) fn chmod(&self, mode: u32) -> Result<()> {
        let raw = RawMode::try_from(mode).map_err(|_wide| Errno::INVAL)?;
        let mode = Mode::from_raw_mode(raw);
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Pinned(pin) => pin.chmod(mode),
        }
    }

    pub(super) fn set_times(&self, modified: FileTime) -> Result<()> {
        // Larger values have meanings of their own, such as "now".
        if modified.nanos >= 1_000_000_000 {
            return Err(Errno::INVAL);
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: modified.seconds,
                tv_nsec: modified.nanos.into(),
            },
        };
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, &times),
            Self::Pinned(pin) => pin.set_times(&times),
        }
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Pinned(pin) => pin.set_xattr(name, value),
        }
    }

    /// Removes an attribute; that it is not there, or cannot be there, is fine.
    pub(super) fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        let removed = match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Pinned(pin) => pin.remove_xattr(name),
        };
        match removed {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            other => other,
        }
    }

    /// The metadata that it has now; `None` where that cannot be told.
    pub(super) fn now(&self) -> Option<Meta> {
        let (stat, xattrs) = match self {
            Self::Open(fd) => (fstat(fd).ok()?, xattrs_of_fd(fd).ok()?),
            #[cfg(target_os = "linux")]
            Self::Pinned(pin) => (fstat(pin.fd).ok()?, xattrs_of_pin(pin.fd).ok()?),
            #[cfg(not(target_os = "linux"))]
            Self::Pinned(_) => return None,
        };
        Some(Meta { xattrs, ..stat.meta() })
    }

    /// The permission bits as they are now.
    pub(super) fn mode(&self) -> Result<u32> {
        let (Self::Open(fd) | Self::Pinned(Pin { fd, .. })) = self;
        match fstat(fd) {
            Ok(stat) => Ok(stat.mode),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
}

#[cfg(target_os = "linux")]
impl Pin<'_> {
    fn chown(&self, owner: Option<Uid>, group: Option<Gid>) -> Result<()> {
        rustix::fs::chownat(self.fd, c"", owner, group, AtFlags::EMPTY_PATH)
    }

    fn set_times(&self, times: &Timestamps) -> Result<()> {
        rustix::fs::utimensat(self.fd, c"", times, AtFlags::EMPTY_PATH)
    }

    /// Leads to the very object that is held, whatever its path leads to by now.
    fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    fn chmod(&self, mode: Mode) -> Result<()> {
        rustix::fs::chmodat(rustix::fs::CWD, self.path(), mode, AtFlags::empty())
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<()> {
        rustix::fs::setxattr(self.path(), name, value, XattrFlags::empty())
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        rustix::fs::removexattr(self.path(), name)
    }
}

#[cfg(not(target_os = "linux"))]
impl Pin<'_> {
    fn chown(&self, owner: Option<Uid>, group: Option<Gid>) -> Result<()> {
        rustix::fs::chownat(self.fd, self.name, owner, group, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn set_times(&self, times: &Timestamps) -> Result<()> {
        rustix::fs::utimensat(self.fd, self.name, times, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn chmod(&self, mode: Mode) -> Result<()> {
        rustix::fs::chmodat(self.fd, self.name, mode, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn set_xattr(&self, _name: &[u8], _value: &[u8]) -> Result<()> {
        Err(Errno::NOTSUP)
    }

    fn remove_xattr(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::NOTSUP)
    }
}
