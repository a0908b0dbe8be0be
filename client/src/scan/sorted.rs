//! The names of a directory in order, however many there are: what there is no room for in memory
//! lies in a file without a name, in sorted runs that are read side by side.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::listing::Names;
use super::os::FileType;
use crate::tree::entry::Name;

/// Bytes of memory for reading all runs, about.
const READ: usize = 1024 * 1024;
/// Bytes of memory for reading one run. The longest item has 257.
const READ_LEAST: usize = 4 * 1024;
const READ_MOST: usize = 64 * 1024;
/// Bytes that are written at once.
const WRITE: usize = 64 * 1024;

/// Where the names of a directory may be.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    /// Bytes of memory for them.
    pub memory: usize,
    /// The folder for the file with what does not go there: private, and on a disk.
    pub folder: &'a Path,
}

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The directory cannot be read.
    #[error("the folder cannot be listed")]
    Source(#[source] io::Error),
    /// Its names cannot be put where they are to be.
    #[error("the names in a folder cannot be kept")]
    Aside(#[source] io::Error),
}

/// The names in a directory, one after the other in order of their bytes.
#[derive(Debug, Default)]
pub struct Sorted {
    /// All of them; with runs, none but those that are no names.
    names: Names,
    at: usize,
    runs: Option<Box<Runs>>,
    held: usize,
}

impl Sorted {
    /// The next name and what the listing said it is: as [`Names::iter`].
    pub fn take_next(&mut self) -> io::Result<Option<(Name, FileType)>> {
        if let Some(runs) = &mut self.runs {
            return runs.next();
        }
        let next = self.names.get(self.at);
        self.at += usize::from(next.is_some());
        Ok(next)
    }

    /// Passes over all names up to this one, and it.
    pub fn skip_through(&mut self, last: &Name) -> io::Result<()> {
        match &mut self.runs {
            Some(runs) => {
                while runs.peek().is_some_and(|next| next <= last) {
                    runs.next()?;
                }
            }
            None => self.at = self.at.max(self.names.count_through(last.as_bytes())),
        }
        Ok(())
    }

    /// The names, if all of them are in memory.
    pub fn in_memory(&self) -> Option<&Names> {
        self.runs.is_none().then_some(&self.names)
    }

    /// As [`Names::unusable`].
    pub fn unusable(&self) -> &[Vec<u8>] {
        self.names.unusable()
    }

    /// Bytes of memory that it began with.
    pub const fn held(&self) -> usize {
        self.held
    }
}

/// Takes the names of a directory as the file system has them.
#[derive(Debug)]
pub(super) struct Gatherer<'a> {
    names: Names,
    room: Room<'a>,
    aside: Option<Aside>,
    failed: Option<io::Error>,
}

#[derive(Debug)]
struct Aside {
    file: BufWriter<File>,
    end: u64,
    /// Where each run ends; it begins where the one before does.
    ends: Vec<u64>,
}

impl<'a> Gatherer<'a> {
    pub(super) fn new(room: Room<'a>) -> Self {
        Self { names: Names::default(), room, aside: None, failed: None }
    }

    pub(super) fn push(&mut self, name: &[u8], kind: FileType) {
        self.names.push(name, kind);
        if self.names.held() > self.room.memory {
            // Whether it failed is told at the end; a directory is not read to fail half-way.
            let failed = self.put_aside().err();
            self.failed = self.failed.take().or(failed);
        }
    }

    pub(super) fn finish(mut self) -> io::Result<Sorted> {
        if self.aside.is_some() {
            self.put_aside()?;
        }
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let Self { mut names, aside, .. } = self;
        let runs = match aside {
            None => {
                names.sort();
                None
            }
            Some(aside) => {
                names.forget();
                Some(Box::new(Runs::open(aside)?))
            }
        };
        let held = runs.as_ref().map_or(names.held(), |runs| runs.held());
        Ok(Sorted { names, at: 0, runs, held })
    }

