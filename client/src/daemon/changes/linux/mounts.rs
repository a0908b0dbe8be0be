//! What is mounted where.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The kernel's list for this process. It can be polled: an exceptional condition is a change.
const LIST: &str = "/proc/self/mountinfo";

/// A file system that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// Another number, another mount.
    id: u64,
    /// The kind of file system, such as `ext4` or `fuse.sshfs`.
    kind: String,
}

/// What is mounted where. Without the kernel's list: nothing anywhere.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    list: Option<File>,
    points: BTreeMap<PathBuf, Mount>,
}

impl Mounts {
    /// As it is now.
    pub(super) fn read() -> Self {
        let list = File::open(LIST).ok();
        Self { list, points: read_points() }
    }

    /// What to poll.
    pub(super) fn list(&self) -> Option<BorrowedFd<'_>> {
        self.list.as_ref().map(AsFd::as_fd)
    }

    /// Reads the list again. The places where something else is mounted than before.
    pub(super) fn changed(&mut self) -> Vec<PathBuf> {
        // The condition ends when the polled file has been read.
        self.list = File::open(LIST).ok();
        let now = read_points();
        let before = std::mem::replace(&mut self.points, now);
        let mut places: Vec<PathBuf> = Vec::new();
        for (place, mount) in &before {
            if self.points.get(place) != Some(mount) {
                places.push(place.clone());
            }
        }
        places.extend(self.points.keys().filter(|place| !before.contains_key(*place)).cloned());
        places
    }

    /// The kind of file system that is mounted right here.
    pub(super) fn at(&self, place: &Path) -> Option<&str> {
        self.points.get(place).map(|mount| mount.kind.as_str())
    }

    /// The kind of file system that a path is on.
    pub(super) fn of(&self, path: &Path) -> Option<&str> {
        path.ancestors().find_map(|place| self.at(place))
    }
}

fn read_points() -> BTreeMap<PathBuf, Mount> {
    std::fs::read(LIST).map(|text| parse(&text)).unwrap_or_default()
}

/// Reads the list: one mount a line, `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [MORE] - KIND ...`.
/// Of several at one place the last one is on top. A line that is not understood is left out.
fn parse(text: &[u8]) -> BTreeMap<PathBuf, Mount> {
    let line = |line: &[u8]| -> Option<(PathBuf, Mount)> {
        let mut fields = line.split(|&b| b == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let place = unescape(fields.nth(3)?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let kind = String::from_utf8_lossy(kind).into_owned();
        Some((PathBuf::from(OsString::from_vec(place)), Mount { id, kind }))
    };
    text.split(|&b| b == b'\n').filter_map(line).collect()
}

/// Blanks, tabs, line ends and backslashes are there as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| first == b'\\');
        let byte = digits.and_then(|d| {
            let text = std::str::from_utf8(d).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        if let Some(byte) = byte {
            out.push(byte);
            rest = after.get(3..).unwrap_or_default();
        } else {
            out.push(first);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
40 27 0:50 / /home/anna/My\\040Files rw shared:7 master:2 - fuse.sshfs host: rw\n\
41 27 0:51 / /mnt/nas rw - nfs4 nas:/x rw\n\
not a line\n\
42 41 0:52 / /mnt/nas rw - tmpfs tmpfs rw\n";

    #[test]
    fn the_list_is_read_with_blanks_and_optional_fields() {
        let mounts = Mounts { list: None, points: parse(TEXT) };
        assert_eq!(mounts.at(Path::new("/home/anna/My Files")), Some("fuse.sshfs"));
        assert_eq!(mounts.of(Path::new("/home/anna/My Files/a/b")), Some("fuse.sshfs"));
        assert_eq!(mounts.at(Path::new("/home/anna/My Files/a")), None);
        assert_eq!(mounts.of(Path::new("/home/anna")), Some("ext4"));
        assert_eq!(mounts.at(Path::new("/mnt/nas")), Some("tmpfs"), "the one on top");
        assert_eq!(mounts.points.len(), 3);
    }

    #[test]
    fn escapes_that_are_none_stay_as_they_are() {
        assert_eq!(unescape(b"a\\040b\\134c"), b"a b\\c");
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"\\999"), b"\\999");
        assert_eq!(unescape(b"\\"), b"\\");
    }

    #[test]
    fn this_machine_has_a_root() {
        assert!(Mounts::read().of(Path::new("/")).is_some());
    }
}
