//! Looks into the trees of a snapshot.

use super::chunks::Chunks;
use super::error::ReadError;
use crate::crypto::content_id::ChunkId;
use crate::tree::entry::{Entry, Kind, Name};
use crate::tree::reader::DirReader;

/// What a path within a snapshot leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The root: a directory without a name and without metadata.
    Root(ChunkId),
    /// An entry.
    Entry(Box<Entry>),
}

/// Why there is no such path.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The snapshot does not have it.
    #[error("the snapshot has no {}", shown(.path))]
    NotThere {
        /// As far as was looked.
        path: Vec<Name>,
    },
    /// Something on the way is no directory.
    #[error("{} is no directory", shown(.path))]
    NotADirectory {
        /// That.
        path: Vec<Name>,
    },
    /// The trees cannot be read.
    #[error("the trees of the snapshot cannot be read")]
    Read(#[from] ReadError),
}

/// Follows a path from the root tree. Symbolic links are not followed.
pub fn find_path(
    chunks: &mut Chunks<'_>,
    root: ChunkId,
    path: &[Name],
) -> Result<Found, FindError> {
    let mut tree = root;
    let mut found = Found::Root(root);
    for (depth, name) in path.iter().enumerate() {
        let so_far = |more: usize| path.iter().take(depth + more).cloned().collect();
        if let Found::Entry(entry) = &found {
            let Kind::Directory { tree: child } = entry.kind else {
                return Err(FindError::NotADirectory { path: so_far(0) });
            };
            tree = child;
        }
        let entry = find_name(chunks, tree, name)?
            .ok_or_else(|| FindError::NotThere { path: so_far(1) })?;
        found = Found::Entry(Box::new(entry));
    }
    Ok(found)
}

fn find_name(
    chunks: &mut Chunks<'_>,
    tree: ChunkId,
    name: &Name,
) -> Result<Option<Entry>, ReadError> {
    let mut reader = DirReader::new(tree);
    while let Some(entry) = reader.next(chunks)? {
        if entry.name >= *name {
            return Ok((entry.name == *name).then_some(entry));
        }
    }
    Ok(None)
}

/// The deepest tree that is walked. No file system has paths of more than 4096 bytes.
pub const MAX_DEPTH: usize = 4096;

/// Walks a directory: each entry before what is in it, in order of names.
#[derive(Debug)]
pub struct Lister {
    stack: Vec<(DirReader, usize)>,
    path: Vec<u8>,
    recursive: bool,
}

/// An entry and its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// From the directory where the walk began, components joined by `/`; not escaped.
    pub path: Vec<u8>,
    /// The entry.
    pub entry: Entry,
}

impl Lister {
    /// Begins at a directory.
    pub fn new(tree: ChunkId, recursive: bool) -> Self {
        Self { stack: vec![(DirReader::new(tree), 0)], path: Vec::new(), recursive }
    }

    /// The next entry. After an error about one directory the walk goes on behind it.
    pub fn next(&mut self, chunks: &mut Chunks<'_>) -> Result<Option<Line>, ReadError> {
        while let Some((reader, length)) = self.stack.last_mut() {
            self.path.truncate(*length);
            let next = reader.next(chunks);
            let entry = match next {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    self.stack.pop();
                    continue;
                }
                Err(error) => {
                    self.stack.pop();
                    return Err(error);
                }
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(entry.name.as_bytes());
            let path = self.path.clone();
            if let Kind::Directory { tree } = entry.kind
                && self.recursive
                && self.stack.len() < MAX_DEPTH
            {
                self.stack.push((DirReader::new(tree), path.len()));
            }
            return Ok(Some(Line { path, entry }));
        }
        Ok(None)
    }
}

fn shown(path: &[Name]) -> String {
    let joined = path.iter().fold(String::new(), |mut text, name| {
        text.push('/');
        text.push_str(&name.as_bytes().escape_ascii().to_string());
        text
    });
    if joined.is_empty() { "/".to_owned() } else { joined }
}
