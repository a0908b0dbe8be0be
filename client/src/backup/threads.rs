//! The threads of one pass over the source, and how they are joined.
//!
//! ```text
//! walker --jobs--> workers --packs--> uploaders
//!    \--events--> assembler <--results--/          (the assembler is the calling thread)
//! ```

use std::path::PathBuf;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded, unbounded};

use super::BackupError;
use super::allowance::{Allowance, Weights};
use super::assemble::Assembler;
use super::dedup::Dedup;
use super::engine::{RunOptions, Source};
use super::events::{Entered, Event};
use super::open_packs::{OPEN, OpenPacks};
use super::packer::{Added, Outgoing, Packer, PackerContext};
use super::plan::plan;
use super::reading::Reader;
use super::stop::Stop;
use super::upload::{Flow, Uploads};
use super::walk::{Limit, WalkContext, Walker};
use super::worker::{Done, FlushRequest, Job, Worker, WorkerContext};
use crate::chunk::Chunker;
use crate::crypto::content_id::{ChunkId, ChunkKind, ContentKeys};
use crate::crypto::device::DeviceSecrets;
use crate::pack::builder::{BufferPool, Sealer};
use crate::progress::{Monitor, Silent};
use crate::scan::names::{LastOwner, OwnerNames};
use crate::state::db::StateDb;
use crate::state::records::RulesKey;
use crate::state::summary::Contents;
use crate::tree::entry::Meta;

/// Packs in memory, 16 MiB each when they are full.
const BUFFERS: usize = 8;
/// Batches of events on their way.
const EVENTS: usize = 64;
/// How often what is remembered is written out.
const FLUSH_EVERY: std::time::Duration = std::time::Duration::from_secs(10);
/// How often a wait looks whether the run has failed.
const LOOK_UP: std::time::Duration = std::time::Duration::from_millis(100);

/// What the threads share.
#[derive(Debug, Clone, Copy)]
pub struct Threads<'a> {
    /// How to back up.
    pub options: &'a RunOptions,
    /// Directory records.
    pub state: &'a StateDb,
    /// Names of owners.
    pub owners: &'a OwnerNames,
    /// Known chunks.
    pub dedup: &'a Dedup<'a>,
    /// How the run is going.
    pub flow: &'a Flow,
    /// Computes chunk ids.
    pub ids: &'a ContentKeys,
    /// Cuts.
    pub chunker: &'a Chunker,
    /// Seals.
    pub sealer: &'a Sealer<'a>,
    /// Packs that are being filled.
    pub open: &'a OpenPacks,
    /// Uploads.
    pub uploads: &'a Uploads<'a>,
    /// Hears of progress.
    pub monitor: &'a dyn Monitor,
    /// The user wants to stop.
    pub stop: &'a Stop<'a>,
    /// Source of randomness.
    pub secrets: &'a DeviceSecrets,
    /// What changed at or after this second is read again next time.
    pub racy_from: i64,
    /// Only what the vault has already is taken, as recorded: nothing is read, and nothing is
    /// remembered.
    pub known_only: bool,
    /// What may be read in all, if that is limited.
    pub allowance: Option<Allowance>,
}

/// What a pass gave.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    /// The tree of `/`.
    pub root: ChunkId,
    /// What is in it.
    pub contents: Contents,
    /// Files that were left to another pass.
    pub left_out: u64,
    /// The user stopped it.
    pub interrupted: bool,
    /// Some of it is not on its way to the vault any more: this is no snapshot.
    pub gave_up: bool,
}

impl Passed {
    /// As far as it has come.
    pub const fn so_far(root: ChunkId, contents: Contents) -> Self {
        Self { root, contents, left_out: 0, interrupted: true, gave_up: false }
    }
}

/// Called when a checkpoint is due and everything so far is on the server.
pub type OnCheckpoint<'c> = &'c mut dyn FnMut(ChunkId, Contents) -> Result<(), BackupError>;

