//! An entry as canonical CBOR. The bytes are described in docs/FORMAT.md.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::sync::Arc;

use minicbor::data::Type;
use minicbor::decode::Decoder;
use unseen_common::codec::{
    Canonical, DecodeError, Enc, EncodeResult, array_len, array_of, bytes_capped, bytes_n,
    optional, text_capped,
};

use super::entry::{Content, DeviceNumber, Entry, Extent, FileTime, Kind, Meta, Name, Xattr};
use crate::crypto::content_id::ChunkId;

/// Longest encoded entry, in bytes.
pub const MAX_ENTRY: usize = 1_310_720;
/// Longest symlink target, in bytes; Linux allows 4095.
const MAX_TARGET: usize = 65_536;
/// Longest owner name, in bytes.
const MAX_OWNER: usize = 256;
const MAX_XATTRS: usize = 8192;
const MAX_XATTR_NAME: usize = 256;
const MAX_XATTR_VALUE: usize = 65_536;
/// Most extents or object ids in one list.
pub const MAX_EXTENTS: usize = 16_384;
/// Deepest nesting of content lists.
pub const MAX_DEPTH: u8 = 4;
/// Largest chunk, in bytes.
const MAX_CHUNK: u32 = 4 * 1024 * 1024;

const FILE: u8 = 0;
const DIRECTORY: u8 = 1;
const SYMLINK: u8 = 2;
const FIFO: u8 = 3;
const SOCKET: u8 = 4;
const CHAR_DEVICE: u8 = 5;
const BLOCK_DEVICE: u8 = 6;

impl Canonical for Entry {
    const WHAT: &'static str = "tree entry";
    const CAP: usize = MAX_ENTRY;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(12)?.bytes(self.name.as_bytes())?.u8(kind_number(&self.kind))?;
        encode_meta(&self.meta, e)?;
        match &self.kind {
            Kind::File { size, content } => {
                e.array(3)?.u64(*size)?;
                encode_content(content, e)?;
            }
            Kind::Directory { tree } => {
                e.bytes(&tree.0)?;
            }
            Kind::Symlink { target } => {
                e.bytes(target)?;
            }
            Kind::Fifo | Kind::Socket => {
                e.null()?;
            }
            Kind::CharDevice(n) | Kind::BlockDevice(n) => {
                e.array(2)?.u32(n.major)?.u32(n.minor)?;
            }
        }
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decode_entry(d, None)
    }
}

/// Reads an entry. The names of its owners share the memory of those of the one before, as most
/// are the same.
pub(super) fn decode_entry(
    d: &mut Decoder<'_>,
    before: Option<&Entry>,
) -> Result<Entry, DecodeError> {
    array_of(d, 12, "tree entry")?;
    let name = Name::new(d.bytes()?)
        .map_err(|_e: super::entry::NotAName| DecodeError::Invalid("not a file name"))?;
    let number = d.u8()?;
    let meta = decode_meta(d, before.map(|before| &before.meta))?;
    let kind = decode_kind(number, d)?;
    Ok(Entry { name, meta, kind })
}

const fn kind_number(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => FILE,
        Kind::Directory { .. } => DIRECTORY,
        Kind::Symlink { .. } => SYMLINK,
        Kind::Fifo => FIFO,
        Kind::Socket => SOCKET,
        Kind::CharDevice(_) => CHAR_DEVICE,
        Kind::BlockDevice(_) => BLOCK_DEVICE,
    }
}

fn decode_kind(number: u8, d: &mut Decoder<'_>) -> Result<Kind, DecodeError> {
    Ok(match number {
        FILE => {
            array_of(d, 3, "file")?;
            let size = d.u64()?;
            let content = decode_content(d)?;
            if let Content::Inline(extents) = &content
                && total_length(extents) != Some(size)
            {
                return Err(DecodeError::Invalid(
                    "the extents of a file do not add up to its size",
                ));
            }
            Kind::File { size, content }
        }
        DIRECTORY => Kind::Directory { tree: ChunkId(bytes_n(d, "tree id")?) },
        SYMLINK => Kind::Symlink { target: bytes_capped(d, "link target", MAX_TARGET)?.to_vec() },
        FIFO => {
            d.null()?;
            Kind::Fifo
        }
        SOCKET => {
            d.null()?;
            Kind::Socket
        }
        CHAR_DEVICE => Kind::CharDevice(decode_device(d)?),
        BLOCK_DEVICE => Kind::BlockDevice(decode_device(d)?),
        _ => {
            return Err(DecodeError::Unknown { what: "kind of entry", number: number.into() });
        }
    })
}

fn decode_device(d: &mut Decoder<'_>) -> Result<DeviceNumber, DecodeError> {
    array_of(d, 2, "device number")?;
    Ok(DeviceNumber { major: d.u32()?, minor: d.u32()? })
}

