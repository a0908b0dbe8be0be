//! The kernel's inotify, by the crate notify: one watch for one directory, nothing of its own
//! accord. Several watchers share them: whenever a directory goes away, notify looks through all
//! that its watcher has, which takes ever longer the more there are.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use notify::{Config, INotifyWatcher, RecursiveMode, Watcher};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};

use super::told::{Handler, Told};
use crate::daemon::changes::Excluded;

/// Directories that one watcher has.
const EACH: usize = 4096;
/// Watchers at most: a user may have 128 for all programs. With all of them full each gets more.
const MANY: usize = 16;
/// For one watcher's thread to give up its watches. They count until then.
const END: Duration = Duration::from_secs(10);

/// All watchers.
#[derive(Debug)]
pub(super) struct Kernel {
    told: Arc<Told>,
    excluded: Excluded,
    mark: Option<Mark>,
    watchers: Vec<One>,
}

/// A watcher.
#[derive(Debug)]
struct One {
    inner: INotifyWatcher,
    dirs: usize,
    /// Ends with the watcher's thread. Nothing is sent.
    end: Receiver<()>,
}

/// A file without a name, known to nobody else. That it was opened is told after all that
/// happened before.
#[derive(Debug)]
struct Mark {
    _file: OwnedFd,
    path: PathBuf,
}

impl Mark {
    fn new() -> io::Result<Self> {
        let file = memfd_create("mark", MemfdFlags::CLOEXEC)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(Self { _file: file, path })
    }
}

impl One {
    fn has_ended(&self) -> bool {
        self.end.try_recv() == Err(TryRecvError::Disconnected)
    }
}

impl Kernel {
    /// Watches nothing yet.
    pub(super) fn new(told: Arc<Told>, excluded: Excluded) -> notify::Result<Self> {
        // Without a mark nobody can wait for what has happened; all else works.
        let mark = Mark::new().ok();
        let mut new = Self { told, excluded, mark, watchers: Vec::new() };
        new.add_watcher()?;
        Ok(new)
    }

    fn add_watcher(&mut self) -> notify::Result<()> {
        let (alive, end) = bounded(0);
        let path = self.mark.as_ref().map(|mark| mark.path.clone());
        let handler = Handler::new(Arc::clone(&self.told), self.excluded.clone(), path, alive);
        let mut inner = INotifyWatcher::new(handler, Config::default())?;
        if let Some(mark) = &self.mark
            && inner.watch(&mark.path, RecursiveMode::NonRecursive).is_err()
        {
            self.mark = None;
        }
        self.watchers.push(One { inner, dirs: 0, end });
        Ok(())
    }

    /// Watches what this path leads to. The number of the watcher that does.
    pub(super) fn watch(&mut self, path: &Path) -> notify::Result<usize> {
        let number = self.free();
        let Some(one) = self.watchers.get_mut(number).filter(|one| !one.has_ended()) else {
            return Err(notify::Error::generic("the thread of its watcher has ended"));
        };
        one.inner.watch(path, RecursiveMode::NonRecursive)?;
        one.dirs += 1;
        Ok(number)
    }

    /// A watcher that has room, or the one that has the most.
    fn free(&mut self) -> usize {
        let free = |one: &One| one.dirs < EACH;
        if let Some(number) = self.watchers.iter().position(free) {
            return number;
        }
        if self.watchers.len() < MANY && self.add_watcher().is_ok() {
            return self.watchers.len() - 1;
        }
        let least = self.watchers.iter().enumerate().min_by_key(|(_, one)| one.dirs);
        least.map_or(0, |(number, _)| number)
    }

    /// Gives up a watch that this watcher placed.
    pub(super) fn unwatch(&mut self, path: &Path, watcher: usize) {
        let Some(one) = self.watchers.get_mut(watcher) else { return };
        one.dirs = one.dirs.saturating_sub(1);
        if !one.has_ended() {
            // It fails if the directory is gone, which is as good.
            one.inner.unwatch(path).ok();
        }
    }

    /// Makes the mark be told after all that has happened. How often it will be: once by each
    /// watcher. None if there is no way.
    pub(super) fn mark(&self) -> Option<usize> {
        let mark = self.mark.as_ref()?;
        open(&mark.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Some(self.watchers.len())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let mut ends = Vec::new();
        for one in self.watchers.drain(..) {
            if one.has_ended() {
                // Its end would panic: it wants to tell the thread.
                let _kept = ManuallyDrop::new(one.inner);
            } else {
                ends.push(one.end);
            }
        }
        for end in ends {
            // Either way: a thread that hangs is left alone.
            end.recv_timeout(END).ok();
        }
    }
}
