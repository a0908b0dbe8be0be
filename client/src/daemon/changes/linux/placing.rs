//! Placing watches: what is waiting to be watched, in slices.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::eyes::Eyes;
use super::job::{End, Job};
use super::watches::{Placed, Refused, allowed, subdirs};
use crate::backup::Depth;
use crate::daemon::changes::network::is_network;
use crate::daemon::changes::{Event, Unwatched};

/// Directories that are watched between two looks at what was told.
const SLICE: usize = 128;
/// Directories that are named as not watched. With more, the whole root is.
const MAX_UNWATCHED: usize = 1000;

/// What became of a directory.
enum Fate {
    /// It is not there, or nobody can look into it.
    Nothing,
    /// It was watched before: whoever did it tells of it.
    Before,
    Watched,
    /// It is there and is not watched.
    LeftOut,
}

impl Eyes {
    /// Places a slice of what is to be watched.
    pub(super) fn work(&mut self) {
        let mut left = SLICE;
        while left > 0 {
            let Some(mut job) = self.jobs.pop_front() else { return };
            while left > 0 {
                let Some(dir) = job.stack.pop() else { break };
                left -= 1;
                match self.place(&dir, (job.root, job.through), &mut job.stack) {
                    Fate::Watched => job.watched += 1,
                    Fate::LeftOut => job.left_out += 1,
                    Fate::Nothing | Fate::Before => {}
                }
            }
            if job.stack.is_empty() {
                left = left.saturating_sub(1);
                self.end(job);
            } else {
                self.jobs.push_front(job);
            }
        }
    }

    fn end(&mut self, job: Job) {
        match job.end {
            End::Everything(dir) if job.watched + job.left_out > 0 => {
                self.tell(&dir, Depth::Everything);
            }
            End::IfWatched(dir) if job.watched > 0 => self.tell(&dir, Depth::Everything),
            End::Quiet | End::Everything(_) | End::IfWatched(_) => {}
            End::Lost(why) => (self.sink)(Event::Lost { root: None, why }),
            End::Answer(to) => {
                self.publish();
                // Nobody waits any more: then nobody needs to know.
                to.send(()).ok();
            }
        }
    }

    /// Watches one directory and adds those in it to `next`: if it was watched before, only to look
    /// `through` it.
    fn place(
        &mut self,
        dir: &Path,
        (root, through): (usize, bool),
        next: &mut Vec<PathBuf>,
    ) -> Fate {
        let top = self.roots.get(root).is_some_and(|top| top.path == dir);
        let kind = if top { self.mounts.of(dir) } else { self.mounts.at(dir) };
        if let Some(kind) = kind.filter(|kind| is_network(kind)) {
            let kind = kind.to_owned();
            return self.leave_out(dir, root, Unwatched::Network { kind });
        }
        let Some(watches) = &mut self.watches else { return Fate::Nothing };
        let failed = |message| Unwatched::Failed { message };
        let before = match watches.add(dir, root) {
            Ok(Placed::Before) if !through => return Fate::Before,
            Ok(placed) => placed == Placed::Before,
            Err(Refused::Full) => {
                return self.leave_out(dir, root, Unwatched::Limit { allowed: allowed() });
            }
            Err(Refused::Gone | Refused::Forbidden) => {
                self.drop_tree(dir);
                return Fate::Nothing;
            }
            Err(Refused::Elsewhere(other)) => {
                let message = format!("{} is the same directory", other.display());
                return self.leave_out(dir, root, failed(message));
            }
            Err(Refused::Failed(message)) => return self.leave_out(dir, root, failed(message)),
        };
        self.unwatched.remove(dir);
        match subdirs(dir) {
            Ok(dirs) => {
                let (out, within): (Vec<_>, Vec<_>) =
                    dirs.into_iter().partition(|dir| self.options.excluded.has(dir, true));
                next.extend(within);
                // Before, they may not have been left out.
                out.iter().filter(|_| before).for_each(|dir| self.drop_tree(dir));
            }
            // What is gone has an event, what cannot be read cannot be backed up.
            Err(error) if is_of_no_matter(&error) => {}
            Err(error) => return self.leave_out(dir, root, failed(error.to_string())),
        }
        if before { Fate::Before } else { Fate::Watched }
    }

    /// Takes in that a directory is not watched, nor what is beneath it.
    fn leave_out(&mut self, dir: &Path, root: usize, why: Unwatched) -> Fate {
        let whole = self.unwatched.len() >= MAX_UNWATCHED;
        if let Some(top) = self.roots.get(root).filter(|_| whole) {
            self.unwatched.retain(|path, _| !path.starts_with(&top.path));
            self.unwatched.insert(top.path.clone(), why);
        } else {
            self.unwatched.insert(dir.to_path_buf(), why);
        }
        Fate::LeftOut
    }

    /// Watches this directory and all beneath it no longer.
    pub(super) fn drop_tree(&mut self, path: &Path) {
        if let Some(watches) = &mut self.watches {
            watches.drop_tree(path);
        }
        let beneath = (Bound::Included(path), Bound::Unbounded);
        let dropped: Vec<PathBuf> = self
            .unwatched
            .range::<Path, _>(beneath)
            .take_while(|(other, _)| other.starts_with(path))
            .map(|(other, _)| other.clone())
            .collect();
        for path in dropped {
            self.unwatched.remove(&path);
        }
    }
}

fn is_of_no_matter(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | PermissionDenied | NotADirectory)
}
