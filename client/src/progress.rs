//! What engines tell while they work. They never print; whoever calls them listens.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use unseen_common::id::SnapshotId;

/// Listens to a backup, a restore or a check.
///
/// Called from several threads at once, at most once a file or once a MiB: an implementation
/// counts and returns, and draws from a thread of its own. Every method does nothing by default.
///
/// `Read` is the local side and `transfer` the network side: a backup reads files and sends packs,
/// a restore fetches packs and writes files.
pub trait Monitor: Send + Sync + std::fmt::Debug {
    /// Who hears of everything that is not overridden here.
    fn inner(&self) -> Option<&dyn Monitor> {
        None
    }
    /// More work was found. The amounts add up.
    fn scanned(&self, found: Amount) {
        if let Some(inner) = self.inner() {
            inner.scanned(found);
        }
    }
    /// A file was found that is left to another pass.
    fn put_off(&self, found: Amount) {
        if let Some(inner) = self.inner() {
            inner.put_off(found);
        }
    }
    /// All work has been found: the totals stand, and time left can be told.
    fn scan_done(&self) {
        if let Some(inner) = self.inner() {
            inner.scan_done();
        }
    }
    /// Work on a file began. The path is relative to nothing in particular, and not escaped.
    fn file_started(&self, path: &[u8]) {
        if let Some(inner) = self.inner() {
            inner.file_started(path);
        }
    }
    /// Bytes of files that were read (backup), written (restore) or verified (check).
    fn bytes_read(&self, bytes: u64) {
        if let Some(inner) = self.inner() {
            inner.bytes_read(bytes);
        }
    }
    /// A file or directory is done.
    fn done(&self, item: Item<'_>) {
        if let Some(inner) = self.inner() {
            inner.done(item);
        }
    }
    /// These were taken as they were, without a look at them: nothing in them has changed.
    fn unvisited(&self, amount: Amount) {
        if let Some(inner) = self.inner() {
            inner.unvisited(amount);
        }
    }
    /// New chunks went into a segment.
    fn stored(&self, stored: Stored) {
        if let Some(inner) = self.inner() {
            inner.stored(stored);
        }
    }
    /// More bytes will go over the network. They add up.
    fn transfer_planned(&self, bytes: u64) {
        if let Some(inner) = self.inner() {
            inner.transfer_planned(bytes);
        }
    }
    /// Bytes that went over the network, or into the local vault.
    fn transferred(&self, bytes: u64) {
        if let Some(inner) = self.inner() {
            inner.transferred(bytes);
        }
    }
    /// Something could not be read or restored; the rest goes on. Exit 3 or 1 follows.
    fn problem(&self, problem: &Problem) {
        if let Some(inner) = self.inner() {
            inner.problem(problem);
        }
    }
    /// Something the user should know; no failure.
    fn note(&self, note: &Note) {
        if let Some(inner) = self.inner() {
            inner.note(note);
        }
    }
    /// A checkpoint was committed: what is done so far can be restored.
    fn checkpoint(&self, snapshot: &SnapshotId) {
        if let Some(inner) = self.inner() {
            inner.checkpoint(snapshot);
        }
    }
}

/// An amount of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Everything that is not a directory.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Bytes of regular files.
    pub bytes: u64,
}

/// A file or directory that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its path, not escaped.
    pub path: &'a [u8],
    /// Whether it is a directory.
    pub is_dir: bool,
    /// How it compares with what was there before.
    pub change: Change,
    /// Its length in bytes.
    pub size: u64,
}

/// How an item compares with the last snapshot, or on a restore with what lies at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Not there before.
    New,
    /// There, but different.
    Changed,
    /// The same.
    Unmodified,
    /// Left out: excluded, or kept as it was by `--overwrite`.
    Skipped,
    /// Removed by `--delete`.
    Deleted,
}

/// New chunks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stored {
    /// As they are in files.
    pub raw: u64,
    /// Compressed and sealed.
    pub packed: u64,
}

/// Something that went wrong with one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path, not escaped.
    pub path: Vec<u8>,
    /// What was being done.
    pub during: During,
    /// What happened, in words: `cannot open: permission denied`.
    pub what: String,
}

