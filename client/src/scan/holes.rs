//! Where a sparse file has data and where it has none.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// A run of bytes of a file; offset and length in bytes, the length never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Bytes to be read.
    Data {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
    /// Nothing is allocated: reads as zeros.
    Hole {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
}

/// The spans of a part of an open file, in order and without gaps; one at a time, so a file of a
/// million holes costs no memory. The part ends at the file's end at the latest, in bytes.
///
/// Worth asking when [`may_have_holes`](super::os::Stat::may_have_holes). Moves the file's own
/// position, so read it by position. If the file shrinks or grows meanwhile the spans still add up
/// to the part; whether it changed is for the caller to see by `fstat` afterwards.
pub fn extents(fd: &impl AsFd, part: Range<u64>) -> Spans<'_> {
    let Range { start, end } = part;
    Spans { fd: fd.as_fd(), end, at: start, data_until: start, on_data: false, seeking: true }
}

/// See [`extents`].
#[derive(Debug)]
pub struct Spans<'a> {
    fd: BorrowedFd<'a>,
    end: u64,
    at: u64,
    /// A run of data is known to go from `at` to here, when greater than `at`. May lie beyond the
    /// end.
    data_until: u64,
    /// There is data at `at`, of which it is not known how far it goes.
    on_data: bool,
    /// Off once the file system has shown that it cannot tell: the rest is data then.
    seeking: bool,
}

impl Iterator for Spans<'_> {
    type Item = io::Result<Span>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        match self.step() {
            Ok(span) => Some(Ok(span)),
            Err(error) => {
                self.at = self.end;
                Some(Err(error.into()))
            }
        }
    }
}