    /// Writes what is in memory as a run.
    fn put_aside(&mut self) -> io::Result<()> {
        self.names.sort();
        let aside = if let Some(aside) = &mut self.aside {
            aside
        } else {
            let file = tempfile::tempfile_in(self.room.folder)?;
            let file = BufWriter::with_capacity(WRITE, file);
            self.aside.insert(Aside { file, end: 0, ends: Vec::new() })
        };
        for (name, kind) in self.names.raw() {
            let length = u8::try_from(name.len()).expect("names have at most 255 bytes");
            aside.file.write_all(&[length, kind])?;
            aside.file.write_all(name)?;
            aside.end += 2 + u64::from(length);
        }
        aside.ends.push(aside.end);
        self.names.clear();
        Ok(())
    }
}

/// Sorted runs that are read side by side.
#[derive(Debug)]
struct Runs {
    file: File,
    all: Vec<Run>,
    /// The next name of each run that has one.
    heads: BinaryHeap<Reverse<Head>>,
    buffer: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    name: Name,
    run: usize,
    kind: u8,
}

/// What is left of a run: bytes that have been read from `used` on, and then this part of the file.
#[derive(Debug)]
struct Run {
    bytes: Vec<u8>,
    used: usize,
    at: u64,
    end: u64,
}

impl Runs {
    fn open(aside: Aside) -> io::Result<Self> {
        let Aside { file, ends, .. } = aside;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let buffer = (READ / ends.len().max(1)).clamp(READ_LEAST, READ_MOST);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let run = |(at, end)| Run { bytes: Vec::new(), used: 0, at, end };
        let all = starts.zip(ends.iter().copied()).map(run).collect();
        let mut runs = Self { file, all, heads: BinaryHeap::with_capacity(ends.len()), buffer };
        for run in 0..ends.len() {
            runs.load(run)?;
        }
        Ok(runs)
    }

    fn held(&self) -> usize {
        self.all.len() * (self.buffer + size_of::<Run>() + size_of::<Head>())
    }

    fn peek(&self) -> Option<&Name> {
        self.heads.peek().map(|Reverse(head)| &head.name)
    }

    fn next(&mut self) -> io::Result<Option<(Name, FileType)>> {
        let Some(Reverse(Head { name, run, kind })) = self.heads.pop() else {
            return Ok(None);
        };
        self.load(run)?;
        Ok(Some((name, FileType::of_code(kind))))
    }

    /// Brings the next name of a run to the others.
    fn load(&mut self, number: usize) -> io::Result<()> {
        let Some(run) = self.all.get_mut(number) else {
            return Ok(());
        };
        if let Some((name, kind)) = run.next(&self.file, self.buffer)? {
            self.heads.push(Reverse(Head { name, run: number, kind }));
        }
        Ok(())
    }
}

impl Run {
    fn next(&mut self, file: &File, buffer: usize) -> io::Result<Option<(Name, u8)>> {
        let mut found = self.item();
        if found.is_none() {
            self.read(file, buffer)?;
            if self.bytes.is_empty() {
                // It is at its end, and others may be far from theirs.
                self.bytes = Vec::new();
                return Ok(None);
            }
            found = self.item();
        }
        let (name, kind, used) = found.ok_or_else(damaged)?;
        self.used = used;
        Ok(Some((name, kind)))
    }

    /// The item at `used` and its end, if all of it is in memory.
    fn item(&self) -> Option<(Name, u8, usize)> {
        let (&[length, kind], rest) = self.bytes.get(self.used..)?.split_first_chunk()?;
        let name = Name::new(rest.get(..usize::from(length))?).ok()?;
        Some((name, kind, self.used + 2 + usize::from(length)))
    }

