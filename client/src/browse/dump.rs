//! The content of one file, from beginning to end.

use std::io::{self, Write};

use super::chunks::Chunks;
use super::error::ReadError;
use crate::crypto::content_id::ChunkKind;
use crate::tree::entry::{Content, Extent};
use crate::tree::reader::{TreeError, for_each_extent};

/// Why a file was not written out.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It cannot be read. What was written so far is right, as far as it goes.
    #[error("the file cannot be read")]
    Read(#[from] ReadError),
    /// The other end does not take it.
    #[error("cannot write")]
    Write(#[source] io::Error),
}

impl From<TreeError> for DumpError {
    fn from(error: TreeError) -> Self {
        Self::Read(error.into())
    }
}

/// Writes the content of a file, holes as zeros.
pub fn dump(
    chunks: &mut Chunks<'_>,
    (content, size): (&Content, u64),
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    let mut source = Failing(chunks);
    for_each_extent(content, size, &mut source, |extent, source| match extent {
        Extent::Data { chunk, length } => {
            let bytes = source.0.load(ChunkKind::Data, chunk, &[])?;
            if u32::try_from(bytes.len()) != Ok(*length) {
                return Err(TreeError::WrongSize.into());
            }
            out.write_all(&bytes).map_err(DumpError::Write)
        }
        Extent::Hole { length } => zeros(out, *length).map_err(DumpError::Write),
    })
}

/// Loads trees, with an error type that has room for the writer's.
struct Failing<'s, 'a>(&'s mut Chunks<'a>);

impl crate::tree::reader::ObjectSource for Failing<'_, '_> {
    type Error = DumpError;

    fn load(&mut self, id: &crate::crypto::content_id::ChunkId) -> Result<Vec<u8>, DumpError> {
        Ok(self.0.load(ChunkKind::Tree, id, &[])?)
    }
}

fn zeros(out: &mut dyn Write, length: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), length), out).map(drop)
}
