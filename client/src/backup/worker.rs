//! A worker carries files from read to sealed pack without handing bytes to another thread.

use std::fs::File;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select};

use super::BackupError;
use super::outbox::PIECE;
use super::packer::{Added, Leftover, Packer};
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
        /// The directory.
        dir: Arc<Dir>,
        /// Its path.
        path: DirPath,
        /// The file.
        task: Task,
        /// Where the piece begins.
        offset: u64,
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
    /// Its content.
    pub out: ReadOut,
    /// Something about it was reported, so that it is not whole.
    pub troubled: bool,
}

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

/// A request to seal and send whatever is open; answered when that is done.
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

    /// Works until there is no more to do, then hands over packs that are not full.
    pub fn work(
        mut self,
        flush: &Receiver<FlushRequest>,
    ) -> Result<(Vec<Leftover>, Added), BackupError> {
        let mut flush = flush.clone();
        loop {
            select! {
                recv(self.context.jobs) -> job => match job {
                    Ok(job) => self.job(job)?,
                    Err(_) => return self.packer.into_leftovers(),
                },
                recv(flush) -> request => match request {
                    Ok(done) => {
                        self.packer.flush()?;
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
                    done.push(self.file(&dir, &path, &task, None)?);
                }
                done
            }
            Job::Piece { dir, path, task, offset } => {
                let piece = (offset, (offset + PIECE).min(task.stat.size));
                vec![self.file(&dir, &path, &task, Some(piece))?]
            }
            Job::Stream { ticket, source, meta } => vec![self.stream(ticket, source, *meta)?],
        };
        self.context.results.send(done).map_err(|_e| BackupError::Stopped)
    }

    fn file(
        &mut self,
        dir: &Dir,
        path: &DirPath,
        task: &Task,
        piece: Option<(u64, u64)>,
    ) -> Result<Done, BackupError> {
        let full = |name: &Name| path.join(name);
        let bytes = piece.map_or(task.stat.size, |(from, to)| to - from);
        if bytes > 1024 * 1024 {
            self.context.monitor.file_started(&full(&task.name));
        }
        let read = match self.open_and_read(dir, task, piece) {
            Ok(read) => read,
            Err(ReadError::Fatal(error)) => return Err(error),
            Err(ReadError::Stopped) => return Ok((task.ticket, None)),
            Err(ReadError::Source(error)) => {
                let what = if error.kind() == std::io::ErrorKind::NotFound {
                    "it vanished before it was read".to_owned()
                } else {
                    describe(&error)
                };
                self.problem(full(&task.name), what);
                return Ok((task.ticket, None));
            }
        };
        for what in read.1 {
            self.problem(full(&task.name), what);
        }
        self.context.monitor.bytes_read(bytes);
        Ok((task.ticket, Some(Box::new(read.0))))
    }

    fn problem(&self, path: Vec<u8>, what: String) {
        self.context.monitor.problem(&Problem { path, during: During::Archival, what });
    }

    /// Reads, and reads once more if the file changed meanwhile. Tells what to report.
    fn open_and_read(
        &mut self,
        dir: &Dir,
        task: &Task,
        piece: Option<(u64, u64)>,
    ) -> Result<(FileRead, Vec<String>), ReadError> {
        self.reader.go_on()?;
        let file = dir.open_file(&task.name).map_err(ReadError::Source)?;
        let mut before = fstat(&file).map_err(ReadError::Source)?;
        if before.file_type != task.stat.file_type {
            return Err(ReadError::Source(std::io::Error::other("it was replaced meanwhile")));
        }
        let mut why = Vec::new();
        for last_try in [false, true] {
            let range = piece.unwrap_or((0, before.size));
            let out = self.reader.read(&file, &before, range, &mut self.packer)?;
            let after = fstat(&file).map_err(ReadError::Source)?;
            let same =
                after.same_content(&before) && (piece.is_none() || after.same_content(&task.stat));
            if same || last_try || piece.is_some() {
                if !same {
                    why.push("it changed while it was read; saved as it was read".to_owned());
                }
                let read = self.describe(&file, &after, out, &mut why);
                let seen = Seen { racy: read.seen.racy || !same, ..read.seen };
                return Ok((FileRead { seen, troubled: !why.is_empty(), ..read }, why));
            }
            before = after;
        }
        Err(ReadError::Fatal(BackupError::Internal("a file is read at most twice")))
    }

    fn describe(&self, file: &File, stat: &Stat, out: ReadOut, why: &mut Vec<String>) -> FileRead {
        let mut meta = meta_of(stat, self.context.owners);
        match xattrs_of_fd(file) {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => why.push(error.to_string()),
        }
        let seen = seen_of(stat, self.context.racy_from, false);
        FileRead { meta, seen, out, troubled: false }
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
                Ok((ticket, Some(Box::new(FileRead { meta, seen, out, troubled: false }))))
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