/// What was being done when a problem came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum During {
    /// Listing directories.
    Scan,
    /// Reading a file.
    Archival,
    /// Writing a file.
    Restore,
    /// Checking what is stored.
    Check,
}

impl During {
    /// One word, as `--json` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Archival => "archival",
            Self::Restore => "restore",
            Self::Check => "check",
        }
    }
}

/// Something the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How loud.
    pub level: Level,
    /// One sentence.
    pub text: String,
}

impl Note {
    /// Shown always.
    pub fn warning(text: impl Into<String>) -> Self {
        Self { level: Level::Warning, text: text.into() }
    }

    /// Shown unless `-q`.
    pub fn info(text: impl Into<String>) -> Self {
        Self { level: Level::Info, text: text.into() }
    }
}

/// How loud a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Shown always.
    Warning,
    /// Shown unless `-q`.
    Info,
    /// Shown with `-v`.
    Detail,
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// Counts everything, lock-free.
#[derive(Debug, Default)]
pub struct Tally {
    found: [AtomicU64; 3],
    scan_done: AtomicU64,
    read: AtomicU64,
    files: [AtomicU64; CHANGES],
    dirs: [AtomicU64; CHANGES],
    raw: AtomicU64,
    packed: AtomicU64,
    planned: AtomicU64,
    transferred: AtomicU64,
    problems: AtomicU64,
    checkpoints: AtomicU64,
}

const CHANGES: usize = 5;

/// The counts of a [`Tally`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Work found so far.
    pub found: Amount,
    /// Whether that is all of it.
    pub scan_done: bool,
    /// Bytes of files read, written or verified.
    pub read: u64,
    /// Files that are done.
    pub files: Changes,
    /// Directories that are done.
    pub dirs: Changes,
    /// New chunks.
    pub stored: Stored,
    /// Bytes meant to go over the network so far.
    pub planned: u64,
    /// Bytes that went over the network.
    pub transferred: u64,
    /// Problems so far.
    pub problems: u64,
    /// Checkpoints so far.
    pub checkpoints: u64,
}

/// Items by how they compare with before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Not there before.
    pub new: u64,
    /// There, but different.
    pub changed: u64,
    /// The same.
    pub unmodified: u64,
    /// Left out.
    pub skipped: u64,
    /// Removed.
    pub deleted: u64,
}

impl Changes {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.new + self.changed + self.unmodified + self.skipped + self.deleted
    }
}

impl Tally {
    /// Takes over what somebody else has counted.
    pub fn set(&self, counts: &Counts) {
        let put = |to: &AtomicU64, n: u64| to.store(n, Relaxed);
        let all = |to: &[AtomicU64; CHANGES], n: &Changes| {
            let from = [n.new, n.changed, n.unmodified, n.skipped, n.deleted];
            to.iter().zip(from).for_each(|(to, n)| put(to, n));
        };
        let found = [counts.found.files, counts.found.dirs, counts.found.bytes];
        self.found.iter().zip(found).for_each(|(to, n)| put(to, n));
        put(&self.scan_done, counts.scan_done.into());
        put(&self.read, counts.read);
        all(&self.files, &counts.files);
        all(&self.dirs, &counts.dirs);
        put(&self.raw, counts.stored.raw);
        put(&self.packed, counts.stored.packed);
        put(&self.planned, counts.planned);
        put(&self.transferred, counts.transferred);
        put(&self.problems, counts.problems);
        put(&self.checkpoints, counts.checkpoints);
    }

    /// The counts now. Taken one by one, so they may be a file apart.
    pub fn counts(&self) -> Counts {
        let [files, dirs, bytes] = &self.found;
        Counts {
            found: Amount {
                files: files.load(Relaxed),
                dirs: dirs.load(Relaxed),
                bytes: bytes.load(Relaxed),
            },
            scan_done: self.scan_done.load(Relaxed) > 0,
            read: self.read.load(Relaxed),
            files: changes(&self.files),
            dirs: changes(&self.dirs),
            stored: Stored { raw: self.raw.load(Relaxed), packed: self.packed.load(Relaxed) },
            planned: self.planned.load(Relaxed),
            transferred: self.transferred.load(Relaxed),
            problems: self.problems.load(Relaxed),
            checkpoints: self.checkpoints.load(Relaxed),
        }
    }
}

