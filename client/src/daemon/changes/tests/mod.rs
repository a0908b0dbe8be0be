//! Real events of the real system. What is asserted each time: every directory that differs
//! between two walks made apart from all this would be looked at; and a run that looks at nothing
//! else makes a snapshot that is equal to the file system.

mod away;
mod limits;
mod picture;
mod saver;
mod storms;
mod tools;
mod trees;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::{ChangeSource, Coverage, Event, Excluded, Lost, Options, Sink};
use crate::backup::{Changes, Depth};
use crate::daemon::inbox::Inbox;
use picture::Picture;
use saver::{LATER, Saver};

/// No test needs it; it is the end of one that would hang.
const PATIENCE: Duration = Duration::from_secs(600);
/// In each root; nothing else happens there.
const SENTINEL: &str = "sentinel";

#[derive(Debug, Default)]
struct Seen {
    changes: Changes,
    lost: Vec<(Option<PathBuf>, Lost)>,
    /// Directories that appeared where sentinels are put.
    sentinels: Vec<PathBuf>,
    /// Marks that were told.
    marks: usize,
}

/// A watched folder.
#[derive(Debug)]
struct Eye {
    source: Box<dyn ChangeSource>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    /// What is told, for the one that saves it.
    inbox: Inbox,
    saver: Option<Saver>,
    root: PathBuf,
    next: u32,
    _dir: tempfile::TempDir,
}

/// Puts down what is told.
fn sink(seen: &Arc<(Mutex<Seen>, Condvar)>, inbox: &Inbox) -> Sink {
    let (seen, inbox) = (Arc::clone(seen), inbox.sink(|| ()));
    Arc::new(move |event| {
        inbox(event.clone());
        let (lock, changed) = &*seen;
        let mut all = lock.lock().unwrap();
        let (dir, depth) = match event {
            Event::Lost { root, why } => {
                all.lost.push((root, why));
                return changed.notify_all();
            }
            Event::Entries { dir, .. } => (dir, Depth::Listing),
            Event::Changed { dir, depth } => (dir, depth),
        };
        all.marks += 1;
        if dir.parent().is_some_and(|above| above.ends_with(SENTINEL)) {
            all.sentinels.push(dir);
        } else if !dir.ends_with(SENTINEL) {
            all.changes.add(&dir, depth);
        }
        changed.notify_all();
    })
}

fn options() -> Options {
    Options {
        look_for_roots: Duration::from_millis(50),
        try_again: Duration::from_millis(50),
        ..Options::new(Excluded::nothing())
    }
}

impl Eye {
    /// Watches a folder after `fill` has filled it.
    fn open(fill: impl FnOnce(&Path)) -> Self {
        Self::with(options(), super::open, fill)
    }

    fn with(
        options: Options,
        open: impl FnOnce(Options, Sink) -> std::io::Result<Box<dyn ChangeSource>>,
        fill: impl FnOnce(&Path),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join(SENTINEL)).unwrap();
        fill(&root);
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let inbox = Inbox::default();
        let mut source = open(options, sink(&seen, &inbox)).unwrap();
        source.watch(std::slice::from_ref(&root), &[]);
        Self { source, seen, inbox, saver: None, root, next: 0, _dir: dir }
    }

    /// What is watched, with all that has happened by now: what is told comes before it is
    /// counted.
    fn coverage(&self) -> Coverage {
        self.source.catch_up(PATIENCE);
        let mut all = self.source.coverage();
        assert_eq!(all.len(), 1);
        all.remove(0).1
    }

    /// Waits until the test says that it is so.
    fn until(&self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        let (lock, changed) = &*self.seen;
        let seen = lock.lock().unwrap();
        let (seen, waited) = changed.wait_timeout_while(seen, PATIENCE, |s| !is_so(s)).unwrap();
        assert!(!waited.timed_out(), "{what} never came: {seen:?} {:?}", self.source.coverage());
    }

    /// Makes something happen and waits until it was told: so all before it was told as well.
    fn sentinel(&mut self) {
        self.next += 1;
        let path = self.root.join(SENTINEL).join(self.next.to_string());
        std::fs::create_dir(&path).unwrap();
        self.until("the sentinel", |seen| seen.sentinels.contains(&path));
    }

    /// What was told since the last time.
    fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.0.lock().unwrap())
    }

    /// What this does must be told, and so must what happens afterwards in every directory.
    fn must_see(&mut self, what: impl FnOnce(&Path)) -> Changes {
        self.save();
        let before = Picture::of(&self.root);
        what(&self.root);
        self.sentinel();
        let after = Picture::of(&self.root);
        let told = self.take();
        assert_eq!(told.lost, [], "nothing was to be lost");
        after.must_be_told(&before, &told.changes);
        assert!(self.must_be_saved().is_some(), "nothing was lost, and everything was looked at");
        self.must_be_awake();
        told.changes
    }

    /// Every directory must be watched: a file in each is noticed.
    fn must_be_awake(&mut self) {
        self.sentinel();
        self.take();
        let before = Picture::of(&self.root);
        for dir in before.dirs() {
            std::fs::write(dir.join("is it watched"), b"?").unwrap();
        }
        self.sentinel();
        let told = self.take();
        Picture::of(&self.root).must_be_told(&before, &told.changes);
        for (dir, depth) in told.changes.iter() {
            assert_eq!(depth, Depth::Listing, "{}", dir.display());
        }
    }

    /// Saves all that was told, or all there is the first time.
    fn save(&mut self) {
        if self.saver.is_none() {
            // Whatever was told by now is in it.
            self.inbox.take();
            self.saver = Some(Saver::begin(&self.root));
        } else {
            self.later(true);
        }
    }

    fn saver(&mut self) -> &mut Saver {
        self.saver.as_mut().expect("all was saved once")
    }

    /// Makes what is due later, when nothing happens any more. Whether somebody asks for it, if
    /// that is no reason to look at everything.
    fn later(&mut self, asked: bool) -> Vec<saver::Ran> {
        let coverage = self.source.coverage();
        let saver = self.saver.as_mut().expect("all was saved once");
        saver.noticed(&self.inbox, &coverage);
        saver.wait(LATER);
        let watched = coverage.iter().all(|(_, how)| matches!(how, Coverage::Watched { .. }));
        if asked && watched {
            saver.ask();
        }
        saver.due()
    }

    /// The first run after what happened makes a snapshot that is equal to the file system. What
    /// it looked at; everything with none.
    fn must_be_saved(&mut self) -> Option<Changes> {
        let first = self.later(true).into_iter().next().expect("a run");
        let snapshot = first.result.unwrap().snapshot.expect("something has changed");
        self.saver().must_hold_everything(snapshot);
        assert_eq!(self.saver().pending(), 0, "nothing is left");
        first.changes
    }
}
