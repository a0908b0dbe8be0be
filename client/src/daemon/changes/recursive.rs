//! Other systems than Linux: the crate notify, with one watch for a root and all that is in it, as
//! `FSEvents` has them. Nothing has to be counted or placed.

use std::fs::symlink_metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::network::is_network;
use super::{ChangeSource, Coverage, Event, Excluded, Lost, Options, Sink, Unwatched, outermost};
use crate::backup::Depth;

type Watch = (Vec<PathBuf>, Sender<()>);

/// The source. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Recursive {
    /// Gone when the thread is to end.
    commands: Option<Sender<Watch>>,
    asked: Vec<PathBuf>,
    roots: Roots,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone)]
struct Root {
    path: PathBuf,
    /// When the directory that is watched was made, or as good a sign that it is another one.
    here: Option<Sign>,
    why_not: Option<Unwatched>,
}

type Roots = Arc<Mutex<Vec<Root>>>;
type Sign = (u64, u64);

impl Recursive {
    /// Watches nothing yet.
    pub(super) fn start(options: Options, sink: Sink) -> io::Result<Self> {
        let (commands, received) = unbounded();
        let roots = Roots::default();
        let handler = Handler {
            excluded: options.excluded,
            sink: Arc::clone(&sink),
            roots: Arc::clone(&roots),
        };
        let watcher = notify::recommended_watcher(move |told| handler.take(told))
            .map_err(io::Error::other)?;
        let keeper =
            Keeper { watcher, sink, roots: Arc::clone(&roots), look: options.look_for_roots };
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || keeper.run(&received))?;
        Ok(Self { commands: Some(commands), asked: Vec::new(), roots, thread: Some(thread) })
    }
}

impl ChangeSource for Recursive {
    // What is left out is watched all the same, and so has not to be looked for again.
    fn watch(&mut self, roots: &[PathBuf], _: &[PathBuf]) -> Vec<(PathBuf, Coverage)> {
        self.asked = roots.to_vec();
        let (done, placed) = bounded(1);
        let told = self.commands.as_ref().is_some_and(|to| to.send((roots.to_vec(), done)).is_ok());
        if !told || placed.recv().is_err() {
            lock(&self.roots).clear();
        }
        self.coverage()
    }

    fn coverage(&self) -> Vec<(PathBuf, Coverage)> {
        let roots = lock(&self.roots);
        let of = |path: &PathBuf| {
            let root = roots.iter().find(|root| path.starts_with(&root.path));
            let why = match root {
                Some(Root { why_not: Some(why), .. }) => why.clone(),
                Some(Root { here: Some(_), .. }) => return Coverage::Watched { dirs: 1 },
                Some(_) => Unwatched::Missing,
                None => Unwatched::Failed { message: "its thread has ended".into() },
            };
            Coverage::Scanned { roots: vec![path.clone()], why }
        };
        self.asked.iter().map(|path| (path.clone(), of(path))).collect()
    }

    /// No way to know.
    fn catch_up(&self, _: Duration) -> bool {
        false
    }
}

impl Drop for Recursive {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended as well.
            thread.join().ok();
        }
    }
}

/// Takes what notify tells, on its thread.
struct Handler {
    excluded: Excluded,
    sink: Sink,
    roots: Roots,
}

impl Handler {
    fn take(&self, told: notify::Result<notify::Event>) {
        match told {
            Ok(event) => self.event(&event),
            Err(error) => self.failed(&error),
        }
    }

    fn event(&self, event: &notify::Event) {
        // First of all: such an event often has no path.
        if event.need_rescan() {
            (self.sink)(Event::Lost { root: None, why: Lost::Overflow });
            return;
        }
        let appears = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            EventKind::Access(_) => return,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_)) => true,
            _ => false,
        };
        for path in &event.paths {
            self.path(path, appears);
        }
    }

    fn path(&self, path: &Path, appears: bool) {
        if lock(&self.roots).iter().any(|root| root.path == *path) {
            // Whether it is gone is looked at from time to time.
            self.tell(path, Depth::Listing);
            return;
        }
        let is_dir = symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
        if self.excluded.has(path, is_dir) || self.is_within_excluded(path) {
            return;
        }
        if let Some(dir) = path.parent() {
            self.tell(dir, Depth::Listing);
        }
        if is_dir {
            self.tell(path, if appears { Depth::Everything } else { Depth::Listing });
        }
    }

    fn is_within_excluded(&self, path: &Path) -> bool {
        let roots = lock(&self.roots);
        let beneath = |dir: &&Path| !roots.iter().any(|root| root.path == **dir);
        path.ancestors().skip(1).take_while(beneath).any(|dir| self.excluded.has(dir, true))
    }

    fn failed(&self, error: &notify::Error) {
        if let ErrorKind::MaxFilesWatch = error.kind {
            for root in lock(&self.roots).iter_mut() {
                root.why_not = Some(why_not(error));
            }
        }
        (self.sink)(Event::Lost { root: None, why: Lost::Failed });
    }

    fn tell(&self, dir: &Path, depth: Depth) {
        (self.sink)(Event::Changed { dir: dir.to_path_buf(), depth });
    }
}

