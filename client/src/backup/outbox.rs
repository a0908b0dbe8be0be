//! What leaves the walk: events in batches, and jobs put together from small files.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::BackupError;
use super::events::{Event, Old};
use super::long_file::LongFile;
use super::seen::DirPath;
use super::worker::{Job, Task};
use crate::scan::os::{Dir, Stat};
use crate::tree::entry::Name;

/// Entries in one message.
pub const BATCH: usize = 256;
/// Files in one job.
const JOB_FILES: usize = 48;
/// Bytes in one job, about.
const JOB_BYTES: u64 = 2 * 1024 * 1024;

/// Both streams that leave the walk.
#[derive(Debug)]
pub struct Outbox {
    events: Sender<Vec<Event>>,
    jobs: Sender<Job>,
    batch: Vec<Event>,
    next_ticket: u64,
    tasks: Vec<Task>,
    task_bytes: u64,
    /// The directory that the tasks are in, and its path.
    task_dir: Option<(Arc<Dir>, DirPath)>,
}

impl Outbox {
    /// Sends to these channels.
    pub fn new(events: Sender<Vec<Event>>, jobs: Sender<Job>) -> Self {
        Self {
            events,
            jobs,
            batch: Vec::new(),
            next_ticket: 0,
            tasks: Vec::new(),
            task_bytes: 0,
            task_dir: None,
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
        self.next_ticket += pieces;
        self.push(Event::Pending { name: name.clone(), ticket, pieces, old });
        if pieces > 1 {
            self.flush_tasks()?;
            let file = Arc::new(LongFile::new((dir, place), name, stat));
            for piece in 0..pieces {
                self.send()?;
                let file = Arc::clone(&file);
                self.send_job(Job::Piece { file, ticket: ticket + piece, piece })?;
            }
            return Ok(());
        }
        self.task_dir = Some((Arc::clone(dir), place.clone()));
        self.tasks.push(Task { ticket, name, stat });
        self.task_bytes += stat.size;
        if self.tasks.len() >= JOB_FILES || self.task_bytes >= JOB_BYTES {
            // With its events, so that what is seen of the run keeps up with it.
            self.send()?;
        }
        Ok(())
    }

    /// Ends the job of a directory; one that will take a while goes with its events.
    pub fn end_of_directory(&mut self) -> Result<(), BackupError> {
        if self.task_bytes >= JOB_BYTES / 2 { self.send() } else { self.flush_tasks() }
    }

    /// Ends the open job.
    pub fn flush_tasks(&mut self) -> Result<(), BackupError> {
        let Some((dir, path)) = self.task_dir.take() else {
            return Ok(());
        };
        self.task_bytes = 0;
        let tasks = std::mem::take(&mut self.tasks);
        self.send_job(Job::Files { dir, path, tasks })
    }

    /// Sends what has been found. Jobs go first: an event may make the other end wait for its job.
    pub fn send(&mut self) -> Result<(), BackupError> {
        self.flush_tasks()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.events.send(batch).map_err(|_e| BackupError::Stopped)
    }

    fn send_job(&mut self, job: Job) -> Result<(), BackupError> {
        self.jobs.send(job).map_err(|_e| BackupError::Stopped)
    }
}
