//! What a server holds about an account, and what whoever runs it has looked at.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::codec::DecodeError;
use crate::id::{DeviceId, Hash, PackId, PackNumber};
use crate::time::Timestamp;

pub mod inventory;

/// One thing that is stored: an entry of the data inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Field {
    /// Its name, such as `pack.received`.
    pub name: Cow<'static, str>,
    /// Where it is kept.
    pub place: Cow<'static, str>,
    /// What it is for.
    pub why: Cow<'static, str>,
    /// For how long.
    pub kept: Cow<'static, str>,
}

/// What a server records about people, for programs to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Statement {
    /// Whether network addresses are written anywhere.
    pub addresses_logged: bool,
    /// Everything that is stored.
    pub fields: Vec<Field>,
}

impl Default for Statement {
    /// Of a server that has none to tell: nothing can be said for it.
    fn default() -> Self {
        Self { addresses_logged: true, fields: Vec::new() }
    }
}

/// What is held of one field about one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The field, as the inventory names it.
    pub name: String,
    /// How many values.
    pub count: u64,
    /// The value where there is one, or what can be said of many.
    pub value: String,
    /// For moments: the first and the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<(Timestamp, Timestamp)>,
}

/// Everything that is held about one account, field by field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Bytes that count against the quota: packs, manifests and lists of packs.
    pub used: u64,
    /// Bytes that may be in use; none without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u64>,
    /// Seconds by which the server's clock went forward further than is believed: until whoever runs
    /// the server has looked, nothing expires and nothing is deleted. None if all goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead: Option<u64>,
    /// The fields.
    pub held: Vec<Held>,
}

/// What whoever runs the server did with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Looked {
    /// It was shown in a list of all accounts.
    List,
    /// It was shown by itself.
    Show,
    /// Its quota was changed.
    Quota,
    /// It was suspended.
    Suspend,
    /// It was resumed.
    Resume,
    /// It was scrubbed, or what is known of its damage was shown.
    Scrub,
    /// It was copied.
    Copy,
    /// Its journal was made anew.
    Rebuild,
}

impl Looked {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::List,
        Self::Show,
        Self::Quota,
        Self::Suspend,
        Self::Resume,
        Self::Scrub,
        Self::Copy,
        Self::Rebuild,
    ];

    /// Its number in a journal.
    pub const fn number(self) -> u8 {
        match self {
            Self::List => 0,
            Self::Show => 1,
            Self::Quota => 2,
            Self::Suspend => 3,
            Self::Resume => 4,
            Self::Scrub => 5,
            Self::Copy => 6,
            Self::Rebuild => 7,
        }
    }

    /// The kind of this number.
    pub fn from_number(number: u8) -> Result<Self, DecodeError> {
        let found = Self::ALL.into_iter().find(|kind| kind.number() == number);
        found.ok_or(DecodeError::Unknown { what: "access of kind", number: number.into() })
    }
}

/// One line of the access record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Looked,
}

/// A file that a server keeps for an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StoredObject {
    /// Its name below the account's folder, such as `manifests/40dc…`: built from identifiers.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// For a pack: what is kept beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<StoredPack>,
}

/// What a server keeps about a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StoredPack {
    /// Its number.
    pub number: PackNumber,
    /// Its name.
    pub id: PackId,
    /// The device that wrote it.
    pub device: DeviceId,
    /// Length of its sealed footer.
    pub footer_len: u64,
    /// Plain BLAKE3 of header and body.
    pub content_hash: Option<Hash>,
    /// When it was last sent, rounded up to the minute.
    pub sent: Option<Timestamp>,
    /// It was found damaged.
    pub damaged: bool,
}

/// Some of what is kept, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ObjectPage {
    /// The files.
    pub objects: Vec<StoredObject>,
    /// Whether more follow.
    pub more: bool,
}

/// Most lines of an access record that a server keeps and tells.
pub const MAX_ACCESS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_numbers_of_their_own() {
        for kind in Looked::ALL {
            assert_eq!(Looked::from_number(kind.number()).unwrap(), kind);
        }
        assert!(Looked::from_number(200).is_err());
    }
}