/// What a worker has done.
type Worked = Result<Added, BackupError>;

struct Line<'scope> {
    workers: Vec<ScopedJoinHandle<'scope, Worked>>,
    flush: Vec<Sender<FlushRequest>>,
    walker: ScopedJoinHandle<'scope, Result<(), BackupError>>,
    events: Receiver<Vec<Event>>,
}

impl<'a> Threads<'a> {
    /// Runs one pass. An error is also in the flow, unless it is [`BackupError::Stopped`].
    pub fn run(
        self,
        source: &mut Source,
        checkpoint: OnCheckpoint<'_>,
    ) -> Result<Passed, BackupError> {
        std::thread::scope(|scope| {
            let (out, packs) = bounded::<Outgoing>(1);
            for _ in 0..self.options.uploads.max(1) {
                let packs = packs.clone();
                scope.spawn(move || self.uploads.work(&packs));
            }
            drop(packs);
            let context = PackerContext {
                dedup: self.dedup,
                ids: self.ids,
                sealer: self.sealer,
                open: self.open,
                pool: BufferPool::new(self.buffers()),
                out,
                flow: self.flow,
                monitor: self.monitor,
            };
            let passed = self.pass(scope, source, context, checkpoint);
            passed.inspect_err(|_| self.flow.fail(BackupError::Stopped))
        })
    }

    /// Memory for so many packs: all that may be open at a time, and one for each upload. A worker
    /// that seals one more waits: a pack is sealed and written in a tenth of the time that filling
    /// it takes, and costs 16 MiB.
    fn buffers(self) -> usize {
        BUFFERS.min(OPEN + self.options.uploads.max(1))
    }

