//! The keep rules, counted along a series of snapshots from the newest to the oldest.

use super::calendar::{day, hour, month, week, year};
use super::reason::Kept;
use crate::log::policy::KeepRules;
use crate::time::Timestamp;

/// Counts what each rule has kept so far.
#[derive(Debug)]
pub(super) struct Series<'a> {
    rules: &'a KeepRules,
    seen: u32,
    newest: Option<Timestamp>,
    /// The stamp of the last one, and what the calendar said of it.
    last: Option<(Timestamp, [bool; 5])>,
    every: [Bucket; 5],
}

/// One rule of the calendar.
#[derive(Debug)]
struct Bucket {
    left: u32,
    last: Option<u64>,
    of: fn(Timestamp) -> u64,
}

impl<'a> Series<'a> {
    pub(super) fn new(rules: &'a KeepRules) -> Self {
        let bucket = |left, of| Bucket { left, last: None, of };
        let every = [
            bucket(rules.hourly, hour),
            bucket(rules.daily, day),
            bucket(rules.weekly, week),
            bucket(rules.monthly, month),
            bucket(rules.yearly, year),
        ];
        Self { rules, seen: 0, newest: None, last: None, every }
    }

    /// What the rules say to the next older one. Where stamps stand still, because a clock was
    /// wrong, nobody knows which of the snapshots is of which day: the calendar says the same of
    /// all that have one stamp.
    pub(super) fn pick(&mut self, received: Timestamp) -> Kept {
        self.seen = self.seen.saturating_add(1);
        let newest = *self.newest.get_or_insert(received);
        let every = match self.last {
            Some((stamp, every)) if stamp == received => every,
            _ => self.every.each_mut().map(|bucket| bucket.pick(received)),
        };
        self.last = Some((received, every));
        Kept {
            last: (self.seen <= self.rules.last).then_some(self.seen),
            within: newest.since(received) < self.rules.within,
            every,
            ..Kept::default()
        }
    }
}

impl Bucket {
    /// Whether this is the newest of its hour, day and so on, as long as any are left.
    fn pick(&mut self, received: Timestamp) -> bool {
        if self.left == 0 {
            return false;
        }
        let bucket = Some((self.of)(received));
        if self.last == bucket {
            return false;
        }
        self.last = bucket;
        self.left -= 1;
        true
    }
}
