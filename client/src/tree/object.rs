//! Tree objects: what is stored under a tree chunk id.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use minicbor::decode::Decoder;
use unseen_common::codec::{
    Canonical, DecodeError, Enc, EncodeResult, array_len, array_of, bytes_n,
};

use super::codec::{decode_entry, decode_extents, decode_ids, encode_extents, encode_ids};
use super::entry::{Entry, Extent, Name, NotAName};
use crate::crypto::content_id::ChunkId;

/// Longest tree object, in bytes.
pub const MAX_OBJECT: usize = 2 * 1024 * 1024;
const MAX_ITEMS: usize = 65_536;
const VERSION: u8 = 1;

const LEAF: u8 = 0;
const INNER: u8 = 1;
const EXTENTS: u8 = 2;
const LISTS: u8 = 3;

/// One stored object of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// Entries of a directory, ascending by name.
    Leaf(Vec<Entry>),
    /// The parts of a big directory, each by its first name, ascending.
    Inner(Vec<(Name, ChunkId)>),
    /// Extents of a file.
    Extents(Vec<Extent>),
    /// Objects that hold the extents of a file, or name such objects.
    Lists(Vec<ChunkId>),
}

impl Canonical for Object {
    const WHAT: &'static str = "tree object";
    const CAP: usize = MAX_OBJECT;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(3)?.u8(VERSION)?;
        match self {
            Self::Leaf(entries) => {
                e.u8(LEAF)?.array(u64::try_from(entries.len()).unwrap_or(u64::MAX))?;
                entries.iter().try_for_each(|entry| entry.encode(e))
            }
            Self::Inner(parts) => {
                e.u8(INNER)?.array(u64::try_from(parts.len()).unwrap_or(u64::MAX))?;
                for (name, id) in parts {
                    e.array(2)?.bytes(name.as_bytes())?.bytes(&id.0)?;
                }
                Ok(())
            }
            Self::Extents(extents) => {
                e.u8(EXTENTS)?;
                encode_extents(extents, e)
            }
            Self::Lists(ids) => {
                e.u8(LISTS)?;
                encode_ids(ids, e)
            }
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 3, "tree object")?;
        let version = d.u8()?;
        if version != VERSION {
            return Err(DecodeError::Unknown { what: "tree version", number: version.into() });
        }
        match d.u8()? {
            LEAF => decode_leaf(d).map(Self::Leaf),
            INNER => decode_inner(d).map(Self::Inner),
            EXTENTS => decode_extents(d).map(Self::Extents),
            LISTS => decode_ids(d).map(Self::Lists),
            kind => Err(DecodeError::Unknown { what: "kind of tree object", number: kind.into() }),
        }
    }
}

fn decode_leaf(d: &mut Decoder<'_>) -> Result<Vec<Entry>, DecodeError> {
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..array_len(d, "tree entries", MAX_ITEMS)? {
        let entry = decode_entry(d, entries.last())?;
        if entries.last().is_some_and(|last| last.name >= entry.name) {
            return Err(DecodeError::Invalid("names of a directory are not sorted"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn decode_inner(d: &mut Decoder<'_>) -> Result<Vec<(Name, ChunkId)>, DecodeError> {
    let mut parts: Vec<(Name, ChunkId)> = Vec::new();
    for _ in 0..array_len(d, "parts of a directory", MAX_ITEMS)? {
        array_of(d, 2, "part of a directory")?;
        let name = Name::new(d.bytes()?)
            .map_err(|_e: NotAName| DecodeError::Invalid("not a file name"))?;
        if parts.last().is_some_and(|(last, _)| *last >= name) {
            return Err(DecodeError::Invalid("parts of a directory are not sorted"));
        }
        parts.push((name, ChunkId(bytes_n(d, "tree id")?)));
    }
    if parts.is_empty() {
        return Err(DecodeError::Invalid("a directory of no parts"));
    }
    Ok(parts)
}

/// The bytes of a leaf, from entries that are already encoded.
pub fn leaf_bytes(count: usize, encoded_entries: &[u8]) -> Vec<u8> {
    with_header(LEAF, count, encoded_entries)
}

/// The bytes of an inner object, from parts that are already encoded.
pub(super) fn inner_bytes(count: usize, encoded_parts: &[u8]) -> Vec<u8> {
    with_header(INNER, count, encoded_parts)
}

fn with_header(kind: u8, count: usize, items: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(items.len().saturating_add(16));
    let written = (|| -> EncodeResult {
        let mut e = Enc::new(&mut out);
        e.array(3)?.u8(VERSION)?.u8(kind)?.array(u64::try_from(count).unwrap_or(u64::MAX))?;
        Ok(())
    })();
    written.expect("writing to memory cannot fail");
    out.extend_from_slice(items);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::codec::tests::any_entry;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn leaf_round_trip(entries in prop::collection::btree_map(
            crate::tree::codec::tests::any_name(), any_entry(), 0..8)) {
            let entries: Vec<Entry> = entries.into_iter()
                .map(|(name, entry)| Entry { name, ..entry }).collect();
            let encoded: Vec<u8> = entries.iter().flat_map(Canonical::to_bytes).collect();
            let bytes = leaf_bytes(entries.len(), &encoded);
            prop_assert_eq!(Object::from_bytes(&bytes).unwrap(), Object::Leaf(entries));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(Object::from_bytes(&bytes));
        }
    }

    #[test]
    fn unsorted_and_doubled_names_are_refused() {
        let part = |n: &[u8]| (Name::new(n).unwrap(), ChunkId([0; 32]));
        for parts in [vec![part(b"b"), part(b"a")], vec![part(b"a"), part(b"a")], vec![]] {
            assert!(Object::from_bytes(&Object::Inner(parts).to_bytes()).is_err());
        }
    }
}