    fn pass<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        source: &mut Source,
        context: PackerContext<'a>,
        checkpoint: OnCheckpoint<'_>,
    ) -> Result<Passed, BackupError>
    where
        'a: 'scope,
    {
        let (results_in, results) = unbounded();
        let line = self.start(scope, source, &context, &results_in);
        drop(results_in);
        let level = self.options.compression;
        let packer = Packer::new(context, ChunkKind::Tree, level, self.secrets.rng());
        let records = !self.leaves_no_trace();
        let listens = (results, self.monitor, self.flow);
        let mut assembler = Assembler::new(self.dedup, self.state, listens, packer, records);
        let root = self.assemble(&mut assembler, &line, checkpoint).inspect_err(|_| {
            self.flow.fail(BackupError::Stopped);
        });
        let Line { workers, flush, walker, events } = line;
        drop((events, flush));
        let walked = join(walker);
        let mut failed = None;
        for worker in workers {
            failed = join(worker).err().or(failed);
        }
        if let Some(error) = failed {
            self.flow.fail(error);
            return Err(BackupError::Stopped);
        }
        let root = root?;
        walked?;
        let (contents, left_out) = (assembler.contents(), assembler.left_out);
        let (mut packer, mut recorder) = assembler.into_packer();
        packer.flush()?;
        self.flow.wait_uploaded()?;
        let gave_up = self.flow.gave_up();
        if !self.leaves_no_trace() {
            recorder.write(self.dedup, self.state, true)?;
            if gave_up {
                recorder.write_as_far(self.dedup, self.state)?;
            }
        }
        // Whoever left something out did so because of the wish, and the wish stands.
        let interrupted = self.stop.is_wanted() || gave_up;
        Ok(Passed { root, contents, left_out, interrupted, gave_up })
    }

    fn leaves_no_trace(self) -> bool {
        self.options.dry_run || self.known_only
    }

    fn start<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        source: &mut Source,
        context: &PackerContext<'a>,
        results: &Sender<Done>,
    ) -> Line<'scope>
    where
        'a: 'scope,
    {
        let count = self.options.workers.max(1);
        let (jobs_in, jobs) = bounded::<Job>(2 * count);
        let (events_in, events) = bounded(EVENTS);
        let (mut workers, mut flush) = (Vec::new(), Vec::new());
        for _ in 0..count {
            // From hand to hand: a request that nobody takes any more would lie there unanswered.
            let (flush_in, flush_out) = bounded(0);
            flush.push(flush_in);
            let work = WorkerContext {
                jobs: jobs.clone(),
                results: results.clone(),
                owners: LastOwner::new(self.owners),
                monitor: self.monitor,
                flow: self.flow,
                racy_from: self.racy_from,
            };
            let packer = Packer::new(
                context.clone(),
                ChunkKind::Data,
                self.options.compression,
                self.secrets.rng(),
            );
            let worker = Worker::new(work, packer, Reader::new(self.chunker, self.stop, self.flow));
            workers.push(
                scope.spawn(move || worker.work(&flush_out).map_err(|error| self.stop(error))),
            );
        }
        let walker = self.walker(scope, source, events_in, jobs_in);
        Line { workers, flush, walker, events }
    }

    fn walker<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        source: &mut Source,
        events_in: Sender<Vec<Event>>,
        jobs_in: Sender<Job>,
    ) -> ScopedJoinHandle<'scope, Result<(), BackupError>>
    where
        'a: 'scope,
    {
        match source {
            Source::Paths(paths) => {
                let plan = plan(paths.iter().map(PathBuf::as_path));
                scope.spawn(move || {
                    let walker = Walker::new(self.walk_context(), events_in, jobs_in);
                    walker.walk(plan).map_err(|error| self.stop(error))
                })
            }
            Source::Stream(stream) => {
                let stream = stream.take();
                scope.spawn(move || {
                    let Some(stream) = stream else {
                        return Err(BackupError::NoPaths);
                    };
                    let job = Job::Stream {
                        ticket: 0,
                        name: stream.name,
                        source: stream.source,
                        meta: Box::new(stream.meta),
                    };
                    let root = Entered {
                        name: None,
                        meta: Meta::default(),
                        rules: RulesKey::default(),
                        key: None,
                        header: None,
                        old: None,
                    };
                    let file = Event::Pending { ticket: 0, pieces: 1, old: None };
                    let all = vec![Event::Enter(Box::new(root)), file, Event::Leave];
                    jobs_in.send(job).map_err(|_e| BackupError::Stopped)?;
                    events_in.send(all).map_err(|_e| BackupError::Stopped)
                })
            }
        }
    }

    /// Which files a run may read that has so many bytes for them in all.
    pub fn weigh(self, paths: &[PathBuf], most: u64) -> Result<Allowance, BackupError> {
        let mut weights = Weights::new(self.racy_from);
        self.look(paths, Limit::Weigh(&mut weights))?;
        Ok(weights.allow(most))
    }

    /// Bytes of all files that are longer than this.
    pub fn longer(self, paths: &[PathBuf], than: u64) -> Result<u64, BackupError> {
        let mut bytes = 0;
        self.look(paths, Limit::Longer(than, &mut bytes))?;
        Ok(bytes)
    }

    /// A walk that reads no file, for what is learned of them.
    fn look(self, paths: &[PathBuf], limit: Limit<'_>) -> Result<(), BackupError> {
        let (events_in, events) = bounded::<Vec<Event>>(EVENTS);
        // Nothing is read, so there are none.
        let (jobs_in, _jobs) = bounded::<Job>(1);
        std::thread::scope(|scope| {
            scope.spawn(move || events.into_iter().for_each(drop));
            let context = WalkContext {
                limit,
                // What there is to tell is told by the pass that follows.
                monitor: &Silent,
                dry_run: true,
                ..self.walk_context()
            };
            let plan = plan(paths.iter().map(PathBuf::as_path));
            Walker::new(context, events_in, jobs_in).walk(plan)
        })
    }

    fn limit(self) -> Limit<'a> {
        match (self.known_only, self.allowance, self.options.at_most) {
            (true, ..) => Limit::Known,
            (_, Some(allowance), _) => Limit::InAll(allowance),
            (.., Some(most)) => Limit::Each(most),
            (.., None) => Limit::None,
        }
    }

    fn walk_context(self) -> WalkContext<'a> {
        WalkContext {
            rules: &self.options.rules,
            changes: self.options.changes.as_ref(),
            state: self.state,
            dedup: self.dedup,
            owners: self.owners,
            monitor: self.monitor,
            flow: self.flow,
            stop: self.stop,
            force: self.options.force && !self.known_only,
            dry_run: self.leaves_no_trace(),
            limit: self.limit(),
            one_file_system: self.options.one_file_system,
            racy_from: self.racy_from,
        }
    }

    fn assemble(
        self,
        assembler: &mut Assembler<'a>,
        line: &Line<'_>,
        checkpoint: OnCheckpoint<'_>,
    ) -> Result<ChunkId, BackupError> {
        let mut last = Instant::now();
        let mut flushed = last;
        let mut root = None;
        for batch in &line.events {
            for event in batch {
                root = assembler.take(event)?;
            }
            // Whoever is to stop makes one anyway.
            let due = last.elapsed() >= self.options.checkpoint_every
                && root.is_none()
                && !self.known_only
                && !self.stop.is_wanted();
            if due && !self.options.dry_run && self.flow.uploaded_packs() > 0 {
                self.checkpoint(assembler, &line.flush, checkpoint)?;
                last = Instant::now();
            }
            if flushed.elapsed() >= FLUSH_EVERY {
                self.state.flush()?;
                flushed = Instant::now();
            }
            if self.flow.has_failed() {
                return Err(BackupError::Stopped);
            }
        }
        root.ok_or(BackupError::Stopped)
    }

    fn checkpoint(
        self,
        assembler: &mut Assembler<'a>,
        flush: &[Sender<FlushRequest>],
        checkpoint: OnCheckpoint<'_>,
    ) -> Result<(), BackupError> {
        if !self.all_closed(flush)? {
            return Ok(());
        }
        let Some(root) = assembler.so_far()? else {
            return Ok(());
        };
        assembler.flush()?;
        self.flow.wait_uploaded()?;
        assembler.write_records(true)?;
        if self.flow.gave_up() {
            // The wish came meanwhile: what has arrived is looked for at the end.
            return Ok(());
        }
        checkpoint(root, assembler.contents())
    }

    /// Has every worker put what it has open into packs, which the assembler then seals. False if
    /// one has come to its end, as they do when the walk is over: the snapshot is near.
    fn all_closed(self, flush: &[Sender<FlushRequest>]) -> Result<bool, BackupError> {
        for worker in flush {
            let (mut request, answer) = bounded(1);
            let asked = loop {
                match worker.send_timeout(request, LOOK_UP) {
                    Ok(()) => break true,
                    Err(SendTimeoutError::Timeout(back)) => request = back,
                    Err(SendTimeoutError::Disconnected(_)) => break false,
                }
                self.go_on()?;
            };
            let closed = asked
                && loop {
                    match answer.recv_timeout(LOOK_UP) {
                        Ok(()) => break true,
                        Err(RecvTimeoutError::Timeout) => self.go_on()?,
                        Err(RecvTimeoutError::Disconnected) => break false,
                    }
                };
            if !closed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn go_on(self) -> Result<(), BackupError> {
        if self.flow.has_failed() { Err(BackupError::Stopped) } else { Ok(()) }
    }

    /// Records why the run ends, so that whoever waits for this thread finds out.
    fn stop(self, error: BackupError) -> BackupError {
        self.flow.fail(error);
        BackupError::Stopped
    }
}

fn join<T>(handle: ScopedJoinHandle<'_, Result<T, BackupError>>) -> Result<T, BackupError> {
    handle.join().unwrap_or(Err(BackupError::Internal("a thread of the backup panicked")))
}
