//! What is being done right now, for whoever asks over the control socket.
//!
//! Nothing is queued for anybody: who looks sees how it is now, and that a run has ended. So
//! somebody who reads slowly, or not at all, costs nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::job::RunResult;
use crate::progress::{Counts, Monitor, Note, Problem, Tally};

/// Runs that are remembered, with how they ended.
const RUNS: usize = 32;
/// Problems of a run that are kept for whoever follows it, and notes of each level.
const LINES: usize = 200;
/// The longest path that is kept, in bytes.
const MAX_PATH: usize = 4096;

/// The runs of a daemon.
#[derive(Debug, Default)]
pub struct Live {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    runs: VecDeque<Arc<Run>>,
    /// How many have begun so far.
    begun: u64,
    closing: bool,
}

/// One run, seen while it goes on and after its end.
#[derive(Debug)]
pub struct Run {
    /// Counted from 1.
    pub number: u64,
    /// The set.
    pub set: String,
    began: Instant,
    tally: Tally,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    current: Vec<u8>,
    problems: Vec<Problem>,
    notes: Vec<Note>,
    result: Option<RunResult>,
}

impl Live {
    /// A run of a set begins.
    pub fn begin(&self, set: &str) -> Arc<Run> {
        let mut inner = locked(&self.inner);
        inner.begun += 1;
        let run = Arc::new(Run {
            number: inner.begun,
            set: set.to_owned(),
            began: Instant::now(),
            tally: Tally::default(),
            told: Mutex::default(),
        });
        inner.runs.push_back(Arc::clone(&run));
        while inner.runs.len() > RUNS {
            inner.runs.pop_front();
        }
        drop(inner);
        self.changed.notify_all();
        run
    }

    /// It has ended.
    pub fn end(&self, run: &Run, result: RunResult) {
        let _inner = locked(&self.inner);
        locked(&run.told).result = Some(result);
        self.changed.notify_all();
    }

    /// The daemon ends: nobody waits any longer.
    pub fn close(&self) {
        locked(&self.inner).closing = true;
        self.changed.notify_all();
    }

    /// Whether the daemon ends.
    pub fn is_closing(&self) -> bool {
        locked(&self.inner).closing
    }

    /// How many runs have begun so far.
    pub fn begun(&self) -> u64 {
        locked(&self.inner).begun
    }

    /// The first run of a set, or of any, that has a number above `after`.
    pub fn after(&self, after: u64, set: Option<&str>) -> Option<Arc<Run>> {
        let inner = locked(&self.inner);
        let is = |run: &&Arc<Run>| run.number > after && set.is_none_or(|set| set == run.set);
        inner.runs.iter().find(is).cloned()
    }

    /// The run that is under way.
    pub fn current(&self) -> Option<Arc<Run>> {
        let inner = locked(&self.inner);
        inner.runs.back().filter(|run| run.result().is_none()).cloned()
    }

    /// Waits until `found` finds something, the daemon ends, or the time is over.
    pub fn wait<T>(&self, time: Duration, found: impl Fn() -> Option<T>) -> Option<T> {
        let end = Instant::now() + time;
        let mut inner = locked(&self.inner);
        loop {
            let closing = inner.closing;
            drop(inner);
            let it = found();
            let left = end.saturating_duration_since(Instant::now());
            if it.is_some() || closing || left.is_zero() {
                return it;
            }
            inner = locked(&self.inner);
            // What came between the look and the lock is seen a moment later.
            let wait = left.min(Duration::from_millis(250));
            inner =
                self.changed.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Run {
    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// How long it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The file that is being read.
    pub fn current(&self) -> Vec<u8> {
        locked(&self.told).current.clone()
    }

    /// Problems from the given one on.
    pub fn problems(&self, from: usize) -> Vec<Problem> {
        locked(&self.told).problems.iter().skip(from).cloned().collect()
    }

    /// Notes from the given one on.
    pub fn notes(&self, from: usize) -> Vec<Note> {
        locked(&self.told).notes.iter().skip(from).cloned().collect()
    }

    /// How it ended.
    pub fn result(&self) -> Option<RunResult> {
        locked(&self.told).result.clone()
    }
}

impl Monitor for Run {
    fn inner(&self) -> Option<&dyn Monitor> {
        Some(&self.tally)
    }

    fn file_started(&self, path: &[u8]) {
        // Whoever comes second is shown next time.
        if let Ok(mut told) = self.told.try_lock() {
            told.current.clear();
            told.current.extend_from_slice(path.get(..MAX_PATH).unwrap_or(path));
        }
    }

    fn problem(&self, problem: &Problem) {
        self.tally.problem(problem);
        let mut told = locked(&self.told);
        if told.problems.len() < LINES {
            told.problems.push(problem.clone());
        }
    }

    fn note(&self, note: &Note) {
        let mut told = locked(&self.told);
        // What a command prints takes no warning's place.
        if told.notes.iter().filter(|known| known.level == note.level).count() < LINES {
            told.notes.push(note.clone());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
