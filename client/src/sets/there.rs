//! Whether a run would get at a path: as it looks, without reading anything.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::scan::os::Dir;

/// What a run would find.
#[derive(Debug)]
pub enum There {
    /// It can be read.
    Readable,
    /// Nothing is there.
    Missing,
    /// It, or what is above it in the set, cannot be read.
    Unreadable {
        /// What cannot.
        at: PathBuf,
        /// Why.
        why: io::Error,
    },
}

impl There {
    /// Why it cannot be read, in words; none if it can, or is not there.
    pub fn trouble(&self, path: &Path) -> Option<String> {
        match self {
            Self::Unreadable { at, why } if at == path => Some(why.to_string()),
            Self::Unreadable { at, why } => Some(format!("{}: {why}", at.display())),
            Self::Readable | Self::Missing => None,
        }
    }
}

/// Looks at an absolute path, and at the folders above it as far as they are saved, too: each of
/// them has to be listed. `sources` is what the set names.
pub fn there(sources: &[PathBuf], path: &Path) -> There {
    let root = sources.iter().filter(|source| path.starts_with(source)).min();
    let root = root.map_or(path, PathBuf::as_path);
    let mut way: Vec<&Path> = path.ancestors().take_while(|at| at.starts_with(root)).collect();
    way.reverse();
    for at in way {
        use io::ErrorKind::{NotADirectory, NotFound};
        match look(at) {
            Ok(()) => {}
            Err(why) if matches!(why.kind(), NotFound | NotADirectory) => return There::Missing,
            Err(why) => return There::Unreadable { at: at.to_path_buf(), why },
        }
    }
    There::Readable
}

fn look(at: &Path) -> io::Result<()> {
    let kind = at.symlink_metadata()?.file_type();
    if kind.is_dir() {
        Dir::open_root(at)?;
        // Whoever may list it may still not look at what is in it.
        at.join(".").symlink_metadata()?;
    } else if kind.is_file() {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(at, flags | OFlags::NOCTTY, Mode::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scan::os::running_as_root;

    #[test]
    fn what_is_there_is_told_from_what_is_not_and_what_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_path_buf();
        fs::create_dir_all(root.join("closed/in")).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
        let ask = |name: &str| there(std::slice::from_ref(&root), &root.join(name));
        for name in ["", "file", "link", "closed/in"] {
            assert!(matches!(ask(name), There::Readable), "{name}");
        }
        for name in ["gone", "gone/deep", "file/x"] {
            assert!(matches!(ask(name), There::Missing), "{name}");
        }
        if running_as_root() {
            return;
        }
        for mode in [0o000, 0o444, 0o111] {
            let closed = root.join("closed");
            fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
            let found = ask("closed/in");
            fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
            let told = found.trouble(&root.join("closed/in")).unwrap();
            assert!(told.contains("/closed: Permission denied"), "{mode:o} {told}");
        }
    }

    /// The kernel lets nobody read it, not even root.
    #[test]
    #[cfg(target_os = "linux")]
    fn what_nobody_may_read_is_told() {
        let path = Path::new("/proc/sys/vm/compact_memory");
        let found = there(&[], path);
        assert!(found.trouble(path).unwrap().starts_with("Permission denied"), "{found:?}");
    }
}
