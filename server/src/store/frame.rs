//! The bytes of a journal.
//!
//! ```text
//! file   header | frame ...
//! header "UNSEENJ1" | kind u8 | 7 zero bytes | account id 16 | salt 16 | checksum 16   (64 bytes)
//! frame  "UJF1" | payload length u32 LE | checksum 16 | payload
//! payload  item ... ; item = length u32 LE | bytes
//! ```
//!
//! The header's checksum is the first half of BLAKE3 of what stands before it: a damaged header
//! must not make all frames look torn. A frame's checksum is the first half of keyed BLAKE3 over (offset of the frame u64 LE | length u32 LE
//! | payload); the key is derived from the header, whose salt is random, so that no content of a
//! record passes for a frame. A frame is what one fsync made durable: it is there or it is not.

use unseen_common::id::VaultId;

/// Length of the header, in bytes.
pub const HEADER: usize = 64;
/// Length of what stands before a payload, in bytes.
pub const PREFIX: usize = 24;
/// Longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

const FILE_MAGIC: &[u8; 8] = b"UNSEENJ1";
const FRAME_MAGIC: &[u8; 4] = b"UJF1";
const KEY_CONTEXT: &str = "unseen 2026-11 v1 journal checksum";

/// Whose journal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The server: invites.
    Server,
    /// An account: log records and packs.
    Account(VaultId),
}

impl Owner {
    /// The file's name in the journal folder.
    pub fn file_name(self) -> String {
        match self {
            Self::Server => "server".to_owned(),
            Self::Account(id) => id.to_string(),
        }
    }
}

/// The start of a journal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose it is.
    pub owner: Owner,
    /// Makes the checksums of this file its own.
    pub salt: [u8; 16],
}

impl Header {
    /// The bytes.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let (kind, account) = match self.owner {
            Owner::Server => (0, [0; 16]),
            Owner::Account(id) => (1, *id.as_bytes()),
        };
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(FILE_MAGIC);
        out[8] = kind;
        out[16..32].copy_from_slice(&account);
        out[32..48].copy_from_slice(&self.salt);
        let checksum = blake3::hash(&out[..48]);
        out[48..].copy_from_slice(&checksum.as_bytes()[..16]);
        out
    }

    /// Reads a header; `None` unless it is one of ours, bit for bit.
    pub fn from_bytes(bytes: &[u8; HEADER]) -> Option<Self> {
        let account: [u8; 16] = bytes.get(16..32)?.try_into().ok()?;
        let salt: [u8; 16] = bytes.get(32..48)?.try_into().ok()?;
        let owner = match bytes.get(8)? {
            0 => Owner::Server,
            1 => Owner::Account(VaultId::from_bytes(account)),
            _ => return None,
        };
        let header = Self { owner, salt };
        (header.to_bytes() == *bytes).then_some(header)
    }

    /// The key of this file's checksums.
    pub fn key(self) -> Key {
        Key(blake3::derive_key(KEY_CONTEXT, &self.to_bytes()))
    }
}

/// Makes and checks the checksums of one file.
#[derive(Debug, Clone)]
pub struct Key([u8; 32]);

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Length of the payload, in bytes.
    pub length: usize,
    checksum: [u8; 16],
}

impl Prefix {
    /// Reads a prefix; `None` if it cannot be the start of a frame.
    pub fn parse(bytes: &[u8; PREFIX]) -> Option<Self> {
        let rest = bytes.strip_prefix(FRAME_MAGIC)?;
        let (length, checksum) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let checksum = checksum.try_into().ok()?;
        (length <= MAX_PAYLOAD).then_some(Self { length, checksum })
    }
}

