//! Canonical CBOR: definite lengths, integer keys, shortest forms, one encoding a value.
//!
//! A value is decoded strictly and then encoded again: bytes that differ are refused. So every
//! signed or hashed thing has exactly one form.

use minicbor::data::Type;
use minicbor::decode::Decoder;
use minicbor::encode::Encoder;

/// Why bytes were refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not CBOR, or not the shape that is expected here.
    #[error("malformed {0}")]
    Malformed(&'static str, #[source] minicbor::decode::Error),
    /// The shape is right, but a value is not allowed.
    #[error("{0}")]
    Invalid(&'static str),
    /// A longer or reordered encoding of the same value.
    #[error("not in canonical form: {0}")]
    NotCanonical(&'static str),
    /// Longer than this kind may be.
    #[error("{what} of {length} bytes, at most {cap} are allowed")]
    TooLong {
        /// What was being read.
        what: &'static str,
        /// Its length in bytes or items.
        length: u64,
        /// The cap.
        cap: u64,
    },
    /// Made by a newer version of the format.
    #[error("{what} {number} is not known to this version; a newer one may read it")]
    Unknown {
        /// What was being read.
        what: &'static str,
        /// Its number.
        number: u64,
    },
}

impl From<minicbor::decode::Error> for DecodeError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Malformed("CBOR", error)
    }
}

/// Writes to memory, which cannot fail.
pub type Enc<'a> = Encoder<&'a mut Vec<u8>>;

/// A value with one canonical encoding.
pub trait Canonical: Sized {
    /// What error messages call it.
    const WHAT: &'static str;
    /// Longest encoding that is accepted, in bytes.
    const CAP: usize;

    /// Writes the canonical form.
    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult;
    /// Reads it; need not check canonicity.
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError>;

    /// The canonical bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append_to(&mut out);
        out
    }

    /// Appends the canonical bytes.
    fn append_to(&self, out: &mut Vec<u8>) {
        self.encode(&mut Encoder::new(out)).expect("writing to memory cannot fail");
    }

    /// Reads exactly one value that fills `bytes`.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_cap(Self::WHAT, bytes.len(), Self::CAP)?;
        let mut decoder = Decoder::new(bytes);
        let value = Self::decode(&mut decoder)?;
        let mut again = Vec::with_capacity(bytes.len());
        value.append_to(&mut again);
        if decoder.position() != bytes.len() || again != bytes {
            return Err(DecodeError::NotCanonical(Self::WHAT));
        }
        Ok(value)
    }
}

/// The result of encoding to memory.
pub type EncodeResult = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

/// Refuses lengths above the cap.
pub fn check_cap(what: &'static str, length: usize, cap: usize) -> Result<(), DecodeError> {
    if length > cap {
        return Err(DecodeError::TooLong {
            what,
            length: u64::try_from(length).unwrap_or(u64::MAX),
            cap: u64::try_from(cap).unwrap_or(u64::MAX),
        });
    }
    Ok(())
}

/// Reads an array header of exactly `n` items.
pub fn array_of(d: &mut Decoder<'_>, n: u64, what: &'static str) -> Result<(), DecodeError> {
    match d.array()? {
        Some(found) if found == n => Ok(()),
        _ => Err(DecodeError::Invalid(what)),
    }
}

/// Reads a definite array header of at most `cap` items.
pub fn array_len(
    d: &mut Decoder<'_>,
    what: &'static str,
    cap: usize,
) -> Result<usize, DecodeError> {
    let found = d.array()?.ok_or(DecodeError::Invalid("indefinite length"))?;
    let length = usize::try_from(found).unwrap_or(usize::MAX);
    check_cap(what, length, cap)?;
    Ok(length)
}

/// Reads a byte string of exactly `N` bytes.
pub fn bytes_n<const N: usize>(
    d: &mut Decoder<'_>,
    what: &'static str,
) -> Result<[u8; N], DecodeError> {
    d.bytes()?.try_into().map_err(|_e: std::array::TryFromSliceError| DecodeError::Invalid(what))
}

/// Reads a byte string of at most `cap` bytes.
pub fn bytes_capped<'b>(
    d: &mut Decoder<'b>,
    what: &'static str,
    cap: usize,
) -> Result<&'b [u8], DecodeError> {
    let bytes = d.bytes()?;
    check_cap(what, bytes.len(), cap)?;
    Ok(bytes)
}

/// Reads a text of at most `cap` bytes.
pub fn text_capped<'b>(
    d: &mut Decoder<'b>,
    what: &'static str,
    cap: usize,
) -> Result<&'b str, DecodeError> {
    let text = d.str()?;
    check_cap(what, text.len(), cap)?;
    Ok(text)
}

/// Reads null, or a value.
pub fn optional<'b, T>(
    d: &mut Decoder<'b>,
    read: impl FnOnce(&mut Decoder<'b>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if d.datatype()? == Type::Null {
        d.null()?;
        return Ok(None);
    }
    read(d).map(Some)
}
