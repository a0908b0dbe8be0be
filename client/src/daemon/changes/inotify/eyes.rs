//! The thread that reads events and places watches.
//!
//! A directory that appears is watched first and told afterwards: whatever was made in it before
//! its watch was there is found by the walk that its mark asks for, whatever comes later has an
//! event of its own.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rustix::fs::inotify::ReadFlags;

use super::job::{End, Job};
use super::mounts::Mounts;
use super::watches::{Raw, Watches, dir_id};
use super::{Command, Shared};
use crate::backup::Depth;
use crate::daemon::changes::{Event, Lost, Options, Sink, Unwatched, outermost};

/// Directories that may wait to be watched because of events. With more, all is begun anew.
const MAX_JOBS: usize = 50_000;
/// A directory that is watched with all in it.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    /// Device and number of the directory that is watched there.
    pub(super) here: Option<(u64, u64)>,
}

/// The state of the thread.
pub(super) struct Eyes {
    pub(super) options: Options,
    pub(super) sink: Sink,
    pub(super) shared: Shared,
    pub(super) roots: Vec<Root>,
    /// As they were asked for: some may lie in others.
    pub(super) asked: Vec<PathBuf>,
    pub(super) watches: Option<Watches>,
    /// Why there are no watches at all.
    pub(super) broken: Option<String>,
    pub(super) jobs: VecDeque<Job>,
    pub(super) unwatched: BTreeMap<PathBuf, Unwatched>,
    pub(super) mounts: Mounts,
    /// They wait for the queue of the kernel to become empty.
    pub(super) catching_up: Vec<Sender<()>>,
    pub(super) look_at: Instant,
    pub(super) try_at: Instant,
}

impl Eyes {
    pub(super) fn new(options: Options, sink: Sink, shared: Shared) -> Self {
        let now = Instant::now();
        Self {
            look_at: now + options.look_for_roots,
            try_at: now + options.try_again,
            options,
            sink,
            shared,
            roots: Vec::new(),
            asked: Vec::new(),
            watches: None,
            broken: None,
            jobs: VecDeque::new(),
            unwatched: BTreeMap::new(),
            mounts: Mounts::read(),
            catching_up: Vec::new(),
        }
    }

    /// Until the other end of the commands is gone.
    pub(super) fn run(mut self, commands: &Receiver<Command>, wake: &OwnedFd) {
        loop {
            match commands.try_recv() {
                Ok(command) => {
                    self.obey(command);
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            let more = self.read();
            if !more {
                let waiting = self.catching_up.drain(..).map(|to| Job::only(End::Answer(to)));
                self.jobs.extend(waiting);
            }
            self.work();
            if more || !self.jobs.is_empty() {
                continue;
            }
            self.publish();
            self.rest(wake);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Watch(roots, answer) => {
                let root = |path| Root { path, here: None };
                self.roots = outermost(&roots).into_iter().map(root).collect();
                self.asked = roots;
                self.mounts = Mounts::read();
                self.begin_anew(End::Answer(answer));
            }
            Command::CatchUp(answer) => self.catching_up.push(answer),
        }
    }

    /// Gives up all watches and places them again. Then comes `end`, and then the answers for
    /// which somebody waits.
    fn begin_anew(&mut self, end: End) {
        let mut answers = std::mem::take(&mut self.jobs);
        answers.retain(|job| matches!(job.end, End::Answer(_)));
        self.unwatched.clear();
        match Watches::new(self.roots.len(), self.options.percent) {
            Ok(watches) => (self.watches, self.broken) = (Some(watches), None),
            Err(error) => (self.watches, self.broken) = (None, Some(error.to_string())),
        }
        for (number, root) in self.roots.iter_mut().enumerate() {
            root.here = dir_id(&root.path);
            self.jobs.push_back(Job::new(root.path.clone(), number, End::Quiet));
        }
        self.jobs.push_back(Job::only(end));
        self.jobs.append(&mut answers);
    }

    /// Begins anew because events were lost. It is told when all is watched again.
    pub(super) fn recover(&mut self, why: Lost) {
        self.begin_anew(End::Lost(why));
    }

    /// Reads events once. Whether there may be more.
    fn read(&mut self) -> bool {
        let mut events = Vec::new();
        let Some(watches) = &mut self.watches else { return false };
        let Ok(more) = watches.read(&mut events) else {
            self.recover(Lost::Failed);
            return false;
        };
        if events.iter().any(|raw| raw.what.contains(ReadFlags::QUEUE_OVERFLOW)) {
            self.recover(Lost::Overflow);
            return false;
        }
        let mut seen = HashSet::new();
        let mut marks: Vec<Arc<Path>> = Vec::new();
        for raw in events {
            let Some(watch) = self.watches.as_ref().and_then(|all| all.get(raw.wd)) else {
                continue;
            };
            let (dir, root) = (Arc::clone(&watch.path), watch.root);
            if self.take(&raw, &dir, root) && seen.insert(raw.wd) {
                marks.push(dir);
            }
        }
        // After all that they tell of has happened.
        for dir in marks {
            self.tell(&dir, Depth::Listing);
        }
        if self.jobs.len() > MAX_JOBS {
            self.recover(Lost::Overflow);
        }
        more
    }

    /// Takes in an event of a watched directory. Whether the directory is to be looked at.
    fn take(&mut self, raw: &Raw, dir: &Path, root: usize) -> bool {
        let ended =
            ReadFlags::IGNORED | ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        if raw.what.intersects(ended) {
            self.end_of(raw, dir, root);
            return false;
        }
        let Some(name) = &raw.name else { return true };
        let path = dir.join(name);
        let is_dir = raw.what.contains(ReadFlags::ISDIR);
        if self.options.excluded.has(&path, is_dir) {
            return false;
        }
        if is_dir {
            self.settle(path, root, raw.what);
        }
        true
    }

    /// A watched directory is gone.
    fn end_of(&mut self, raw: &Raw, dir: &Path, root: usize) {
        if self.roots.get(root).is_some_and(|top| top.path == dir) {
            self.root_is_gone(root);
        } else if raw.what.contains(ReadFlags::UNMOUNT) {
            self.place_again(dir.to_path_buf(), root);
        } else if let Some(watches) = &mut self.watches {
            watches.unlink(raw.wd);
        }
    }

    /// Something happened to a directory in a watched one: what is there now is what counts.
    fn settle(&mut self, path: PathBuf, root: usize, what: ReadFlags) {
        let Some(watches) = &self.watches else { return };
        if what.contains(ReadFlags::MOVED_TO) {
            // Whatever happened in it on its way here was told by another path, or not at all.
            self.place_again(path, root);
        } else if !what.contains(ReadFlags::ATTRIB) || !watches.has(&path) {
            // With other attributes it may be readable now.
            self.jobs.push_back(Job::new(path.clone(), root, End::Everything(path)));
        }
    }

    pub(super) fn place_again(&mut self, path: PathBuf, root: usize) {
        self.drop_tree(&path);
        self.jobs.push_back(Job::new(path.clone(), root, End::Everything(path)));
    }

    pub(super) fn root_is_gone(&mut self, number: usize) {
        let Some(root) = self.roots.get_mut(number) else { return };
        root.here = None;
        let path = root.path.clone();
        self.drop_tree(&path);
        (self.sink)(Event::Lost { root: Some(path), why: Lost::Gone });
        self.look_at = Instant::now();
    }

    pub(super) fn tell(&self, dir: &Path, depth: Depth) {
        (self.sink)(Event::Changed { dir: dir.to_path_buf(), depth });
    }
}
