//! A queue of byte strings that takes a constant amount of memory, however many wait: what is
//! neither near its head nor near its tail lies in files without a name.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::blocks::{CHECKSUM, checksum};
use super::db::StateError;

/// Bytes that come together before they are written, and that are read at once. One item may be
/// longer.
pub const RUN: usize = 256 * 1024;
const LENGTH: usize = 4;

/// The queue.
///
/// Items go from the tail to one file, and to the head from the other; when that one is empty, the
/// two change places. So the files are begun anew again and again, and take at most twice the
/// room of what waits.
#[derive(Debug)]
pub struct Queue {
    /// Where files are made.
    folder: PathBuf,
    /// Read from here on.
    head: Vec<u8>,
    at: usize,
    older: Spill,
    newer: Spill,
    tail: Vec<u8>,
    count: u64,
}

impl Queue {
    /// An empty queue, with its files, if it ever needs them, in this folder.
    pub const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            head: Vec::new(),
            at: 0,
            older: Spill::new(),
            newer: Spill::new(),
            tail: Vec::new(),
            count: 0,
        }
    }

    /// Items that wait.
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of memory: at most three times [`RUN`] and three times the longest item, and 32 bytes
    /// for each run in the files.
    pub fn held(&self) -> usize {
        self.head.capacity() + self.tail.capacity() + self.older.held() + self.newer.held()
    }

    /// Adds an item at the end.
    pub fn push(&mut self, item: &[u8]) -> Result<(), StateError> {
        let whole = LENGTH + item.len();
        if !self.tail.is_empty() && self.tail.len() + whole > RUN {
            let appended = self.newer.append(&self.folder, &self.tail);
            appended.map_err(|source| self.trouble(source))?;
            self.tail.clear();
        }
        let length = u32::try_from(item.len()).expect("an item is far below 4 GiB");
        self.tail.reserve_exact(whole.max(RUN.saturating_sub(self.tail.len())));
        self.tail.extend_from_slice(&length.to_le_bytes());
        self.tail.extend_from_slice(item);
        self.count += 1;
        Ok(())
    }

    /// Takes the first item.
    pub fn pop(&mut self) -> Result<Option<&[u8]>, StateError> {
        if self.count == 0 {
            return Ok(None);
        }
        if self.at == self.head.len() {
            self.read_on().map_err(|source| self.trouble(source))?;
        }
        let Some(item) = item_at(&self.head, self.at) else {
            return Err(self.trouble(damaged()));
        };
        self.at = item.end;
        self.count -= 1;
        Ok(self.head.get(item))
    }

    fn trouble(&self, source: io::Error) -> StateError {
        StateError::Io { folder: self.folder.clone(), source }
    }

    /// Brings what is next to the head, which is used up.
    fn read_on(&mut self) -> io::Result<()> {
        self.at = 0;
        self.head.clear();
        if self.older.runs.is_empty() {
            self.older.begin_anew();
            std::mem::swap(&mut self.older, &mut self.newer);
        }
        if !self.older.next(&mut self.head)? {
            std::mem::swap(&mut self.head, &mut self.tail);
        }
        Ok(())
    }
}

/// A file of runs, written and read in one order.
#[derive(Debug)]
struct Spill {
    file: Option<File>,
    end: u64,
    runs: VecDeque<Run>,
}

#[derive(Debug)]
struct Run {
    offset: u64,
    length: usize,
    checksum: [u8; CHECKSUM],
}

impl Spill {
    const fn new() -> Self {
        Self { file: None, end: 0, runs: VecDeque::new() }
    }

    fn held(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }

    fn append(&mut self, folder: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile_in(folder)?),
        };
        file.write_all_at(bytes, self.end)?;
        let (offset, length) = (self.end, bytes.len());
        self.runs.push_back(Run { offset, length, checksum: checksum(bytes) });
        self.end += length as u64;
        Ok(())
    }

    /// Reads the next run; false if there is none.
    fn next(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let (Some(file), Some(run)) = (&self.file, self.runs.pop_front()) else {
            return Ok(false);
        };
        into.reserve_exact(run.length);
        into.resize(run.length, 0);
        file.read_exact_at(into, run.offset)?;
        if checksum(into) != run.checksum {
            return Err(damaged());
        }
        Ok(true)
    }

    /// Everything in it has been read.
    fn begin_anew(&mut self) {
        self.end = 0;
    }
}

/// Where the item is that begins here with its length.
fn item_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let length = u32::from_le_bytes(*bytes.get(at..)?.first_chunk::<LENGTH>()?);
    let start = at + LENGTH;
    let end = start.checked_add(length as usize)?;
    (end <= bytes.len()).then_some(start..end)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what was written a moment ago comes back damaged")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(number: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![number.to_le_bytes()[0]; length.max(8)];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    #[test]
    fn memory_and_files_are_bounded_however_many_wait() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::new(dir.path().to_path_buf());
        let (mut pushed, mut popped, mut most) = (0, 0, 0);
        // Thirty thousand wait while ten times as many pass through.
        while popped < 300_000 {
            if pushed < 300_000 {
                queue.push(&item(pushed, 200)).unwrap();
                pushed += 1;
            }
            if pushed > 30_000 {
                assert_eq!(queue.pop().unwrap(), Some(&item(popped, 200)[..]));
                popped += 1;
            }
            most = most.max(queue.held());
        }
        assert_eq!((queue.len(), queue.pop().unwrap()), (0, None));
        assert!(most <= 3 * RUN, "{most} bytes in memory");
        for spill in [&queue.older, &queue.newer] {
            let length = spill.file.as_ref().unwrap().metadata().unwrap().len();
            assert!(length <= 30_000 * 204 + 2 * RUN as u64, "{length} bytes in a file");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file has a name");
    }

    #[test]
    fn few_need_no_file_and_long_ones_pass() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::new(dir.path().to_path_buf());
        for number in 0..100 {
            queue.push(&item(number, 1000)).unwrap();
        }
        assert!(queue.newer.file.is_none() && !queue.is_empty());
        queue.push(&item(100, 3 * RUN)).unwrap();
        queue.push(&item(101, 8)).unwrap();
        for number in 0..102 {
            let length = if number == 100 {
                3 * RUN
            } else if number == 101 {
                8
            } else {
                1000
            };
            assert_eq!(queue.pop().unwrap(), Some(&item(number, length)[..]));
        }
        assert_eq!(queue.pop().unwrap(), None);
    }

    #[test]
    fn what_comes_back_damaged_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::new(dir.path().to_path_buf());
        for number in 0..10_000 {
            queue.push(&item(number, 200)).unwrap();
        }
        queue.newer.file.as_ref().unwrap().write_all_at(&[0xee], 1000).unwrap();
        let told = queue.pop();
        assert!(
            matches!(&told, Err(StateError::Io { source, .. })
                if source.kind() == io::ErrorKind::InvalidData),
            "{told:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn order_is_kept(steps in prop::collection::vec((0_usize..120, 0_usize..120, 8_usize..9000), 1..40)) {
            let dir = tempfile::tempdir().unwrap();
            let mut queue = Queue::new(dir.path().to_path_buf());
            let mut model = VecDeque::new();
            let mut number = 0;
            for (pushes, pops, length) in steps {
                for _ in 0..pushes {
                    queue.push(&item(number, length)).unwrap();
                    model.push_back(item(number, length));
                    number += 1;
                }
                for _ in 0..pops {
                    prop_assert_eq!(queue.pop().unwrap().map(<[u8]>::to_vec), model.pop_front());
                }
                prop_assert_eq!(queue.len(), model.len() as u64);
            }
        }
    }
}