/// Keeps the roots watched.
struct Keeper {
    watcher: RecommendedWatcher,
    sink: Sink,
    roots: Roots,
    look: Duration,
}

impl Keeper {
    fn run(mut self, commands: &Receiver<Watch>) {
        loop {
            match commands.recv_timeout(self.look) {
                Ok((roots, done)) => {
                    self.watch(&roots);
                    // Nobody waits any more: then nobody needs to know.
                    done.send(()).ok();
                }
                Err(RecvTimeoutError::Timeout) => self.look_for_roots(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn watch(&mut self, roots: &[PathBuf]) {
        let roots = outermost(roots);
        let before = std::mem::take(&mut *lock(&self.roots));
        let (kept, gone): (Vec<Root>, Vec<Root>) =
            before.into_iter().partition(|root| roots.contains(&root.path));
        for root in &gone {
            // It fails if it is gone, which is as good.
            self.watcher.unwatch(&root.path).ok();
        }
        for path in roots {
            let was = kept.iter().find(|root| root.path == path).cloned();
            let new = was.is_none();
            let root = was.unwrap_or_else(|| self.place(path.clone()));
            lock(&self.roots).push(root);
            // Beneath another one it was watched, and for a moment it was not.
            if new && gone.iter().any(|above| path.starts_with(&above.path)) {
                (self.sink)(Event::Changed { dir: path, depth: Depth::Everything });
            }
        }
    }

    fn place(&mut self, path: PathBuf) -> Root {
        let here = sign(&path);
        let why_not = match kind(&path) {
            Some(kind) if is_network(&kind) => Some(Unwatched::Network { kind }),
            _ if here.is_none() => None,
            _ => self.watcher.watch(&path, RecursiveMode::Recursive).err().map(|e| why_not(&e)),
        };
        Root { path, here, why_not }
    }

    fn look_for_roots(&mut self) {
        let roots = lock(&self.roots).clone();
        for (number, root) in roots.into_iter().enumerate() {
            let now = sign(&root.path);
            if now == root.here {
                continue;
            }
            let path = root.path.clone();
            if root.here.is_some() {
                self.watcher.unwatch(&path).ok();
                (self.sink)(Event::Lost { root: Some(path.clone()), why: Lost::Gone });
            }
            let placed = self.place(root.path);
            let back = placed.here.is_some();
            if let Some(root) = lock(&self.roots).get_mut(number) {
                *root = placed;
            }
            if back {
                (self.sink)(Event::Changed { dir: path, depth: Depth::Everything });
            }
        }
    }
}

fn lock(roots: &Roots) -> MutexGuard<'_, Vec<Root>> {
    roots.lock().unwrap_or_else(PoisonError::into_inner)
}

fn why_not(error: &notify::Error) -> Unwatched {
    Unwatched::Failed { message: error.to_string() }
}

/// What tells a directory from another one at the same path.
fn sign(path: &Path) -> Option<Sign> {
    use std::os::unix::fs::MetadataExt;
    let meta = symlink_metadata(path).ok()?;
    meta.is_dir().then(|| (meta.dev(), meta.ino()))
}

/// The kind of file system.
#[cfg(target_vendor = "apple")]
fn kind(path: &Path) -> Option<String> {
    let name = rustix::fs::statfs(path).ok()?.f_fstypename;
    let bytes = name.iter().map_while(|&c| u8::try_from(c).ok().filter(|&b| b != 0));
    String::from_utf8(bytes.collect()).ok()
}

#[cfg(not(target_vendor = "apple"))]
fn kind(_: &Path) -> Option<String> {
    None
}
