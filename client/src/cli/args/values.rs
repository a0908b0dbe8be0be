//! Values of options, read from text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use crate::compress::Level;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParserFactory};

use crate::cli::units::{ParseSizeError, parse_size};

/// A text that an option does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(String);

impl BadValue {
    pub(in crate::cli) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A number of bytes: `100M`, `1.5GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        parse_size(text).map(Self)
    }
}

/// Bytes a second. A number alone is KiB a second, as restic has it; with a unit it is that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BytesPerSecond(pub u64);

impl FromStr for BytesPerSecond {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || BadValue::new("a rate is KiB a second, or has a unit: 500, 2M, 1.5MiB");
        let text = text.trim();
        let text = text.strip_suffix("/s").unwrap_or(text);
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        let rate = parse_size(text).ok().ok_or_else(bad)?;
        let rate = if plain { rate.checked_mul(1024) } else { Some(rate) };
        rate.filter(|&rate| rate > 0).map(Self).ok_or_else(bad)
    }
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// `SNAPSHOT` or `SNAPSHOT:PATH`. What a snapshot is called (an id, `latest`, `latest~2`) is not
/// looked at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPath {
    /// The snapshot's name; `latest` if none was given.
    pub snapshot: String,
    /// The path within it.
    pub path: Option<PathBuf>,
}

impl SnapshotPath {
    fn parse(text: &OsStr) -> Result<Self, BadValue> {
        let bytes = text.as_bytes();
        let (name, path) = match bytes.iter().position(|&b| b == b':') {
            Some(colon) => (bytes.get(..colon), bytes.get(colon + 1..)),
            None => (Some(bytes), None),
        };
        let name = name
            .and_then(|name| std::str::from_utf8(name).ok())
            .ok_or_else(|| BadValue::new("a snapshot is an id, latest or latest~N"))?;
        let path = path.filter(|path| !path.is_empty());
        Ok(Self {
            snapshot: if name.is_empty() { LATEST } else { name }.to_owned(),
            path: path.map(|path| OsString::from_vec(path.to_vec()).into()),
        })
    }
}

const LATEST: &str = "latest";

impl Default for SnapshotPath {
    fn default() -> Self {
        Self { snapshot: LATEST.to_owned(), path: None }
    }
}

impl ValueParserFactory for SnapshotPath {
    type Parser = clap::builder::ValueParser;

    fn value_parser() -> Self::Parser {
        OsStringValueParser::new().try_map(|text| Self::parse(&text)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromStr>(text: &str) -> Option<T> {
        text.parse().ok()
    }

    #[test]
    fn rates() {
        for (text, rate) in [
            ("500", Some(512_000)),
            ("2M", Some(2 << 20)),
            ("1.5MiB/s", Some(1_572_864)),
            ("0", None),
            ("fast", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(read(text).map(|BytesPerSecond(n)| n), rate, "{text}");
        }
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

    #[test]
    fn snapshot_paths() {
        for (text, snapshot, path) in [
            ("40dc1520", "40dc1520", None),
            ("latest~2:/home/x:y", "latest~2", Some("/home/x:y")),
            (":sub", "latest", Some("sub")),
            ("latest:", "latest", None),
        ] {
            let got = SnapshotPath::parse(OsStr::new(text)).unwrap();
            assert_eq!(got.snapshot, snapshot);
            assert_eq!(got.path, path.map(PathBuf::from));
        }
        let raw = SnapshotPath::parse(OsStr::from_bytes(b"x:/\xff")).unwrap();
        assert_eq!(raw.path.unwrap().as_os_str().as_bytes(), b"/\xff");
        assert!(SnapshotPath::parse(OsStr::from_bytes(b"\xff")).is_err());
    }
}
