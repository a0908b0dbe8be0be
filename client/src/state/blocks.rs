//! An append-only file of checksummed blocks. sled holds where they are, not what they hold: with
//! the records themselves in it, its memory grows to several times their size.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Length with its checksum, in bytes.
    pub length: u32,
}

impl Place {
    /// Length of the encoded form, in bytes.
    pub const LEN: usize = 12;

    /// The encoded form.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let (offset, length) = out.split_at_mut(8);
        offset.copy_from_slice(&self.offset.to_le_bytes());
        length.copy_from_slice(&self.length.to_le_bytes());
        out
    }

    /// Reads the encoded form.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (offset, length) = bytes.split_at(8);
        let offset = offset.first_chunk::<8>().expect("8 of 12 bytes");
        let length = length.first_chunk::<4>().expect("4 of 12 bytes");
        Self { offset: u64::from_le_bytes(*offset), length: u32::from_le_bytes(*length) }
    }
}

/// Bytes of a checksum.
pub(super) const CHECKSUM: usize = 8;
/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 * 1024;
/// Longest block that is read back.
const MAX_BLOCK: u32 = 64 * 1024 * 1024;

/// The file.
#[derive(Debug)]
pub struct BlockFile {
    path: PathBuf,
    file: File,
    tail: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    /// Where the buffer will be written.
    offset: u64,
    buffer: Vec<u8>,
}

impl BlockFile {
    /// Opens the file, or begins it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let offset = file.metadata()?.len();
        let tail = Mutex::new(Tail { offset, buffer: Vec::new() });
        Ok(Self { path: path.to_path_buf(), file, tail })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in the file, those still in memory included.
    pub fn len(&self) -> u64 {
        let tail = self.tail();
        tail.offset + tail.buffer.len() as u64
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a block. It can be read after [`Self::flush`].
    pub fn append(&self, bytes: &[u8]) -> io::Result<Place> {
        let mut tail = self.tail();
        let offset = tail.offset + tail.buffer.len() as u64;
        tail.buffer.extend_from_slice(&checksum(bytes));
        tail.buffer.extend_from_slice(bytes);
        if tail.buffer.len() >= BUFFER {
            self.write(&mut tail)?;
        }
        let length = u32::try_from(bytes.len() + CHECKSUM).map_err(io::Error::other)?;
        Ok(Place { offset, length })
    }

    /// Hands everything to the system. Not synced: a torn block is recognised when it is read.
    pub fn flush(&self) -> io::Result<()> {
        self.write(&mut self.tail())
    }

    /// Reads a block; `None` if it is not whole.
    pub fn read(&self, place: Place) -> Option<Vec<u8>> {
        if place.length > MAX_BLOCK {
            return None;
        }
        let mut bytes = vec![0; place.length as usize];
        self.file.read_exact_at(&mut bytes, place.offset).ok()?;
        let (sum, content) = bytes.split_first_chunk::<CHECKSUM>()?;
        if *sum != checksum(content) {
            return None;
        }
        bytes.drain(..CHECKSUM);
        Some(bytes)
    }

    fn write(&self, tail: &mut Tail) -> io::Result<()> {
        self.file.write_all_at(&tail.buffer, tail.offset)?;
        tail.offset += tail.buffer.len() as u64;
        tail.buffer.clear();
        Ok(())
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells torn bytes from whole ones.
pub(super) fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a hash has 32 bytes")
}