impl Key {
    /// The frame that holds `items` at `offset`. `None` if they are too long for one frame.
    pub fn frame(&self, offset: u64, items: &[Vec<u8>]) -> Option<Vec<u8>> {
        let mut out = vec![0; PREFIX];
        for item in items {
            out.extend_from_slice(&u32::try_from(item.len()).ok()?.to_le_bytes());
            out.extend_from_slice(item);
        }
        let (prefix, payload) = out.split_at_mut(PREFIX);
        if payload.len() > MAX_PAYLOAD {
            return None;
        }
        let length = u32::try_from(payload.len()).ok()?.to_le_bytes();
        let checksum = self.checksum(offset, length, payload);
        prefix.copy_from_slice(&[&FRAME_MAGIC[..], &length, &checksum].concat());
        Some(out)
    }

    /// Whether `payload` is what was written behind `prefix` at `offset`.
    pub fn holds(&self, offset: u64, prefix: &Prefix, payload: &[u8]) -> bool {
        u32::try_from(payload.len()).is_ok_and(|length| {
            payload.len() == prefix.length
                && self.checksum(offset, length.to_le_bytes(), payload) == prefix.checksum
        })
    }

    fn checksum(&self, offset: u64, length: [u8; 4], payload: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&offset.to_le_bytes());
        hasher.update(&length);
        hasher.update(payload);
        let mut out = [0; 16];
        hasher.finalize_xof().fill(&mut out);
        out
    }
}

/// The items of a payload. `None` if it is not a sequence of items.
pub fn items(payload: &[u8]) -> Option<Vec<&[u8]>> {
    let mut items = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (item, after) = after.split_at_checked(length)?;
        items.push(item);
        rest = after;
    }
    Some(items)
}

/// Where a frame might begin in `bytes`, from `from` on.
pub fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(FRAME_MAGIC.len())
        .position(|window| window == FRAME_MAGIC)
        .and_then(|at| at.checked_add(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header { owner: Owner::Account(VaultId::from_bytes([7; 16])), salt: [9; 16] }
    }

    #[test]
    fn header_bytes_are_pinned() {
        let bytes = header().to_bytes();
        assert_eq!(&bytes[..9], b"UNSEENJ1\x01");
        assert_eq!(bytes[9..16], [0; 7]);
        assert_eq!(bytes[16..32], [7; 16]);
        assert_eq!(bytes[32..48], [9; 16]);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&bytes[48..]),
            "3fc94667a42da7b5f436c44b8a716bd6"
        );
        assert_eq!(Header::from_bytes(&bytes), Some(header()));
        for at in 0..HEADER {
            let mut bad = bytes;
            bad[at] ^= 0x40;
            assert_eq!(Header::from_bytes(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn frame_bytes_are_pinned() {
        let frame = header().key().frame(48, &[b"ab".to_vec(), vec![]]).unwrap();
        assert_eq!(&frame[..8], b"UJF1\x0a\0\0\0");
        assert_eq!(&frame[PREFIX..], b"\x02\0\0\0ab\0\0\0\0");
        assert_eq!(
            data_encoding::HEXLOWER.encode(&frame[8..PREFIX]),
            "3dfc3d2e5c98cb0734693cd09debd987"
        );
    }

    proptest! {
        #[test]
        fn round_trip_and_any_change_is_seen(
            list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
            offset in any::<u64>(), flip in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let key = header().key();
            let frame = key.frame(offset, &list).unwrap();
            let check = |bytes: &[u8], at: u64| {
                let (prefix, payload) = bytes.split_first_chunk::<PREFIX>().unwrap();
                Prefix::parse(prefix).is_some_and(|p| key.holds(at, &p, payload))
            };
            prop_assert!(check(&frame, offset));
            prop_assert!(!check(&frame, offset.wrapping_add(1)));
            prop_assert_eq!(items(&frame[PREFIX..]).unwrap(), list.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let mut bad = frame.clone();
            let at = flip.index(bad.len());
            bad[at] ^= 1 << bit;
            prop_assert!(!check(&bad, offset));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            drop(items(&bytes));
            prop_assert!(find_magic(&bytes, 3).is_none_or(|at| at >= 3));
        }
    }
}
