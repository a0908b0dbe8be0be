//! The daemon's loop: takes in what happens, asks the mind what to do, and lets a thread of its
//! own do it.

mod asked;
mod listening;
mod said;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::alerts::{Alert, Told, Way};
use super::changes::{ChangeSource, Sink};
use super::control::{Ask, Server};
use super::core::{Core, Now, SetSpec, Step};
use super::inbox::Inbox;
use super::job::{Job, RunResult, Runner, Trouble};
use super::live::{Live, Run};
use super::schedule::At;
use super::signs::Verdict;
use super::signs::clock::{Clocks, Now as Clocked, between};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use listening::{again, listen};

/// The longest the loop rests: timers do not run while the machine sleeps, and signs change
/// without a word.
const REST: Duration = Duration::from_secs(20);
/// How often it is looked at what changes slowly: how well is watched, what to tell the user.
const LOOK: Duration = Duration::from_secs(60);
/// The longest pause.
pub const MAX_PAUSE: Duration = Duration::from_secs(366 * 86_400);

/// The world around the daemon.
pub trait Around: Send {
    /// Whether now is a good time, after so many days in use without a backup.
    fn may_run(&mut self, overdue: u32) -> Verdict;
    /// Reads the configuration again.
    fn sets(&mut self) -> Result<Vec<SetSpec>, Trouble>;
    /// Whether the configuration is another one since it was last read, or tried to.
    fn has_other_sets(&mut self) -> bool;
    /// Where the vault is.
    fn vault(&self) -> String;
    /// Something happened that a log should have.
    fn log(&mut self, line: &str);
    /// What the service manager is told: in a few words, what is being done.
    fn state(&mut self, state: State<'_>);
    /// Keeps the book.
    fn keep(&mut self, book: &super::book::Book);
    /// A log should have this alert.
    fn warn(&mut self, alert: &Alert);
    /// Tells the user in one way, and waits for nothing: [`Message::Told`] says how it went.
    fn tell(&mut self, alert: &Alert, way: Way);
}

/// What the service manager is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'a> {
    /// It knows what to do and can be asked; watches may still be placed.
    Ready,
    /// It reads its configuration again; [`State::Ready`] follows.
    Reloading,
    /// It is alive.
    Alive,
    /// In words.
    Doing(&'a str),
    /// It ends.
    Stopping,
}

/// What happens from outside.
#[derive(Debug)]
pub enum Message {
    /// The source of changes has told something.
    Noticed,
    /// A command asks something.
    Ask(Ask),
    /// A run has ended.
    Ended(Box<RunResult>),
    /// The configuration is to be read again.
    Reload,
    /// The user was told something, or was not.
    Told(Told),
    /// The daemon is to end.
    Stop,
}

/// Makes a source of changes.
pub type MakeSource = Box<dyn FnOnce(Sink) -> std::io::Result<Box<dyn ChangeSource>> + Send>;

/// What a daemon is made of.
pub struct Parts {
    /// What it knows.
    pub core: Core,
    /// Makes backups.
    pub runner: Arc<dyn Runner>,
    /// Makes the source of changes, which tells the sink.
    pub source: MakeSource,
    /// The clocks.
    pub clocks: Arc<dyn Clocks>,
    /// Any number, evenly spread.
    pub chance: fn() -> u32,
    /// Everything else.
    pub around: Box<dyn Around>,
    /// Where commands ask.
    pub socket: PathBuf,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("core", &self.core).finish_non_exhaustive()
    }
}

/// The ends of the channel by which the daemon hears.
#[derive(Debug)]
pub struct Ears {
    tell: Sender<Message>,
    hear: Receiver<Message>,
}

impl Ears {
    /// A new channel.
    pub fn new() -> Self {
        let (tell, hear) = unbounded();
        Self { tell, hear }
    }

    /// Tells the daemon something, from any thread.
    pub fn mouth(&self) -> Sender<Message> {
        self.tell.clone()
    }
}

