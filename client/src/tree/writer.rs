//! Writes a directory, or a long list of extents, as objects split by content.
//!
//! One added file in a directory of a million changes one leaf and the path to it, because cuts
//! depend on the names around them and not on positions.

use unseen_common::codec::{Canonical, Enc, EncodeResult};

use super::entry::{Content, Extent, Name};
use super::object::{Object, inner_bytes, leaf_bytes};
use crate::crypto::content_id::ChunkId;

/// Below this, in bytes, a leaf is never cut.
const MIN_LEAF: usize = 32 * 1024;
/// Memory that a leaf begins with, in bytes: enough for some forty entries.
const ROOM: usize = 8 * 1024;
/// Above this, in bytes, a leaf is always cut.
const MAX_LEAF: usize = 256 * 1024;
/// One name in so many ends a leaf.
const LEAF_MASK: u64 = 0xff;
/// Extents that stay in the entry itself.
pub const MAX_INLINE: usize = 64;
const MIN_LIST: usize = 256;
const MAX_LIST: usize = 4096;
const LIST_MASK: u8 = 0xff;

/// Takes the bytes of a finished object and tells its id.
pub trait ObjectSink {
    /// What storing can fail with.
    type Error;
    /// Stores one object.
    fn store(&mut self, bytes: Vec<u8>) -> Result<ChunkId, Self::Error>;
}

/// Writes one directory. Entries come ascending by name.
#[derive(Debug, Default, Clone)]
pub struct DirWriter {
    levels: Vec<Level>,
}

#[derive(Debug, Default, Clone)]
struct Level {
    encoded: Vec<u8>,
    count: usize,
    first: Option<Name>,
    closed: usize,
}

impl DirWriter {
    /// An empty directory.
    pub fn new() -> Self {
        Self { levels: vec![Level::default()] }
    }

    /// Adds an entry, by its name and its canonical bytes.
    pub fn push<S: ObjectSink>(
        &mut self,
        name: &Name,
        encoded: &[u8],
        sink: &mut S,
    ) -> Result<(), S::Error> {
        self.push_at(0, name, encoded, sink)
    }

    /// The id of the whole directory.
    pub fn finish<S: ObjectSink>(mut self, sink: &mut S) -> Result<ChunkId, S::Error> {
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            let current = &mut self.levels[level];
            if top && current.closed == 0 && level > 0 && current.count == 1 {
                // A single child needs no parent; its id is the last 32 bytes of its item.
                let id = current.encoded.last_chunk::<32>().expect("an item ends with its id");
                return Ok(ChunkId(*id));
            }
            if top && current.closed == 0 {
                return sink.store(bytes_of(level, current));
            }
            if current.count > 0 {
                self.close(level, sink)?;
            }
            level += 1;
        }
    }

    fn push_at<S: ObjectSink>(
        &mut self,
        level: usize,
        name: &Name,
        encoded: &[u8],
        sink: &mut S,
    ) -> Result<(), S::Error> {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        let current = &mut self.levels[level];
        if current.first.is_none() {
            current.first = Some(name.clone());
        }
        if current.encoded.capacity() == 0 {
            current.encoded.reserve(ROOM);
        }
        current.encoded.extend_from_slice(encoded);
        current.count += 1;
        let size = current.encoded.len();
        if size >= MIN_LEAF && (size >= MAX_LEAF || ends_leaf(name)) {
            self.close(level, sink)?;
        }
        Ok(())
    }

    fn close<S: ObjectSink>(&mut self, level: usize, sink: &mut S) -> Result<(), S::Error> {
        let current = &mut self.levels[level];
        let id = sink.store(bytes_of(level, current))?;
        let first = current.first.take().expect("a level that is closed has an item");
        current.encoded.clear();
        current.count = 0;
        current.closed += 1;
        let mut item = Vec::with_capacity(48);
        encode_part(&first, &id, &mut item).expect("writing to memory cannot fail");
        self.push_at(level + 1, &first, &item, sink)
    }
}

fn bytes_of(level: usize, current: &Level) -> Vec<u8> {
    if level == 0 {
        leaf_bytes(current.count, &current.encoded)
    } else {
        inner_bytes(current.count, &current.encoded)
    }
}

fn encode_part(first: &Name, id: &ChunkId, out: &mut Vec<u8>) -> EncodeResult {
    Enc::new(out).array(2)?.bytes(first.as_bytes())?.bytes(&id.0)?;
    Ok(())
}

fn ends_leaf(name: &Name) -> bool {
    let hash = blake3::hash(name.as_bytes());
    let first = hash.as_bytes().first_chunk::<8>().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first) & LEAF_MASK == 0
}

/// Collects the extents of a file: a few stay inline, many become list objects.
#[derive(Debug, Default)]
pub struct ContentWriter {
    open: Vec<Extent>,
    lists: Vec<ChunkId>,
    objects: Vec<ChunkId>,
}

impl ContentWriter {
    /// Adds the next extent; adjoining holes become one.
    pub fn push<S: ObjectSink>(&mut self, extent: Extent, sink: &mut S) -> Result<(), S::Error> {
        if let (Some(Extent::Hole { length }), Extent::Hole { length: more }) =
            (self.open.last_mut(), extent)
        {
            *length = length.saturating_add(more);
            return Ok(());
        }
        self.open.push(extent);
        let ends = matches!(extent, Extent::Data { chunk, .. } if chunk.0[0] & LIST_MASK == 0);
        if self.open.len() >= MAX_LIST || (self.open.len() >= MIN_LIST && ends) {
            self.close(sink)?;
        }
        Ok(())
    }

    /// The content, and the list objects that it needs.
    pub fn finish<S: ObjectSink>(
        mut self,
        sink: &mut S,
    ) -> Result<(Content, Vec<ChunkId>), S::Error> {
        if self.lists.is_empty() && self.open.len() <= MAX_INLINE {
            return Ok((Content::Inline(self.open), Vec::new()));
        }
        if !self.open.is_empty() {
            self.close(sink)?;
        }
        let mut depth = 1;
        while self.lists.len() > MAX_INLINE {
            let mut above = Vec::new();
            for part in self.lists.chunks(MAX_LIST) {
                let id = sink.store(Object::Lists(part.to_vec()).to_bytes())?;
                self.objects.push(id);
                above.push(id);
            }
            self.lists = above;
            depth += 1;
        }
        Ok((Content::List { depth, objects: self.lists }, self.objects))
    }

    fn close<S: ObjectSink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let extents = std::mem::take(&mut self.open);
        let id = sink.store(Object::Extents(extents).to_bytes())?;
        self.objects.push(id);
        self.lists.push(id);
        Ok(())
    }
}
