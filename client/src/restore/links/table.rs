//! A map that moves to a file once it is big: what it holds grows with the number of files.
//!
//! Records lie one after the other: where the one before it in its chain begins, the key, the
//! length of the value, the value. Keys are spread over the chains by a hash that nobody who makes
//! trees can foresee.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// With a million records each chain has one, on average; takes 8 MiB once there is a record.
const CHAINS: usize = 1 << 20;
/// Before the value: the record before, the key, the length.
const HEAD: usize = 8 + 3 * 8 + 2;
/// The most bytes that a value may have.
pub(super) const VALUE: usize = 320;

/// What a value is found by.
pub(super) type Key = [u64; 3];

/// A value, and where it is.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) at: u64,
    pub(super) value: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Table {
    store: Store,
    /// Where the newest record of each chain begins, plus one; 0 if there is none.
    chains: Vec<u64>,
    hasher: RandomState,
}

impl Table {
    /// An empty one, that has up to `memory` bytes outside of a file in `folder`.
    pub(super) fn new(folder: PathBuf, memory: usize) -> Self {
        let bytes = Bytes::Memory(Vec::new());
        let store = Store { bytes, length: 0, folder, memory };
        Self { store, chains: Vec::new(), hasher: RandomState::new() }
    }

    pub(super) fn find(&self, key: Key) -> io::Result<Option<Found>> {
        let mut next = self.chains.get(self.chain(key)).copied().unwrap_or(0);
        let mut buffer = [0; HEAD + VALUE];
        while let Some(at) = next.checked_sub(1) {
            let read = self.store.read(at, &mut buffer)?;
            let record = buffer.get(..read).and_then(Record::of);
            let record = record.ok_or(io::ErrorKind::InvalidData)?;
            if record.key == key {
                let at = at.saturating_add(length_of(HEAD));
                return Ok(Some(Found { at, value: record.value.to_vec() }));
            }
            next = record.next;
        }
        Ok(None)
    }

    /// Adds what is not there yet.
    pub(super) fn add(&mut self, key: Key, value: &[u8]) -> io::Result<()> {
        let length = u16::try_from(value.len()).ok().filter(|_| value.len() <= VALUE);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        if self.chains.is_empty() {
            self.chains = vec![0; CHAINS];
        }
        let chain = self.chain(key);
        let first = self.chains.get_mut(chain).ok_or(io::ErrorKind::InvalidInput)?;
        let mut record = Vec::with_capacity(HEAD + value.len());
        record.extend_from_slice(&first.to_le_bytes());
        record.extend(key.iter().flat_map(|word| word.to_le_bytes()));
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(value);
        *first = self.store.append(&record)?.saturating_add(1);
        Ok(())
    }

    /// Writes over a part of a value that was [found](Self::find).
    pub(super) fn change(&mut self, found: &Found, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.store.write(found.at.saturating_add(length_of(offset)), bytes)
    }

    #[cfg(test)]
    pub(super) fn is_in_a_file(&self) -> bool {
        matches!(self.store.bytes, Bytes::File(_))
    }

    fn chain(&self, key: Key) -> usize {
        let chains = length_of(CHAINS);
        usize::try_from(self.hasher.hash_one(key) % chains).unwrap_or(0)
    }
}

struct Record<'a> {
    next: u64,
    key: Key,
    value: &'a [u8],
}

impl<'a> Record<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (words, rest) = bytes.split_first_chunk::<{ HEAD - 2 }>()?;
        let (words, _) = words.as_chunks::<8>();
        let [next, key @ ..] = *words.first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let value = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
        Some(Self { next: u64::from_le_bytes(next), key: key.map(u64::from_le_bytes), value })
    }
}

/// Bytes, in memory or in a file without a name.
#[derive(Debug)]
struct Store {
    bytes: Bytes,
    length: u64,
    folder: PathBuf,
    /// The most bytes in memory.
    memory: usize,
}

#[derive(Debug)]
enum Bytes {
    Memory(Vec<u8>),
    File(File),
}

impl Store {
    /// Answers where the bytes begin.
    fn append(&mut self, more: &[u8]) -> io::Result<u64> {
        if let Bytes::Memory(bytes) = &self.bytes
            && bytes.len().saturating_add(more.len()) > self.memory
        {
            match file_of(&self.folder, bytes) {
                Ok(file) => self.bytes = Bytes::File(file),
                // Without a file it needs more memory, and is as good.
                Err(_) => self.memory = usize::MAX,
            }
        }
        let at = self.length;
        match &mut self.bytes {
            Bytes::Memory(bytes) => bytes.extend_from_slice(more),
            Bytes::File(file) => file.write_all_at(more, at)?,
        }
        self.length = at.saturating_add(length_of(more.len()));
        Ok(at)
    }

