//! Values of options, read from text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParserFactory};

use crate::sets::values::parse_size;
pub use crate::sets::values::{BadValue, Compression, Size, TagList};

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
