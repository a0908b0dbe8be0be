//! Values as they are written in config.toml and on the command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::compress::Level;

/// A text that an option does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(String);

impl BadValue {
    /// With these words.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A number of bytes: `100M`, `1.5GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        parse_size(text).map(Self)
    }
}

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a size: {text:?} (a number, with K, M, G or T behind it if need be)")]
pub struct ParseSizeError {
    text: String,
}

/// Reads `1048576`, `100k`, `1.5GiB`, `2 MB`: every unit is a power of 1024, as restic has it.
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    let fail = || ParseSizeError { text: text.to_owned() };
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "b" => 1_u128,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        _ => return Err(fail()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut total = digits(whole).ok_or_else(fail)? * factor;
    if !fraction.is_empty() {
        // First of all: there are few enough of them.
        let parts = digits(fraction).ok_or_else(fail)?;
        let scale = fraction.bytes().fold(1_u128, |scale, _| scale * 10);
        total += parts * factor / scale;
    }
    u64::try_from(total).ok().ok_or_else(fail)
}

/// At most 18 digits, so that no later product overflows.
fn digits(text: &str) -> Option<u128> {
    let good = text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().ok())?
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Compression {
    /// Not at all.
    Off,
    /// zstd at this level, 1 to 19.
    Level(i32),
}

impl Compression {
    /// What the compressor takes.
    pub fn level(self) -> Level {
        match self {
            Self::Off => Level::Off,
            Self::Level(number) => Level::Exact(i8::try_from(number).unwrap_or(3)),
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::Level(3)
    }
}

impl FromStr for Compression {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "off" => Ok(Self::Off),
            "fastest" => Ok(Self::Level(1)),
            "auto" => Ok(Self::default()),
            "better" => Ok(Self::Level(7)),
            "max" => Ok(Self::Level(19)),
            number => match number.parse() {
                Ok(level @ 1..=19) => Ok(Self::Level(level)),
                _ => Err(BadValue::new("off, fastest, auto, better, max, or a level from 1 to 19")),
            },
        }
    }
}

/// Tags separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList(pub Vec<String>);

impl FromStr for TagList {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let tags: Vec<String> = text.split(',').map(|tag| tag.trim().to_owned()).collect();
        let bad =
            |tag: &String| tag.is_empty() || tag.len() > 255 || tag.contains(char::is_control);
        if tags.iter().any(bad) {
            return Err(BadValue::new("tags are words separated by commas"));
        }
        Ok(Self(tags))
    }
}

/// A length of time: `30s`, `10m`, `1h30m`, `2d`. A minute is `m` here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// Seconds that a text like `1h30m` stands for, its units in the order of `units`; nothing if it is
/// no such text, or too long a time.
pub(crate) fn seconds_of(text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    let mut units = units.iter();
    let mut total: Option<u64> = None;
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit()) {
        let (number, after) = rest.split_at(end);
        let mut chars = after.chars();
        let letter = chars.next()?;
        let (_, seconds) = units.find(|(unit, _)| *unit == letter)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*seconds)?;
        total = Some(total.unwrap_or(0).checked_add(part)?);
        rest = chars.as_str();
    }
    total.filter(|_| rest.is_empty())
}

/// What the letters stand for, in the order in which they come.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl FromStr for Span {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || {
            BadValue::new("a length of time is written like 30s, 10m, 1h30m or 2d, not below 1s")
        };
        // Without any time between them, scans would follow each other without end. A hundred
        // years: no sum of clock and span can overflow.
        let good = seconds_of(text, &UNITS).filter(|t| (1..=100 * 366 * 86_400).contains(t));
        good.map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(bad)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_secs();
        if left == 0 {
            return f.write_str("0s");
        }
        for (letter, seconds) in UNITS {
            if left >= seconds {
                write!(f, "{}{letter}", left / seconds)?;
                left %= seconds;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        let whole = |shift: &u32| self.0 > 0 && self.0.trailing_zeros() >= *shift;
        match units.iter().find(|(shift, _)| whole(shift)) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Level(1) => f.write_str("fastest"),
            Self::Level(3) => f.write_str("auto"),
            Self::Level(7) => f.write_str("better"),
            Self::Level(19) => f.write_str("max"),
            Self::Level(level) => level.fmt(f),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

impl TryFrom<String> for Size {
    type Error = ParseSizeError;

    fn try_from(text: String) -> Result<Self, ParseSizeError> {
        text.parse()
    }
}

impl TryFrom<String> for Compression {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<T: FromStr>(text: &str) -> Option<T> {
        text.parse().ok()
    }

    #[test]
    fn spans() {
        for (text, seconds) in [
            ("30s", Some(30)),
            ("10m", Some(600)),
            ("1d2h3m4s", Some(93_784)),
            ("0s", None),
            ("36500d", Some(36_500 * 86_400)),
            ("", None),
            ("30", None),
            ("s", None),
            ("1m1m", None),
            ("1s2m", None),
            ("1 m", None),
            ("1w", None),
            ("36601d", None),
            ("99999999999999999999s", None),
        ] {
            let read = read::<Span>(text).map(|span| span.0.as_secs());
            assert_eq!(read, seconds, "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, n) in [
            ("0", 0),
            ("100", 100),
            ("100k", 102_400),
            ("1.5GiB", 1_610_612_736),
            ("2 MB", 2 << 20),
            ("7B", 7),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse_size(text).unwrap(), n, "{text}");
        }
        for bad in ["", "k", "-1", "1x", "1.2.3k", ".5k", "1e3", "99999999999P", "1 k k"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        // Found by libFuzzer: a power of ten that no number holds.
        assert!(parse_size(&format!("0.{}", "0".repeat(50))).is_err());
    }

    #[test]
    fn compressions() {
        assert_eq!(read("off"), Some(Compression::Off));
        assert_eq!(read("auto"), Some(Compression::Level(3)));
        assert_eq!(read("19"), Some(Compression::Level(19)));
        for bad in ["0", "20", "-1", "on", ""] {
            assert_eq!(read::<Compression>(bad), None, "{bad}");
        }
    }

    #[test]
    fn tags() {
        let list = |tags: &[&str]| Some(TagList(tags.iter().map(|&t| t.to_owned()).collect()));
        assert_eq!(read("a"), list(&["a"]));
        assert_eq!(read("a, b"), list(&["a", "b"]));
        for bad in ["", "a,,b", "a,"] {
            assert_eq!(read::<TagList>(bad), None, "{bad}");
        }
    }

    proptest! {
        /// What is written into config.toml is what was read.
        #[test]
        fn values_come_back(seconds in 0_u64..4_000_000_000, size: u64, level in 1..=19) {
            let span = seconds.min(100 * 366 * 86_400);
            let span = Span(Duration::from_secs(span));
            prop_assert_eq!(read::<Span>(&span.to_string()), Some(span));
            prop_assert_eq!(read::<Size>(&Size(size >> 6).to_string()), Some(Size(size >> 6)));
            let compression = Compression::Level(level);
            prop_assert_eq!(read::<Compression>(&compression.to_string()), Some(compression));
        }
    }
}