impl Default for Ears {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs until somebody says stop. Fails only if it cannot begin.
pub fn run(parts: Parts, ears: &Ears) -> Result<(), Trouble> {
    let inbox = Inbox::default();
    let bell = ears.mouth();
    let sink = inbox.sink(move || {
        // It fails when the daemon has ended.
        bell.send(Message::Noticed).ok();
    });
    let live = Arc::new(Live::default());
    let socket = parts.socket;
    let mut server = Some(listen(&socket, &live, ears)?);
    let source = (parts.source)(sink).map_err(|error| {
        Trouble::new(Trouble::FAILED, format!("changes cannot be watched: {error}"))
    })?;
    let mut daemon = Daemon {
        core: parts.core,
        runner: parts.runner,
        source,
        last: parts.clocks.read(),
        clocks: parts.clocks,
        chance: parts.chance,
        around: parts.around,
        inbox,
        live,
        mouth: ears.mouth(),
        running: None,
        followed: BTreeSet::new(),
        mute: BTreeMap::new(),
        next_look: Duration::ZERO,
        stopping: false,
        busy: false,
    };
    daemon.reload()?;
    daemon.core.book.config = None;
    while daemon.turn(&ears.hear) {
        if !server.as_ref().is_some_and(Server::is_there) {
            server = again(&mut daemon, (server, &socket), ears);
        }
    }
    daemon.live.close();
    drop(server);
    Ok(())
}

/// A run under way.
#[derive(Debug)]
struct Under {
    job: Job,
    run: Arc<Run>,
    stop: Arc<AtomicBool>,
}

struct Daemon {
    core: Core,
    runner: Arc<dyn Runner>,
    source: Box<dyn ChangeSource>,
    clocks: Arc<dyn Clocks>,
    /// What they said at the last turn.
    last: Clocked,
    chance: fn() -> u32,
    around: Box<dyn Around>,
    inbox: Inbox,
    live: Arc<Live>,
    mouth: Sender<Message>,
    running: Option<Under>,
    /// Sets of which somebody waits for the next run to end.
    followed: BTreeSet<String>,
    /// Ways by which the user was not told the last time, and why.
    mute: BTreeMap<Way, String>,
    next_look: At,
    stopping: bool,
    /// The last run met somebody else's, which is said once.
    busy: bool,
}

impl Daemon {
    fn now(&self) -> Now {
        let now = self.clocks.read();
        Now { at: now.boot, wall: now.wall }
    }

