//! The journal: append-only, checksummed, one fsync for all appends that wait.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::frame::{self, HEADER, Header, Key, MAX_PAYLOAD, Owner, PREFIX, Prefix};
use super::journal_files::{JournalFile, Journals};
use super::{lock, random};

/// What can go wrong with a journal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written. Nothing was appended.
    #[error("journal {name}: {kind}")]
    Io {
        /// The file.
        name: String,
        /// What the operating system said.
        kind: io::ErrorKind,
    },
    /// What was written may or may not be durable: nothing is appended any more.
    #[error("journal {name} could not be made durable; the program must be restarted")]
    Fatal {
        /// The file.
        name: String,
    },
    /// Whole frames follow a bad one, so this is no torn end.
    #[error("journal {name} is damaged at byte {offset}")]
    Damaged {
        /// The file.
        name: String,
        /// Where the bad frame begins.
        offset: u64,
    },
    /// Longer than a frame may be.
    #[error("journal {name}: the records are too long for one frame")]
    TooLong {
        /// The file.
        name: String,
    },
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Offset of its frame.
    pub frame: u64,
    /// Its place in the frame.
    pub item: u32,
}

/// One journal. All calls block.
#[derive(Debug)]
pub struct Journal {
    name: String,
    salt: [u8; 16],
    key: Key,
    file: Arc<dyn JournalFile>,
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// A ticket and the records that it stands for.
type Waiting = (u64, Vec<Vec<u8>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    next_ticket: u64,
    writing: bool,
    failed: bool,
    /// Where the next frame goes.
    end: u64,
    done: HashMap<u64, Result<Position, JournalError>>,
}

/// Appends that share one fsync hold at most so many bytes together.
const GROUP_BYTES: usize = MAX_PAYLOAD / 2;

impl Journal {
    /// Makes a journal that begins with `items`, durably and all at once.
    pub fn create(
        journals: &dyn Journals,
        owner: Owner,
        items: &[Vec<u8>],
    ) -> Result<(), JournalError> {
        let name = owner.file_name();
        let header = Header { owner, salt: random() };
        let mut content = header.to_bytes().to_vec();
        let (key, mut rest) = (header.key(), items);
        while !rest.is_empty() {
            let (group, after) = rest.split_at(fitting(rest.iter().map(Vec::len)).max(1));
            let frame = key.frame(offset_of(content.len()), group);
            content.extend(frame.ok_or_else(|| JournalError::TooLong { name: name.clone() })?);
            rest = after;
        }
        journals.create(&name, &content).map_err(|error| io_error(&name, &error))
    }

