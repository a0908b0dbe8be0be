//! Keep rules as options, by restic's names.

use std::str::FromStr;

use unseen_common::log::policy::KeepRules;
use unseen_common::time::SECONDS_A_DAY;

use super::values::BadValue;
use crate::sets::values::seconds_of;

/// Keep rules. A snapshot stays if any of them keeps it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What is kept (a number, or `all`)")]
pub struct KeepArgs {
    /// The newest N
    #[arg(short = 'l', long, value_name = "N")]
    pub keep_last: Option<Count>,
    /// The newest of each of the newest N hours that have any
    #[arg(short = 'H', long, value_name = "N")]
    pub keep_hourly: Option<Count>,
    /// Of so many days
    #[arg(short = 'd', long, value_name = "N")]
    pub keep_daily: Option<Count>,
    /// Of so many weeks
    #[arg(short = 'w', long, value_name = "N")]
    pub keep_weekly: Option<Count>,
    /// Of so many months
    #[arg(short = 'm', long, value_name = "N")]
    pub keep_monthly: Option<Count>,
    /// Of so many years
    #[arg(short = 'y', long, value_name = "N")]
    pub keep_yearly: Option<Count>,
    /// All that are less than this older than the newest: 1y5m7d2h (a year is 365 days, a month 30)
    #[arg(long, value_name = "DURATION")]
    pub keep_within: Option<Span>,
}

impl KeepArgs {
    /// The rules, if any was given.
    pub fn rules(&self) -> Option<KeepRules> {
        let given = [
            self.keep_last,
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        if given.iter().all(Option::is_none) && self.keep_within.is_none() {
            return None;
        }
        let number = |count: Option<Count>| count.map_or(0, |count| count.0);
        Some(KeepRules {
            last: number(self.keep_last),
            hourly: number(self.keep_hourly),
            daily: number(self.keep_daily),
            weekly: number(self.keep_weekly),
            monthly: number(self.keep_monthly),
            yearly: number(self.keep_yearly),
            within: self.keep_within.map_or(0, |span| span.0),
        })
    }
}

/// How many; `u32::MAX` for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

impl FromStr for Count {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        // restic's words for it, and ours.
        if matches!(text, "all" | "unlimited" | "-1") {
            return Ok(Self(u32::MAX));
        }
        text.parse()
            .map(Self)
            .map_err(|_e: std::num::ParseIntError| BadValue::new("a number, or `all`"))
    }
}

/// A span of time in seconds: `7d`, `1y6m`, `12h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub u64);

/// What the letters stand for, in the order in which they come.
const UNITS: [(char, u64); 5] = [
    ('y', 365 * SECONDS_A_DAY),
    ('m', 30 * SECONDS_A_DAY),
    ('w', 7 * SECONDS_A_DAY),
    ('d', SECONDS_A_DAY),
    ('h', 3600),
];

impl FromStr for Span {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        seconds_of(text, &UNITS)
            .map(Self)
            .ok_or_else(|| BadValue::new("a span of time is written like 30d, 12h or 1y6m7d"))
    }
}

/// Whole days: a number, or a span such as `30d` or `4w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(pub u32);

impl FromStr for Days {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || BadValue::new("a number of days, such as 30 or 30d");
        if let Ok(days) = text.trim().parse() {
            return Ok(Self(days));
        }
        let Span(seconds) = text.parse()?;
        let days = u32::try_from(seconds / SECONDS_A_DAY).ok();
        days.filter(|_| seconds.is_multiple_of(SECONDS_A_DAY)).map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromStr>(text: &str) -> Option<T> {
        text.parse().ok()
    }

    #[test]
    fn spans() {
        for (text, seconds) in [
            ("7d", Some(7 * SECONDS_A_DAY)),
            ("1y2m3w4d5h", Some((365 + 60 + 21 + 4) * SECONDS_A_DAY + 5 * 3600)),
            ("0d", Some(0)),
            ("", None),
            ("7", None),
            ("d", None),
            ("1d1d", None),
            ("1d2y", None),
            ("7d3", None),
            ("7 d", None),
            ("99999999999999999999y", None),
            ("9999999999999999y", None),
        ] {
            assert_eq!(read::<Span>(text).map(|span| span.0), seconds, "{text}");
        }
    }

    #[test]
    fn counts_and_days() {
        assert_eq!(read("5"), Some(Count(5)));
        for all in ["all", "unlimited", "-1"] {
            assert_eq!(read(all), Some(Count(u32::MAX)));
        }
        assert_eq!(read::<Count>("-2"), None);
        for (text, days) in [("30", Some(30)), ("4w", Some(28)), ("12h", None), ("x", None)] {
            assert_eq!(read::<Days>(text).map(|days| days.0), days, "{text}");
        }
    }

    #[test]
    fn no_option_is_no_rule() {
        assert_eq!(KeepArgs::default().rules(), None);
        let args = KeepArgs { keep_daily: Some(Count(7)), ..KeepArgs::default() };
        assert_eq!(args.rules(), Some(KeepRules { daily: 7, ..KeepRules::NONE }));
        let zero = KeepArgs { keep_last: Some(Count(0)), ..KeepArgs::default() };
        assert_eq!(zero.rules(), Some(KeepRules::NONE));
    }
}
