//! A run: an immutable file of sorted records, and what of it is kept in RAM.
//!
//! ```text
//! header    4096 B: magic | version u32 | vault id | nonce 16 B | number u64 | records u64 |
//!           hash of the tail | zeros | BLAKE3 of all before
//! blocks    4096 B each: 113 records of 36 B | zeros | checksum 8 B
//! tail      the first 8 bytes of every block, as u64 | filter
//! ```
//! Numbers are little-endian. A checksum covers the block and its place: seventy kilobytes of RAM a
//! million records is all that a lookup needs besides the filter, and no answer is given from
//! bytes that were not verified. A wrong pack number would become a snapshot that lacks a pack.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::blocks::Blocks;
use super::error::{IndexError, Result};
use super::filter::Filter;
use super::record::{Origin, Record, word};
use crate::crypto::content_id::ChunkId;

pub(super) const BLOCK: usize = 4096;
pub(super) const CHECKED: usize = BLOCK - 8;
pub(super) const RECORDS_A_BLOCK: usize = CHECKED / Record::LEN;
/// The same as `BLOCK` and `RECORDS_A_BLOCK`, for file offsets.
const BLOCK_64: u64 = 4096;
const RECORDS_A_BLOCK_64: u64 = 113;
const HEADER_HASHED: usize = BLOCK - 32;
const MAGIC: &[u8; 8] = b"UNSEENIX";
const VERSION: u32 = 1;
const BLOCK_CONTEXT: &str = "unseen 2026-11 v1 index block";
/// No index comes near; keeps sums of lengths inside 64 bits.
pub(super) const MAX_RECORDS: u64 = 1 << 40;

/// What the manifest says of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunEntry {
    /// Names the file; never used twice.
    pub(super) number: u64,
    pub(super) records: u64,
    /// The last 32 bytes of the header.
    pub(super) header: [u8; 32],
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) entry: RunEntry,
    path: PathBuf,
    file: File,
    key: [u8; 32],
    /// First eight bytes of every block, in order.
    prefixes: Vec<u64>,
    filter: Filter,
}