    /// Opens a journal and shows every record of it, oldest first. A torn end is cut off.
    /// `None` if there is no such journal.
    pub fn open<E: From<JournalError>>(
        journals: &dyn Journals,
        owner: Owner,
        mut visit: impl FnMut(Position, &[u8]) -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        let name = owner.file_name();
        let file = match journals.open(&name) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) => return Err(io_error(&name, &error).into()),
        };
        let damaged = |offset| JournalError::Damaged { name: name.clone(), offset };
        let mut window = Window::new(&*file);
        let start = window.get(0, HEADER).map_err(|e| io_error(&name, &e))?;
        let header = start
            .and_then(|bytes| bytes.first_chunk())
            .and_then(Header::from_bytes)
            .filter(|header| header.owner == owner)
            .ok_or_else(|| damaged(0))?;
        let key = header.key();
        let mut end = offset_of(HEADER);
        while let Some(payload) =
            window.frame(&key, end).map_err(|error| io_error(&name, &error))?
        {
            let items = frame::items(payload).ok_or_else(|| damaged(end))?;
            for (item, bytes) in (0..).zip(items) {
                visit(Position { frame: end, item }, bytes)?;
            }
            end += offset_of(PREFIX + payload.len());
        }
        cut_torn_end(&*file, &key, end)
            .map_err(|error| io_error(&name, &error))?
            .map_or(Ok(()), |_| Err(damaged(end)))?;
        Ok(Some(Self {
            name,
            salt: header.salt,
            key,
            file,
            queue: Mutex::new(Queue { end, ..Queue::default() }),
            wake: Condvar::new(),
        }))
    }

    /// Shows the records of all whole frames of a journal, damaged or not, oldest first; none if
    /// there is no journal, or if its header is damaged: then no frame can be told from noise.
    pub fn salvage(
        journals: &dyn Journals,
        owner: Owner,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), JournalError> {
        let name = owner.file_name();
        let wrap = |error: io::Error| io_error(&name, &error);
        let Some(file) = journals.open(&name).map_err(wrap)? else {
            return Ok(());
        };
        let mut window = Window::new(&*file);
        let start = window.get(0, HEADER).map_err(wrap)?;
        let header = start.and_then(|bytes| bytes.first_chunk()).and_then(Header::from_bytes);
        let Some(header) = header.filter(|header| header.owner == owner) else {
            return Ok(());
        };
        let (key, mut at) = (header.key(), offset_of(HEADER));
        while let Some((found, length)) = next_frame(&mut window, &key, at).map_err(wrap)? {
            if let Some(payload) = window.frame(&key, found).map_err(wrap)? {
                frame::items(payload).unwrap_or_default().into_iter().for_each(&mut visit);
            }
            at = found + length;
        }
        Ok(())
    }

    /// Appends records; durable when this returns, all of them or none. Appends that come while
    /// another is being synced share the next fsync.
    pub fn append(&self, items: Vec<Vec<u8>>) -> Result<Position, JournalError> {
        let bytes: usize = items.iter().map(|item| item.len() + 4).sum();
        if bytes > GROUP_BYTES {
            return Err(JournalError::TooLong { name: self.name.clone() });
        }
        let mut queue = lock(&self.queue);
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push((ticket, items));
        loop {
            if let Some(result) = queue.done.remove(&ticket) {
                return result;
            }
            if queue.writing {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.writing = true;
            let group = take_group(&mut queue.waiting);
            let (at, failed) = (queue.end, queue.failed);
            drop(queue);
            let written = if failed { Err(self.fatal()) } else { self.write_group(at, &group) };
            queue = lock(&self.queue);
            queue.writing = false;
            queue.finish(&group, at, &written);
            self.wake.notify_all();
        }
    }

    /// Reads one record.
    pub fn read(&self, position: Position) -> Result<Vec<u8>, JournalError> {
        let mut window = Window::small(&*self.file);
        let payload = window
            .frame(&self.key, position.frame)
            .map_err(|error| io_error(&self.name, &error))?;
        let item = usize::try_from(position.item).unwrap_or(usize::MAX);
        payload
            .and_then(frame::items)
            .and_then(|items| items.get(item).map(|bytes| bytes.to_vec()))
            .ok_or_else(|| JournalError::Damaged {
                name: self.name.clone(),
                offset: position.frame,
            })
    }

    /// Its length in bytes, and the salt that tells this file from any other of its name.
    pub fn extent(&self) -> (u64, [u8; 16]) {
        (lock(&self.queue).end, self.salt)
    }

    /// Writes out what is acknowledged at the moment: whole frames.
    pub fn write_out(&self, to: &mut dyn io::Write) -> io::Result<()> {
        let (end, _) = self.extent();
        let mut buffer = vec![0; WINDOW];
        let mut at = 0;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..most).unwrap_or_default();
            let read = self.file.read_at(at, part)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to.write_all(part.get(..read).unwrap_or_default())?;
            at += offset_of(read);
        }
        Ok(())
    }

    /// What it holds now.
    pub fn past(&self) -> Past {
        let (end, _) = self.extent();
        let (name, key) = (self.name.clone(), self.key.clone());
        Past { name, file: Arc::clone(&self.file), key, end }
    }

    /// What makes the checksums of this file.
    #[cfg(test)]
    pub(crate) fn key(&self) -> Key {
        self.key.clone()
    }

    /// Appends that wait for their turn.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.queue).waiting.len()
    }

    /// Whether an fsync has failed.
    pub fn has_failed(&self) -> bool {
        lock(&self.queue).failed
    }

    fn write_group(&self, at: u64, group: &[Waiting]) -> Result<u64, JournalError> {
        let items: Vec<Vec<u8>> = group.iter().flat_map(|(_, items)| items.clone()).collect();
        let frame = self.key.frame(at, &items);
        let frame = frame.ok_or_else(|| JournalError::TooLong { name: self.name.clone() })?;
        if let Err(error) = self.file.write_at(at, &frame) {
            // A part of it may be there, and must not stand before what comes next.
            return match self.file.truncate(at) {
                Ok(()) => Err(io_error(&self.name, &error)),
                Err(_undone) => Err(self.fatal()),
            };
        }
        match self.file.sync() {
            Ok(()) => Ok(at + offset_of(frame.len())),
            Err(error) => {
                tracing::error!(journal = self.name, kind = ?error.kind(), "fsync failed");
                Err(self.fatal())
            }
        }
    }

    fn fatal(&self) -> JournalError {
        JournalError::Fatal { name: self.name.clone() }
    }
}

/// What a journal held at one moment, for another thread to read.
#[derive(Debug)]
pub struct Past {
    name: String,
    file: Arc<dyn JournalFile>,
    key: Key,
    end: u64,
}

impl Past {
    /// Shows the records from the frame at `from` on, oldest first, until `visit` says false.
    pub fn visit(
        &self,
        from: u64,
        mut visit: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), JournalError> {
        let mut window = Window::new(&*self.file);
        let mut at = from.max(offset_of(HEADER));
        while at < self.end {
            let payload = window.frame(&self.key, at).map_err(|e| io_error(&self.name, &e))?;
            let damaged = || JournalError::Damaged { name: self.name.clone(), offset: at };
            let payload = payload.ok_or_else(damaged)?;
            let items = frame::items(payload).ok_or_else(damaged)?;
            if !items.into_iter().all(&mut visit) {
                return Ok(());
            }
            at += offset_of(PREFIX + payload.len());
        }
        Ok(())
    }
}

