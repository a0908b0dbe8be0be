//! Directories in which something changes all the time: logs, images of machines. Saving them with
//! every snapshot would cost more than it is worth, so they wait longer and longer, up to the time
//! between two full scans.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{At, Pace};
use crate::backup::Changes;

/// Snapshots in a row that found something in a directory before it counts as busy. People pause;
/// programs do not.
const PATIENCE: u32 = 6;
/// Directories that are remembered. Beyond that none is added.
const MOST: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Dir {
    /// Snapshots in a row that saved it.
    times: u32,
    saved: At,
    /// When it last changed.
    changed: At,
}

/// What was saved lately, by directory.
#[derive(Debug, Default)]
pub struct Busy(BTreeMap<PathBuf, Dir>);

impl Busy {
    /// Takes in that a directory has changed. A moment if it waits until then; none if it is
    /// treated as any other.
    pub fn changed(&mut self, dir: &Path, pace: &Pace, now: At) -> Option<At> {
        let known = self.0.get_mut(dir)?;
        if now.saturating_sub(known.changed) >= pace.max_wait {
            // It was quiet for a while.
            self.0.remove(dir);
            return None;
        }
        known.changed = now;
        known.due(pace)
    }

    /// The part of these changes that waits longer, if they are to be saved now.
    pub fn waiting(&self, changes: &Changes, pace: &Pace, now: At) -> Changes {
        let mut waiting = Changes::default();
        for (dir, depth) in changes.iter() {
            let due = self.0.get(dir).and_then(|known| known.due(pace));
            if due.is_some_and(|due| due > now) {
                waiting.add(dir, depth);
            }
        }
        waiting
    }

    /// When the first of these is due.
    pub fn first_due(&self, changes: &Changes, pace: &Pace) -> Option<At> {
        changes.iter().filter_map(|(dir, _)| self.0.get(dir)?.due(pace)).min()
    }

    /// Takes in that these have been saved.
    pub fn saved(&mut self, changes: &Changes, pace: &Pace, now: At) {
        let silent = |dir: &Dir| now.saturating_sub(dir.changed) >= pace.max_wait;
        self.0.retain(|_, dir| !silent(dir) || now.saturating_sub(dir.saved) < pace.max_wait);
        for (dir, _) in changes.iter() {
            if let Some(known) = self.0.get_mut(dir) {
                known.times = known.times.saturating_add(1);
                known.saved = now;
            } else if self.0.len() < MOST {
                self.0.insert(dir.to_path_buf(), Dir { times: 1, saved: now, changed: now });
            }
        }
    }
}

impl Dir {
    fn due(&self, pace: &Pace) -> Option<At> {
        let over = self.times.checked_sub(PATIENCE)?;
        let wait = pace.max_wait.saturating_mul(1 << over.min(10));
        Some(self.saved + wait.min(pace.rescan.max(pace.max_wait)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backup::Depth;

    fn marks(dir: &str) -> Changes {
        let mut changes = Changes::default();
        changes.add(Path::new(dir), Depth::Listing);
        changes
    }

    fn minutes(n: u64) -> At {
        Duration::from_secs(n * 60)
    }

    #[test]
    fn what_never_rests_waits_longer_and_longer() {
        let (mut busy, pace, log) = (Busy::default(), Pace::default(), Path::new("/log"));
        let mut at = minutes(0);
        let mut waits = Vec::new();
        for _ in 0..10 {
            // It changes every minute until it is saved.
            let mut due = at + minutes(5);
            let mut now = at;
            while now < due {
                now += minutes(1);
                if let Some(later) = busy.changed(log, &pace, now) {
                    due = later;
                }
            }
            waits.push(now.saturating_sub(at).as_secs() / 60);
            at = now;
            assert!(busy.waiting(&marks("/log"), &pace, at).is_empty());
            busy.saved(&marks("/log"), &pace, at);
        }
        assert_eq!(waits, [5, 5, 5, 5, 5, 5, 10, 20, 40, 60]);
        assert_eq!(busy.first_due(&marks("/log"), &pace), Some(at + minutes(60)));
        assert!(!busy.waiting(&marks("/log"), &pace, at + minutes(59)).is_empty());
        assert!(busy.waiting(&marks("/other"), &pace, at).is_empty());
    }

    #[test]
    fn a_rest_makes_it_one_of_many_again() {
        let (mut busy, pace, dir) = (Busy::default(), Pace::default(), Path::new("/d"));
        let mut at = minutes(0);
        for _ in 0..20 {
            busy.changed(dir, &pace, at);
            busy.saved(&marks("/d"), &pace, at);
            at += minutes(5);
        }
        assert!(busy.changed(dir, &pace, at).is_some());
        assert_eq!(busy.changed(dir, &pace, at + minutes(10)), None);
        assert_eq!(busy.changed(dir, &pace, at + minutes(11)), None);
    }

    #[test]
    fn it_stays_small() {
        let (mut busy, pace) = (Busy::default(), Pace::default());
        for n in 0..MOST + 100 {
            busy.saved(&marks(&format!("/{n}")), &pace, minutes(0));
        }
        assert_eq!(busy.0.len(), MOST);
        busy.saved(&marks("/new"), &pace, minutes(30));
        assert_eq!(busy.0.len(), 1);
    }
}
