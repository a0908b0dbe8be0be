//! What only Linux has: `statx`, `getdents64`, attributes of things that cannot be opened.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, OFlags, RawDir, StatxFlags};
use rustix::io::{Errno, Result};

use super::os::{FileType, Stat};
use crate::tree::entry::{DeviceNumber, FileTime, Name};

/// Leaves the access time of what is opened as it is.
pub(super) const NO_ACCESS_TIME: OFlags = OFlags::NOATIME;

/// Below the size from which the allocator asks the kernel for fresh pages every time.
const LISTING_BUFFER: usize = 64 * 1024;

/// Calls `each` with every name and kind but `.` and `..`, in the file system's order.
pub(super) fn each_name(fd: BorrowedFd<'_>, mut each: impl FnMut(&[u8], FileType)) -> Result<()> {
    let mut buffer = Vec::with_capacity(LISTING_BUFFER);
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    loop {
        match entries.next() {
            None => return Ok(()),
            Some(Err(Errno::INTR)) => {}
            Some(Err(error)) => return Err(error),
            Some(Ok(entry)) => match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => each(name, entry.file_type().into()),
            },
        }
    }
}

/// Describes an entry, not what a symbolic link points at.
pub(super) fn stat_at(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, wanted()).map(|stat| from_statx(&stat))
}

/// Describes an open file.
pub(super) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Stat> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, wanted()).map(|stat| from_statx(&stat))
}

/// The names of the attributes of an entry, each ended by NUL.
pub(super) fn list_xattrs_at(dir: BorrowedFd<'_>, name: &Name, buffer: &mut [u8]) -> Result<usize> {
    rustix::fs::llistxattr(entry_path(dir, name).as_slice(), buffer)
}

/// The value of an attribute of an entry.
pub(super) fn get_xattr_at(
    dir: BorrowedFd<'_>,
    name: &Name,
    attribute: &[u8],
    buffer: &mut [u8],
) -> Result<usize> {
    rustix::fs::lgetxattr(entry_path(dir, name).as_slice(), attribute, buffer)
}

/// `/proc/self/fd/N` leads to the open directory itself and not to where its path leads now, so
/// nothing can be swapped underneath; the calls made with it do not follow the last component.
fn entry_path(dir: BorrowedFd<'_>, name: &Name) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    path
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::MNT_ID
}

fn from_statx(stat: &rustix::fs::Statx) -> Stat {
    let mode = u32::from(stat.stx_mode);
    let told_mount = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    let time =
        |time: &rustix::fs::StatxTimestamp| FileTime { seconds: time.tv_sec, nanos: time.tv_nsec };
    Stat {
        file_type: rustix::fs::FileType::from_raw_mode(mode).into(),
        mode: mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        mtime: time(&stat.stx_mtime),
        ctime: time(&stat.stx_ctime),
        ino: stat.stx_ino,
        dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        nlink: u64::from(stat.stx_nlink),
        rdev: DeviceNumber { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor },
        mount_id: told_mount.then_some(stat.stx_mnt_id),
    }
}
