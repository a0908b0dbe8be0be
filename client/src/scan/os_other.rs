//! The same for Unix systems other than Linux, by POSIX calls alone.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, OFlags};
use rustix::io::{Errno, Result};

use super::os::{FileType, Stat};
use crate::tree::entry::{DeviceNumber, FileTime, Name};

/// There is no such thing here.
pub(super) const NO_ACCESS_TIME: OFlags = OFlags::empty();

/// Calls `each` with every name and kind but `.` and `..`, in the file system's order.
pub(super) fn each_name(fd: BorrowedFd<'_>, mut each: impl FnMut(&[u8], FileType)) -> Result<()> {
    for entry in rustix::fs::Dir::read_from(fd)? {
        let entry = entry?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => each(name, entry.file_type().into()),
        }
    }
    Ok(())
}

/// Describes an entry, not what a symbolic link points at.
pub(super) fn stat_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Stat> {
    from_stat(&rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Describes an open file.
pub(super) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Stat> {
    from_stat(&rustix::fs::fstat(fd)?)
}

/// Attributes of what cannot be opened are out of reach without `/proc`.
pub(super) fn list_xattrs_at(_: BorrowedFd<'_>, _: &Name, _: &mut [u8]) -> Result<usize> {
    Err(Errno::NOTSUP)
}

/// As [`list_xattrs_at`].
pub(super) fn get_xattr_at(_: BorrowedFd<'_>, _: &Name, _: &[u8], _: &mut [u8]) -> Result<usize> {
    Err(Errno::NOTSUP)
}

fn from_stat(stat: &rustix::fs::Stat) -> Result<Stat> {
    let mode = u32::from(stat.st_mode);
    // The widths and signs of these fields differ from system to system.
    let wide = |value: i128| u64::try_from(value).map_err(|_negative| Errno::OVERFLOW);
    let nanos = |value: i128| u32::try_from(value).map_err(|_negative| Errno::OVERFLOW);
    Ok(Stat {
        file_type: rustix::fs::FileType::from_raw_mode(stat.st_mode).into(),
        mode: mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: wide(i128::from(stat.st_size))?,
        blocks: wide(i128::from(stat.st_blocks))?,
        mtime: FileTime { seconds: stat.st_mtime, nanos: nanos(i128::from(stat.st_mtime_nsec))? },
        ctime: FileTime { seconds: stat.st_ctime, nanos: nanos(i128::from(stat.st_ctime_nsec))? },
        ino: stat.st_ino,
        // Only compared, and a device number may be negative here.
        dev: wide(i128::from(stat.st_dev) & i128::from(u64::MAX))?,
        nlink: u64::from(stat.st_nlink),
        rdev: DeviceNumber {
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
        },
        mount_id: None,
    })
}
