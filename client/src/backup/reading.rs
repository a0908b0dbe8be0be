//! Reads one file, or a piece of one, into chunks.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::BackupError;
use super::dedup::PackRef;
use super::few::Few;
use super::long_file::DataRun;
use super::packer::Packer;
use super::stop::Stop;
use super::upload::Flow;
use crate::chunk::Chunker;
use crate::scan::holes::{Span, extents};
use crate::scan::os::{Stat, read_at};
use crate::tree::entry::Extent;

/// What reading gave.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct ReadOut {
    /// The content, in order.
    pub extents: Few<Extent>,
    /// Where its chunks are; the same ref may come more than once.
    pub refs: Few<PackRef>,
}

/// Trouble with the source is told apart from trouble with the vault: the first costs one file,
/// the second the run.
#[derive(Debug)]
pub enum ReadError {
    /// The file cannot be read.
    Source(io::Error),
    /// The run cannot go on.
    Fatal(BackupError),
    /// The user wants to stop, the run has failed, or another piece of the file is lost: there is
    /// no point in reading on.
    Stopped,
}

impl From<BackupError> for ReadError {
    fn from(error: BackupError) -> Self {
        Self::Fatal(error)
    }
}

/// One thread's reader.
#[derive(Debug)]
pub struct Reader<'a> {
    chunker: &'a Chunker,
    stop: &'a Stop<'a>,
    flow: &'a Flow,
    window: Vec<u8>,
}

/// Bytes read at once from a long file: twice the longest chunk.
const WINDOW: usize = 4 * 1024 * 1024;

impl<'a> Reader<'a> {
    /// A reader that cuts with `chunker`.
    pub fn new(chunker: &'a Chunker, stop: &'a Stop<'a>, flow: &'a Flow) -> Self {
        Self { chunker, stop, flow, window: Vec::new() }
    }

    /// An error when there is no point in reading on.
    pub fn go_on(&self) -> Result<(), ReadError> {
        if self.stop.is_wanted() || self.flow.has_failed() {
            return Err(ReadError::Stopped);
        }
        Ok(())
    }

    /// Reads a part of a file, as far as the file goes, holes as holes. What is found out about
    /// where it has data is told to `run`, and taken from there.
    pub fn read(
        &mut self,
        (file, stat): (&File, &Stat),
        part: Range<u64>,
        run: &DataRun,
        packer: &mut Packer<'_>,
    ) -> Result<ReadOut, ReadError> {
        let mut out = ReadOut::default();
        let part = part.start..part.end.min(stat.size);
        if part.is_empty() {
            return Ok(out);
        }
        if !stat.may_have_holes() {
            self.data(file, (part.start, part.end), packer, &mut out)?;
            return Ok(out);
        }
        let until = run.until(part.start);
        let mut spans = extents(file, part.clone()).with_data_until(until);
        while let Some(span) = spans.next() {
            match span.map_err(ReadError::Source)? {
                Span::Hole { len, .. } => out.extents.push(Extent::Hole { length: len }),
                Span::Data { offset, len } => {
                    // Before it is read: others look at what follows meanwhile.
                    if spans.data_until() > part.end {
                        run.learn(offset..spans.data_until());
                    }
                    if self.data(file, (offset, offset + len), packer, &mut out)? < offset + len {
                        break;
                    }
                }
            }
        }
        Ok(out)
    }

    /// Reads a stream of unknown length to its end.
    pub fn stream(
        &mut self,
        source: &mut dyn io::Read,
        packer: &mut Packer<'_>,
    ) -> Result<ReadOut, ReadError> {
        let mut out = ReadOut::default();
        self.chunks(packer, &mut out, |buffer| source.read(buffer))?;
        Ok(out)
    }

    /// Reads a run of data and tells where it ended; earlier than asked if the file is shorter.
    fn data(
        &mut self,
        file: &File,
        (from, to): (u64, u64),
        packer: &mut Packer<'_>,
        out: &mut ReadOut,
    ) -> Result<u64, ReadError> {
        self.go_on()?;
        let length = to - from;
        if let Ok(length) = usize::try_from(length)
            && length <= self.chunker.params().min()
        {
            return small(file, (from, length), packer, out);
        }
        let mut at = from;
        self.chunks(packer, out, |buffer| {
            let left = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
            let read = read_at(file, buffer.get_mut(..left).unwrap_or_default(), at)?;
            at += read as u64;
            Ok(read)
        })?;
        Ok(at)
    }

    fn chunks(
        &mut self,
        packer: &mut Packer<'_>,
        out: &mut ReadOut,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<(), ReadError> {
        self.window.resize(WINDOW, 0);
        let (mut start, mut end, mut eof) = (0, 0, false);
        loop {
            self.go_on()?;
            if !eof && end - start < self.chunker.params().max() {
                self.window.copy_within(start..end, 0);
                (start, end) = (0, end - start);
                while !eof && end < WINDOW {
                    match read(self.window.get_mut(end..).unwrap_or_default()) {
                        Ok(0) => eof = true,
                        Ok(got) => end += got,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        // Whoever was stopped may say so in its own way.
                        Err(error) => {
                            return self.go_on().and(Err(ReadError::Source(error)));
                        }
                    }
                }
            }
            let data = self.window.get(start..end).unwrap_or_default();
            let Some(length) = self.chunker.cut(data, eof) else {
                return Ok(());
            };
            let (chunk, place) = packer.add(data.get(..length).unwrap_or_default())?;
            let length32 = u32::try_from(length).expect("a chunk has at most 4 MiB");
            out.extents.push(Extent::Data { chunk, length: length32 });
            out.refs.push(place);
            start += length;
        }
    }
}

/// A small file is one chunk, read straight into the open segment.
fn small(
    file: &File,
    (from, length): (u64, usize),
    packer: &mut Packer<'_>,
    out: &mut ReadOut,
) -> Result<u64, ReadError> {
    let mut got = 0;
    let added = packer.add_with(length, |room| {
        // The first read is the only one, unless the file has become shorter.
        while got < length {
            match read_at(file, room.get_mut(got..).unwrap_or_default(), from + got as u64) {
                Ok(0) => break,
                Ok(read) => got += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    })?;
    if let Some((chunk, place)) = added {
        let length = u32::try_from(got).expect("a small file is below 4 GiB");
        out.extents.push(Extent::Data { chunk, length });
        out.refs.push(place);
    }
    Ok(from + got as u64)
}
