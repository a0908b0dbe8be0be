//! Bytes as base64url without padding, in one form only.

use std::fmt;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Any number of bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Base64(pub Bytes);

/// Exactly `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Base64N<const N: usize>(pub [u8; N]);

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({} bytes)", self.0.len())
    }
}

impl<const N: usize> fmt::Debug for Base64N<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({N} bytes)")
    }
}

impl From<Vec<u8>> for Base64 {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Base64> for Vec<u8> {
    fn from(text: Base64) -> Self {
        text.0.into()
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl<const N: usize> Serialize for Base64N<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(Text).map(Self::from)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Base64N<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = d.deserialize_str(Text)?;
        let length = bytes.len();
        bytes
            .try_into()
            .map(Self)
            .map_err(|_bytes: Vec<u8>| D::Error::invalid_length(length, &Text))
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes in base64url without padding")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_error| E::custom("not base64url without padding"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_form_only() {
        let good: Base64 = serde_json::from_str("\"_-8\"").unwrap();
        assert_eq!(good.0, [0xff, 0xef].as_slice());
        for bad in ["\"/+8\"", "\"_-8=\"", "\"_-9\"", "\"_\"", "7", "null"] {
            assert!(serde_json::from_str::<Base64>(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Base64N<2>>("\"_-8\"").is_ok());
        assert!(serde_json::from_str::<Base64N<3>>("\"_-8\"").is_err());
    }

    proptest! {
        #[test]
        fn round_trip(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let text = serde_json::to_string(&Base64::from(bytes.clone())).unwrap();
            let back: Base64 = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Vec::from(back), bytes);
        }
    }
}
