//! Compression levels and their names.

use std::fmt;
use std::str::FromStr;

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Store everything as it is.
    Off,
    /// zstd 1.
    Fastest,
    /// zstd 3.
    #[default]
    Default,
    /// zstd 7.
    Better,
    /// zstd 19.
    Max,
    /// zstd's own scale; parsing accepts -7 to 19 without 0.
    Exact(i8),
}

/// A text that names no compression level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "compression level {text:?}: expected off, fastest, default, better, max, \
     or a number from -7 to 19 other than 0"
)]
pub struct ParseLevelError {
    text: String,
}

impl Level {
    /// The level on zstd's scale; `None` for [`Level::Off`].
    pub(super) fn zstd(self) -> Option<i32> {
        match self {
            Self::Off => None,
            Self::Fastest => Some(1),
            Self::Default => Some(3),
            Self::Better => Some(7),
            Self::Max => Some(19),
            Self::Exact(level) => Some(level.into()),
        }
    }
}

impl FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        Ok(match text {
            "off" => Self::Off,
            "fastest" => Self::Fastest,
            "default" => Self::Default,
            "better" => Self::Better,
            "max" => Self::Max,
            number => match number.parse() {
                // 0 is zstd's word for its default and everybody else's for "off".
                Ok(level @ (-7..=-1 | 1..=19)) => Self::Exact(level),
                _ => {
                    return Err(ParseLevelError { text: text.to_owned() });
                }
            },
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Fastest => f.write_str("fastest"),
            Self::Default => f.write_str("default"),
            Self::Better => f.write_str("better"),
            Self::Max => f.write_str("max"),
            Self::Exact(level) => level.fmt(f),
        }
    }
}
