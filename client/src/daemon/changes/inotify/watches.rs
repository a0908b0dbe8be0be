//! The watches that have been placed: one for each directory.
//!
//! Path and watch belong to each other one to one. A watch follows its directory wherever that
//! is moved, a path does not; what the kernel answers when a path is watched decides.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Bytes that are read at once: about two thousand events.
const BUFFER: usize = 64 * 1024;
/// What a user may watch if the system does not say.
const UNKNOWN_LIMIT: u64 = 8192;
/// Where the system says it. The second one is for user namespaces, within the first.
const LIMITS: [&str; 2] =
    ["/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"];

/// What is told of a directory. Not that something was opened or read: our own scans do that.
/// Nor what happens to files that have no name any more.
const WANTED: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW)
    .union(WatchFlags::EXCL_UNLINK);

/// An event as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) wd: i32,
    pub(super) what: ReadFlags,
    /// In the watched directory; none if it is about the directory itself.
    pub(super) name: Option<OsString>,
}

/// A directory that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) path: Arc<Path>,
    /// The number of the root that it was found beneath.
    pub(super) root: usize,
}

/// A watch was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// What is in the directory is not watched yet.
    Anew,
    /// It was there already.
    Before,
}

/// A watch was not placed.
#[derive(Debug)]
pub(super) enum Refused {
    /// There are as many as there may be.
    Full,
    /// There is no such directory.
    Gone,
    /// It cannot be read, so it cannot be backed up either.
    Forbidden,
    /// It is watched by another path, which leads to it as well.
    Elsewhere(Arc<Path>),
    /// Something else.
    Failed(io::Error),
}

/// The watches.
#[derive(Debug)]
pub(super) struct Watches {
    fd: OwnedFd,
    by_wd: HashMap<i32, Watch>,
    by_path: BTreeMap<Arc<Path>, i32>,
    /// How many there are for each root.
    counts: Vec<usize>,
    at_most: usize,
    buffer: Vec<MaybeUninit<u8>>,
}

/// How many directories a user may watch, says the system.
pub(super) fn allowed() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    LIMITS.into_iter().filter_map(read).min().unwrap_or(UNKNOWN_LIMIT)
}

impl Watches {
    /// None yet, for so many roots.
    pub(super) fn new(roots: usize, percent: u8) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let at_most = allowed().saturating_mul(u64::from(percent)) / 100;
        Ok(Self {
            fd,
            by_wd: HashMap::new(),
            by_path: BTreeMap::new(),
            counts: vec![0; roots],
            at_most: usize::try_from(at_most).unwrap_or(usize::MAX),
            buffer: vec![MaybeUninit::uninit(); BUFFER],
        })
    }

    /// What to poll.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// How many there are beneath a root.
    pub(super) fn count(&self, root: usize) -> usize {
        self.counts.get(root).copied().unwrap_or(0)
    }

    /// Whether so many more could be placed, a tenth of all that may be.
    pub(super) fn has_room(&self) -> bool {
        self.by_wd.len() + self.at_most / 10 < self.at_most
    }

    /// The watch of this number.
    pub(super) fn get(&self, wd: i32) -> Option<&Watch> {
        self.by_wd.get(&wd)
    }

    /// Whether this directory is watched.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.by_path.contains_key(path)
    }

    /// Watches a directory, but not what is in it. `top`: it is a root, and tells of its own
    /// moving and end.
    pub(super) fn add(&mut self, path: &Path, root: usize, top: bool) -> Result<Placed, Refused> {
        let before = self.by_path.get(path).copied();
        if before.is_none() && self.by_wd.len() >= self.at_most {
            return Err(Refused::Full);
        }
        let own = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        let wanted = if top { WANTED | own } else { WANTED };
        let wd = inotify::add_watch(&self.fd, path, wanted).map_err(|errno| match errno {
            Errno::NOSPC => Refused::Full,
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Refused::Gone,
            Errno::ACCESS | Errno::PERM => Refused::Forbidden,
            other => Refused::Failed(other.into()),
        })?;
        if before == Some(wd) {
            return Ok(Placed::Before);
        }
        if let Some(watch) = self.by_wd.get(&wd) {
            if is_same(&watch.path, path) {
                return Err(Refused::Elsewhere(Arc::clone(&watch.path)));
            }
            // It was moved here; its old path is another's, or nobody's.
            self.unlink(wd);
        }
        // Whatever was watched here and beneath was another directory.
        self.drop_tree(path);
        let path: Arc<Path> = Arc::from(path);
        self.by_path.insert(Arc::clone(&path), wd);
        self.by_wd.insert(wd, Watch { path, root });
        if let Some(count) = self.counts.get_mut(root) {
            *count += 1;
        }
        Ok(Placed::Anew)
    }

    /// Watches this directory and all beneath it no longer.
    pub(super) fn drop_tree(&mut self, path: &Path) {
        let beneath = (Bound::Included(path), Bound::Unbounded);
        let wds: Vec<i32> = self
            .by_path
            .range::<Path, _>(beneath)
            .take_while(|(other, _)| other.starts_with(path))
            .map(|(_, wd)| *wd)
            .collect();
        for wd in wds {
            self.unlink(wd);
            // It fails if the directory is gone, which is as good.
            inotify::remove_watch(&self.fd, wd).ok();
        }
    }

    /// Takes in that the kernel has given up a watch: the directory is gone.
    pub(super) fn unlink(&mut self, wd: i32) -> Option<Watch> {
        let watch = self.by_wd.remove(&wd)?;
        if self.by_path.get(&watch.path) == Some(&wd) {
            self.by_path.remove(&watch.path);
        }
        if let Some(count) = self.counts.get_mut(watch.root) {
            *count = count.saturating_sub(1);
        }
        Some(watch)
    }

    /// Adds events that wait to `out`; of equal ones in a row only one. Whether there may be
    /// more.
    pub(super) fn read(&mut self, out: &mut Vec<Raw>) -> io::Result<bool> {
        let mut reader = Reader::new(&self.fd, &mut self.buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let same = |raw: &Raw| {
                raw.wd == event.wd() && raw.what == event.events() && raw.name.as_deref() == name
            };
            if !out.last().is_some_and(same) {
                let name = name.map(OsStr::to_os_string);
                out.push(Raw { wd: event.wd(), what: event.events(), name });
            }
            if reader.is_buffer_empty() {
                return Ok(true);
            }
        }
    }
}

/// Whether two paths lead to one directory.
fn is_same(a: &Path, b: &Path) -> bool {
    let a = dir_id(a);
    a.is_some() && a == dir_id(b)
}

/// Device and number of a directory; none if there is none. No symbolic link is followed.
pub(super) fn dir_id(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    meta.is_dir().then(|| (meta.dev(), meta.ino()))
}

/// The directories in a directory.
pub(super) fn subdirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // What went away meanwhile has an event of its own.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
