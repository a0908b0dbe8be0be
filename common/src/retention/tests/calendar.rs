//! The calendar against known dates.

use proptest::prelude::*;

use crate::retention::calendar::{Date, day, hour, iso_week, month, week, year};
use crate::time::Timestamp;

/// Seconds at noon of a day that many days after 1970-01-01.
fn noon(days: u64) -> Timestamp {
    Timestamp(days * 86_400 + 43_200)
}

#[test]
fn dates_are_right() {
    for (days, text, iso) in [
        (0, "1970-01-01", (1970, 1)),
        (3, "1970-01-04", (1970, 1)),
        (4, "1970-01-05", (1970, 2)),
        (364, "1970-12-31", (1970, 53)),
        (365, "1971-01-01", (1970, 53)),
        (789, "1972-02-29", (1972, 9)),
        (790, "1972-03-01", (1972, 9)),
        (11_016, "2000-02-29", (2000, 9)),
        (20_446, "2025-12-24", (2025, 52)),
        (20_451, "2025-12-29", (2026, 1)),
        (20_779, "2026-11-22", (2026, 47)),
        (20_819, "2027-01-01", (2026, 53)),
        (47_540, "2100-02-28", (2100, 8)),
        (47_541, "2100-03-01", (2100, 9)),
    ] {
        assert_eq!(Date::of(noon(days)).to_string(), text);
        assert_eq!(iso_week(noon(days)), iso, "{text}");
    }
}

#[test]
fn the_end_of_time_has_a_date() {
    let end = Timestamp(u64::MAX);
    assert_eq!(Date::of(end).to_string(), "584554051223-11-09");
    assert!([hour(end), day(end), week(end), month(end), year(end)].iter().all(|n| *n > 0));
    assert!(iso_week(end).1 <= 53);
}

proptest! {
    /// Every moment lies in the same or a later period than any moment before it, and the edges
    /// are where the calendar has them.
    #[test]
    fn periods_follow_each_other(days in 0_u64..200_000) {
        let (today, tomorrow) = (noon(days), noon(days + 1));
        let (a, b) = (Date::of(today), Date::of(tomorrow));
        prop_assert!(a < b);
        prop_assert_eq!(month(today) != month(tomorrow), b.day == 1);
        prop_assert_eq!(year(today) != year(tomorrow), b.day == 1 && b.month == 1);
        prop_assert_eq!(week(today) != week(tomorrow), (days + 1) % 7 == 4, "Mondays");
        prop_assert_eq!(week(today) != week(tomorrow), iso_week(today) != iso_week(tomorrow));
        let midnight = Timestamp((days + 1) * 86_400);
        prop_assert_eq!(day(Timestamp(midnight.0 - 1)) + 1, day(midnight));
        prop_assert_eq!(hour(Timestamp(midnight.0 - 1)) + 1, hour(midnight));
    }
}