impl Spans<'_> {
    /// The same, if the part is known to begin with data up to there: that is not asked again.
    #[must_use]
    pub fn with_data_until(mut self, until: u64) -> Self {
        self.data_until = self.data_until.max(until);
        self
    }

    /// Where the data ends that the last span is of. May lie beyond the part.
    pub fn data_until(&self) -> u64 {
        self.data_until
    }

    fn step(&mut self) -> Result<Span, Errno> {
        if self.data_until <= self.at {
            let data = if self.on_data { self.at } else { self.next_data()? };
            if data > self.at {
                let hole = Span::Hole { offset: self.at, len: data - self.at };
                (self.at, self.on_data) = (data, true);
                return Ok(hole);
            }
            (self.data_until, self.on_data) = (self.next_hole()?, false);
        }
        let until = self.data_until.min(self.end);
        let data = Span::Data { offset: self.at, len: until - self.at };
        self.at = until;
        Ok(data)
    }

    /// Where the next data is, at or after `at`; the end if there is none.
    fn next_data(&mut self) -> Result<u64, Errno> {
        if !self.seeking {
            return Ok(self.at);
        }
        match rustix::fs::seek(self.fd, SeekFrom::Data(self.at)) {
            Ok(found) if found >= self.at => Ok(found.min(self.end)),
            // No data from here to the end. A file that shrank says the same.
            Err(Errno::NXIO) => Ok(self.end),
            Ok(_) | Err(Errno::INVAL | Errno::NOTSUP | Errno::SPIPE) => {
                self.seeking = false;
                Ok(self.at)
            }
            Err(error) => Err(error),
        }
    }

    /// Where the data that begins at `at` ends: more than `at`.
    fn next_hole(&mut self) -> Result<u64, Errno> {
        if !self.seeking {
            return Ok(u64::MAX);
        }
        match rustix::fs::seek(self.fd, SeekFrom::Hole(self.at)) {
            Ok(found) if found > self.at => Ok(found),
            // A hole where there was data a moment ago: the file is changing, so read it all.
            Ok(_) | Err(Errno::NXIO | Errno::INVAL | Errno::NOTSUP) => {
                self.seeking = false;
                Ok(u64::MAX)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn sparse(size: u64, blocks: &[u64]) -> File {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(size).expect("its length");
        for &block in blocks {
            file.write_all_at(&[1; 4096], block * 4096).expect("its data");
        }
        file
    }

    fn spans(file: &File, size: u64) -> Vec<Span> {
        extents(file, 0..size).collect::<io::Result<_>>().expect("spans")
    }

    /// The end of the last span, having checked that there is neither gap nor overlap.
    fn end(spans: &[Span]) -> u64 {
        spans.iter().fold(0, |at, span| {
            let (Span::Data { offset, len } | Span::Hole { offset, len }) = *span;
            assert!(offset == at && len > 0, "{spans:?}");
            offset + len
        })
    }

    #[test]
    fn an_empty_file_has_no_spans() {
        assert_eq!(spans(&sparse(0, &[]), 0), []);
    }

    #[test]
    fn only_a_hole() {
        let hole = Span::Hole { offset: 0, len: 1 << 40 };
        assert_eq!(spans(&sparse(1 << 40, &[]), 1 << 40), [hole]);
    }

    #[test]
    fn data_hole_data() {
        let size = 40 * 4096;
        let got = spans(&sparse(size, &[0, 20, 21]), size);
        assert_eq!(
            got,
            [
                Span::Data { offset: 0, len: 4096 },
                Span::Hole { offset: 4096, len: 19 * 4096 },
                Span::Data { offset: 20 * 4096, len: 2 * 4096 },
                Span::Hole { offset: 22 * 4096, len: 18 * 4096 },
            ]
        );
    }

    /// Cut anywhere, the parts of a file have the spans of the whole, and each begins where it does.
    #[test]
    fn parts_add_up_to_the_whole() {
        let size = 40 * 4096;
        let file = sparse(size, &[0, 5, 6, 7, 20, 39]);
        let whole = spans(&file, size);
        for cut in (0..=size).step_by(1024) {
            let part = |range: Range<u64>| -> Vec<(bool, u64, u64)> {
                let flat = |span| match span {
                    Span::Data { offset, len } => (true, offset, offset + len),
                    Span::Hole { offset, len } => (false, offset, offset + len),
                };
                extents(&file, range).map(|span| flat(span.expect("reads"))).collect()
            };
            let (mut both, right) = (part(0..cut), part(cut..size));
            assert!(right.first().is_none_or(|first| first.1 == cut));
            for (data, from, to) in right {
                match both.last_mut() {
                    Some(last) if last.0 == data => last.2 = to,
                    _ => both.push((data, from, to)),
                }
            }
            assert_eq!(both, part(0..size), "cut at {cut}");
            assert_eq!(both.len(), whole.len());
        }
    }

    #[test]
    fn what_is_known_to_be_data_is_not_asked_again() {
        let size = 64 * 4096;
        let file = sparse(size, &(10..50).collect::<Vec<_>>());
        let mut walk = extents(&file, 0..20 * 4096);
        walk.by_ref().for_each(drop);
        let until = walk.data_until();
        assert_eq!(until, 50 * 4096, "it tells how far the data goes beyond the part");
        // A hole that is made now is not seen: nobody looks.
        file.set_len(0).expect("shrinks");
        file.set_len(size).expect("grows");
        let told = |range: Range<u64>| extents(&file, range).with_data_until(until);
        let data = Span::Data { offset: 20 * 4096, len: 20 * 4096 };
        assert_eq!(told(20 * 4096..40 * 4096).next().expect("one").expect("reads"), data);
        let rest: io::Result<Vec<_>> = told(40 * 4096..size).collect();
        assert_eq!(
            rest.expect("reads"),
            [
                Span::Data { offset: 40 * 4096, len: 10 * 4096 },
                Span::Hole { offset: 50 * 4096, len: 14 * 4096 },
            ]
        );
    }

    #[test]
    fn shrinking_and_growing_meanwhile_still_adds_up() {
        let size = 64 * 4096;
        let file = sparse(size, &[0, 10, 30, 50]);
        let mut walk = extents(&file, 0..size);
        let mut seen = vec![walk.next().expect("one").expect("reads")];
        file.set_len(12 * 4096).expect("shrinks");
        seen.extend(walk.by_ref().map(|span| span.expect("reads")));
        assert_eq!(end(&seen), size);
        file.set_len(size * 4).expect("grows");
        assert_eq!(end(&spans(&file, size)), size);
    }

    #[test]
    fn what_cannot_seek_is_data() {
        let (pipe, _other_end) = io::pipe().expect("a pipe");
        let got: io::Result<Vec<_>> = extents(&pipe, 0..10).collect();
        assert_eq!(got.expect("spans"), [Span::Data { offset: 0, len: 10 }]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn holes_hold_only_zeros(blocks in proptest::collection::vec(0_u64..64, 0..12),
                                 tail in 0_u64..4096) {
            let size = 64 * 4096 + tail;
            let file = sparse(size, &blocks);
            let got = spans(&file, size);
            prop_assert_eq!(end(&got), size);
            let mut buffer = vec![0; usize::try_from(size).expect("small")];
            for span in &got {
                if let Span::Data { offset, len } = *span {
                    let range = usize::try_from(offset).expect("small")
                        ..usize::try_from(offset + len).expect("small");
                    file.read_exact_at(&mut buffer[range], offset).expect("reads");
                }
            }
            let mut whole = vec![0; buffer.len()];
            file.read_exact_at(&mut whole, 0).expect("reads");
            prop_assert!(whole == buffer);
        }
    }
}
