//! Which time counts: the machine's clock, as long as it goes on from what was seen of it.
//!
//! Ahead of that by more than a day, it is *in doubt*: the server was off, or the clock is wrong.
//! Then nothing expires, nothing is deleted, and nothing that waits for its day comes due; what is
//! received is stamped by it all the same, since most of the time it is right. Ahead by more than
//! a year it is *wrong*, and gives no stamps: they go on from the last time that was believed, by
//! the clock that counts seconds and cannot be set. Both last until the clock is put right, or
//! whoever runs the server says that it is right.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use unseen_common::time::{Clock, SECONDS_A_DAY, Timestamp};

use crate::store::lock;

/// A server is not off for longer than this without whoever runs it knowing.
const MAX_PAUSE: u64 = SECONDS_A_DAY;
/// A local vault is looked at only when it is used.
const MAX_PAUSE_LOCAL: u64 = 35 * SECONDS_A_DAY;
/// A clock that is further ahead is wrong: hardly anything is off for longer.
const MAX_OFF: u64 = 400 * SECONDS_A_DAY;
/// How often it is noted that the clock was seen.
const NOTE_EVERY: u64 = 4 * 60 * 60;

/// The clock has gone forward further than is believed: nothing expires and nothing is deleted
/// until whoever runs the server has looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// When the clock was last seen, and what has passed since for certain.
    pub last: Timestamp,
    /// What it says now.
    pub now: Timestamp,
}

impl Held {
    /// By how much it went forward.
    pub fn seconds(&self) -> u64 {
        self.now.since(self.last)
    }

    /// What is so, and what to do about it.
    pub fn words(&self) -> String {
        format!(
            "deletion is held: the clock is {} ahead of when it was last seen; if it is right, run \
             `backup-server gc --confirm-clock`",
            days(self.seconds())
        )
    }
}

fn days(seconds: u64) -> String {
    match seconds / SECONDS_A_DAY {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// One moment that was believed, by the clock on the wall and by the one that cannot be set.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Timestamp,
    steady: Option<Duration>,
}

impl Seen {
    /// What the wall should say now. Without a steady clock, no time has passed for certain.
    fn expected(&self, steady: Option<Duration>) -> Timestamp {
        let passed = self.steady.zip(steady).map(|(then, now)| now.saturating_sub(then));
        Timestamp(self.at.0.saturating_add(passed.unwrap_or_default().as_secs()))
    }
}

#[derive(Debug)]
struct Known {
    /// Deletion goes by this: a sweep has seen it.
    sure: Option<Seen>,
    /// Stamps go by this.
    stamped: Option<Seen>,
    /// What the journal has.
    noted: Option<Timestamp>,
    /// Why nothing was deleted when that was last tried.
    held: Option<Held>,
}

/// The clock of a server.
#[derive(Debug)]
pub(super) struct Guard {
    wall: Arc<dyn Clock>,
    most: u64,
    known: Mutex<Known>,
}

impl Guard {
    /// Begins with what the journal has; `local` for a vault that is only looked at when it is
    /// used.
    pub(super) fn new(wall: Arc<dyn Clock>, noted: Option<Timestamp>, local: bool) -> Self {
        let seen = noted.map(|at| Seen { at, steady: wall.steady() });
        let most = if local { MAX_PAUSE_LOCAL } else { MAX_PAUSE };
        let known = Known { sure: seen, stamped: seen, noted, held: None };
        Self { wall, most, known: Mutex::new(known) }
    }

    /// What the machine's clock says, believed or not.
    pub(super) fn wall(&self) -> Timestamp {
        self.wall.now()
    }

    /// Believes `now` for deletion, unless it is too far ahead.
    pub(super) fn look(&self, now: Timestamp) -> Result<(), Held> {
        let steady = self.wall.steady();
        let mut known = lock(&self.known);
        let held = known
            .sure
            .map(|seen| Held { last: seen.expected(steady), now })
            .filter(|held| held.seconds() > self.most);
        known.held = held;
        if let Some(held) = held {
            return Err(held);
        }
        if known.sure.is_none_or(|seen| seen.at <= now) {
            known.sure = Some(Seen { at: now, steady });
        }
        Ok(())
    }

    /// `now`, unless it is known for certain to be later than that.
    pub(super) fn no_earlier(&self, now: Timestamp) -> Timestamp {
        let steady = self.wall.steady();
        lock(&self.known).sure.map_or(now, |seen| seen.expected(steady).max(now))
    }

    /// Why nothing was deleted when that was last tried.
    pub(super) fn held(&self) -> Option<Held> {
        lock(&self.known).held
    }

    /// A moment that has come for certain: what waits for its day goes by this.
    pub(super) fn sure(&self) -> Timestamp {
        let (wall, steady) = (self.wall.now(), self.wall.steady());
        let sure = lock(&self.known).sure.map(|seen| seen.expected(steady));
        sure.filter(|sure| wall.since(*sure) > self.most).unwrap_or(wall)
    }

    /// The moment to note, if it is time to.
    pub(super) fn to_note(&self) -> Option<Timestamp> {
        let now = self.sure();
        let noted = lock(&self.known).noted;
        noted.is_none_or(|noted| now.since(noted) >= NOTE_EVERY).then_some(now)
    }

    /// It was noted that the clock was right at this moment. `confirmed` by whoever runs the
    /// server: then it is so whatever was seen before.
    pub(super) fn was_noted(&self, at: Timestamp, confirmed: bool) {
        let seen = Some(Seen { at, steady: self.wall.steady() });
        let mut known = lock(&self.known);
        known.noted = Some(at);
        if confirmed {
            known.sure = seen;
            known.stamped = seen;
        }
    }

    /// The time by which what is received is stamped.
    pub(super) fn now(&self) -> Timestamp {
        let (wall, steady) = (self.wall.now(), self.wall.steady());
        let mut known = lock(&self.known);
        if let Some(seen) = known.stamped {
            let expected = seen.expected(steady);
            if wall.since(expected) > MAX_OFF {
                return expected;
            }
        }
        if known.stamped.is_none_or(|seen| seen.at <= wall) {
            known.stamped = Some(Seen { at: wall, steady });
        }
        wall
    }
}
