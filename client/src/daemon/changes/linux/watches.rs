//! The watches that have been placed: one for each directory, known by path.
//!
//! A watch follows its directory wherever that is moved, a path does not. So it is remembered
//! which directory was watched, and a path is only watched anew after its watch was given up.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::ErrorKind;
use rustix::io::Errno;

use super::kernel::Kernel;
use super::told::{News, Told};
use crate::daemon::changes::Options;

/// What a user may watch if the system does not say.
const UNKNOWN_LIMIT: u64 = 8192;
/// Where the system says it. The second one is for user namespaces, within the first.
const LIMITS: [&str; 2] =
    ["/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"];

/// Device and number of a directory.
pub(super) type DirId = (u64, u64);

/// A directory that is watched.
#[derive(Debug, Clone, Copy)]
struct Watch {
    id: DirId,
    /// The number of the root that it was found beneath.
    root: usize,
    watcher: usize,
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
    /// There is no such directory, or another one by now: that has an event of its own.
    Gone,
    /// It cannot be read, so it cannot be backed up either.
    Forbidden,
    /// It is watched by another path, which leads to it as well.
    Elsewhere(Arc<Path>),
    /// Something else.
    Failed(String),
}

/// The watches.
#[derive(Debug)]
pub(super) struct Watches {
    kernel: Kernel,
    told: Arc<Told>,
    by_path: BTreeMap<Arc<Path>, Watch>,
    by_id: HashMap<DirId, Arc<Path>>,
    /// How many there are for each root.
    counts: Vec<usize>,
    at_most: usize,
}

/// How many directories a user may watch, says the system.
pub(super) fn allowed() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    LIMITS.into_iter().filter_map(read).min().unwrap_or(UNKNOWN_LIMIT)
}

impl Watches {
    /// None yet, for so many roots.
    pub(super) fn new(roots: usize, options: &Options) -> Result<Self, String> {
        let told = Arc::new(Told::new().map_err(|error| error.to_string())?);
        let kernel = Kernel::new(Arc::clone(&told), options.excluded.clone());
        let at_most = allowed().saturating_mul(u64::from(options.percent)) / 100;
        Ok(Self {
            kernel: kernel.map_err(|error| error.to_string())?,
            told,
            by_path: BTreeMap::new(),
            by_id: HashMap::new(),
            counts: vec![0; roots],
            at_most: usize::try_from(at_most).unwrap_or(usize::MAX),
        })
    }

    /// What to poll.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.told.bell()
    }

    /// All that was told since the last time.
    pub(super) fn news(&self) -> News {
        self.told.take()
    }

    /// Makes the mark be told after all that has happened. How often it will be; none if there
    /// is no way.
    pub(super) fn mark(&self) -> Option<usize> {
        self.kernel.mark()
    }

    /// How many there are beneath a root.
    pub(super) fn count(&self, root: usize) -> usize {
        self.counts.get(root).copied().unwrap_or(0)
    }

    /// Whether so many more could be placed, a tenth of all that may be.
    pub(super) fn has_room(&self) -> bool {
        self.by_path.len() + self.at_most / 10 < self.at_most
    }

    /// Whether this directory is watched.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.by_path.contains_key(path)
    }

    /// Watches a directory, but not what is in it.
    pub(super) fn add(&mut self, path: &Path, root: usize) -> Result<Placed, Refused> {
        let id = dir_id(path).ok_or(Refused::Gone)?;
        let before = self.by_path.get(path).map(|watch| watch.id);
        if before == Some(id) {
            return Ok(Placed::Before);
        }
        if let Some(other) = self.by_id.get(&id).cloned() {
            if dir_id(&other) == Some(id) {
                return Err(Refused::Elsewhere(other));
            }
            // It was moved here; its old path is another's, or nobody's.
            self.give_up(&other);
        }
        // Whatever was watched here and beneath was another directory.
        self.drop_tree(path);
        if self.by_path.len() >= self.at_most {
            return Err(Refused::Full);
        }
        let watcher = self.kernel.watch(path).map_err(refused)?;
        if dir_id(path) != Some(id) {
            self.kernel.unwatch(path, watcher);
            return Err(Refused::Gone);
        }
        let path: Arc<Path> = Arc::from(path);
        self.by_id.insert(id, Arc::clone(&path));
        self.by_path.insert(path, Watch { id, root, watcher });
        if let Some(count) = self.counts.get_mut(root) {
            *count += 1;
        }
        Ok(Placed::Anew)
    }

    /// The roots have other numbers, given by the old ones, and there are so many. What lies beneath
    /// none any more was given up before.
    pub(super) fn renumber(&mut self, numbers: &[Option<usize>], count: usize) {
        self.counts = vec![0; count];
        for watch in self.by_path.values_mut() {
            let Some(number) = numbers.get(watch.root).copied().flatten() else { continue };
            watch.root = number;
            if let Some(count) = self.counts.get_mut(number) {
                *count += 1;
            }
        }
    }

    /// Watches this directory and all beneath it no longer. Whether any was watched.
    pub(super) fn drop_tree(&mut self, path: &Path) -> bool {
        let beneath = (Bound::Included(path), Bound::Unbounded);
        let paths: Vec<Arc<Path>> = self
            .by_path
            .range::<Path, _>(beneath)
            .map(|(other, _)| other)
            .take_while(|other| other.starts_with(path))
            .map(Arc::clone)
            .collect();
        for path in &paths {
            self.give_up(path);
        }
        !paths.is_empty()
    }

    fn give_up(&mut self, path: &Path) {
        let Some(watch) = self.by_path.remove(path) else { return };
        self.kernel.unwatch(path, watch.watcher);
        if self.by_id.get(&watch.id).is_some_and(|known| **known == *path) {
            self.by_id.remove(&watch.id);
        }
        if let Some(count) = self.counts.get_mut(watch.root) {
            *count = count.saturating_sub(1);
        }
    }
}

fn refused(error: notify::Error) -> Refused {
    let errno = match &error.kind {
        ErrorKind::MaxFilesWatch => return Refused::Full,
        ErrorKind::PathNotFound => return Refused::Gone,
        ErrorKind::Io(io) => Errno::from_io_error(io),
        _ => None,
    };
    match (errno, error.kind) {
        (Some(Errno::NOSPC), _) => Refused::Full,
        (Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP), _) => Refused::Gone,
        (Some(Errno::ACCESS | Errno::PERM), _) => Refused::Forbidden,
        (_, ErrorKind::Io(io)) => Refused::Failed(io.to_string()),
        // Without the path, which is told anyway.
        (_, kind) => Refused::Failed(notify::Error::new(kind).to_string()),
    }
}

/// Device and number of a directory; none if there is none. No symbolic link is followed.
pub(super) fn dir_id(path: &Path) -> Option<DirId> {
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
