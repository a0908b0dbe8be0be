//! How the types of the wire look in the API document. What serde derives, `utoipa` derives too;
//! here is what has a serde of its own.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{RefOr, schema::SchemaType};
use utoipa::{Number, PartialSchema, ToSchema};

use super::base64::{Base64, Base64N};
use crate::id::{DeviceId, Hash, PackId, PackNumber, SnapshotId, VaultId};
use crate::time::Timestamp;

/// A text of one form.
pub fn text(pattern: impl Into<String>, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .pattern(Some(pattern.into()))
        .description(Some(description))
        .into()
}

/// A whole number from 0 to `most`.
pub fn number(most: usize, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Integer))
        .minimum(Some(Number::UInt(0)))
        .maximum(Some(Number::UInt(most)))
        .description(Some(description))
        .into()
}

/// The digits in which base64url without padding may end, by what is left over of 3 bytes: the
/// bits that stand for nothing are zero.
const ENDS: [&str; 3] = ["", "[A-Za-z0-9_-][AQgw]", "[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]"];

impl PartialSchema for Base64 {
    fn schema() -> RefOr<Schema> {
        let [_, one, two] = ENDS;
        text(format!("^([A-Za-z0-9_-]{{4}})*({one}|{two})?$"), "base64url without padding")
    }
}

impl ToSchema for Base64 {
    fn name() -> Cow<'static, str> {
        "Base64".into()
    }
}

impl<const N: usize> PartialSchema for Base64N<N> {
    fn schema() -> RefOr<Schema> {
        let end = ENDS.get(N % 3).unwrap_or(&"");
        let pattern = format!("^[A-Za-z0-9_-]{{{}}}{end}$", N / 3 * 4);
        text(pattern, &format!("{N} bytes in base64url without padding"))
    }
}

impl<const N: usize> ToSchema for Base64N<N> {
    fn name() -> Cow<'static, str> {
        format!("Base64Of{N}").into()
    }
}

macro_rules! ids {
    ($($name:ident: $what:literal;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text(format!("^[0-9a-f]{{{}}}$", 2 * Self::LEN), $what)
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

ids! {
    VaultId: "A vault, and its account";
    DeviceId: "An enrolled machine";
    PackId: "A pack, by what is in it";
    SnapshotId: "A snapshot: BLAKE3 of its sealed manifest";
    Hash: "A BLAKE3 hash";
}

impl PartialSchema for PackNumber {
    fn schema() -> RefOr<Schema> {
        number(0xffff_ffff, "The number that the server gave a pack")
    }
}

impl ToSchema for PackNumber {
    fn name() -> Cow<'static, str> {
        "PackNumber".into()
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        number(usize::MAX, "Seconds since 1970-01-01T00:00:00Z")
    }
}

impl ToSchema for Timestamp {
    fn name() -> Cow<'static, str> {
        "Timestamp".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern<T: PartialSchema>() -> String {
        let shown = serde_json::to_value(T::schema()).unwrap();
        shown["pattern"].as_str().unwrap().to_owned()
    }

    #[test]
    fn patterns_are_those_of_the_parsers() {
        assert_eq!(pattern::<Base64N<64>>(), "^[A-Za-z0-9_-]{84}[A-Za-z0-9_-][AQgw]$");
        let wanted = "^[A-Za-z0-9_-]{40}[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]$";
        assert_eq!(pattern::<Base64N<32>>(), wanted);
        assert_eq!(pattern::<Base64N<3>>(), "^[A-Za-z0-9_-]{4}$");
        assert_eq!(pattern::<VaultId>(), "^[0-9a-f]{32}$");
        for end in ["AA", "_Q", "0g", "-w", "AAE", "__8"] {
            assert!(serde_json::from_str::<Base64>(&format!("\"{end}\"")).is_ok(), "{end}");
        }
        for end in ["AB", "A-", "AAB", "__9"] {
            assert!(serde_json::from_str::<Base64>(&format!("\"{end}\"")).is_err(), "{end}");
        }
    }
}
