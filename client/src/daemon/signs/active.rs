//! Days on which the machine was in use, without a backup. A laptop that lay in a drawer for two
//! weeks has missed nothing.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use unseen_common::time::{SECONDS_A_DAY, Timestamp};

/// A machine that is awake for so long on one day is in use that day.
const IN_USE: Duration = Duration::from_secs(600);

/// Counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ActiveDays {
    /// Without a backup.
    missed: u32,
    /// The day of which the last one was counted, or on which the last backup was made.
    settled: Option<i32>,
    today: i32,
    awake: Duration,
}

impl ActiveDays {
    /// Takes in that the machine was awake for so long on this day.
    pub fn observe(&mut self, day: i32, awake: Duration) {
        if day != self.today {
            (self.today, self.awake) = (day, Duration::ZERO);
        }
        self.awake = self.awake.saturating_add(awake);
        if self.awake >= IN_USE && self.settled != Some(day) {
            self.missed = self.missed.saturating_add(1);
            self.settled = Some(day);
        }
    }

    /// Takes in that all was saved on this day.
    pub fn saved(&mut self, day: i32) {
        self.missed = 0;
        self.settled = Some(day);
    }

    /// Days in use since the day of the last backup, that day not counted.
    pub fn missed(&self) -> u32 {
        self.missed
    }
}

/// The day on the user's calendar, counted from 1970.
pub fn day(wall: Timestamp, zone: &TimeZone) -> i32 {
    let seconds = i64::try_from(wall.0).unwrap_or(i64::MAX);
    let offset = jiff::Timestamp::from_second(seconds).map_or(0, |at| zone.to_offset(at).seconds());
    let a_day = i64::try_from(SECONDS_A_DAY).unwrap_or(i64::MAX);
    let days = seconds.saturating_add(offset.into()).div_euclid(a_day);
    i32::try_from(days).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn only_days_in_use_count() {
        let mut days = ActiveDays::default();
        days.saved(100);
        days.observe(100, MINUTE * 300);
        assert_eq!(days.missed(), 0, "it was saved that day");
        days.observe(101, MINUTE * 9);
        assert_eq!(days.missed(), 0, "it woke up for its own affairs");
        days.observe(101, MINUTE);
        days.observe(101, MINUTE * 300);
        assert_eq!(days.missed(), 1);
        // Two weeks in a drawer.
        days.observe(115, MINUTE * 10);
        days.observe(116, MINUTE * 10);
        assert_eq!(days.missed(), 3);
        days.saved(116);
        days.observe(116, MINUTE * 60);
        assert_eq!(days.missed(), 0);
    }

    #[test]
    fn a_day_ends_where_the_user_is() {
        let east = TimeZone::fixed(jiff::tz::offset(2));
        let eleven_in_the_evening = Timestamp(SECONDS_A_DAY * 10 + 23 * 3600);
        assert_eq!(day(eleven_in_the_evening, &TimeZone::UTC), 10);
        assert_eq!(day(eleven_in_the_evening, &east), 11);
        assert_eq!(day(Timestamp(u64::MAX), &east), i32::MAX);
    }
}
