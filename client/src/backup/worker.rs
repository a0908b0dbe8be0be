//! A worker carries files from read to sealed pack without handing bytes to another thread.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select};

use super::BackupError;
use super::long_file::{DataRun, LongFile};
use super::packer::{Added, Packer};
use super::reading::{ReadError, ReadOut, Reader};
use super::seen::{DirPath, describe, meta_of, seen_of};
use super::upload::Flow;
use crate::progress::{During, Monitor, Problem};
use crate::scan::names::OwnerNames;
use crate::scan::os::{Dir, Stat, fstat};
use crate::scan::xattrs::xattrs_of_fd;
use crate::state::records::Seen;
use crate::tree::entry::{Meta, Name};

/// A file to read.
#[derive(Debug)]
pub struct Task {
    /// Under which its result is awaited.
    pub ticket: u64,
    /// Its name in its directory.
    pub name: Name,
    /// What it was when it was listed.
    pub stat: Stat,
}

/// Work for one worker.
pub enum Job {
    /// Files of one directory.
    Files {
        /// The directory.
        dir: Arc<Dir>,
        /// Its path.
        path: DirPath,
        /// The files.
        tasks: Vec<Task>,
    },
    /// A piece of a long file.
    Piece {
        /// The file.
        file: Arc<LongFile>,
        /// Under which its result is awaited.
        ticket: u64,
        /// The number of the piece.
        piece: u64,
    },
    /// What a command writes, or standard input.
    Stream {
        /// Under which its result is awaited.
        ticket: u64,
        /// The bytes.
        source: Box<dyn std::io::Read + Send>,
        /// Metadata of the file that it becomes.
        meta: Box<Meta>,
    },
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Files { .. } => "Files",
            Self::Piece { .. } => "Piece",
            Self::Stream { .. } => "Stream",
        })
    }
}

/// The result of a task; `None`: it could not be read, which has been reported, or the run is
/// being stopped.
pub type Done = (u64, Option<Box<FileRead>>);

/// A file, or a piece of one, that has been read.
#[derive(Debug)]
pub struct FileRead {
    /// Its metadata as of the reading.
    pub meta: Meta,
    /// What a record keeps.
    pub seen: Seen,
    /// Where its content begins, in bytes; not 0 for a piece.
    pub from: u64,
    /// Its content.
    pub out: ReadOut,
    /// Something about it was reported, so that it is not whole.
    pub troubled: bool,
}

/// Of a longer file it is told that it is being read, in bytes.
const WORTH_TELLING: u64 = 1024 * 1024;

/// What workers share.
#[derive(Debug, Clone)]
pub struct WorkerContext<'a> {
    /// The work.
    pub jobs: Receiver<Job>,
    /// Results go here.
    pub results: Sender<Vec<Done>>,
    /// Names of owners.
    pub owners: &'a OwnerNames,
    /// Hears of progress.
    pub monitor: &'a dyn Monitor,
    /// How the run is going.
    pub flow: &'a Flow,
    /// What changed at or after this second is read again next time.
    pub racy_from: i64,
}

/// A request to put what is read into packs that can be sealed; answered when that is done.
pub type FlushRequest = Sender<()>;

/// One worker.
#[derive(Debug)]
pub struct Worker<'a> {
    context: WorkerContext<'a>,
    packer: Packer<'a>,
    reader: Reader<'a>,
}

impl<'a> Worker<'a> {
    /// A worker with its own packer and reader.
    pub fn new(context: WorkerContext<'a>, packer: Packer<'a>, reader: Reader<'a>) -> Self {
        Self { context, packer, reader }
    }

    /// Works until there is no more to do.
    pub fn work(mut self, flush: &Receiver<FlushRequest>) -> Result<Added, BackupError> {
        let mut flush = flush.clone();
        loop {
            select! {
                recv(self.context.jobs) -> job => {
                    let Ok(job) = job else {
                        self.packer.close_segment()?;
                        return Ok(self.packer.added);
                    };
                    self.job(job)?;
                },
                recv(flush) -> request => match request {
                    Ok(done) => {
                        self.packer.close_segment()?;
                        // Nobody waits any more if the run has failed meanwhile.
                        done.send(()).ok();
                    }
                    // Nobody will ask any more.
                    Err(_) => flush = crossbeam_channel::never(),
                },
            }
        }
    }

    fn job(&mut self, job: Job) -> Result<(), BackupError> {
        if self.context.flow.has_failed() {
            return Err(BackupError::Stopped);
        }
        let done = match job {
            Job::Files { dir, path, tasks } => {
                let mut done = Vec::with_capacity(tasks.len());
                for task in tasks {
                    done.push(self.file(&dir, &path, &task)?);
                }
                done
            }
            Job::Piece { file, ticket, piece } => vec![self.piece(&file, ticket, piece)?],
            Job::Stream { ticket, source, meta } => vec![self.stream(ticket, source, *meta)?],
        };
        self.context.results.send(done).map_err(|_e| BackupError::Stopped)
    }