    /// Reads as much as there is, up to the length of the buffer.
    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let there = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = there.min(buffer.len());
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        match &self.bytes {
            Bytes::Memory(bytes) => {
                let begin = usize::try_from(at).map_err(io::Error::other)?;
                let bytes = bytes.get(begin..).and_then(|bytes| bytes.get(..length));
                buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
            Bytes::File(file) => file.read_exact_at(buffer, at)?,
        }
        Ok(length)
    }

    fn write(&mut self, at: u64, new: &[u8]) -> io::Result<()> {
        match &mut self.bytes {
            Bytes::Memory(bytes) => {
                let begin = usize::try_from(at).map_err(io::Error::other)?;
                let old = bytes.get_mut(begin..).and_then(|bytes| bytes.get_mut(..new.len()));
                old.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(new);
                Ok(())
            }
            Bytes::File(file) => file.write_all_at(new, at),
        }
    }
}

fn file_of(folder: &std::path::Path, bytes: &[u8]) -> io::Result<File> {
    let file = tempfile::tempfile_in(folder)?;
    file.write_all_at(bytes, 0)?;
    Ok(file)
}

fn length_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(memory: usize, folder: PathBuf) -> Table {
        let mut table = Table::new(folder, memory);
        assert!(table.find([0, 0, 0]).unwrap().is_none());
        for n in 0..3000_u64 {
            let value = n.to_le_bytes().repeat(usize::try_from(n % 41).unwrap());
            table.add([n % 3, n, n / 7], &value).unwrap();
        }
        table
    }

    fn holds_all(mut table: Table) {
        for n in 0..3000_u64 {
            let found = table.find([n % 3, n, n / 7]).unwrap().unwrap();
            assert_eq!(found.value, n.to_le_bytes().repeat(usize::try_from(n % 41).unwrap()));
            assert!(table.find([3, n, n / 7]).unwrap().is_none());
            if n % 41 > 1 {
                table.change(&found, 8, &[0xa5; 8]).unwrap();
            }
        }
        for n in (0..3000_u64).filter(|n| n % 41 > 1) {
            let found = table.find([n % 3, n, n / 7]).unwrap().unwrap();
            assert_eq!(found.value.get(..8), Some(&n.to_le_bytes()[..]));
            assert_eq!(found.value.get(8..16), Some(&[0xa5; 8][..]));
            assert_eq!(found.value.len(), 8 * usize::try_from(n % 41).unwrap());
        }
    }

    #[test]
    fn it_is_the_same_in_memory_and_in_a_file_and_where_no_file_can_be() {
        let folder = tempfile::tempdir().unwrap();
        for (memory, in_a_file) in [(usize::MAX, false), (100_000, true), (0, true)] {
            let table = filled(memory, folder.path().to_path_buf());
            assert_eq!(table.is_in_a_file(), in_a_file);
            holds_all(table);
        }
        let table = filled(100_000, folder.path().join("missing"));
        assert!(!table.is_in_a_file());
        holds_all(table);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
    }

    #[test]
    fn chains_are_followed_to_their_end() {
        let mut table = Table::new(PathBuf::new(), usize::MAX);
        table.add([1, 2, 3], b"first").unwrap();
        let only = table.chains.iter().copied().max().unwrap();
        // Whatever is added now is in the chain of all.
        table.chains.fill(only);
        table.add([4, 5, 6], b"").unwrap();
        let newest = table.chains.iter().copied().max().unwrap();
        table.chains.fill(newest);
        assert_eq!(table.find([1, 2, 3]).unwrap().unwrap().value, b"first");
        assert_eq!(table.find([4, 5, 6]).unwrap().unwrap().value, b"");
        assert!(table.find([7, 8, 9]).unwrap().is_none());
    }

    #[test]
    fn values_that_are_too_long_are_refused() {
        let mut table = Table::new(PathBuf::new(), usize::MAX);
        assert!(table.add([0; 3], &[1; VALUE + 1]).is_err());
        table.add([0; 3], &[1; VALUE]).unwrap();
        assert_eq!(table.find([0; 3]).unwrap().unwrap().value, [1; VALUE]);
    }
}
