//! Reads directories and file contents back, object by object, without recursion on input.

use unseen_common::codec::{Canonical, DecodeError};

use super::codec::MAX_DEPTH;
use super::entry::{Content, Entry, Extent, Name};
use super::object::Object;
use crate::crypto::content_id::ChunkId;

/// Most levels of inner objects in one directory.
const MAX_LEVELS: usize = 8;

/// Where tree objects come from. Every answer has been checked against its id.
pub trait ObjectSource {
    /// What loading can fail with.
    type Error: From<TreeError>;
    /// The bytes of an object.
    fn load(&mut self, id: &ChunkId) -> Result<Vec<u8>, Self::Error>;
}

/// A tree that breaks the rules of the format: only its author can have made it so.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The bytes are not a tree object.
    #[error("tree object cannot be read")]
    Decode(#[from] DecodeError),
    /// The object has another kind than its place asks for.
    #[error("tree object of the wrong kind: {0}")]
    WrongKind(&'static str),
    /// Names do not ascend across the parts of a directory.
    #[error("names of a directory are not sorted")]
    Unsorted,
    /// More levels than any writer makes.
    #[error("tree objects are nested too deeply")]
    TooDeep,
    /// Extents do not add up to the size of the file.
    #[error("the extents of a file do not add up to its size")]
    WrongSize,
}

/// Iterates the entries of one directory in order, holding one leaf at a time.
#[derive(Debug)]
pub struct DirReader {
    stack: Vec<std::vec::IntoIter<(Name, ChunkId)>>,
    leaf: std::vec::IntoIter<Entry>,
    next: Option<ChunkId>,
    /// Empty before the first one.
    last: Vec<u8>,
}

impl DirReader {
    /// Begins at the directory's id.
    pub fn new(tree: ChunkId) -> Self {
        Self { stack: Vec::new(), leaf: Vec::new().into_iter(), next: Some(tree), last: Vec::new() }
    }

    /// The next entry, or `None` at the end.
    pub fn next<S: ObjectSource>(&mut self, source: &mut S) -> Result<Option<Entry>, S::Error> {
        loop {
            if let Some(entry) = self.leaf.next() {
                let name = entry.name.as_bytes();
                if self.last.as_slice() >= name {
                    return Err(TreeError::Unsorted.into());
                }
                self.last.clear();
                self.last.extend_from_slice(name);
                return Ok(Some(entry));
            }
            let Some(id) = self.next_object() else {
                return Ok(None);
            };
            let bytes = source.load(&id)?;
            match Object::from_bytes(&bytes).map_err(TreeError::from)? {
                Object::Leaf(entries) => self.leaf = entries.into_iter(),
                Object::Inner(parts) if self.stack.len() < MAX_LEVELS => {
                    self.stack.push(parts.into_iter());
                }
                Object::Inner(_) => return Err(TreeError::TooDeep.into()),
                Object::Extents(_) | Object::Lists(_) => {
                    return Err(TreeError::WrongKind("a directory is expected").into());
                }
            }
        }
    }

    fn next_object(&mut self) -> Option<ChunkId> {
        if let Some(id) = self.next.take() {
            return Some(id);
        }
        while let Some(parts) = self.stack.last_mut() {
            if let Some((_, id)) = parts.next() {
                return Some(id);
            }
            self.stack.pop();
        }
        None
    }
}

/// Calls `each` for every extent of a file in order, and checks that they add up to `size`.
pub fn for_each_extent<S: ObjectSource>(
    content: &Content,
    size: u64,
    source: &mut S,
    mut each: impl FnMut(&Extent, &mut S) -> Result<(), S::Error>,
) -> Result<(), S::Error> {
    let mut sum: u64 = 0;
    let mut visit = |extents: &[Extent], source: &mut S| -> Result<(), S::Error> {
        for extent in extents {
            let length = match extent {
                Extent::Data { length, .. } => u64::from(*length),
                Extent::Hole { length } => *length,
            };
            sum = sum.checked_add(length).filter(|s| *s <= size).ok_or(TreeError::WrongSize)?;
            each(extent, source)?;
        }
        Ok(())
    };
    match content {
        Content::Inline(extents) => visit(extents, source)?,
        Content::List { depth, objects } => {
            if *depth > MAX_DEPTH {
                return Err(TreeError::TooDeep.into());
            }
            let mut todo: Vec<(u8, ChunkId)> =
                objects.iter().rev().map(|id| (*depth, *id)).collect();
            while let Some((depth, id)) = todo.pop() {
                let bytes = source.load(&id)?;
                match Object::from_bytes(&bytes).map_err(TreeError::from)? {
                    Object::Extents(extents) if depth == 1 => visit(&extents, source)?,
                    Object::Lists(ids) if depth > 1 => {
                        todo.extend(ids.iter().rev().map(|id| (depth - 1, *id)));
                    }
                    _ => return Err(TreeError::WrongKind("a content list is expected").into()),
                }
            }
        }
    }
    if sum == size { Ok(()) } else { Err(TreeError::WrongSize.into()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::tree::entry::{Kind, Meta};
    use crate::tree::writer::{ContentWriter, DirWriter, ObjectSink};

    #[derive(Default)]
    struct Store(HashMap<ChunkId, Vec<u8>>);

    impl ObjectSink for Store {
        type Error = TreeError;
        fn store(&mut self, bytes: Vec<u8>) -> Result<ChunkId, TreeError> {
            let id = ChunkId(*blake3::hash(&bytes).as_bytes());
            self.0.insert(id, bytes);
            Ok(id)
        }
    }

    impl ObjectSource for Store {
        type Error = TreeError;
        fn load(&mut self, id: &ChunkId) -> Result<Vec<u8>, TreeError> {
            Ok(self.0[id].clone())
        }
    }

    fn file(n: u64) -> Entry {
        let name = Name::new(format!("file-{n:08}").as_bytes()).unwrap();
        let kind = Kind::File { size: 0, content: Content::Inline(vec![]) };
        Entry { name, meta: Meta { uid: 7, ..Meta::default() }, kind }
    }

    fn write(store: &mut Store, numbers: impl Iterator<Item = u64>) -> ChunkId {
        let mut writer = DirWriter::new();
        for n in numbers {
            let entry = file(n);
            writer.push(&entry.name, &entry.to_bytes(), store).unwrap();
        }
        writer.finish(store).unwrap()
    }

    fn read(store: &mut Store, id: ChunkId) -> Vec<Entry> {
        let mut reader = DirReader::new(id);
        std::iter::from_fn(|| reader.next(store).unwrap()).collect()
    }

    #[test]
    fn directories_of_every_size_come_back() {
        for count in [0, 1, 2, 500, 700, 20_000, 300_000] {
            let mut store = Store::default();
            let id = write(&mut store, 0..count);
            assert_eq!(read(&mut store, id), (0..count).map(file).collect::<Vec<_>>(), "{count}");
        }
    }

    #[test]
    fn one_more_file_costs_few_objects() {
        let mut store = Store::default();
        write(&mut store, (0..200_000).map(|n| n * 2));
        let before = store.0.len();
        write(&mut store, (0..200_000).map(|n| n * 2).chain([400_001]));
        let at_end = store.0.len() - before;
        write(&mut store, (0..200_001).map(|n| if n == 0 { 0 } else { n * 2 - 1 }.max(n)).take(1));
        let mut numbers: Vec<u64> = (0..200_000).map(|n| n * 2).collect();
        numbers.insert(100_000, 199_999);
        let before = store.0.len();
        write(&mut store, numbers.into_iter());
        let in_middle = store.0.len() - before;
        assert!(at_end <= 4 && in_middle <= 6, "{at_end} {in_middle}");
    }

    #[test]
    fn long_contents_come_back() {
        for count in [0_u64, 1, 64, 65, 5_000, 400_000] {
            let mut store = Store::default();
            let mut writer = ContentWriter::default();
            let mut model = Vec::new();
            for n in 0..count {
                let extent = if n % 10 == 9 {
                    Extent::Hole { length: n }
                } else {
                    let chunk = ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes());
                    Extent::Data { chunk, length: 1 + u32::try_from(n % 100).unwrap() }
                };
                model.push(extent);
                writer.push(extent, &mut store).unwrap();
            }
            let size = crate::tree::codec::total_length(&model).unwrap();
            let (content, objects) = writer.finish(&mut store).unwrap();
            assert_eq!(objects.is_empty(), count <= 64);
            let mut seen = Vec::new();
            for_each_extent(&content, size, &mut store, |e, _| {
                seen.push(*e);
                Ok::<(), TreeError>(())
            })
            .unwrap();
            assert_eq!(seen, model);
            assert!(
                for_each_extent(&content, size + 1, &mut store, |_, _| Ok::<(), TreeError>(()))
                    .is_err()
            );
        }
    }
}