    fn file(&mut self, dir: &Dir, path: &DirPath, task: &Task) -> Result<Done, BackupError> {
        let full = || path.join(&task.name);
        if task.stat.size > WORTH_TELLING {
            self.context.monitor.file_started(&full());
        }
        let (read, why) = match self.open_and_read(dir, task) {
            Ok(read) => read,
            Err(ReadError::Fatal(error)) => return Err(error),
            Err(ReadError::Stopped) => return Ok((task.ticket, None)),
            Err(ReadError::Source(error)) => {
                self.problem(full(), unreadable(&error));
                return Ok((task.ticket, None));
            }
        };
        for what in why {
            self.problem(full(), what);
        }
        self.context.monitor.bytes_read(task.stat.size);
        Ok((task.ticket, Some(Box::new(read))))
    }

    fn piece(&mut self, file: &LongFile, ticket: u64, piece: u64) -> Result<Done, BackupError> {
        self.context.monitor.file_started(&file.path());
        let range = file.range(piece);
        let (read, why) = match self.read_piece(file, range.clone()) {
            Ok(read) => read,
            Err(ReadError::Fatal(error)) => return Err(error),
            Err(ReadError::Stopped) => return Ok((ticket, None)),
            Err(ReadError::Source(error)) => {
                if file.give_up() {
                    self.problem(file.path(), unreadable(&error));
                }
                return Ok((ticket, None));
            }
        };
        for what in why.into_iter().filter(|what| file.is_news(what)) {
            self.problem(file.path(), what);
        }
        self.context.monitor.bytes_read(range.end - range.start);
        Ok((ticket, Some(Box::new(read))))
    }

    fn problem(&self, path: Vec<u8>, what: String) {
        self.context.monitor.problem(&Problem { path, during: During::Archival, what });
    }

    /// Reads, and reads once more if the file changed meanwhile. Tells what to report.
    fn open_and_read(
        &mut self,
        dir: &Dir,
        task: &Task,
    ) -> Result<(FileRead, Vec<String>), ReadError> {
        self.reader.go_on()?;
        let file = dir.open_file(&task.name).map_err(ReadError::Source)?;
        let mut before = looked_at(&file, &task.stat)?;
        for last_try in [false, true] {
            let (part, run) = (0..before.size, DataRun::default());
            let out = self.reader.read((&file, &before), part, &run, &mut self.packer)?;
            let after = fstat(&file).map_err(ReadError::Source)?;
            let same = after.same_content(&before);
            if same || last_try {
                return Ok(self.describe(&file, (&after, same), (0, out)));
            }
            before = after;
        }
        Err(ReadError::Fatal(BackupError::Internal("a file is read at most twice")))
    }

    /// Reads a piece. One that changed is not read again: the others would have to be, too.
    fn read_piece(
        &mut self,
        file: &LongFile,
        part: Range<u64>,
    ) -> Result<(FileRead, Vec<String>), ReadError> {
        self.reader.go_on()?;
        let opened = file.open().map_err(ReadError::Source)?.ok_or(ReadError::Stopped)?;
        let before = looked_at(&opened, &file.stat)?;
        let from = part.start;
        let out = self.reader.read((&opened, &before), part, &file.run, &mut self.packer)?;
        let after = fstat(&opened).map_err(ReadError::Source)?;
        let same = after.same_content(&file.stat);
        Ok(self.describe(&opened, (&after, same), (from, out)))
    }

    fn describe(
        &self,
        file: &File,
        (stat, same): (&Stat, bool),
        (from, out): (u64, ReadOut),
    ) -> (FileRead, Vec<String>) {
        let mut why = Vec::new();
        if !same {
            why.push("it changed while it was read; saved as it was read".to_owned());
        }
        let mut meta = meta_of(stat, self.context.owners);
        match xattrs_of_fd(file) {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => why.push(error.to_string()),
        }
        let seen = seen_of(stat, self.context.racy_from, !same);
        (FileRead { meta, seen, from, out, troubled: !why.is_empty() }, why)
    }

    fn stream(
        &mut self,
        ticket: u64,
        mut source: Box<dyn std::io::Read + Send>,
        meta: Meta,
    ) -> Result<Done, BackupError> {
        match self.reader.stream(&mut source, &mut self.packer) {
            Ok(out) => {
                let zero = crate::tree::entry::FileTime::default();
                let seen = Seen {
                    kind: 0,
                    racy: true,
                    linked: false,
                    ino: 0,
                    size: 0,
                    mtime: zero,
                    ctime: zero,
                };
                Ok((ticket, Some(Box::new(FileRead { meta, seen, from: 0, out, troubled: false }))))
            }
            Err(ReadError::Fatal(error)) => Err(error),
            Err(ReadError::Stopped) => Ok((ticket, None)),
            Err(ReadError::Source(source)) => {
                let path = std::path::PathBuf::from("standard input");
                Err(BackupError::Source { path, source })
            }
        }
    }
}

/// What an open file is. It must still be what was listed under its name.
fn looked_at(file: &File, listed: &Stat) -> Result<Stat, ReadError> {
    let stat = fstat(file).map_err(ReadError::Source)?;
    if stat.file_type != listed.file_type {
        return Err(ReadError::Source(std::io::Error::other("it was replaced meanwhile")));
    }
    Ok(stat)
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it vanished before it was read".to_owned(),
        _ => describe(error),
    }
}
