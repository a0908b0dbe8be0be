//! What tells that something has changed.
//!
//! Whatever it says is a hint: it marks directories, and what has changed in them is found by
//! looking. What it does not say is found by the scans that are made from time to time.

#[cfg(test)]
pub(crate) mod fake;
#[cfg(target_os = "linux")]
mod linux;
mod names;
mod network;
#[cfg(any(test, not(target_os = "linux")))]
mod recursive;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::backup::Depth;

pub use names::Names;

/// What was noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This directory may have changed.
    Changed {
        /// Its absolute path.
        dir: PathBuf,
        /// How much of it.
        depth: Depth,
    },
    /// These entries of a directory may have changed, and no others directly in it.
    Entries {
        /// Its absolute path.
        dir: PathBuf,
        /// Which.
        names: Names,
    },
    /// Events were lost: everything beneath may have changed.
    Lost {
        /// One of the roots; none if it is not known which.
        root: Option<PathBuf>,
        /// Why.
        why: Lost,
    },
}

/// Why events were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// There were more than the system keeps.
    Overflow,
    /// A file system was taken away, or a root with all that is in it.
    Gone,
    /// The source failed.
    Failed,
}

/// Takes events. It is called on the source's thread, and does no more than put them down. An
/// event is told after what it tells of, and after new directories that it tells of are watched.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// How well a root is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// Every change is noticed.
    Watched {
        /// Directories that are watched.
        dirs: usize,
    },
    /// Some or all of it is not watched and has to be scanned from time to time.
    Scanned {
        /// Directories that are not watched, with all that is in them.
        roots: Vec<PathBuf>,
        /// Why; if there are several reasons, the one that a user can do most about.
        why: Unwatched,
    },
}

/// Why something cannot be watched. As text: a sentence for `status`, with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwatched {
    /// As many directories are watched as this user may watch, or as we take of them.
    Limit {
        /// What the system allows a user, `max_user_watches`.
        allowed: u64,
    },
    /// Changes by other machines are not told.
    Network {
        /// The kind of file system.
        kind: String,
    },
    /// It is not there, or cannot be opened.
    Missing,
    /// Something else.
    Failed {
        /// As the system says it.
        message: String,
    },
}

/// The least that a user is told to set `max_user_watches` to.
const MANY_WATCHES: u64 = 524_288;

impl fmt::Display for Unwatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { allowed } => {
                let enough = allowed.saturating_mul(2).max(MANY_WATCHES);
                write!(
                    f,
                    "the system lets a user watch {allowed} directories; to watch all: \
                     sudo sysctl fs.inotify.max_user_watches={enough}"
                )
            }
            Self::Network { kind } => {
                write!(f, "{kind} does not tell what other machines change")
            }
            Self::Missing => write!(f, "it is not there"),
            Self::Failed { message } => write!(f, "it cannot be watched: {message}"),
        }
    }
}

/// Watches directories.
pub trait ChangeSource: Send + fmt::Debug {
    /// Watches these directories with all that is in them, and nothing else from now on. What it
    /// tells goes to the sink that it was made with. How well, root by root.
    ///
    /// Those of them that were watched before go on being watched: nothing that happens in them is
    /// missed. In the others, and in those in `again`, because something else of them is left out
    /// now, what changed before this returns may not be told: they have to be scanned afterwards.
    fn watch(&mut self, roots: &[PathBuf], again: &[PathBuf]) -> Vec<(PathBuf, Coverage)>;

    /// How well they are watched now: directories come and go, and so do limits.
    fn coverage(&self) -> Vec<(PathBuf, Coverage)>;

    /// Waits until all that happened before this call has been told, but not longer than this.
    /// Whether it has been. For a run that somebody asks for right after saving a file.
    fn catch_up(&self, at_most: Duration) -> bool;
}

/// What is of no interest: asked with an absolute path and whether it is a directory. Nothing
/// beneath such a directory is watched, and what happens to such a file is not told.
#[derive(Clone)]
pub struct Excluded(Arc<Rule>);

type Rule = dyn Fn(&Path, bool) -> bool + Send + Sync;

impl Excluded {
    /// What this says.
    pub fn by(rule: impl Fn(&Path, bool) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self::by(|_, _| false)
    }

    /// Whether this path is.
    pub fn has(&self, path: &Path, is_dir: bool) -> bool {
        self.0(path, is_dir)
    }
}

impl fmt::Debug for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Excluded")
    }
}

/// How to watch.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is of no interest.
    pub excluded: Excluded,
    /// How many of the watches that a user may have are taken at most, in percent. They are
    /// shared by all programs of the user: with none left, editors and file managers fail.
    pub percent: u8,
    /// How often a root that is gone is looked for.
    pub look_for_roots: Duration,
    /// How often directories are tried again that were one too many.
    pub try_again: Duration,
}

impl Options {
    /// As usual.
    pub fn new(excluded: Excluded) -> Self {
        Self {
            excluded,
            percent: 60,
            look_for_roots: Duration::from_secs(10),
            try_again: Duration::from_secs(600),
        }
    }
}

/// The best source that this system has.
pub fn open(options: Options, sink: Sink) -> io::Result<Box<dyn ChangeSource>> {
    #[cfg(target_os = "linux")]
    let source = linux::Linux::start(options, sink)?;
    #[cfg(not(target_os = "linux"))]
    let source = recursive::Recursive::start(options, sink)?;
    Ok(Box::new(source))
}

/// One line for several reasons: what a user can do something about comes first.
fn foremost<'a>(reasons: impl Iterator<Item = &'a Unwatched>) -> Option<Unwatched> {
    let rank = |why: &&Unwatched| match why {
        Unwatched::Limit { .. } => 0,
        Unwatched::Failed { .. } => 1,
        Unwatched::Missing => 2,
        Unwatched::Network { .. } => 3,
    };
    reasons.min_by_key(rank).cloned()
}

/// Without those that lie in others, and none twice.
fn outermost(roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut sorted = roots.to_vec();
    sorted.sort();
    let mut kept: Vec<PathBuf> = Vec::new();
    for root in sorted {
        if !kept.last().is_some_and(|last| root.starts_with(last)) {
            kept.push(root);
        }
    }
    kept
}