fn encode_meta(meta: &Meta, e: &mut Enc<'_>) -> EncodeResult {
    e.u32(meta.mode)?.u32(meta.uid)?.u32(meta.gid)?;
    for name in [&meta.user, &meta.group] {
        match name {
            Some(name) => e.str(name)?,
            None => e.null()?,
        };
    }
    e.i64(meta.mtime.seconds)?.u32(meta.mtime.nanos)?;
    e.array(u64::try_from(meta.xattrs.len()).unwrap_or(u64::MAX))?;
    for xattr in &meta.xattrs {
        e.array(2)?.bytes(&xattr.name)?.bytes(&xattr.value)?;
    }
    match meta.hard_link {
        Some(group) => e.u64(group)?,
        None => e.null()?,
    };
    Ok(())
}

fn decode_owner(
    d: &mut Decoder<'_>,
    what: &'static str,
    before: Option<&Arc<str>>,
) -> Result<Option<Arc<str>>, DecodeError> {
    optional(d, |d| {
        let name = text_capped(d, what, MAX_OWNER)?;
        let same = before.filter(|before| ***before == *name);
        Ok(same.map_or_else(|| name.into(), Arc::clone))
    })
}

fn decode_meta(d: &mut Decoder<'_>, before: Option<&Meta>) -> Result<Meta, DecodeError> {
    let (mode, uid, gid) = (d.u32()?, d.u32()?, d.u32()?);
    if mode > 0o7777 {
        return Err(DecodeError::Invalid("mode has bits beyond the permissions"));
    }
    let (user, group) = before.map_or((None, None), |m| (m.user.as_ref(), m.group.as_ref()));
    let user = decode_owner(d, "owner name", user)?;
    let group = decode_owner(d, "group name", group)?;
    let mtime = FileTime { seconds: d.i64()?, nanos: d.u32()? };
    if mtime.nanos >= 1_000_000_000 {
        return Err(DecodeError::Invalid("more than a second of nanoseconds"));
    }
    let mut xattrs: Vec<Xattr> = Vec::new();
    for _ in 0..array_len(d, "extended attributes", MAX_XATTRS)? {
        array_of(d, 2, "extended attribute")?;
        let name = bytes_capped(d, "attribute name", MAX_XATTR_NAME)?.to_vec();
        let value = bytes_capped(d, "attribute value", MAX_XATTR_VALUE)?.to_vec();
        if name.is_empty() || name.contains(&0) || xattrs.last().is_some_and(|x| x.name >= name) {
            return Err(DecodeError::Invalid("attribute names are not sorted"));
        }
        xattrs.push(Xattr { name, value });
    }
    let hard_link = optional(d, |d| Ok(d.u64()?))?;
    Ok(Meta { mode, uid, gid, user, group, mtime, xattrs, hard_link })
}

fn encode_content(content: &Content, e: &mut Enc<'_>) -> EncodeResult {
    match content {
        Content::Inline(extents) => {
            e.u8(0)?;
            encode_extents(extents, e)
        }
        Content::List { depth, objects } => {
            e.u8(*depth)?;
            encode_ids(objects, e)
        }
    }
}

fn decode_content(d: &mut Decoder<'_>) -> Result<Content, DecodeError> {
    match d.u8()? {
        0 => Ok(Content::Inline(decode_extents(d)?)),
        depth if depth <= MAX_DEPTH => Ok(Content::List { depth, objects: decode_ids(d)? }),
        depth => Err(DecodeError::Unknown { what: "content list of depth", number: depth.into() }),
    }
}

/// Writes a list of extents.
pub(super) fn encode_extents(extents: &[Extent], e: &mut Enc<'_>) -> EncodeResult {
    e.array(u64::try_from(extents.len()).unwrap_or(u64::MAX))?;
    for extent in extents {
        match extent {
            Extent::Data { chunk, length } => e.array(2)?.bytes(&chunk.0)?.u32(*length)?,
            Extent::Hole { length } => e.u64(*length)?,
        };
    }
    Ok(())
}

/// Reads a list of extents; none may be empty.
pub(super) fn decode_extents(d: &mut Decoder<'_>) -> Result<Vec<Extent>, DecodeError> {
    let mut extents = Vec::new();
    for _ in 0..array_len(d, "extents", MAX_EXTENTS)? {
        let extent = if d.datatype()? == Type::Array {
            array_of(d, 2, "extent")?;
            let chunk = ChunkId(bytes_n(d, "chunk id")?);
            let length = d.u32()?;
            if length == 0 || length > MAX_CHUNK {
                return Err(DecodeError::Invalid("chunk of impossible length"));
            }
            Extent::Data { chunk, length }
        } else {
            let length = d.u64()?;
            if length == 0 {
                return Err(DecodeError::Invalid("empty hole"));
            }
            Extent::Hole { length }
        };
        extents.push(extent);
    }
    Ok(extents)
}

