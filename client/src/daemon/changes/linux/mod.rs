//! Linux: the crate notify, with one watch for each directory. They are placed by ourselves, so
//! that they are counted and excluded directories take none.

mod eyes;
mod job;
mod kernel;
mod mounts;
mod placing;
mod regular;
mod reload;
mod taking;
mod told;
mod watches;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded, unbounded};
use rustix::event::{EventfdFlags, eventfd};

use super::{ChangeSource, Coverage, Options, Sink, Unwatched};
use eyes::Eyes;

/// What the thread is told to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Watch these, look through those again, and answer when all is placed.
    Watch { roots: Vec<PathBuf>, again: Vec<PathBuf>, answer: Sender<()> },
    /// Answer when all that has happened was told.
    CatchUp(Sender<()>),
}

/// How well the roots are watched. Only the thread writes it.
pub(super) type Shared = Arc<Mutex<Vec<(PathBuf, Coverage)>>>;

/// The source. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Linux {
    /// Gone when the thread is to end.
    commands: Option<Sender<Command>>,
    wake: Arc<OwnedFd>,
    shared: Shared,
    thread: Option<JoinHandle<()>>,
}

impl Linux {
    /// Watches nothing yet.
    pub(super) fn start(options: Options, sink: Sink) -> io::Result<Self> {
        let (commands, received) = unbounded();
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let shared = Shared::default();
        let eyes = Eyes::new(options, sink, Arc::clone(&shared));
        let woken = Arc::clone(&wake);
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || eyes.run(&received, &woken))?;
        Ok(Self { commands: Some(commands), wake, shared, thread: Some(thread) })
    }

    /// Whether the thread got it.
    fn tell(&self, command: Command) -> bool {
        let sent = self.commands.as_ref().is_some_and(|to| to.send(command).is_ok());
        self.wake();
        sent
    }

    fn wake(&self) {
        // Any number does. Full is as good: then it wakes anyway.
        rustix::io::write(&*self.wake, &[1; 8]).ok();
    }
}

impl ChangeSource for Linux {
    fn watch(&mut self, roots: &[PathBuf], again: &[PathBuf]) -> Vec<(PathBuf, Coverage)> {
        let (answer, placed) = bounded(1);
        let watch = Command::Watch { roots: roots.to_vec(), again: again.to_vec(), answer };
        if self.tell(watch) && placed.recv().is_ok() {
            return self.coverage();
        }
        let why = Unwatched::Failed { message: "its thread has ended".into() };
        let scanned = |root: &PathBuf| {
            (root.clone(), Coverage::Scanned { roots: vec![root.clone()], why: why.clone() })
        };
        roots.iter().map(scanned).collect()
    }

    fn coverage(&self) -> Vec<(PathBuf, Coverage)> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn catch_up(&self, at_most: Duration) -> bool {
        let (done, told) = bounded(1);
        self.tell(Command::CatchUp(done)) && told.recv_timeout(at_most).is_ok()
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        self.commands = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended as well.
            thread.join().ok();
        }
    }
}
