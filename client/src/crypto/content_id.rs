//! Chunk ids and set tags: keyed hashes of plaintext. Chunk ids are never sent in clear.

use std::fmt;

use unseen_common::id::SetTag;

use super::secret::Secret;

/// The id of a chunk: `blake3::keyed_hash(key of its kind, plaintext)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({})", data_encoding::HEXLOWER.encode_display(&self.0))
    }
}

/// What a chunk holds. Each kind has its own id key, so that a file cannot pose as a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkKind {
    /// A piece of a file's content.
    Data,
    /// A tree object: a directory or a part of one.
    Tree,
}

impl ChunkKind {
    /// The byte that stands for the kind in every format.
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Tree => 1,
        }
    }

    /// The kind a byte stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Data),
            1 => Some(Self::Tree),
            _ => None,
        }
    }
}

/// The keys that turn content into names.
#[derive(Debug, PartialEq, Eq)]
pub struct ContentKeys {
    data: Secret<32>,
    tree: Secret<32>,
    set_tag: Secret<32>,
}

impl ContentKeys {
    pub(crate) fn new(data: &Secret<32>, tree: &Secret<32>, set_tag: &Secret<32>) -> Self {
        Self { data: data.duplicate(), tree: tree.duplicate(), set_tag: set_tag.duplicate() }
    }

    /// The id of `plaintext` as a chunk of this kind.
    pub fn chunk_id(&self, kind: ChunkKind, plaintext: &[u8]) -> ChunkId {
        let key = match kind {
            ChunkKind::Data => &self.data,
            ChunkKind::Tree => &self.tree,
        };
        ChunkId(*blake3::keyed_hash(key.expose(), plaintext).as_bytes())
    }

    /// What the server sees of a set's name: the first 16 bytes of a keyed hash.
    pub fn set_tag(&self, name: &str) -> SetTag {
        let hash = blake3::keyed_hash(self.set_tag.expose(), name.as_bytes());
        let (tag, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        SetTag::from_bytes(*tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> ContentKeys {
        let [data, tree, set_tag] = [1, 2, 3].map(|b| Secret::from_bytes([b; 32]));
        ContentKeys::new(&data, &tree, &set_tag)
    }

    #[test]
    fn kinds_have_separate_ids() {
        let id = keys().chunk_id(ChunkKind::Data, b"x");
        assert_eq!(id.0, *blake3::keyed_hash(&[1; 32], b"x").as_bytes());
        assert_ne!(id, keys().chunk_id(ChunkKind::Tree, b"x"));
    }

    #[test]
    fn codes_round_trip() {
        for kind in [ChunkKind::Data, ChunkKind::Tree] {
            assert_eq!(ChunkKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(ChunkKind::from_code(2), None);
    }

    #[test]
    fn set_tags_tell_names_apart() {
        assert_ne!(keys().set_tag("home"), keys().set_tag("etc"));
        assert_eq!(keys().set_tag("home"), keys().set_tag("home"));
    }
}
