//! A worker carries files from read to sealed pack without handing bytes to another thread.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select};

use super::BackupError;
use super::long_file::{DataRun, LongFile};
use super::packer::{Added, Packer};
use super::reading::{ReadError, ReadOut, Reader};
use super::seen::{DirPath, describe, meta_of, seen_of};
use super::upload::Flow;
use crate::progress::{During, Monitor, Problem};
use crate::scan::names::LastOwner;
use crate::scan::os::{Dir, Stat, fstat};
use crate::scan::xattrs::xattrs_of_fd;
use crate::state::records::Seen;
use crate::tree::entry::{Meta, Name};

/// A file to read.
#[derive(Debug)]
pub struct Task {
    /// Its name in its directory.
    pub name: Name,
    /// What it was when it was listed.
    pub stat: Stat,
}

/// Files of one directory, one after the other.
#[derive(Debug)]
pub struct InDir {
    /// The directory.
    pub dir: Arc<Dir>,
    /// Its path.
    pub path: DirPath,
    /// How many of the tasks of the job are in it.
    pub files: usize,
}

/// Work for one worker.
pub enum Job {
    /// Files of a few directories.
    Files {
        /// Under which the result of the first is awaited; the others follow.
        ticket: u64,
        /// The directories, in order.
        dirs: Vec<InDir>,
        /// The files, in order.
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
        /// Its name in the snapshot.
        name: Name,
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

/// The results of a job.
#[derive(Debug)]
pub struct Done {
    /// The ticket of the first; the others follow.
    pub ticket: u64,
    /// One a file.
    pub files: Vec<MaybeRead>,
}

/// A file with its name. `None`: it could not be read, which has been reported, or the run is being
/// stopped.
pub type MaybeRead = Option<(Name, FileRead)>;

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
/// A file of at most so many bytes is read before it is looked at: reading it once more, should it
/// be another one by now, costs less than a look at each.
const SHORT: u64 = 128 * 1024;

/// What workers share.
#[derive(Debug, Clone)]
pub struct WorkerContext<'a> {
    /// The work.
    pub jobs: Receiver<Job>,
    /// Results go here.
    pub results: Sender<Done>,
    /// Names of owners.
    pub owners: LastOwner<'a>,
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
            Job::Files { ticket, dirs, tasks } => Done { ticket, files: self.files(dirs, tasks)? },
            Job::Piece { file, ticket, piece } => {
                Done { ticket, files: vec![self.piece(&file, piece)?] }
            }
            Job::Stream { ticket, name, source, meta } => {
                Done { ticket, files: vec![self.stream(name, source, *meta)?] }
            }
        };
        self.context.results.send(done).map_err(|_e| BackupError::Stopped)
    }

    fn files(&mut self, dirs: Vec<InDir>, tasks: Vec<Task>) -> Result<Vec<MaybeRead>, BackupError> {
        let mut done = Vec::with_capacity(tasks.len());
        let mut tasks = tasks.into_iter();
        for InDir { dir, path, files } in dirs {
            for task in tasks.by_ref().take(files) {
                done.push(self.file(&dir, &path, task)?);
            }
        }
        Ok(done)
    }

    fn file(&mut self, dir: &Dir, path: &DirPath, task: Task) -> Result<MaybeRead, BackupError> {
        let Task { name, stat } = task;
        if stat.size > WORTH_TELLING {
            self.context.monitor.file_started(&path.join(&name));
        }
        let (read, why) = match self.open_and_read(dir, &name, &stat) {
            Ok(read) => read,
            Err(ReadError::Fatal(error)) => return Err(error),
            Err(ReadError::Stopped) => return Ok(None),
            Err(ReadError::Source(error)) => {
                self.problem(path.join(&name), unreadable(&error));
                return Ok(None);
            }
        };
        for what in why {
            self.problem(path.join(&name), what);
        }
        self.context.monitor.bytes_read(stat.size);
        Ok(Some((name, read)))
    }

    fn piece(&mut self, file: &LongFile, piece: u64) -> Result<MaybeRead, BackupError> {
        self.context.monitor.file_started(&file.path());
        let range = file.range(piece);
        let (read, why) = match self.read_piece(file, range.clone()) {
            Ok(read) => read,
            Err(ReadError::Fatal(error)) => return Err(error),
            Err(ReadError::Stopped) => return Ok(None),
            Err(ReadError::Source(error)) => {
                if file.give_up() {
                    self.problem(file.path(), unreadable(&error));
                }
                return Ok(None);
            }
        };
        for what in why.into_iter().filter(|what| file.is_news(what)) {
            self.problem(file.path(), what);
        }
        self.context.monitor.bytes_read(range.end - range.start);
        Ok(Some((file.name.clone(), read)))
    }

    fn problem(&self, path: Vec<u8>, what: String) {
        self.context.monitor.problem(&Problem { path, during: During::Archival, what });
    }

    /// Reads, and reads once more if the file changed meanwhile. Tells what to report.
    ///
    /// Of a short file the listing is what it was before: should what was opened be anything else,
    /// or have changed since, then a look after reading tells, and it counts as not read yet.
    fn open_and_read(
        &mut self,
        dir: &Dir,
        name: &Name,
        listed: &Stat,
    ) -> Result<(FileRead, Vec<String>), ReadError> {
        self.reader.go_on()?;
        let file = dir.open_file(name).map_err(ReadError::Source)?;
        let short = listed.size <= SHORT;
        let mut before = if short { *listed } else { looked_at(&file, listed)? };
        for left in (0..if short { 3 } else { 2 }).rev() {
            let (part, run) = (0..before.size, DataRun::default());
            let read = self.reader.read((&file, &before), part, &run, &mut self.packer);
            // Something else than a file may well have refused to be read.
            let after = looked_at(&file, listed)?;
            let (out, same) = (read?, after.same_content(&before));
            if same || left == 0 {
                return Ok(self.describe(&file, (&after, same), (0, out)));
            }
            before = after;
        }
        Err(ReadError::Fatal(BackupError::Internal("a file is read a few times at most")))
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
        &mut self,
        file: &File,
        (stat, same): (&Stat, bool),
        (from, out): (u64, ReadOut),
    ) -> (FileRead, Vec<String>) {
        let mut why = Vec::new();
        if !same {
            why.push("it changed while it was read; saved as it was read".to_owned());
        }
        let mut meta = meta_of(stat, self.context.owners.of(stat.uid, stat.gid));
        match xattrs_of_fd(file) {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => why.push(error.to_string()),
        }
        let seen = seen_of(stat, self.context.racy_from, !same);
        (FileRead { meta, seen, from, out, troubled: !why.is_empty() }, why)
    }

    fn stream(
        &mut self,
        name: Name,
        mut source: Box<dyn std::io::Read + Send>,
        meta: Meta,
    ) -> Result<MaybeRead, BackupError> {
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
                Ok(Some((name, FileRead { meta, seen, from: 0, out, troubled: false })))
            }
            Err(ReadError::Fatal(error)) => Err(error),
            Err(ReadError::Stopped) => Ok(None),
            Err(ReadError::Source(source)) => {
                let path = OsStr::from_bytes(name.as_bytes()).into();
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
