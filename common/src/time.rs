//! Time as the protocol has it: whole seconds since 1970, UTC.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::retention::calendar::Date;

/// Seconds in one day of UTC.
pub const SECONDS_A_DAY: u64 = 86_400;

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment rounded down to the minute: all that a disclosure tells.
    #[must_use]
    pub const fn to_minute(self) -> Self {
        Self(self.0 - self.0 % 60)
    }

    /// This moment and so many days, the end of time at most.
    #[must_use]
    pub fn plus_days(self, days: u32) -> Self {
        Self(self.0.saturating_add(u64::from(days) * SECONDS_A_DAY))
    }

    /// Seconds from `earlier` to this moment, zero if it is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// To the minute, in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minute = self.0 % SECONDS_A_DAY / 60;
        write!(f, "{} {:02}:{:02} UTC", Date::of(*self), minute / 60, minute % 60)
    }
}

/// Where the time comes from, so that tests can set it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// Time since any moment in the past that stays the same, by a clock that cannot be set; with
    /// `None` there is none.
    fn steady(&self) -> Option<Duration> {
        None
    }
}
