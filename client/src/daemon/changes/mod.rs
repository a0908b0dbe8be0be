//! What tells that something has changed.
//!
//! Whatever it says is a hint: it marks directories, and what has changed in them is found by
//! looking. What it does not say is found by the scans that are made from time to time.

use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::Depth;

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

/// Takes events. It is called on the source's thread, and does no more than put them down.
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
        /// Why.
        why: Unwatched,
    },
}

/// Why something cannot be watched.
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

/// Watches directories.
pub trait ChangeSource: Send + std::fmt::Debug {
    /// Watches these directories with all that is in them, and nothing else from now on. What it
    /// tells goes to the sink that it was made with. How well, root by root.
    fn watch(&mut self, roots: &[PathBuf]) -> Vec<(PathBuf, Coverage)>;
}
