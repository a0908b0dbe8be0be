//! What is wanted of packs and has not been fetched yet. The walk adds to it, the fetchers take from
//! it, a pack at a time, when the walk is so far ahead that few chunks of that pack will be wanted
//! again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use unseen_common::id::PackNumber;

use super::file::FilePlan;
use super::transfer::Shared;
use crate::crypto::content_id::ChunkId;

/// A pack is fetched once so many windows are known, from the one on in which it was first wanted.
pub(super) const LEAD: u64 = 10;

/// A pack of which so many chunks are wanted has tiny files. The windows that are known reach over few
/// such packs, so it is fetched as soon as a whole window has wanted nothing more of it.
const MANY: usize = 16 * 1024;

/// A chunk that is to be written into a file.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: Arc<FilePlan>,
    /// Where in the file it goes.
    pub(super) offset: u64,
    pub(super) id: ChunkId,
    /// Length of the chunk, as the file's entry says.
    pub(super) length: u32,
}

/// The same, with the window that waits for it.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) part: Part,
    pub(super) window: Arc<Shared>,
}

/// What is wanted of one pack.
#[derive(Debug)]
pub(super) struct PackWants<W = Want> {
    pub(super) number: PackNumber,
    pub(super) wants: Vec<W>,
    /// The windows in which the first and the last of them are.
    first: u64,
    last: u64,
}

impl<W> PackWants<W> {
    /// Whether it is to be fetched, now that so many windows are known.
    fn is_due(&self, windows: u64) -> bool {
        let passed = self.wants.len() >= MANY && windows >= self.last + 2;
        passed || windows >= self.first + LEAD
    }
}

/// The packs of which something is wanted.
#[derive(Debug)]
pub(super) struct Pool<W = Want> {
    waiting: Mutex<Waiting<W>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<W> {
    /// In the order in which they were first wanted.
    packs: VecDeque<PackWants<W>>,
    /// How many were taken.
    taken: usize,
    /// Of each pack in `packs` its place, from the first one that was ever there.
    places: HashMap<PackNumber, usize>,
    /// Windows that are known in full.
    windows: u64,
    ended: bool,
    /// Nobody fetches any more.
    abandoned: bool,
}

impl<W> Default for Pool<W> {
    fn default() -> Self {
        let waiting = Waiting {
            packs: VecDeque::new(),
            taken: 0,
            places: HashMap::new(),
            windows: 0,
            ended: false,
            abandoned: false,
        };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }
}

impl<W> Pool<W> {
    /// Adds to what is wanted of a pack.
    pub(super) fn add(&self, number: PackNumber, want: W) {
        let waiting = &mut *self.lock();
        if waiting.abandoned {
            return;
        }
        let next = waiting.taken.saturating_add(waiting.packs.len());
        let at = *waiting.places.entry(number).or_insert(next);
        if at == next {
            let (first, last) = (waiting.windows, waiting.windows);
            waiting.packs.push_back(PackWants { number, wants: Vec::new(), first, last });
        }
        if let Some(pack) = waiting.packs.get_mut(at.saturating_sub(waiting.taken)) {
            pack.last = waiting.windows;
            pack.wants.push(want);
        }
    }

    /// What is wanted from now on is in the next window.
    pub(super) fn next_window(&self) {
        self.lock().windows += 1;
        self.changed.notify_all();
    }

    /// Nothing more will be wanted.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// For a thread that takes from it: should it panic, what is wanted is let go of, so that nobody
    /// waits for that in vain and the panic is told.
    pub(super) fn watch(&self) -> Watch<'_, W> {
        Watch(self)
    }

    /// Waits for the pack that is next; `None` if there will be none.
    pub(super) fn take(&self) -> Option<PackWants<W>> {
        let mut waiting = self.lock();
        loop {
            match waiting.packs.front() {
                Some(next) if waiting.ended || next.is_due(waiting.windows) => {
                    let next = waiting.packs.pop_front()?;
                    waiting.places.remove(&next.number);
                    waiting.taken += 1;
                    return Some(next);
                }
                None if waiting.ended => return None,
                _ => waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<W>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Pool::watch`].
#[derive(Debug)]
pub(super) struct Watch<'a, W>(&'a Pool<W>);

impl<W> Drop for Watch<'_, W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut waiting = self.0.lock();
            (waiting.ended, waiting.abandoned) = (true, true);
            waiting.packs.clear();
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pool: &Pool<u32>) -> Option<(u32, Vec<u32>)> {
        pool.take().map(|pack| (pack.number.0, pack.wants))
    }

    #[test]
    fn what_is_wanted_of_a_pack_meanwhile_is_taken_with_it() {
        let pool = Pool::default();
        let add = |pack, want| pool.add(PackNumber(pack), want);
        add(7, 1);
        add(3, 2);
        for _ in 0..LEAD {
            pool.next_window();
        }
        add(7, 3);
        add(5, 4);
        assert_eq!(taken(&pool), Some((7, vec![1, 3])));
        // What was taken begins anew, and behind the others.
        add(7, 5);
        add(5, 6);
        assert_eq!(taken(&pool), Some((3, vec![2])));
        pool.end();
        assert_eq!(taken(&pool), Some((5, vec![4, 6])));
        assert_eq!(taken(&pool), Some((7, vec![5])));
        assert_eq!(taken(&pool), None);
    }

    #[test]
    fn a_pack_waits_until_the_walk_is_ahead() {
        let pool = Pool::default();
        pool.next_window();
        pool.add(PackNumber(1), 0);
        std::thread::scope(|scope| {
            let fetcher = scope.spawn(|| taken(&pool));
            for want in 1..=u32::try_from(LEAD).unwrap() {
                assert!(!fetcher.is_finished());
                pool.add(PackNumber(1), want);
                pool.next_window();
            }
            let all = (0..=u32::try_from(LEAD).unwrap()).collect();
            assert_eq!(fetcher.join().unwrap(), Some((1, all)));
        });
    }

    #[test]
    fn a_panic_lets_go_of_what_is_wanted() {
        let pool = Pool::default();
        let want = Arc::new(());
        pool.add(PackNumber(1), Arc::clone(&want));
        pool.add(PackNumber(2), Arc::clone(&want));
        std::thread::scope(|scope| {
            let fetcher = scope.spawn(|| {
                let _watch = pool.watch();
                pool.end();
                let taken = pool.take();
                panic!("with {taken:?}");
            });
            assert!(fetcher.join().is_err());
        });
        pool.add(PackNumber(2), Arc::clone(&want));
        assert!(pool.take().is_none());
        assert_eq!(Arc::strong_count(&want), 1);
    }

    #[test]
    fn a_pack_of_tiny_files_waits_until_the_walk_has_passed_it() {
        let pool = Pool::default();
        let all: Vec<u32> = (0..u32::try_from(MANY).unwrap()).collect();
        for want in &all {
            pool.add(PackNumber(1), *want);
        }
        std::thread::scope(|scope| {
            let fetcher = scope.spawn(|| taken(&pool));
            pool.next_window();
            assert!(!fetcher.is_finished());
            pool.next_window();
            assert_eq!(fetcher.join().unwrap(), Some((1, all)));
        });
    }
}
