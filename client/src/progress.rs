//! How engines tell what they are doing. They never print.

use std::sync::{Mutex, PoisonError};

/// Something that could not be saved or restored, while the rest went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as the file system has it.
    pub path: Vec<u8>,
    /// Why, in words.
    pub why: String,
}

/// Listens to an engine. Called from several threads, at most once a file or a MiB.
pub trait Monitor: Send + Sync + std::fmt::Debug {
    /// So many more files, directories and bytes have been found.
    fn scanned(&self, files: u64, dirs: u64, bytes: u64) {
        let _: (u64, u64, u64) = (files, dirs, bytes);
    }

    /// Everything has been found; totals are final.
    fn scan_done(&self) {}

    /// Work on a file begins.
    fn file(&self, path: &[u8]) {
        let _: &[u8] = path;
    }

    /// So many more bytes of so many more files need no further work: read, or known unchanged.
    fn done(&self, files: u64, bytes: u64) {
        let _: (u64, u64) = (files, bytes);
    }

    /// So many more bytes are ready to be sent.
    fn to_send(&self, bytes: u64) {
        let _: u64 = bytes;
    }

    /// So many more bytes have been sent, or fetched.
    fn sent(&self, bytes: u64) {
        let _: u64 = bytes;
    }

    /// Something could not be done.
    fn problem(&self, problem: &Problem) {
        let _: &Problem = problem;
    }

    /// Something worth knowing that is no problem, in words.
    fn note(&self, text: &str) {
        let _: &str = text;
    }
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// Remembers what it was told, for tests.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The problems, in order.
    pub problems: Mutex<Vec<Problem>>,
    /// The notes, in order.
    pub notes: Mutex<Vec<String>>,
}

impl Monitor for Recorder {
    fn problem(&self, problem: &Problem) {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(problem.clone());
    }

    fn note(&self, text: &str) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text.to_owned());
    }
}