impl Queue {
    /// Gives every append of a group its answer.
    fn finish(&mut self, group: &[Waiting], at: u64, written: &Result<u64, JournalError>) {
        match written {
            Ok(end) => self.end = *end,
            Err(error) => self.failed |= matches!(error, JournalError::Fatal { .. }),
        }
        let mut item = 0;
        for (ticket, items) in group {
            let position = Position { frame: at, item };
            item += u32::try_from(items.len()).unwrap_or(u32::MAX);
            let result = match written {
                Ok(_) => Ok(position),
                Err(error) => Err(error.clone()),
            };
            self.done.insert(*ticket, result);
        }
    }
}

fn take_group(waiting: &mut Vec<Waiting>) -> Vec<Waiting> {
    let lengths = waiting.iter().map(|(_, items)| items.iter().map(|item| item.len() + 4).sum());
    let fits = fitting(lengths);
    waiting.drain(..fits).collect()
}

/// How many of these, of so many bytes each, share a frame.
fn fitting(lengths: impl Iterator<Item = usize>) -> usize {
    let mut bytes: usize = 0;
    let fits = |length: &usize| {
        bytes = bytes.saturating_add(*length).saturating_add(4);
        bytes <= GROUP_BYTES
    };
    lengths.take_while(fits).count()
}

fn io_error(name: &str, error: &io::Error) -> JournalError {
    JournalError::Io { name: name.to_owned(), kind: error.kind() }
}

fn offset_of(length: usize) -> u64 {
    u64::try_from(length).expect("lengths in memory fit 64 bits")
}

/// What is torn is one frame, which was not yet acknowledged.
const LONGEST_FRAME: u64 = 8 * 1024 * 1024 + 24;
const _: () = assert!(PREFIX + MAX_PAYLOAD == 8 * 1024 * 1024 + 24);

/// Removes what lies behind the last whole frame, unless it cannot be one torn frame: because
/// another whole one follows, whose offset is told, or because it is too long.
fn cut_torn_end(file: &dyn JournalFile, key: &Key, end: u64) -> io::Result<Option<u64>> {
    let length = file.length()?;
    if length == end {
        return Ok(None);
    }
    if length - end > LONGEST_FRAME {
        return Ok(Some(end));
    }
    if let Some((at, _)) = next_frame(&mut Window::new(file), key, end + 1)? {
        return Ok(Some(at));
    }
    file.truncate(end)?;
    file.sync()?;
    Ok(None)
}

/// The first whole frame at `at` or behind it, and its length.
fn next_frame(window: &mut Window<'_>, key: &Key, mut at: u64) -> io::Result<Option<(u64, u64)>> {
    let length = window.file.length()?;
    while at < length {
        let available = window.fill(at, PREFIX)?;
        let Some(found) = frame::find_magic(available, 0) else {
            // The magic may lie across the edge.
            at += offset_of(available.len().saturating_sub(3).max(1));
            continue;
        };
        at += offset_of(found);
        if let Some(payload) = window.frame(key, at)? {
            return Ok(Some((at, offset_of(PREFIX + payload.len()))));
        }
        at += 1;
    }
    Ok(None)
}

/// Bytes read ahead at a time.
const WINDOW: usize = 1024 * 1024;

/// A part of the file in memory, so that small records cost no call each.
#[derive(Debug)]
struct Window<'f> {
    file: &'f dyn JournalFile,
    ahead: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl<'f> Window<'f> {
    fn new(file: &'f dyn JournalFile) -> Self {
        Self { file, ahead: WINDOW, start: 0, bytes: Vec::new() }
    }

    /// For single reads.
    fn small(file: &'f dyn JournalFile) -> Self {
        Self { ahead: 4096, ..Self::new(file) }
    }

    /// The payload of the whole frame at `offset`, if there is one.
    fn frame(&mut self, key: &Key, offset: u64) -> io::Result<Option<&[u8]>> {
        let prefix = self.get(offset, PREFIX)?.and_then(|bytes| bytes.first_chunk());
        let Some(prefix) = prefix.and_then(Prefix::parse) else {
            return Ok(None);
        };
        let payload = self.get(offset + offset_of(PREFIX), prefix.length)?;
        Ok(payload.filter(|payload| key.holds(offset, &prefix, payload)))
    }

    /// Exactly these bytes, if the file has them.
    fn get(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        Ok(self.fill(offset, length)?.get(..length))
    }

    /// The bytes from `offset` on: at least `length` of them, unless the file ends before.
    fn fill(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let skip = offset
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| self.bytes.get(*skip..).is_some_and(|b| b.len() >= length));
        if let Some(skip) = skip {
            return Ok(self.bytes.get(skip..).unwrap_or_default());
        }
        self.start = offset;
        self.bytes.resize(length.max(self.ahead), 0);
        let mut filled = 0;
        while let Some(rest) = self.bytes.get_mut(filled..).filter(|r| !r.is_empty()) {
            match self.file.read_at(offset + offset_of(filled), rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.truncate(filled);
        Ok(&self.bytes)
    }
}