    /// One turn of the loop. False at the end.
    fn turn(&mut self, hear: &Receiver<Message>) -> bool {
        self.around.state(State::Alive);
        self.look_around();
        let wait = if self.stopping { None } else { self.begin_what_is_due() };
        let wait = [wait, self.next_telling()].into_iter().flatten().min();
        if self.stopping && self.running.is_none() {
            return false;
        }
        let now = self.now().at;
        let rest = wait.map_or(REST, |until| until.saturating_sub(now).min(REST));
        match hear.recv_timeout(rest) {
            Ok(message) => self.heard(message),
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    /// What tells by itself neither when nor that it happens.
    fn look_around(&mut self) {
        let clocks = self.clocks.read();
        let passed = between(&self.last, &clocks);
        self.last = clocks;
        let now = Now { at: clocks.boot, wall: clocks.wall };
        self.core.in_use(passed.awake, now);
        if !passed.slept.is_zero() {
            self.around.log("the machine has slept: everything is looked at");
            self.core.woke(now.at);
        }
        if passed.jumped != 0 {
            self.around.log(&format!("the clock was set by {} s", passed.jumped));
            self.core.clock_was_set(passed.jumped, now);
            self.next_look = Duration::ZERO;
        }
        if self.around.has_other_sets() {
            self.reload_told().ok();
        }
        let verdict = self.around.may_run(self.core.overdue());
        if let Some(under) = self.running.as_ref().filter(|under| !under.job.wanted) {
            let too_much = match verdict {
                Verdict::Go => false,
                Verdict::Only { .. } => under.job.at_most.is_none(),
                Verdict::Wait { .. } => true,
            };
            // What is done so far is kept.
            under.stop.fetch_or(too_much, Ordering::Relaxed);
        }
        self.core.may_run(&verdict, now);
        if now.at >= self.next_look {
            self.next_look = now.at + LOOK;
            let other = self.core.look_at_places(now);
            if !other.is_empty()
                && let Err(trouble) = self.watch(&other)
            {
                self.around.log(&trouble.message);
            }
            self.core.covered(&self.source.coverage(), now.at);
            self.look_for_trouble(now);
            self.around.keep(&self.core.book);
        }
        self.tell(now);
    }

    /// Begins a run if one is due; tells when the next is.
    fn begin_what_is_due(&mut self) -> Option<At> {
        self.take_in();
        let now = self.now();
        if self.running.is_some() {
            // Its set may be gone by now: then nothing but this says that it goes on.
            self.core.tick(now);
            return None;
        }
        match self.core.step(now) {
            Step::Wait(until) => until,
            Step::Run(job) => {
                self.begin(job);
                None
            }
        }
    }

    fn take_in(&mut self) {
        let noticed = self.inbox.take();
        if noticed.is_empty() {
            return;
        }
        self.core.noticed(&noticed, self.now());
    }

    fn begin(&mut self, job: Job) {
        let followed = job.wanted && self.followed.remove(&job.set);
        let job = Job { followed, ..job };
        let run = self.live.begin(&job.set);
        let stop = Arc::new(AtomicBool::new(false));
        let what = match &job.changes {
            None => "everything is looked at".to_owned(),
            Some(changes) => format!("changes in directories: {}", changes.len()),
        };
        if !self.busy {
            self.around.log(&format!("backing up {}: {what}", job.set));
        }
        self.around.state(State::Doing(&format!("backing up {}", job.set)));
        let under = Under { job: job.clone(), run: Arc::clone(&run), stop: Arc::clone(&stop) };
        self.running = Some(under);
        let (runner, mouth) = (Arc::clone(&self.runner), self.mouth.clone());
        let work = move || {
            let attempt = AssertUnwindSafe(|| runner.run(&job, &*run, &stop));
            let failed = |_| Err(Trouble::new(Trouble::FAILED, "internal error: the run panicked"));
            let result = catch_unwind(attempt).unwrap_or_else(failed);
            mouth.send(Message::Ended(Box::new(result))).ok();
        };
        let thread = std::thread::Builder::new().name("run".to_owned());
        if let Err(error) = thread.spawn(work) {
            self.ended(Err(Trouble::new(Trouble::FAILED, no_thread(&error))));
        }
    }

    fn ended(&mut self, result: RunResult) {
        let Some(Under { job, run, .. }) = self.running.take() else {
            return;
        };
        for line in said::troubles(&run, &result) {
            self.around.log(&line);
        }
        let busy = result.as_ref().is_err_and(|trouble| trouble.code == Trouble::BUSY);
        if !(busy && self.busy) {
            self.around.log(&said::ended(&job.set, &result));
        }
        self.busy = busy;
        if job.at_most.is_some() {
            let counts = run.counts();
            self.core.spent(counts.read.max(counts.transferred), self.now());
        }
        self.core.ended(&job, &result, (self.now(), (self.chance)()));
        self.live.end(&run, result);
        self.around.keep(&self.core.book);
        // Whatever has to be told is told at once.
        self.next_look = Duration::ZERO;
        self.around.state(State::Doing("watching"));
    }

    /// Takes in a message. False if the daemon is to end without waiting.
    fn heard(&mut self, message: Message) -> bool {
        match message {
            Message::Noticed => self.take_in(),
            Message::Ask(ask) => {
                if let Some((request, reply)) = ask.take() {
                    // Whoever asked may go meanwhile.
                    reply.send(self.answer(request)).ok();
                }
            }
            Message::Ended(result) => self.ended(*result),
            Message::Reload => {
                self.reload_told().ok();
            }
            Message::Told(told) => self.told(&told),
            Message::Stop => return self.stop(),
        }
        true
    }

    /// The first time, what is done so far is saved; the second time there is no waiting.
    fn stop(&mut self) -> bool {
        if self.stopping {
            return false;
        }
        self.stopping = true;
        self.around.state(State::Stopping);
        self.live.close();
        if let Some(under) = &self.running {
            self.around.log("stopping: saving what has been read");
            under.stop.store(true, Ordering::Relaxed);
        } else {
            self.around.log("stopping");
        }
        true
    }

    /// Reads the configuration again; if it is no good, the old one stays, and the user is told.
    fn reload_told(&mut self) -> Result<(), Trouble> {
        self.around.state(State::Reloading);
        self.around.log("config.toml is read again");
        let read = self.reload();
        if let Err(trouble) = &read {
            self.around.state(State::Ready);
            self.around.log(&format!("the old configuration stays: {}", trouble.message));
        }
        self.core.book.config = read.as_ref().err().map(|trouble| trouble.message.clone());
        self.core.try_again();
        self.next_look = Duration::ZERO;
        read
    }

    fn reload(&mut self) -> Result<(), Trouble> {
        let vault = self.around.vault();
        let sets = self.around.sets()?;
        let now = self.now();
        let again = self.core.set_sets(sets, now);
        if let Some(under) = &self.running {
            let moved = self.around.vault() != vault;
            if moved {
                self.around.log("stopping: the vault is elsewhere now");
                self.core.make_way(Duration::ZERO, Some(&under.job), now);
            }
            let gone = self.core.named(Some(&under.job.set)).is_empty();
            under.stop.fetch_or(moved || gone, Ordering::Relaxed);
        }
        // Not after the watches: in a large tree they take longer than a service manager waits.
        self.around.state(State::Ready);
        self.watch(&again)?;
        self.around.keep(&self.core.book);
        Ok(())
    }

    fn watch(&mut self, again: &[PathBuf]) -> Result<(), Trouble> {
        let roots = self.core.watched();
        let (source, around) = (&mut self.source, &mut self.around);
        let coverage = alive_while(around.as_mut(), || source.watch(&roots, again))
            .map_err(|error| Trouble::new(Trouble::FAILED, no_thread(&error)))?;
        self.core.covered(&coverage, self.now().at);
        self.around.log("watching");
        if self.running.is_none() {
            self.around.state(State::Doing("watching"));
        }
        Ok(())
    }
}

/// Does what may take long on a thread of its own, and tells the service manager meanwhile that all
/// is well.
fn alive_while<T: Send>(
    around: &mut dyn Around,
    work: impl FnOnce() -> T + Send,
) -> std::io::Result<T> {
    let (done, ended) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("place".to_owned());
        let thread = thread.spawn_scoped(scope, move || {
            // Gone when the work is done, also by a panic.
            let _done = done;
            work()
        })?;
        while ended.recv_timeout(REST) == Err(RecvTimeoutError::Timeout) {
            around.state(State::Alive);
        }
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn no_thread(error: &std::io::Error) -> String {
    format!("cannot start a thread: {error}")
}
