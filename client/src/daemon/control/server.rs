//! The daemon's side: a thread that accepts, and one for each client.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::handler::{self, Client};
use super::{Answer, MAX_CLIENTS, Request, socket};
use crate::daemon::job::Trouble;
use crate::daemon::live::Live;

/// How long the thread that accepts is woken at most.
const WAKE: Duration = Duration::from_secs(1);

/// A request on its way to the daemon, and where its answer goes.
#[derive(Debug)]
pub struct Ask {
    request: Request,
    reply: Sender<Answer>,
    turn: Arc<Turn>,
    client: UnixStream,
}

impl Ask {
    pub(super) fn new(
        request: Request,
        reply: Sender<Answer>,
        (turn, client): (Arc<Turn>, UnixStream),
    ) -> Self {
        Self { request, reply, turn, client }
    }

    /// The request, which is to be met now, and where its answer goes. None if nobody waits for it
    /// any more: then it is as if it had never come.
    pub fn take(self) -> Option<(Request, Sender<Answer>)> {
        let wanted = !socket::has_gone(&self.client) && self.turn.is_mine();
        wanted.then_some((self.request, self.reply))
    }
}

/// Who decides about a request: the daemon, which does it, or the thread of the client, which gives
/// it up. Whoever comes first.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicBool);

impl Turn {
    /// Whether it is up to whoever asks here.
    pub(super) fn is_mine(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// How requests get to the daemon. False if it takes no more.
pub(super) type Post = Arc<dyn Fn(Ask) -> bool + Send + Sync>;

/// Listens until it is dropped; then the socket is removed.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    listener: UnixListener,
    /// Which file it is.
    id: (u64, u64),
    closing: Arc<AtomicBool>,
}

impl Server {
    /// Listens at this path. The daemon's lock must be held.
    pub fn start(
        path: &Path,
        live: Arc<Live>,
        post: impl Fn(Ask) -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = socket::listen(path)?;
        let (heard, id) = (listener.try_clone()?, id_of(path)?);
        let closing = Arc::new(AtomicBool::new(false));
        let (flag, post): (_, Post) = (Arc::clone(&closing), Arc::new(post));
        let thread = std::thread::Builder::new().name("control".to_owned());
        thread.spawn(move || accept(&heard, &flag, &live, &post))?;
        Ok(Self { path: path.to_path_buf(), listener, id, closing })
    }

    /// Whether it can still be found at its path.
    pub fn is_there(&self) -> bool {
        id_of(&self.path).is_ok_and(|id| id == self.id)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts: the one where it can be done, else the other.
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).ok();
        if self.is_there() {
            drop(socket::connect(&self.path, WAKE));
            std::fs::remove_file(&self.path).ok();
        }
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn accept(listener: &UnixListener, closing: &AtomicBool, live: &Arc<Live>, post: &Post) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if closing.load(Ordering::Relaxed) {
            return;
        }
        match stream {
            Ok(stream) => admit(stream, &clients, live, post),
            // No file to spare: a moment later there may be.
            Err(_) => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// A place among the clients.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn admit(stream: UnixStream, clients: &Arc<AtomicUsize>, live: &Arc<Live>, post: &Post) {
    if !socket::is_mine(&stream) {
        return;
    }
    let before = clients.fetch_add(1, Ordering::Relaxed);
    let place = Place(Arc::clone(clients));
    let mut client = Client::new(stream);
    if before >= MAX_CLIENTS {
        let text = "too many commands talk to the daemon at once";
        client.tell(&Answer::Refused(Trouble::new(Trouble::BUSY, text))).ok();
        return;
    }
    let (live, post) = (Arc::clone(live), Arc::clone(post));
    let thread = std::thread::Builder::new().name("client".to_owned());
    // Without a thread to spare the connection is closed.
    let spawned = thread.spawn(move || {
        // A client that has gone is no trouble.
        handler::serve(&mut client, &live, &post).ok();
        drop(place);
    });
    drop(spawned);
}
