//! What the threads of a restore share: how it goes, and whether it goes on.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use unseen_common::packset::PackSet;

use super::dirs::{DirNode, Dirs};
use super::error::TargetError;
use super::left::Left;
use super::links::{Links, LinksError};
use super::options::{RestoreError, RestoreOutcome};
use super::policy::Note as LeftNote;
use crate::browse::error::ReadError;
use crate::browse::packs::Packs;
use crate::progress::{Change, During, Item, Level, Monitor, Note, Problem, in_words};

/// Problems that are kept; the others are counted.
const PROBLEMS: usize = 1000;

/// One restore under way.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) packs: &'a Packs<'a>,
    pub(super) dirs: &'a Dirs,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) links: Links,
    interrupt: &'a AtomicBool,
    stop: AtomicBool,
    fatal: Mutex<Option<RestoreError>>,
    tally: Mutex<RestoreOutcome>,
    left: Mutex<Left>,
    /// Hashes of the paths of files that are not as in the snapshot, for who compares them later.
    not_restored: Option<Mutex<HashSet<u64>>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        packs: &'a Packs<'a>,
        dirs: &'a Dirs,
        (monitor, interrupt): (&'a dyn Monitor, &'a AtomicBool),
        verify: bool,
        links: Links,
    ) -> Self {
        Self {
            packs,
            dirs,
            monitor,
            links,
            interrupt,
            stop: AtomicBool::new(false),
            fatal: Mutex::new(None),
            tally: Mutex::default(),
            left: Mutex::default(),
            not_restored: verify.then(Mutex::default),
        }
    }

    /// Whether everybody is to stop.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.interrupt.load(Ordering::Relaxed)
    }

    pub(super) fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Ends the restore; the first reason counts.
    pub(super) fn fail(&self, error: impl Into<RestoreError>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut fatal = lock(&self.fatal);
        if fatal.is_none() {
            *fatal = Some(error.into());
        }
    }

    /// What was asked of [`Self::links`]. Without an answer the restore ends.
    pub(super) fn told<T>(&self, answer: Result<T, LinksError>) -> Result<T, ReadError> {
        answer.map_err(|error| {
            self.fail(error);
            ReadError::Stopped
        })
    }

    /// Something could not be restored; the rest goes on.
    pub(super) fn problem(&self, path: Vec<u8>, what: String) {
        self.not_restored(&path);
        // The root has no name of its own.
        let path = if path.is_empty() { b"/".to_vec() } else { path };
        let problem = Problem { path, during: During::Restore, what };
        self.monitor.problem(&problem);
        self.count(|tally| {
            tally.problem_count += 1;
            if tally.problems.len() < PROBLEMS {
                tally.problems.push(problem);
            }
        });
    }

    /// A file is not as in the snapshot, as is known.
    pub(super) fn not_restored(&self, path: &[u8]) {
        if let Some(paths) = &self.not_restored {
            lock(paths).insert(digest(path));
        }
    }

    /// Whether a file should be as in the snapshot now.
    pub(super) fn is_restored(&self, path: &[u8]) -> bool {
        let paths = self.not_restored.as_ref();
        paths.is_none_or(|paths| !lock(paths).contains(&digest(path)))
    }

    /// As [`Self::problem`]; a full disk ends the restore.
    pub(super) fn trouble(&self, path: Vec<u8>, error: TargetError) {
        if error.is_full() {
            self.fail(RestoreError::Full { path, source: error });
        } else {
            self.problem(path, in_words(&error));
        }
    }

    /// As [`Self::problem`]; a vault that cannot be used ends the restore.
    pub(super) fn unreadable(&self, path: Vec<u8>, error: ReadError) {
        if error.is_local() {
            self.problem(path, in_words(&error));
        } else {
            self.fail(error);
        }
    }

    /// Counts what was left out of an entry.
    pub(super) fn left_out(&self, path: impl FnOnce() -> Vec<u8>, notes: &[LeftNote]) {
        if notes.is_empty() {
            return;
        }
        let path = path();
        let path = if path.is_empty() { b"/".to_vec() } else { path };
        for note in notes {
            self.monitor.note(&Note {
                level: Level::Detail,
                text: format!("{}: {note}", path.escape_ascii()),
            });
            lock(&self.left).add(&path, note, self.dirs.policy());
        }
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut RestoreOutcome)) {
        change(&mut lock(&self.tally));
    }

    /// A file is done, or left as it was.
    pub(super) fn done(&self, path: &[u8], change: Change, size: u64) {
        self.monitor.done(Item { path, is_dir: false, change, size });
    }

    /// A directory is done, with all that is in it.
    pub(super) fn dir_done(&self, dir: &DirNode) {
        self.count(|tally| tally.dirs += 1);
        let path = dir.path();
        self.monitor.done(Item { path: &path, is_dir: true, change: Change::New, size: 0 });
    }

    /// The end: how it went.
    pub(super) fn finish(self) -> Result<RestoreOutcome, RestoreError> {
        let interrupted = self.interrupted();
        let fatal = self.fatal.into_inner();
        if let Some(error) = fatal.unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let tally = self.tally.into_inner();
        let mut tally = tally.unwrap_or_else(PoisonError::into_inner);
        tally.interrupted = interrupted;
        tally.left_out = self.left.into_inner().unwrap_or_else(PoisonError::into_inner).into_vec();
        tally.fetched = self.packs.fetched();
        tally.suspects = PackSet(self.packs.suspects());
        Ok(tally)
    }
}

fn digest(path: &[u8]) -> u64 {
    let hash = blake3::hash(path);
    let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
