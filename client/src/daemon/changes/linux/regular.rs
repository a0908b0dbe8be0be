//! What is to do from time to time, waiting, and telling how well everything is watched.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::eyes::Eyes;
use super::job::{End, Job};
use super::watches::{Watches, dir_id};
use crate::backup::Depth;
use crate::daemon::changes::{Coverage, Lost, Unwatched, foremost};

/// Events are left to gather for so long: a file that is written all the time then costs a few
/// wake-ups, since equal events become one.
const GATHER: Duration = Duration::from_millis(10);

impl Eyes {
    /// Sleeps until there is something to do.
    pub(super) fn rest(&mut self, wake: &OwnedFd) {
        let now = Instant::now();
        let until =
            if self.unwatched.is_empty() { self.look_at } else { self.look_at.min(self.try_at) };
        let (mut events, mut mounts) = (false, false);
        if let Some(left) = until.checked_duration_since(now) {
            let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
            let list = self.mounts.list().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::PRI));
            let own = self.watches.as_ref().map(Watches::bell);
            let own = own.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            let (has_list, has_own) = (list.is_some(), own.is_some());
            fds.extend(list);
            fds.extend(own);
            wait(&mut fds, left);
            let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
            mounts = has_list && ready(1);
            events = has_own && ready(1 + usize::from(has_list));
        }
        drain(wake);
        if mounts {
            self.mounts_changed();
        } else if events && self.catching_up.left == 0 {
            // Whoever wants something does not wait.
            wait(&mut [PollFd::new(wake, PollFlags::IN)], GATHER);
        }
        let now = Instant::now();
        if now >= self.look_at {
            self.look_at = now + self.options.look_for_roots;
            self.look_for_roots();
        }
        if now >= self.try_at {
            self.try_at = now + self.options.try_again;
            self.try_again();
        }
    }

    /// Roots may have come back, or be others than before without a word.
    fn look_for_roots(&mut self) {
        if self.broken.is_some() {
            self.recover(Lost::Failed);
            return;
        }
        for number in 0..self.roots.len() {
            let Some(root) = self.roots.get(number) else { return };
            let (path, before) = (root.path.clone(), root.here);
            let now = dir_id(&path);
            if now == before {
                continue;
            }
            if before.is_some() {
                self.root_is_gone(number);
            }
            if let Some(root) = self.roots.get_mut(number).filter(|_| now.is_some()) {
                root.here = now;
                self.place_again(path, number);
            }
        }
    }

    /// Directories that were one too many are tried again when others are gone.
    fn try_again(&mut self) {
        if !self.watches.as_ref().is_some_and(Watches::has_room) {
            return;
        }
        let limit =
            |why: &Unwatched| matches!(why, Unwatched::Limit { .. } | Unwatched::Failed { .. });
        let tried: Vec<PathBuf> = self
            .unwatched
            .iter()
            .filter(|(_, why)| limit(why))
            .map(|(dir, _)| dir.clone())
            .collect();
        for dir in tried {
            if let Some(number) = self.root_of(&dir) {
                self.unwatched.remove(&dir);
                self.jobs.push_back(Job::new(dir.clone(), number, End::IfWatched(dir)));
            }
        }
    }

    pub(super) fn root_of(&self, dir: &Path) -> Option<usize> {
        self.roots.iter().position(|root| dir.starts_with(&root.path))
    }

    /// Something was mounted or taken away: what is seen there is another directory now.
    fn mounts_changed(&mut self) {
        for place in self.mounts.changed() {
            for number in 0..self.roots.len() {
                if self.roots.get(number).is_some_and(|root| root.path.starts_with(&place)) {
                    self.root_is_gone(number);
                }
            }
            let Some(number) = self.root_of(&place) else { continue };
            let above = place.parent().unwrap_or(&place);
            let seen = self.watches.as_ref().is_some_and(|watches| watches.has(above));
            if seen && !self.options.excluded.has(&place, true) {
                self.tell(above, Depth::Listing);
                self.place_again(place, number);
            }
        }
    }

    /// Makes known how well everything is watched.
    pub(super) fn publish(&self) {
        let list = self.asked.iter().map(|path| (path.clone(), self.coverage(path))).collect();
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = list;
    }

    fn coverage(&self, path: &Path) -> Coverage {
        let all = |why| Coverage::Scanned { roots: vec![path.to_path_buf()], why };
        if let Some(message) = &self.broken {
            return all(Unwatched::Failed { message: message.clone() });
        }
        let Some(number) = self.root_of(path) else { return all(Unwatched::Missing) };
        if self.roots.get(number).is_none_or(|root| root.here.is_none()) {
            return all(if path.exists() { no_directory() } else { Unwatched::Missing });
        }
        let within = |dir: &&PathBuf| dir.starts_with(path) || path.starts_with(dir);
        let roots: Vec<PathBuf> = self.unwatched.keys().filter(within).cloned().collect();
        let reasons = self.unwatched.iter().filter(|(dir, _)| within(dir)).map(|(_, why)| why);
        match foremost(reasons) {
            Some(why) => Coverage::Scanned { roots, why },
            None => {
                Coverage::Watched { dirs: self.watches.as_ref().map_or(0, |w| w.count(number)) }
            }
        }
    }
}

fn no_directory() -> Unwatched {
    Unwatched::Failed { message: "it is no directory".into() }
}

/// Waits for one of these, at most so long. A failure is as if the time was over.
fn wait(fds: &mut [PollFd<'_>], at_most: Duration) {
    let at_most = Timespec::try_from(at_most).ok();
    poll(fds, at_most.as_ref()).ok();
}

/// Empties the counter that wakes the thread.
fn drain(wake: &OwnedFd) {
    let mut count = [0; 8];
    rustix::io::read(wake, &mut count).ok();
}
