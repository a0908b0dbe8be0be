//! Identifiers: fixed length, shown as lower-case hex, each its own type.
//!
//! No user text is ever part of a path or a URL; these are.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// A text that is not the identifier it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {digits} lower-case hexadecimal digits")]
pub struct ParseIdError {
    what: &'static str,
    digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps raw bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Wraps a slice; `None` unless it has exactly [`Self::LEN`] bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The first eight hexadecimal digits, as people read them.
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                HEXLOWER.encode_display(&self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = ParseIdError { what: stringify!($name), digits: 2 * $len };
                if text.len() != 2 * $len {
                    return Err(error);
                }
                let mut bytes = [0; $len];
                match HEXLOWER.decode_mut(text.as_bytes(), &mut bytes) {
                    Ok(_) => Ok(Self(bytes)),
                    Err(_) => Err(error),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// One vault; also its account on a server. Random, made by `init`.
    VaultId, 16
);
id!(
    /// One enrolled machine. Random, made on the machine.
    DeviceId, 16
);
id!(
    /// One pack before it has an id: random, chosen before anything is sealed.
    PackUid, 16
);
id!(
    /// The name of a pack: a hash over everything in it, so the server can check it.
    PackId, 32
);
id!(
    /// A snapshot: BLAKE3 of its sealed manifest.
    SnapshotId, 32
);
id!(
    /// A set as the server sees it: a keyed hash of its name.
    SetTag, 16
);
id!(
    /// One unlock slot.
    SlotId, 16
);
id!(
    /// A plain BLAKE3 hash.
    Hash, 32
);

impl Hash {
    /// BLAKE3 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// The number a server gave a pack: dense, per account, never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct PackNumber(pub u32);

impl fmt::Display for PackNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PackNumber {
    type Err = ParsePackNumberError;

    /// Digits alone, in the one form that is shown: no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self, ParsePackNumberError> {
        let number = text.parse().map(Self).map_err(|_not_one| ParsePackNumberError)?;
        if number.to_string() == text { Ok(number) } else { Err(ParsePackNumberError) }
    }
}

/// A text that is no pack number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pack has a number from 0 to 4294967295")]
pub struct ParsePackNumberError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_and_refusals() {
        let id = DeviceId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse::<DeviceId>().unwrap(), id);
        for bad in ["", "ab", &"AB".repeat(16), &"ab".repeat(17), &"zz".repeat(16)] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
    }

    #[test]
    fn pack_numbers_have_one_form() {
        for good in [0, 7, u32::MAX] {
            assert_eq!(good.to_string().parse(), Ok(PackNumber(good)));
        }
        for bad in ["", "+1", "-1", "01", " 1", "1 ", "0x1", "4294967296"] {
            assert_eq!(bad.parse::<PackNumber>(), Err(ParsePackNumberError), "{bad}");
        }
    }
}
