//! What leaves the walk: events in batches, and jobs put together from small files.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::BackupError;
use super::events::{Event, Old};
use super::long_file::LongFile;
use super::seen::DirPath;
use super::worker::{InDir, Job, Task};
use crate::scan::os::{Dir, Stat};
use crate::tree::entry::Name;

/// Entries in one message.
pub const BATCH: usize = 256;
/// Files in one job.
const JOB_FILES: usize = 128;
/// Bytes in one job, about.
const JOB_BYTES: u64 = 2 * 1024 * 1024;
/// Directories in one job: as long as it waits, they are open.
const JOB_DIRS: usize = 16;

/// Both streams that leave the walk.
#[derive(Debug)]
pub struct Outbox {
    events: Sender<Vec<Event>>,
    jobs: Sender<Job>,
    batch: Vec<Event>,
    next_ticket: u64,
    tasks: Vec<Task>,
    task_bytes: u64,
    /// The directories that the tasks are in.
    dirs: Vec<InDir>,
}

impl Outbox {
    /// Sends to these channels.
    pub fn new(events: Sender<Vec<Event>>, jobs: Sender<Job>) -> Self {
        Self {
            events,
            jobs,
            batch: Vec::with_capacity(BATCH),
            next_ticket: 0,
            tasks: Vec::new(),
            task_bytes: 0,
            dirs: Vec::new(),
        }
    }

    /// Adds an event.
    pub fn push(&mut self, event: Event) {
        self.batch.push(event);
    }

    /// Whether a batch has come together.
    pub fn is_full(&self) -> bool {
        self.batch.len() >= BATCH
    }

    /// Adds a file that is to be read.
    pub fn file(
        &mut self,
        (dir, place): (&Arc<Dir>, &DirPath),
        name: Name,
        stat: Stat,
        old: Option<Old>,
    ) -> Result<(), BackupError> {
        let ticket = self.next_ticket;
        let pieces = LongFile::pieces_of(stat.size);
        if pieces > 1 {
            self.flush_tasks()?;
            self.next_ticket += pieces;
            self.push(Event::Pending { ticket, pieces, old });
            let file = Arc::new(LongFile::new((dir, place), name, stat));
            for piece in 0..pieces {
                self.send()?;
                let file = Arc::clone(&file);
                self.send_job(Job::Piece { file, ticket: ticket + piece, piece })?;
            }
            return Ok(());
        }
        self.next_ticket += 1;
        self.push(Event::Pending { ticket, pieces, old });
        match self.dirs.last_mut().filter(|last| Arc::ptr_eq(&last.dir, dir)) {
            Some(last) => last.files += 1,
            None => {
                self.dirs.push(InDir { dir: Arc::clone(dir), path: place.clone(), files: 1 });
            }
        }
        if self.tasks.is_empty() {
            self.tasks.reserve(JOB_FILES);
        }
        self.tasks.push(Task { name, stat });
        self.task_bytes += stat.size;
        if self.tasks.len() >= JOB_FILES || self.task_bytes >= JOB_BYTES {
            // With its events, so that what is seen of the run keeps up with it.
            self.send()?;
        }
        Ok(())
    }

    /// A directory begins or ends. What has come together goes on its way if it will take a while,
    /// then with its events, or if nobody has anything else to do.
    pub fn between_directories(&mut self) -> Result<(), BackupError> {
        if self.task_bytes >= JOB_BYTES / 2 {
            self.send()
        } else if self.dirs.len() >= JOB_DIRS || self.jobs.is_empty() {
            self.flush_tasks()
        } else {
            Ok(())
        }
    }

    /// Ends the open job.
    fn flush_tasks(&mut self) -> Result<(), BackupError> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        self.task_bytes = 0;
        let tasks = std::mem::take(&mut self.tasks);
        let dirs = std::mem::take(&mut self.dirs);
        let ticket = self.next_ticket - tasks.len() as u64;
        self.send_job(Job::Files { ticket, dirs, tasks })
    }

    /// Sends what has been found. Jobs go first: an event may make the other end wait for its job.
    pub fn send(&mut self) -> Result<(), BackupError> {
        self.flush_tasks()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.events.send(batch).map_err(|_e| BackupError::Stopped)
    }

    fn send_job(&mut self, job: Job) -> Result<(), BackupError> {
        self.jobs.send(job).map_err(|_e| BackupError::Stopped)
    }
}
