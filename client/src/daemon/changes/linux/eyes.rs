//! The thread that takes events and places watches.
//!
//! A directory that appears is watched first and told afterwards: whatever was made in it before
//! its watch was there is found by the walk that its mark asks for, whatever comes later has an
//! event of its own.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use super::job::{End, Job};
use super::mounts::Mounts;
use super::watches::{DirId, Watches, dir_id};
use super::{Command, Shared};
use crate::backup::Depth;
use crate::daemon::changes::{Event, Lost, Options, Sink, Unwatched, outermost};

/// A directory that is watched with all in it.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    /// The directory that is watched there.
    pub(super) here: Option<DirId>,
}

/// Who waits for all that has happened.
#[derive(Debug, Default)]
pub(super) struct CatchingUp {
    /// They came after the last mark was made.
    pub(super) next: Vec<Sender<()>>,
    /// They wait for the mark,
    pub(super) now: Vec<Sender<()>>,
    /// which is to be told so many times more.
    pub(super) left: usize,
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
    pub(super) catching_up: CatchingUp,
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
            catching_up: CatchingUp::default(),
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
            self.take_news();
            self.catch_up();
            self.work();
            if self.jobs.is_empty() {
                self.publish();
                self.rest(wake);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Watch { roots, again, answer } => {
                let wanted = outermost(&roots);
                self.asked = roots;
                self.mounts = Mounts::read();
                self.watch_others(wanted, &again);
                self.jobs.push_back(Job::only(End::Answer(answer)));
            }
            Command::CatchUp(answer) => self.catching_up.next.push(answer),
        }
    }

    /// Gives up all watches and places them again. Then comes `end`, and then the answers for
    /// which somebody waits.
    pub(super) fn begin_anew(&mut self, end: End) {
        let mut answers = std::mem::take(&mut self.jobs);
        answers.retain(|job| matches!(job.end, End::Answer(_)));
        // Their mark may be lost. When all is told as lost, so is all that has happened.
        answers.extend(self.catching_up.now.drain(..).map(|to| Job::only(End::Answer(to))));
        self.catching_up.left = 0;
        self.unwatched.clear();
        // First of all the old ones end: they count until then.
        self.watches = None;
        match Watches::new(self.roots.len(), &self.options) {
            Ok(watches) => (self.watches, self.broken) = (Some(watches), None),
            Err(why) => self.broken = Some(why),
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

    pub(super) fn place_again(&mut self, path: PathBuf, root: usize) {
        self.drop_tree(&path);
        self.jobs.push_back(Job::new(path.clone(), root, End::Everything(path)));
    }

    pub(super) fn root_is_gone(&mut self, number: usize) {
        let Some(root) = self.roots.get_mut(number) else { return };
        if root.here.take().is_none() {
            // It is told twice by those that are deleted: of itself, and by unmounting.
            return;
        }
        let path = root.path.clone();
        self.drop_tree(&path);
        (self.sink)(Event::Lost { root: Some(path), why: Lost::Gone });
        self.look_at = Instant::now();
    }

    pub(super) fn tell(&self, dir: &Path, depth: Depth) {
        (self.sink)(Event::Changed { dir: dir.to_path_buf(), depth });
    }
}
