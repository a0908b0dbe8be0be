//! Hours, days, weeks, months and years of UTC, from whole seconds since 1970.

use std::fmt;

use crate::time::{SECONDS_A_DAY, Timestamp};

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// 1970 and later.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
}

/// Days from 0000-03-01, where a cycle of 400 years begins, to 1970-01-01.
const SHIFT: u64 = 719_468;
const DAYS_IN_400_YEARS: u64 = 146_097;
const LEAP_DAYS_UNTIL_1970: u64 = 1969 / 4 - 1969 / 100 + 1969 / 400;

impl Date {
    /// The day of a moment, in UTC.
    pub const fn of(moment: Timestamp) -> Self {
        Self::of_day(moment.0 / SECONDS_A_DAY)
    }

    /// The day with this number, 1970-01-01 being 0. Years are counted from March, so that the
    /// leap day comes last.
    const fn of_day(number: u64) -> Self {
        let shifted = number + SHIFT;
        let cycle = shifted / DAYS_IN_400_YEARS;
        let in_cycle = shifted % DAYS_IN_400_YEARS;
        let year_in_cycle =
            (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
        let in_year = in_cycle - (365 * year_in_cycle + year_in_cycle / 4 - year_in_cycle / 100);
        let from_march = (5 * in_year + 2) / 153;
        let day = in_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let early = if month <= 2 { 1 } else { 0 };
        Self { year: cycle * 400 + year_in_cycle + early, month, day }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A number that all moments of one hour share, and no other moment.
pub(super) const fn hour(moment: Timestamp) -> u64 {
    moment.0 / 3600
}

/// The same of a day.
pub(super) const fn day(moment: Timestamp) -> u64 {
    moment.0 / SECONDS_A_DAY
}

/// The same of a week, Monday to Sunday. 1970-01-01 was a Thursday, of week 0.
pub(super) const fn week(moment: Timestamp) -> u64 {
    (day(moment) + 3) / 7
}

/// The same of a month.
pub(super) const fn month(moment: Timestamp) -> u64 {
    let date = Date::of(moment);
    date.year * 12 + date.month
}

/// The same of a year.
pub(super) const fn year(moment: Timestamp) -> u64 {
    Date::of(moment).year
}

/// Year and number of the week by ISO 8601: a week belongs to the year of its Thursday.
pub(super) const fn iso_week(moment: Timestamp) -> (u64, u64) {
    let thursday = week(moment) * 7;
    let year = Date::of_day(thursday).year;
    (year, (thursday - first_day(year)) / 7 + 1)
}

/// The number of January 1st of a year from 1970 on.
const fn first_day(year: u64) -> u64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    (year - 1970) * 365 + leap_days - LEAP_DAYS_UNTIL_1970
}
