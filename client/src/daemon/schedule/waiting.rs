//! Why a set is not being backed up, though there is something to save.

use std::time::Duration;

use super::item::{Ended, Item};
use super::{At, Schedule};

/// What a set waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Since when there is something to save.
    pub since: At,
    /// Why it is not being saved.
    pub why: Wait,
    /// When it is tried next, if that is known.
    pub next: Option<At>,
}

/// Why something is not being saved now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// Nothing begins by itself for a while: somebody wants it so.
    Paused,
    /// Now is no good time.
    Held,
    /// The last run failed.
    Failed,
    /// Something else was done with the state or the vault.
    Busy,
    /// The last run was to save only some of it.
    InPart,
    /// Somebody else comes first.
    Others,
    /// This set is being backed up.
    Behind(String),
    /// The last run ended less than so long ago.
    Interval(Duration),
    /// It is still changing: so much silence is waited for.
    Quiet(Duration),
    /// It changes all the time, and is saved less often for it.
    Constant,
}

impl Schedule {
    /// What a set waits for; none if it is being backed up, or has nothing to save.
    pub fn waiting(&self, set: &str, now: At) -> Option<Waiting> {
        let item = self.items.get(set)?;
        let since = item.waits_since(now)?;
        let running = self.items.iter().find(|(_, item)| item.is_running()).map(|(name, _)| name);
        let behind = running.map(|name| (Wait::Behind(name.clone()), None));
        let others = (self.after_others > now).then_some((Wait::Others, Some(self.after_others)));
        let found = if item.wanted().is_some() {
            behind.or(others)
        } else {
            let (why, due) = item.waits_for(now);
            let paused = self.paused(now).map(|until| (Wait::Paused, Some(until.max(due))));
            let held = self.held.then_some((Wait::Held, None));
            let own = why.map(|why| (why, Some(due)));
            paused.or(held).or(own).or(behind).or(others)
        };
        found.map(|(why, next)| Waiting { since, why, next })
    }
}

impl Item {
    /// Since when there is something to save.
    fn waits_since(&self, now: At) -> Option<At> {
        if self.is_running() {
            return None;
        }
        let due = &self.due;
        let scan = due.scan.filter(|at| *at <= now);
        let changes = due.changes.map(|(first, _)| first);
        // When that was noticed nobody knows any more.
        let constant = due.constant.map(|_| now);
        [scan, changes, constant, self.wanted()].into_iter().flatten().min()
    }

    /// Why it does not begin by itself, as far as that is its own affair, and when it may.
    fn waits_for(&self, now: At) -> (Option<Wait>, At) {
        let Some(due) = self.due().filter(|due| *due > now) else {
            return (None, now);
        };
        let pace = &self.pace;
        let why = if self.not_before.is_some_and(|at| at >= due) {
            match self.last {
                Some(Ended::Busy) => Wait::Busy,
                Some(Ended::InPart) => Wait::InPart,
                _ => Wait::Failed,
            }
        } else if self.ended.is_some_and(|ended| ended + pace.min_interval >= due) {
            Wait::Interval(pace.min_interval)
        } else if self.due.changes.is_none() && self.due.constant.is_some() {
            Wait::Constant
        } else {
            Wait::Quiet(pace.quiet)
        };
        (Some(why), due)
    }
}
