//! Reading extended attributes; POSIX ACLs and file capabilities are among them.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::sys;
use crate::tree::entry::{Name, Xattr};

/// The most bytes that the names of one entry's attributes may take together.
pub const MAX_LIST: usize = 64 * 1024;
/// The most bytes that one value may have.
pub const MAX_VALUE: usize = 64 * 1024;
/// The most bytes that one entry's names and values may take together.
pub const MAX_TOTAL: usize = 1024 * 1024;

/// Why the attributes of an entry could not be read.
#[derive(Debug, thiserror::Error)]
pub enum XattrError {
    /// The list of names could not be read.
    #[error("the extended attributes cannot be listed")]
    List(#[source] Errno),
    /// One value could not be read.
    #[error("the extended attribute {} cannot be read", .name.escape_ascii())]
    Value {
        /// The attribute's name.
        name: Vec<u8>,
        /// What the system said.
        source: Errno,
    },
    /// There is more than a snapshot holds for one entry.
    #[error("the extended attributes are larger than {limit} bytes")]
    TooLarge {
        /// The limit that was passed, in bytes.
        limit: usize,
    },
}

impl XattrError {
    /// Whether the entry is gone, rather than its attributes unreadable.
    pub fn vanished(&self) -> bool {
        matches!(self, Self::List(Errno::NOENT) | Self::Value { source: Errno::NOENT, .. })
    }
}

/// The extended attributes of an open file or directory, sorted by name.
///
/// None, in one system call, where the file has none or the file system knows of none.
pub fn xattrs_of_fd(fd: impl AsFd) -> Result<Vec<Xattr>, XattrError> {
    let fd = fd.as_fd();
    read(
        |buffer| rustix::fs::flistxattr(fd, buffer),
        |attribute, buffer| rustix::fs::fgetxattr(fd, attribute, buffer),
    )
}

/// The same for what is held by `O_PATH`; a symbolic link's own attributes.
#[cfg(target_os = "linux")]
pub fn xattrs_of_pin(pin: BorrowedFd<'_>) -> Result<Vec<Xattr>, XattrError> {
    use std::os::fd::AsRawFd;
    // Leads to the very object that is held, whatever its path leads to by now.
    let path = format!("/proc/self/fd/{}", pin.as_raw_fd());
    read(
        |buffer| rustix::fs::listxattr(path.as_str(), buffer),
        |attribute, buffer| rustix::fs::getxattr(path.as_str(), attribute, buffer),
    )
}

/// The same for an entry that is not opened; a symbolic link's own attributes.
pub(super) fn xattrs_of_entry(dir: BorrowedFd<'_>, name: &Name) -> Result<Vec<Xattr>, XattrError> {
    read(
        |buffer| sys::list_xattrs_at(dir, name, buffer),
        |attribute, buffer| sys::get_xattr_at(dir, name, attribute, buffer),
    )
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<Xattr>, XattrError> {
    let names = match fill(MAX_LIST, &list) {
        Ok(names) => names,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(Errno::RANGE | Errno::TOOBIG) => return Err(XattrError::TooLarge { limit: MAX_LIST }),
        Err(error) => return Err(XattrError::List(error)),
    };
    let mut found = Vec::new();
    let mut total = 0_usize;
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let value = match fill(MAX_VALUE, |buffer| get(name, buffer)) {
            Ok(value) => value,
            // Removed since the names were listed.
            Err(Errno::NODATA) => continue,
            Err(Errno::RANGE | Errno::TOOBIG) => {
                return Err(XattrError::TooLarge { limit: MAX_VALUE });
            }
            Err(source) => {
                return Err(XattrError::Value { name: name.to_vec(), source });
            }
        };
        total = total.saturating_add(name.len()).saturating_add(value.len());
        if total > MAX_TOTAL {
            return Err(XattrError::TooLarge { limit: MAX_TOTAL });
        }
        found.push(Xattr { name: name.to_vec(), value });
    }
    found.sort_unstable();
    found.dedup_by(|a, b| a.name == b.name);
    Ok(found)
}

/// Asks with a small buffer on the stack first, and once more with one of `most` bytes.
fn fill(most: usize, ask: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 512];
    let exact =
        |buffer: &[u8], length| buffer.get(..length).map(<[u8]>::to_vec).ok_or(Errno::RANGE);
    match ask(&mut small) {
        Ok(length) => exact(&small, length),
        Err(Errno::RANGE) => {
            let mut large = vec![0; most];
            let length = ask(&mut large)?;
            exact(&large, length)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Copies like the kernel: RANGE if it does not fit.
    fn give(value: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        buffer.get_mut(..value.len()).ok_or(Errno::RANGE)?.copy_from_slice(value);
        Ok(value.len())
    }

    #[test]
    fn none_at_all_is_one_call() {
        let calls = Cell::new(0);
        let list = |_: &mut [u8]| {
            calls.set(calls.get() + 1);
            Ok(0)
        };
        let got = read(list, |_, _| unreachable!("there is no name to ask for"));
        assert_eq!((got.expect("reads"), calls.get()), (Vec::new(), 1));
    }

    #[test]
    fn unsupported_is_none_and_other_errors_are_errors() {
        let get = |_: &[u8], _: &mut [u8]| Ok(0);
        assert_eq!(read(|_| Err(Errno::NOTSUP), get).expect("none"), Vec::new());
        assert!(matches!(read(|_| Err(Errno::IO), get), Err(XattrError::List(Errno::IO))));
        let gone = read(|_| Err(Errno::NOENT), get).expect_err("gone");
        assert!(gone.vanished());
    }

    #[test]
    fn an_attribute_removed_meanwhile_is_left_out() {
        let got = read(
            |buffer| give(b"user.b\0user.gone\0user.a\0", buffer),
            |name, buffer| match name {
                b"user.gone" => Err(Errno::NODATA),
                name => give(name, buffer),
            },
        );
        let names: Vec<_> = got.expect("reads").into_iter().map(|xattr| xattr.name).collect();
        assert_eq!(names, [b"user.a", b"user.b"]);
    }

    #[test]
    fn limits_are_errors_that_name_the_limit() {
        let list: Vec<u8> = (0..17).flat_map(|n| format!("user.{n}\0").into_bytes()).collect();
        let big = vec![1; MAX_VALUE];
        let total = read(|buffer| give(&list, buffer), |_, buffer| give(&big, buffer));
        assert!(matches!(total, Err(XattrError::TooLarge { limit: MAX_TOTAL })));
        let value = read(|buffer| give(b"user.a\0", buffer), |_, _| Err(Errno::RANGE));
        assert!(matches!(value, Err(XattrError::TooLarge { limit: MAX_VALUE })));
        let names = read(|_| Err(Errno::RANGE), |_, _| Ok(0));
        assert!(matches!(names, Err(XattrError::TooLarge { limit: MAX_LIST })));
    }

    #[test]
    fn a_long_list_and_a_long_value_take_the_second_buffer() {
        let list: Vec<u8> = (0..100).flat_map(|n| format!("user.{n:03}\0").into_bytes()).collect();
        let long = vec![7; 5000];
        let got = read(|buffer| give(&list, buffer), |_, buffer| give(&long, buffer));
        let got = got.expect("reads");
        assert_eq!(got.len(), 100);
        assert!(got.iter().all(|xattr| xattr.value == long));
    }
}