fn changes(counters: &[AtomicU64; CHANGES]) -> Changes {
    let [new, changed, unmodified, skipped, deleted] = counters.each_ref().map(|n| n.load(Relaxed));
    Changes { new, changed, unmodified, skipped, deleted }
}

impl Monitor for Tally {
    fn scanned(&self, found: Amount) {
        let [files, dirs, bytes] = &self.found;
        files.fetch_add(found.files, Relaxed);
        dirs.fetch_add(found.dirs, Relaxed);
        bytes.fetch_add(found.bytes, Relaxed);
    }

    fn scan_done(&self) {
        self.scan_done.store(1, Relaxed);
    }

    fn bytes_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Relaxed);
    }

    fn done(&self, item: Item<'_>) {
        let [new, changed, unmodified, skipped, deleted] =
            if item.is_dir { &self.dirs } else { &self.files };
        let counter = match item.change {
            Change::New => new,
            Change::Changed => changed,
            Change::Unmodified => unmodified,
            Change::Skipped => skipped,
            Change::Deleted => deleted,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn unvisited(&self, amount: Amount) {
        self.scanned(amount);
        let ([_, _, files, ..], [_, _, dirs, ..]) = (&self.files, &self.dirs);
        files.fetch_add(amount.files, Relaxed);
        dirs.fetch_add(amount.dirs, Relaxed);
    }

    fn stored(&self, stored: Stored) {
        self.raw.fetch_add(stored.raw, Relaxed);
        self.packed.fetch_add(stored.packed, Relaxed);
    }

    fn transfer_planned(&self, bytes: u64) {
        self.planned.fetch_add(bytes, Relaxed);
    }

    fn transferred(&self, bytes: u64) {
        self.transferred.fetch_add(bytes, Relaxed);
    }

    fn problem(&self, _: &Problem) {
        self.problems.fetch_add(1, Relaxed);
    }

    fn checkpoint(&self, _: &SnapshotId) {
        self.checkpoints.fetch_add(1, Relaxed);
    }
}

/// Counts and remembers, for tests.
#[derive(Debug, Default)]
pub struct Recorder {
    tally: Tally,
    events: Mutex<Events>,
}

/// What a [`Recorder`] remembers, each in the order in which it was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    /// Files begun.
    pub started: Vec<Vec<u8>>,
    /// Items done: path and change.
    pub done: Vec<(Vec<u8>, Change)>,
    /// Problems.
    pub problems: Vec<Problem>,
    /// Notes.
    pub notes: Vec<Note>,
    /// Checkpoints.
    pub checkpoints: Vec<SnapshotId>,
}

impl Recorder {
    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// What was told so far.
    pub fn events(&self) -> Events {
        self.locked(|events| events.clone())
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Events) -> T) -> T {
        act(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Monitor for Recorder {
    fn scanned(&self, found: Amount) {
        self.tally.scanned(found);
    }

    fn scan_done(&self) {
        self.tally.scan_done();
    }

    fn file_started(&self, path: &[u8]) {
        self.locked(|events| events.started.push(path.to_vec()));
    }

    fn bytes_read(&self, bytes: u64) {
        self.tally.bytes_read(bytes);
    }

    fn done(&self, item: Item<'_>) {
        self.tally.done(item);
        self.locked(|events| events.done.push((item.path.to_vec(), item.change)));
    }

    fn unvisited(&self, amount: Amount) {
        self.tally.unvisited(amount);
    }

    fn stored(&self, stored: Stored) {
        self.tally.stored(stored);
    }

    fn transfer_planned(&self, bytes: u64) {
        self.tally.transfer_planned(bytes);
    }

    fn transferred(&self, bytes: u64) {
        self.tally.transferred(bytes);
    }

    fn problem(&self, problem: &Problem) {
        self.tally.problem(problem);
        self.locked(|events| events.problems.push(problem.clone()));
    }

    fn note(&self, note: &Note) {
        self.locked(|events| events.notes.push(note.clone()));
    }

    fn checkpoint(&self, snapshot: &SnapshotId) {
        self.tally.checkpoint(snapshot);
        self.locked(|events| events.checkpoints.push(*snapshot));
    }
}

/// An error and its reasons, in one line.
pub fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text = format!("{text}: {reason}");
        source = reason.source();
    }
    text
}

#[cfg(test)]
mod tests;
