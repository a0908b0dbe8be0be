//! Directories that are to be watched, with all in them. They are done in slices: between these
//! what was told is taken, so that placing many watches never makes it too much.

use std::path::PathBuf;

use crossbeam_channel::Sender;

use crate::daemon::changes::Lost;

/// What follows when a job is done.
#[derive(Debug)]
pub(super) enum End {
    /// Nothing: everything is scanned by who asked.
    Quiet,
    /// Everything in this directory may have changed, if there is one.
    Everything(PathBuf),
    /// The same, if it could be watched this time.
    IfWatched(PathBuf),
    /// Events were lost.
    Lost(Lost),
    /// Somebody waits for this.
    Answer(Sender<()>),
}

/// A directory that is to be watched, or only something to do in its turn.
#[derive(Debug)]
pub(super) struct Job {
    /// Directories that are still to be watched.
    pub(super) stack: Vec<PathBuf>,
    /// Also what is in directories that are watched already: other ones are left out now.
    pub(super) through: bool,
    /// The number of the root.
    pub(super) root: usize,
    pub(super) end: End,
    /// Directories that are watched now and were not before.
    pub(super) watched: usize,
    /// Directories that could not be watched.
    pub(super) left_out: usize,
}

impl Job {
    pub(super) fn new(dir: PathBuf, root: usize, end: End) -> Self {
        Self { stack: vec![dir], through: false, root, end, watched: 0, left_out: 0 }
    }

    /// Looks through a directory, whether or not it is watched already.
    pub(super) fn through(dir: PathBuf, root: usize, end: End) -> Self {
        Self { through: true, ..Self::new(dir, root, end) }
    }

    pub(super) fn only(end: End) -> Self {
        Self { stack: Vec::new(), through: false, root: 0, end, watched: 0, left_out: 0 }
    }
}
