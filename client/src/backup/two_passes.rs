//! A first backup in two passes over the source: what is small, then the rest. To whoever listens
//! they are one.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::progress::{Amount, Change, Item, Monitor, Problem};

/// Problems that are remembered, so that none is told twice.
const PROBLEMS: usize = 1 << 20;

/// Passes on what each of two passes has to tell, once.
#[derive(Debug)]
pub struct TwoPasses<'a> {
    inner: &'a dyn Monitor,
    second: AtomicBool,
    /// Hashes of the paths.
    told: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl<'a> TwoPasses<'a> {
    /// In the first pass.
    pub fn new(inner: &'a dyn Monitor) -> Self {
        let hasher = RandomState::new();
        Self { inner, second: AtomicBool::new(false), told: Mutex::default(), hasher }
    }

    /// From here on it is the second.
    pub fn again(&self) {
        self.second.store(true, Ordering::Relaxed);
    }

    fn is_first(&self) -> bool {
        !self.second.load(Ordering::Relaxed)
    }
}

impl Monitor for TwoPasses<'_> {
    fn inner(&self) -> Option<&dyn Monitor> {
        Some(self.inner)
    }
    fn scanned(&self, found: Amount) {
        if self.is_first() {
            self.inner.scanned(found);
        }
    }
    /// The second pass takes it: then it was found already.
    fn put_off(&self, found: Amount) {
        self.inner.scanned(found);
    }
    fn scan_done(&self) {
        if self.is_first() {
            self.inner.scan_done();
        }
    }
    fn done(&self, item: Item<'_>) {
        if self.is_first() || !(item.is_dir || item.change == Change::Unmodified) {
            self.inner.done(item);
        }
    }
    fn unvisited(&self, amount: Amount) {
        if self.is_first() {
            self.inner.unvisited(amount);
        }
    }
    fn problem(&self, problem: &Problem) {
        let hash = self.hasher.hash_one(&problem.path);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = if self.is_first() && told.len() < PROBLEMS {
            // Of one file there may be several.
            told.insert(hash);
            true
        } else {
            !told.contains(&hash)
        };
        drop(told);
        if news {
            self.inner.problem(problem);
        }
    }
}