    fn read(&mut self, file: &File, buffer: usize) -> io::Result<()> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let have = self.bytes.len();
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let more = left.min(buffer.saturating_sub(have));
        self.bytes.reserve_exact(buffer.saturating_sub(have));
        self.bytes.resize(have + more, 0);
        file.read_exact_at(self.bytes.get_mut(have..).unwrap_or_default(), self.at)?;
        self.at += more as u64;
        Ok(())
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what was written a moment ago comes back damaged")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [FileType; 3] = [FileType::File, FileType::Directory, FileType::Unknown];

    fn gathered(names: &[Vec<u8>], memory: usize) -> (tempfile::TempDir, Sorted) {
        let folder = tempfile::tempdir().unwrap();
        let mut gatherer = Gatherer::new(Room { memory, folder: folder.path() });
        for (name, kind) in names.iter().zip(KINDS.iter().cycle()) {
            gatherer.push(name, *kind);
        }
        let sorted = gatherer.finish().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no file has a name");
        (folder, sorted)
    }

    fn all(mut sorted: Sorted) -> Vec<(Vec<u8>, FileType)> {
        let next =
            || sorted.take_next().unwrap().map(|(name, kind)| (name.as_bytes().to_vec(), kind));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn memory_is_bounded_however_many_there_are() {
        let names: Vec<Vec<u8>> = (0..40_000_u32)
            .map(|n| format!("{:08x}{}", n.wrapping_mul(2_654_435_761), "y".repeat(197)).into())
            .collect();
        let (_folder, mut sorted) = gathered(&names, 256 * 1024);
        assert!(sorted.in_memory().is_none());
        let runs = sorted.runs.as_ref().unwrap().all.len();
        assert!((32..=36).contains(&runs), "{runs} runs");
        assert!(sorted.held() < 2 * READ, "{} bytes", sorted.held());
        let mut count = 0;
        let mut last: Option<Name> = None;
        while let Some((name, _)) = sorted.take_next().unwrap() {
            assert!(last.is_none_or(|last| last < name));
            let buffered = |run: &Run| run.bytes.capacity();
            let all: usize = sorted.runs.as_ref().unwrap().all.iter().map(buffered).sum();
            assert!(all <= READ, "{all} bytes");
            last = Some(name);
            count += 1;
        }
        assert_eq!(count, 40_000);
    }

    #[test]
    fn without_a_place_for_the_file_it_fails() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none");
        let mut gatherer = Gatherer::new(Room { memory: 20, folder: &none });
        gatherer.push(b"one", FileType::File);
        assert!(gatherer.failed.is_none());
        gatherer.push(&[b'x'; 40], FileType::File);
        gatherer.push(b"two", FileType::File);
        assert_eq!(gatherer.finish().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_is_what_sorting_all_of_them_gives(
            names in prop::collection::btree_set(prop::collection::vec(1_u8.., 1..256), 0..120),
            (turn, memory, from) in (0_usize..120, 0_usize..20_000, 0_usize..120),
        ) {
            let mut names: Vec<Vec<u8>> = names.into_iter().collect();
            let turn = turn % names.len().max(1);
            names.rotate_left(turn);
            let mut wanted: Vec<_> = names.iter().cloned().zip(KINDS.into_iter().cycle())
                .filter(|(name, _)| Name::is_one(name)).collect();
            wanted.sort_by(|a, b| a.0.cmp(&b.0));
            let (_folder, sorted) = gathered(&names, memory);
            let bad: Vec<_> = names.iter().filter(|name| !Name::is_one(name)).cloned().collect();
            prop_assert_eq!(sorted.unusable(), &bad[..]);
            prop_assert_eq!(all(sorted), wanted.clone());

            let (_folder, mut sorted) = gathered(&names, memory);
            if let Some((last, _)) = wanted.get(from).cloned() {
                sorted.skip_through(&Name::new(&last).unwrap()).unwrap();
                wanted.drain(..=from);
            }
            prop_assert_eq!(all(sorted), wanted);
        }
    }
}