/// Writes a list of object ids.
pub(super) fn encode_ids(ids: &[ChunkId], e: &mut Enc<'_>) -> EncodeResult {
    e.array(u64::try_from(ids.len()).unwrap_or(u64::MAX))?;
    for id in ids {
        e.bytes(&id.0)?;
    }
    Ok(())
}

/// Reads a list of object ids.
pub(super) fn decode_ids(d: &mut Decoder<'_>) -> Result<Vec<ChunkId>, DecodeError> {
    let count = array_len(d, "object ids", MAX_EXTENTS)?;
    (0..count).map(|_| Ok(ChunkId(bytes_n(d, "object id")?))).collect()
}

/// The bytes that extents cover; `None` beyond 2^64.
pub fn total_length(extents: &[Extent]) -> Option<u64> {
    extents.iter().try_fold(0_u64, |sum, extent| {
        sum.checked_add(match extent {
            Extent::Data { length, .. } => u64::from(*length),
            Extent::Hole { length } => *length,
        })
    })
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests index what they made")]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_name() -> impl Strategy<Value = Name> {
        prop::collection::vec(any::<u8>(), 1..40).prop_filter_map("a name", |b| Name::new(&b).ok())
    }

    fn any_extents() -> impl Strategy<Value = Vec<Extent>> {
        let extent = prop_oneof![
            (any::<[u8; 32]>(), 1..=MAX_CHUNK)
                .prop_map(|(id, length)| Extent::Data { chunk: ChunkId(id), length }),
            (1..u64::from(u32::MAX)).prop_map(|length| Extent::Hole { length }),
        ];
        prop::collection::vec(extent, 0..6)
    }

    fn any_kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            any_extents().prop_map(|extents| Kind::File {
                size: total_length(&extents).expect("small"),
                content: Content::Inline(extents)
            }),
            (any::<u64>(), 1..=MAX_DEPTH, prop::collection::vec(any::<[u8; 32]>(), 0..4)).prop_map(
                |(size, depth, ids)| Kind::File {
                    size,
                    content: Content::List {
                        depth,
                        objects: ids.into_iter().map(ChunkId).collect()
                    }
                }
            ),
            any::<[u8; 32]>().prop_map(|id| Kind::Directory { tree: ChunkId(id) }),
            prop::collection::vec(any::<u8>(), 0..50).prop_map(|target| Kind::Symlink { target }),
            Just(Kind::Fifo),
            Just(Kind::Socket),
            any::<(u32, u32)>()
                .prop_map(|(major, minor)| Kind::CharDevice(DeviceNumber { major, minor })),
            any::<(u32, u32)>()
                .prop_map(|(major, minor)| Kind::BlockDevice(DeviceNumber { major, minor })),
        ]
    }

    fn any_meta() -> impl Strategy<Value = Meta> {
        let xattrs = prop::collection::btree_map(
            prop::collection::vec(1_u8..=255, 1..20),
            prop::collection::vec(any::<u8>(), 0..40),
            0..3,
        );
        (
            (0_u32..=0o7777, any::<u32>(), any::<u32>()),
            (any::<Option<String>>(), any::<Option<String>>()),
            (any::<i64>(), 0_u32..1_000_000_000),
            xattrs,
            any::<Option<u64>>(),
        )
            .prop_map(
                |((mode, uid, gid), (user, group), (seconds, nanos), xattrs, hard_link)| Meta {
                    mode,
                    uid,
                    gid,
                    user: user.map(|u| u.chars().take(20).collect::<String>().into()),
                    group: group.map(|g| g.chars().take(20).collect::<String>().into()),
                    mtime: FileTime { seconds, nanos },
                    xattrs: xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect(),
                    hard_link,
                },
            )
    }

    pub(crate) fn any_entry() -> impl Strategy<Value = Entry> {
        (any_name(), any_meta(), any_kind()).prop_map(|(name, meta, kind)| Entry {
            name,
            meta,
            kind,
        })
    }

    proptest! {
        #[test]
        fn round_trip(entry in any_entry()) {
            prop_assert_eq!(Entry::from_bytes(&entry.to_bytes()).unwrap(), entry);
        }

        #[test]
        fn damage_is_refused_or_another_entry(entry in any_entry(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let mut bytes = entry.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            if let Ok(other) = Entry::from_bytes(&bytes) {
                prop_assert_ne!(&other, &entry);
                prop_assert_eq!(other.to_bytes(), bytes);
            }
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Entry::from_bytes(&bytes));
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = vec![b'x'; 256];
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &long] {
            assert!(Name::new(name).is_err(), "{}", name.escape_ascii());
        }
    }
}
