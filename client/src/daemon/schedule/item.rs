//! One set on the schedule.

use std::time::Duration;

use super::{At, Kind, Pace};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// What there was to save is saved.
    Saved,
    /// It failed.
    Failed,
    /// It could not begin: something else is being done with the state or the vault.
    Busy,
    /// Only some of it was to be saved, and is.
    InPart,
    /// It was stopped, by a pause or by whoever wants the program to end.
    Stopped,
}

/// The first wait after a failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// The longest wait after failures.
const LAST_RETRY: Duration = Duration::from_secs(1800);
/// How long to wait for somebody else to be done.
const BUSY_RETRY: Duration = Duration::from_secs(10);
/// How long what was saved in part waits: for better times, or for what has come since and still fits
/// into the day.
const IN_PART: Duration = Duration::from_secs(1800);
/// After sleep, the network takes a moment.
const AFTER_SLEEP: Duration = Duration::from_secs(15);

/// What is to be saved.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Due {
    /// When the first change was noticed, and the latest.
    pub(super) changes: Option<(At, At)>,
    /// When what changes all the time is due.
    pub(super) constant: Option<At>,
    /// When a full scan is due.
    pub(super) scan: Option<At>,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) pace: Pace,
    kind: Kind,
    pub(super) due: Due,
    wanted: Option<At>,
    /// Whoever asks wants everything looked at.
    wants_all: bool,
    /// What is being saved, and whether everything is looked at.
    running: Option<(Due, bool)>,
    pub(super) ended: Option<At>,
    /// How the last run ended.
    pub(super) last: Option<Ended>,
    failures: u32,
    pub(super) not_before: Option<At>,
}

impl Item {
    pub(super) fn new(kind: Kind, pace: Pace, now: At, since: Option<Duration>) -> Self {
        let scan = match (kind, since) {
            (Kind::Timed, Some(since)) => now + pace.rescan.saturating_sub(since),
            _ => now,
        };
        Self {
            pace,
            kind,
            due: Due { scan: Some(scan), ..Due::default() },
            wanted: None,
            wants_all: false,
            running: None,
            ended: None,
            last: None,
            failures: 0,
            not_before: None,
        }
    }

    pub(super) fn changed(&mut self, now: At) {
        if self.kind == Kind::Watched {
            let first = self.due.changes.map_or(now, |(first, _)| first);
            self.due.changes = Some((first, now));
        }
    }

    pub(super) fn changed_again(&mut self, due: At) {
        if self.kind == Kind::Watched {
            self.due.constant = sooner(self.due.constant, Some(due));
        }
    }

    pub(super) fn lost(&mut self, now: At) {
        if self.kind == Kind::Watched {
            // Where one event is lost, more are: the storm is waited for like any change.
            let at = now + self.pace.quiet;
            self.due.scan = sooner(self.due.scan, Some(at));
        }
    }

    pub(super) fn other(&mut self, now: At) {
        // Whoever changes it may do so several times.
        let at = if self.kind == Kind::Watched { now + self.pace.quiet } else { now };
        self.due.scan = sooner(self.due.scan, Some(at));
    }

    pub(super) fn woke(&mut self, now: At) {
        if self.kind == Kind::Watched {
            self.due.scan = sooner(self.due.scan, Some(now + AFTER_SLEEP));
        }
        self.not_before = self.not_before.map(|at| at.min(now + AFTER_SLEEP));
    }

    pub(super) fn try_again(&mut self) {
        self.not_before = None;
    }

    pub(super) fn want(&mut self, full: bool, now: At) {
        self.wanted.get_or_insert(now);
        self.wants_all |= full;
    }

    pub(super) fn wanted(&self) -> Option<At> {
        self.wanted
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// When it is due by itself.
    pub(super) fn due(&self) -> Option<At> {
        if self.is_running() {
            return None;
        }
        let pace = &self.pace;
        let settled = self
            .due
            .changes
            .map(|(first, latest)| (latest + pace.quiet).min(first + pace.max_wait));
        let due = sooner(sooner(settled, self.due.constant), self.due.scan)?;
        let spaced = self.ended.map_or(due, |ended| due.max(ended + pace.min_interval));
        Some(self.not_before.map_or(spaced, |at| spaced.max(at)))
    }

    /// Whether everything is looked at if it begins now.
    pub(super) fn is_full(&self, now: At) -> bool {
        self.wants_all || self.due.scan.is_some_and(|at| at <= now)
    }

    pub(super) fn begun(&mut self, now: At) {
        let full = self.is_full(now);
        let mut taken = std::mem::take(&mut self.due);
        if !full {
            // The scan still lies ahead.
            self.due.scan = taken.scan.take();
            // As does what changes all the time, if its time has not come.
            if self.wanted.is_none() && taken.constant.is_some_and(|at| at > now) {
                self.due.constant = taken.constant.take();
            }
        }
        self.running = Some((taken, full));
        self.wanted = None;
        self.wants_all = false;
    }

    pub(super) fn ended(&mut self, how: Ended, now: At, chance: u32) {
        let Some((taken, full)) = self.running.take() else {
            return;
        };
        self.last = Some(how);
        match how {
            Ended::Saved => {
                self.failures = 0;
                self.not_before = None;
                self.ended = Some(now);
                if full {
                    let next = now + spread(self.pace.rescan, chance);
                    self.due.scan = sooner(self.due.scan, Some(next));
                }
                return;
            }
            Ended::Failed => {
                self.not_before = Some(now + spread(retry(self.failures), chance));
                self.failures = self.failures.saturating_add(1);
            }
            Ended::Busy => self.not_before = Some(now + BUSY_RETRY),
            Ended::InPart => self.not_before = Some(now + IN_PART),
            Ended::Stopped => {}
        }
        // It is all as it was before, with what came since.
        let scan = if full { taken.scan.or(Some(now)) } else { taken.scan };
        self.due.scan = sooner(self.due.scan, scan);
        self.due.constant = sooner(self.due.constant, taken.constant);
        self.due.changes = match (taken.changes, self.due.changes) {
            (Some((first, _)), Some((_, latest))) => Some((first, latest)),
            (taken, since) => taken.or(since),
        };
    }
}

fn sooner(a: Option<At>, b: Option<At>) -> Option<At> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn retry(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.min(10)).min(LAST_RETRY)
}

/// From three to five quarters of it: many machines shall not come at once.
pub(super) fn spread(time: Duration, chance: u32) -> Duration {
    let nanos = time.as_nanos();
    let spread = nanos / 4 * 3 + ((nanos / 2).saturating_mul(u128::from(chance)) >> 32);
    Duration::from_nanos(u64::try_from(spread).unwrap_or(u64::MAX))
}