impl Run {
    /// Opens the run that `entry` describes and verifies everything but the blocks.
    pub(super) fn open(path: PathBuf, entry: RunEntry, origin: Origin) -> Result<Self> {
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => IndexError::damaged(&path, "it is missing"),
            _ => IndexError::io("open", &path)(source),
        })?;
        let length = file.metadata().map_err(IndexError::io("look at", &path))?.len();
        if length != file_length(entry.records) {
            return Err(IndexError::damaged(&path, "its length is wrong"));
        }
        let mut header = [0; BLOCK];
        file.read_exact_at(&mut header, 0).map_err(IndexError::read(&path))?;
        let mut run = Self::bare(path, file, entry, origin);
        let tail = run.read_tail()?;
        if header == run.header(origin, &tail) && header.ends_with(&run.entry.header) {
            Ok(run)
        } else {
            Err(IndexError::damaged(&run.path, "its header or tail changed"))
        }
    }

    /// A run that was just written and lacks its tail and header.
    pub(super) fn bare(path: PathBuf, file: File, entry: RunEntry, origin: Origin) -> Self {
        let key = block_key(origin, entry.number);
        Self { entry, path, file, key, prefixes: Vec::new(), filter: Filter::default() }
    }

    /// Takes a tail made from the blocks.
    pub(super) fn set_tail(&mut self, prefixes: Vec<u64>, filter: Filter) {
        self.prefixes = prefixes;
        self.filter = filter;
    }

    /// The first pack with this chunk that `accept` agrees to. There are so many blocks in the runs
    /// `before` this one.
    pub(super) fn find(
        &self,
        id: &ChunkId,
        (kept, before): (&Blocks, u64),
        mut accept: impl FnMut(u32) -> bool,
    ) -> Result<Option<u32>> {
        if !self.filter.may_contain(id) {
            return Ok(None);
        }
        let prefix = word(id, 0);
        // Equal records may begin in the block before the first that starts as the id does.
        let first = self.prefixes.partition_point(|block| *block < prefix).saturating_sub(1);
        let places = u64::try_from(first).unwrap_or(u64::MAX)..;
        for (place, block) in places.zip(self.prefixes.get(first..).unwrap_or_default()) {
            if *block > prefix {
                break;
            }
            let mut slot = kept.slot(before.saturating_add(place));
            let records = slot.records(self, place)?;
            let start = records.partition_point(|record| record[..32] < id.0[..]);
            for record in records[start..].iter().map(Record::from_bytes) {
                if record.id != *id {
                    return Ok(None);
                }
                if accept(record.pack) {
                    return Ok(Some(record.pack));
                }
            }
        }
        Ok(None)
    }

    /// Reads and verifies the block at `place`.
    pub(super) fn read_block(&self, place: u64, buffer: &mut [u8; BLOCK]) -> Result<()> {
        self.file
            .read_exact_at(buffer, BLOCK_64 * (1 + place))
            .map_err(IndexError::read(&self.path))?;
        let mut found = [0; 8];
        found.copy_from_slice(&buffer[CHECKED..]);
        if found == checksum(&self.key, place, buffer) {
            Ok(())
        } else {
            Err(IndexError::damaged(&self.path, "a block fails its checksum"))
        }
    }

    /// The records of the block that was read from `place`.
    pub(super) fn records_of<'a>(
        &self,
        place: u64,
        block: &'a [u8; BLOCK],
    ) -> &'a [[u8; Record::LEN]] {
        let left = self.entry.records.saturating_sub(place * RECORDS_A_BLOCK_64);
        let records = usize::try_from(left).unwrap_or(usize::MAX).min(RECORDS_A_BLOCK);
        let (all, _) = block.as_chunks();
        &all[..records]
    }

    /// All records in order.
    pub(super) fn records(&self) -> Records<'_> {
        Records { run: self, place: 0, buffer: Box::new([0; BLOCK]), at: 0, filled: 0, last: None }
    }

    pub(super) fn blocks(&self) -> u64 {
        blocks(self.entry.records)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn tail_offset(&self) -> u64 {
        BLOCK_64 * (1 + blocks(self.entry.records))
    }

    /// Hands the tail as stored to `write`, piece by piece; the hash of it.
    pub(super) fn write_tail(
        &self,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut both = |piece: &[u8]| {
            hasher.update(piece);
            write(piece)
        };
        for prefix in &self.prefixes {
            both(&prefix.to_le_bytes())?;
        }
        for line in self.filter.pieces() {
            both(line)?;
        }
        Ok(hasher.finalize())
    }

    /// The header of this run with this tail.
    pub(super) fn header(&self, origin: Origin, tail: &blake3::Hash) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        let mut rest = header.as_mut_slice();
        for field in [
            MAGIC.as_slice(),
            &VERSION.to_le_bytes(),
            origin.vault.as_bytes(),
            &origin.nonce,
            &self.entry.number.to_le_bytes(),
            &self.entry.records.to_le_bytes(),
            tail.as_bytes(),
        ] {
            let (place, after) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = after;
        }
        let (hashed, place) = header.split_at_mut(HEADER_HASHED);
        place.copy_from_slice(blake3::hash(hashed).as_bytes());
        header
    }

    pub(super) fn ram_bytes(&self) -> usize {
        self.filter.ram_bytes() + self.prefixes.capacity() * size_of::<u64>()
    }

    /// Reads prefixes and filter; their hash. The length of the file was checked, so both fit.
    fn read_tail(&mut self) -> Result<blake3::Hash> {
        let too_large = || IndexError::damaged(&self.path, "it is too large for this machine");
        let count = usize::try_from(blocks(self.entry.records)).ok().ok_or_else(too_large)?;
        let mut filter = Filter::new(self.entry.records).ok_or_else(too_large)?;
        let mut prefixes = Vec::with_capacity(count);
        let mut hasher = blake3::Hasher::new();
        let mut offset = self.tail_offset();
        let mut read = |buffer: &mut [u8]| {
            self.file.read_exact_at(buffer, offset).map_err(IndexError::read(&self.path))?;
            offset += u64::try_from(buffer.len()).unwrap_or(u64::MAX);
            hasher.update(buffer);
            Ok::<(), IndexError>(())
        };
        let mut buffer = [0; BLOCK];
        while prefixes.len() < count {
            let bytes = ((count - prefixes.len()) * size_of::<u64>()).min(BLOCK);
            let some = &mut buffer[..bytes];
            read(some)?;
            prefixes.extend(some.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
        }
        let mut lines = filter.pieces_mut().peekable();
        while lines.peek().is_some() {
            let mut some: Vec<_> = lines.by_ref().take(BLOCK / 64).collect();
            let piece = &mut buffer[..some.len() * 64];
            read(piece)?;
            for (line, bytes) in some.iter_mut().zip(piece.as_chunks().0) {
                **line = *bytes;
            }
        }
        drop(lines);
        let hash = hasher.finalize();
        self.set_tail(prefixes, filter);
        Ok(hash)
    }
}

/// Walks through a run. Ends after the first error.
#[derive(Debug)]
pub(super) struct Records<'a> {
    run: &'a Run,
    place: u64,
    buffer: Box<[u8; BLOCK]>,
    at: usize,
    filled: usize,
    last: Option<Record>,
}

impl Iterator for Records<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        if self.at == self.filled {
            if self.place == blocks(self.run.entry.records) {
                return None;
            }
            self.at = 0;
            match self.run.read_block(self.place, &mut self.buffer) {
                Ok(()) => self.filled = self.run.records_of(self.place, &self.buffer).len(),
                Err(error) => return Some(Err(error)),
            }
            self.place += 1;
        }
        let record = self.buffer.as_chunks().0.get(self.at).map(Record::from_bytes);
        self.at += 1;
        if record <= self.last {
            return Some(Err(IndexError::damaged(&self.run.path, "its records are out of order")));
        }
        self.last = record;
        record.map(Ok)
    }
}

/// Binds a block to its index and its run.
pub(super) fn block_key(origin: Origin, number: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(BLOCK_CONTEXT);
    hasher.update(origin.vault.as_bytes()).update(&origin.nonce).update(&number.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// The checksum of a block; overwrites the place of the one it has.
pub(super) fn checksum(key: &[u8; 32], place: u64, block: &mut [u8; BLOCK]) -> [u8; 8] {
    block[CHECKED..].copy_from_slice(&place.to_le_bytes());
    let hash = blake3::keyed_hash(key, block);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

fn blocks(records: u64) -> u64 {
    records.div_ceil(RECORDS_A_BLOCK_64)
}

fn file_length(records: u64) -> u64 {
    let blocks = blocks(records.min(MAX_RECORDS));
    BLOCK_64 * (1 + blocks) + 8 * blocks + Filter::bytes_for(records.min(MAX_RECORDS))
}
