//! Files that are at the target already: whether they are what the snapshot has.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::apply::{Subject, apply};
use super::error::TargetError;
use super::handle::Handle;
use super::policy::{Note, Policy};
use super::root::TargetDir;
use crate::browse::chunks::Chunks;
use crate::browse::error::ReadError;
use crate::crypto::content_id::{ChunkKind, ContentKeys};
use crate::scan::os::{FileType, Stat, fstat};
use crate::tree::entry::{Content, Extent, Meta, Name};
use crate::tree::reader::{ObjectSource, TreeError, for_each_extent};

/// Bytes that are read at a time where zeros are expected.
const STEP: u64 = 256 * 1024;

impl TargetDir {
    /// Opens a file that is there for reading, if it is a regular file; and what it is.
    pub(super) fn open_existing_file(&self, name: &Name) -> Result<(File, Stat), TargetError> {
        // A pipe must not hold it up, and a terminal not become its own.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = flags | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.fd(), name.as_os_str(), flags, Mode::empty())
            .map_err(|error| TargetError::of("open", Some(name), error))?;
        let stat = fstat(&fd).map_err(|error| TargetError::io("look at", Some(name), &error))?;
        if stat.file_type == FileType::File {
            Ok((fd.into(), stat))
        } else {
            Err(TargetError::Raced { name: name.clone() })
        }
    }
}

/// Sets the metadata of a file that is there and stays, and removes attributes and ACLs that are
/// not recorded.
pub(super) fn refresh(
    (file, name): (&File, &Name),
    meta: &Meta,
    policy: &Policy,
) -> Result<Vec<Note>, TargetError> {
    let handle = Handle::Open(file.as_fd());
    let now = handle.now();
    let subject = Subject { handle, is_link: false, inherits_acl: false, now, owner: None };
    apply(subject, meta, policy).map_err(|refused| refused.of(Some(name)))
}

/// Whether a file holds exactly the content of an entry. That it cannot be read is a no.
pub(super) fn same_content(
    (file, stat): (&File, &Stat),
    (content, size): (&Content, u64),
    chunks: &mut Chunks<'_>,
    ids: &ContentKeys,
) -> Result<bool, ReadError> {
    if stat.size != size {
        return Ok(false);
    }
    let mut at: u64 = 0;
    let mut buffer = Vec::new();
    let mut source = Stopping(chunks);
    let compared = for_each_extent(content, size, &mut source, |extent, _| {
        let (same, length) = match extent {
            Extent::Data { chunk, length } => {
                buffer.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0);
                let read = file.read_exact_at(&mut buffer, at).is_ok();
                let same = read && ids.chunk_id(ChunkKind::Data, &buffer) == *chunk;
                (same, u64::from(*length))
            }
            Extent::Hole { length } => (zeros(file, at, *length).unwrap_or(false), *length),
        };
        at = at.saturating_add(length);
        if same { Ok(()) } else { Err(Stop::Differs) }
    });
    match compared {
        Ok(()) => Ok(true),
        Err(Stop::Differs) => Ok(false),
        Err(Stop::Read(error)) => Err(error),
    }
}

/// Why a comparison ends early.
enum Stop {
    Differs,
    Read(ReadError),
}

impl From<TreeError> for Stop {
    fn from(error: TreeError) -> Self {
        Self::Read(error.into())
    }
}

struct Stopping<'s, 'a>(&'s mut Chunks<'a>);

impl ObjectSource for Stopping<'_, '_> {
    type Error = Stop;

    fn load(&mut self, id: &crate::crypto::content_id::ChunkId) -> Result<Vec<u8>, Stop> {
        ObjectSource::load(self.0, id).map_err(Stop::Read)
    }
}

/// Whether a part of a file reads as zeros. What is not allocated is not read.
fn zeros(file: &File, offset: u64, length: u64) -> io::Result<bool> {
    let (mut at, end) = (offset, offset.saturating_add(length));
    let mut buffer = Vec::new();
    while at < end {
        match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => at = at.max(data),
            Err(Errno::NXIO) => return Ok(true),
            // The file system does not tell: then it is read.
            Err(_) => {}
        }
        let step = end.saturating_sub(at).min(STEP);
        if step == 0 {
            return Ok(true);
        }
        buffer.resize(usize::try_from(step).unwrap_or(0), 0);
        file.read_exact_at(&mut buffer, at)?;
        if buffer.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += step;
    }
    Ok(true)
}
