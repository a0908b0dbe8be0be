//! Listens to a run on behalf of its manifest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::progress::{Monitor, Problem as Trouble};
use crate::tree::manifest::{MAX_ERRORS, Problem};

/// Bytes of a path that are kept with a problem.
const MAX_PATH: usize = 1024;
/// Characters of a reason that are kept.
const MAX_WHY: usize = 200;

/// Passes everything on, and keeps the problems for the manifest.
#[derive(Debug)]
pub struct Listener<'a> {
    /// Hears everything.
    pub inner: &'a dyn Monitor,
    problems: Mutex<Vec<Problem>>,
    count: AtomicU64,
}

impl<'a> Listener<'a> {
    /// Passes on to `inner`.
    pub fn new(inner: &'a dyn Monitor) -> Self {
        Self { inner, problems: Mutex::default(), count: AtomicU64::new(0) }
    }

    /// The first problems.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many problems there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Monitor for Listener<'_> {
    fn inner(&self) -> Option<&dyn Monitor> {
        Some(self.inner)
    }
    fn problem(&self, problem: &Trouble) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_ERRORS {
            let path = shortened(&problem.path).to_vec();
            let why = problem.what.chars().take(MAX_WHY).collect();
            kept.push(Problem { path, why });
        }
        drop(kept);
        self.inner.problem(problem);
    }
}

/// A path, or of one that is too long something above it: with `--delete`, a restore leaves alone
/// what is beneath.
fn shortened(path: &[u8]) -> &[u8] {
    let Some(head) = path.get(..MAX_PATH).filter(|_| path.len() > MAX_PATH) else {
        return path;
    };
    let whole = head.iter().rposition(|byte| *byte == b'/');
    head.get(..whole.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_cut_where_a_name_ends() {
        assert_eq!(shortened(b"/a/b"), b"/a/b");
        let long = [b"/home/".as_slice(), &[b'x'; MAX_PATH - 10], b"/yyyyyyyyyyyy"].concat();
        assert_eq!(shortened(&long), &long[..MAX_PATH - 4]);
        assert_eq!(shortened(&[b'x'; MAX_PATH + 1]), b"", "the root: everything");
    }
}
