//! What a snapshot tells the server in clear, signed with the log entry that carries it.
//!
//! Never names, paths, host or user names, sizes of single files, chunk ids or sizes of changes.

use minicbor::decode::Decoder;
use serde::{Deserialize, Serialize};

use crate::codec::{
    Canonical, DecodeError, Enc, EncodeResult, array_len, array_of, optional, text_capped,
};
use crate::time::Timestamp;

/// How much a snapshot discloses. Policy of the owner, never negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Times and status alone.
    None,
    /// Also the number of files and their bytes, to two significant digits.
    #[default]
    Summary,
    /// Also, for each class of file extension, count and bytes, rounded.
    Types,
}

/// Files of one class of extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeCount {
    /// One of [`CLASSES`].
    pub class: String,
    /// Number of files, two significant digits.
    pub files: u64,
    /// Their bytes, two significant digits.
    pub bytes: u64,
}

/// The disclosed part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disclosure {
    /// Start of the run, to the minute.
    pub start: Timestamp,
    /// End of the run, to the minute.
    pub end: Timestamp,
    /// Files and bytes of the whole snapshot, two significant digits; absent at level `none`.
    pub totals: Option<(u64, u64)>,
    /// By class; empty below level `types`.
    pub types: Vec<TypeCount>,
}

/// The classes of extensions, in their order. A disclosure has each at most once.
pub const CLASSES: [&str; 10] =
    ["archive", "audio", "code", "data", "document", "image", "mail", "other", "program", "video"];
const MAX_TYPES: usize = CLASSES.len();
/// Longest class name, in bytes.
const MAX_CLASS: usize = 32;

/// Rounds to two significant decimal digits, half up, so that an exact size is never told.
pub fn two_digits(value: u64) -> u64 {
    let mut scale: u64 = 1;
    while value / scale >= 100 {
        scale = scale.saturating_mul(10);
    }
    let rounded = (value / scale) + u64::from(value % scale >= scale.div_ceil(2) && scale > 1);
    rounded.saturating_mul(scale)
}

impl Canonical for Disclosure {
    const WHAT: &'static str = "disclosure";
    const CAP: usize = 8192;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(4)?.u64(self.start.0)?.u64(self.end.0)?;
        match self.totals {
            Some((files, bytes)) => e.array(2)?.u64(files)?.u64(bytes)?,
            None => e.null()?,
        };
        e.array(u64::try_from(self.types.len()).unwrap_or(u64::MAX))?;
        for t in &self.types {
            e.array(3)?.str(&t.class)?.u64(t.files)?.u64(t.bytes)?;
        }
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 4, "disclosure")?;
        let start = Timestamp(d.u64()?);
        let end = Timestamp(d.u64()?);
        if start != start.to_minute() || end != end.to_minute() {
            return Err(DecodeError::Invalid("disclosed times must be whole minutes"));
        }
        let totals = optional(d, |d| {
            array_of(d, 2, "totals")?;
            Ok((d.u64()?, d.u64()?))
        })?;
        if totals.is_some_and(|(f, b)| two_digits(f) != f || two_digits(b) != b) {
            return Err(DecodeError::Invalid("disclosed totals must be rounded"));
        }
        let mut types: Vec<TypeCount> = Vec::new();
        for _ in 0..array_len(d, "disclosed types", MAX_TYPES)? {
            array_of(d, 3, "disclosed type")?;
            let class = text_capped(d, "class", MAX_CLASS)?.to_owned();
            if !CLASSES.contains(&class.as_str()) {
                return Err(DecodeError::Invalid("disclosed class that is not in the list"));
            }
            if types.last().is_some_and(|last| last.class >= class) {
                return Err(DecodeError::Invalid("disclosed classes must ascend"));
            }
            let (files, bytes) = (d.u64()?, d.u64()?);
            if two_digits(files) != files || two_digits(bytes) != bytes {
                return Err(DecodeError::Invalid("disclosed counts must be rounded"));
            }
            types.push(TypeCount { class, files, bytes });
        }
        Ok(Self { start, end, totals, types })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rounds_to_two_digits() {
        for (value, rounded) in [
            (0, 0),
            (7, 7),
            (99, 99),
            (100, 100),
            (104, 100),
            (105, 110),
            (79_412, 79_000),
            (999, 1000),
        ] {
            assert_eq!(two_digits(value), rounded, "{value}");
        }
    }

    #[test]
    fn classes_are_of_the_list_in_order_and_once() {
        assert!(CLASSES.is_sorted());
        let with = |classes: &[&str]| {
            let count = |class: &&str| TypeCount { class: (*class).into(), files: 1, bytes: 1 };
            let types = classes.iter().map(count).collect();
            let (start, end) = (Timestamp(0), Timestamp(60));
            Disclosure::from_bytes(&Disclosure { start, end, totals: None, types }.to_bytes())
        };
        assert!(with(&["audio", "image"]).is_ok());
        for bad in [&["image", "audio"][..], &["image", "image"], &["my novel"]] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_stable(value in any::<u64>()) {
            prop_assert_eq!(two_digits(two_digits(value)), two_digits(value));
        }

        #[test]
        fn round_trip(start in 0u64..1 << 40, files in any::<u32>(), bytes in 0u64..1 << 60) {
            let disclosure = Disclosure {
                start: Timestamp(start).to_minute(),
                end: Timestamp(start + 90).to_minute(),
                totals: Some((two_digits(u64::from(files)), two_digits(bytes))),
                types: vec![TypeCount { class: "image".into(), files: 3, bytes: two_digits(bytes) }],
            };
            prop_assert_eq!(Disclosure::from_bytes(&disclosure.to_bytes()).unwrap(), disclosure);
        }
    }
}
