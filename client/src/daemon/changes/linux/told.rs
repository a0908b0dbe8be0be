//! What notify tells, put together until our own thread takes it.
//!
//! It comes on notify's threads, which must not be held up: while they wait, the queues of the
//! kernel fill. So nothing is done here but to leave out what is of no interest, and to make one
//! of what is equal: a thousand files that are written in a directory cost one entry.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;
use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind};
use notify::event::{Event, RenameMode};
use rustix::event::{EventfdFlags, eventfd};

use crate::daemon::changes::{Excluded, Lost, Names};

/// Paths that may wait for our thread. With more, all is begun anew: that costs less than to take
/// them one by one.
const MAX_WAITING: usize = 50_000;

/// What happened to something in a watched directory that may be a directory itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happened {
    /// It has other attributes.
    Attributes,
    /// It is a directory that was made.
    Made,
    /// It came from elsewhere, went there, or is gone: another one may be there. notify has given
    /// up whatever it watched there and beneath.
    Replaced,
}

/// Something that may be a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) happened: Happened,
    /// It is known that it is or was one.
    pub(super) is_dir: bool,
    /// Its place among all, by when it was told of first.
    pub(super) place: usize,
}

/// What was told since the last time.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Directories in which something happened to a file, and to which.
    pub(super) dirs: HashMap<PathBuf, Names>,
    /// What may be a directory.
    pub(super) entries: HashMap<PathBuf, Entry>,
    /// How often the mark was seen.
    pub(super) marks: usize,
    /// Not all was told.
    pub(super) lost: Option<Lost>,
    /// A thread of notify has ended that was to go on.
    pub(super) ended: bool,
}

/// Where it is put down.
#[derive(Debug)]
pub(super) struct Told {
    news: Mutex<News>,
    /// Can be read when there is news.
    bell: OwnedFd,
}

impl Told {
    /// Nothing yet.
    pub(super) fn new() -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { news: Mutex::default(), bell })
    }

    /// What to poll.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// All that was told since the last time.
    pub(super) fn take(&self) -> News {
        let mut news = self.lock();
        let mut count = [0; 8];
        // Silent is as good: then nothing was told.
        rustix::io::read(&self.bell, &mut count).ok();
        std::mem::take(&mut *news)
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, job: impl FnOnce(&mut News)) {
        let mut news = self.lock();
        let was_silent = news.is_empty();
        job(&mut news);
        if news.dirs.len() + news.entries.len() > MAX_WAITING {
            news.lost = Some(Lost::Overflow);
        }
        if news.lost.is_some() {
            (news.dirs, news.entries) = (HashMap::new(), HashMap::new());
        }
        if was_silent && !news.is_empty() {
            // Any number does. Full is as good: then it rings already.
            rustix::io::write(&self.bell, &[1; 8]).ok();
        }
    }
}

impl News {
    /// What may be a directory, in the order in which it was told.
    pub(super) fn entries(&mut self) -> Vec<(PathBuf, Entry)> {
        let mut all: Vec<_> = std::mem::take(&mut self.entries).into_iter().collect();
        all.sort_unstable_by_key(|(_, entry)| entry.place);
        all
    }

    fn is_empty(&self) -> bool {
        self.dirs.is_empty()
            && self.entries.is_empty()
            && self.marks == 0
            && self.lost.is_none()
            && !self.ended
    }
}

/// Takes what one watcher tells, on its thread.
pub(super) struct Handler {
    told: Arc<Told>,
    excluded: Excluded,
    /// What is opened as a mark.
    mark: Option<PathBuf>,
    /// Gone when the thread has ended.
    alive: Option<Sender<()>>,
}

impl Handler {
    pub(super) fn new(
        told: Arc<Told>,
        excluded: Excluded,
        mark: Option<PathBuf>,
        alive: Sender<()>,
    ) -> Self {
        Self { told, excluded, mark, alive: Some(alive) }
    }

    fn event(&self, event: Event) {
        // First of all: such an event has no path.
        if event.need_rescan() {
            self.told.put(|news| news.lost = Some(Lost::Overflow));
            return;
        }
        let (happened, is_dir) = match event.kind {
            EventKind::Access(AccessKind::Open(_)) => return self.opened(&event.paths),
            // Anything but the end of writing: our own scans make such events.
            EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => return,
            // It comes as two of their own as well.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
            EventKind::Create(CreateKind::Folder) => (Happened::Made, true),
            EventKind::Remove(RemoveKind::Folder) => (Happened::Replaced, true),
            EventKind::Remove(RemoveKind::Other) | EventKind::Modify(ModifyKind::Name(_)) => {
                (Happened::Replaced, false)
            }
            EventKind::Modify(ModifyKind::Metadata(_)) => (Happened::Attributes, false),
            _ => return event.paths.iter().for_each(|path| self.file(path)),
        };
        for path in event.paths {
            self.told.put(|news| {
                if news.lost.is_none() {
                    let place = news.entries.len();
                    let new = Entry { happened, is_dir, place };
                    let entry = news.entries.entry(path).or_insert(new);
                    entry.happened = entry.happened.max(happened);
                    entry.is_dir |= is_dir;
                }
            });
        }
    }

    fn opened(&self, paths: &[PathBuf]) {
        if self.mark.is_some() && paths.first() == self.mark.as_ref() {
            self.told.put(|news| news.marks += 1);
        }
    }

    /// Something happened to a file.
    fn file(&self, path: &Path) {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return };
        let is_known = |news: &News| {
            news.lost.is_some() || news.dirs.get(dir).is_some_and(|names| names.has(name))
        };
        if is_known(&self.told.lock()) || self.excluded.has(path, false) {
            return;
        }
        self.told.put(|news| {
            if news.lost.is_none() {
                match news.dirs.get_mut(dir) {
                    Some(names) => names.add(name),
                    None => news.dirs.entry(dir.to_path_buf()).or_default().add(name),
                }
            }
        });
    }
}

impl notify::EventHandler for Handler {
    fn handle_event(&mut self, told: notify::Result<Event>) {
        match told {
            Ok(event) => self.event(event),
            Err(_) => self.told.put(|news| news.lost = Some(Lost::Failed)),
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.alive = None;
        self.told.put(|news| news.ended = true);
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

#[cfg(test)]
mod tests {
    use notify::EventHandler;
    use notify::event::{DataChange, Flag, MetadataKind};

    use super::*;

    fn handler() -> (Handler, Arc<Told>) {
        let told = Arc::new(Told::new().unwrap());
        let excluded = Excluded::by(|path, _| path.extension().is_some_and(|end| end == "tmp"));
        let (alive, _) = crossbeam_channel::bounded(0);
        (Handler::new(Arc::clone(&told), excluded, Some("/mark".into()), alive), told)
    }

    fn tell(handler: &mut Handler, kind: EventKind, path: &str) {
        handler.handle_event(Ok(Event::new(kind).add_path(path.into())));
    }

    fn rings(told: &Told) -> bool {
        let mut fds =
            [rustix::event::PollFd::from_borrowed_fd(told.bell(), rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).unwrap() == 1
    }

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const OPENED: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));

    #[test]
    fn a_storm_of_files_is_one_directory() {
        let (mut handler, told) = handler();
        assert!(!rings(&told));
        for number in 0..200_000 {
            tell(&mut handler, WRITTEN, &format!("/d/{number}"));
        }
        assert!(rings(&told));
        let news = told.take();
        let dirs: Vec<_> = news.dirs.iter().map(|(dir, names)| (dir, names.is_many())).collect();
        assert_eq!((dirs, news.lost), (vec![(&"/d".into(), true)], None));
        assert!(news.entries.is_empty() && !rings(&told));
    }

    #[test]
    fn what_is_opened_or_excluded_is_not_told_and_the_mark_is() {
        let (mut handler, told) = handler();
        tell(&mut handler, OPENED, "/d/f");
        tell(&mut handler, EventKind::Access(AccessKind::Close(AccessMode::Read)), "/d/f");
        tell(&mut handler, WRITTEN, "/d/f.tmp");
        assert!(!rings(&told) && told.take().is_empty());
        tell(&mut handler, EventKind::Access(AccessKind::Close(AccessMode::Write)), "/d/f");
        tell(&mut handler, OPENED, "/mark");
        let news = told.take();
        let mut names = Names::default();
        names.add("f".as_ref());
        assert_eq!((news.dirs, news.marks), (HashMap::from([("/d".into(), names)]), 1));
    }

    #[test]
    fn of_several_things_the_one_that_counts_most_is_kept() {
        let (mut handler, told) = handler();
        tell(&mut handler, EventKind::Remove(RemoveKind::Folder), "/d/e");
        tell(&mut handler, EventKind::Create(CreateKind::Folder), "/d/e");
        let attributes = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        tell(&mut handler, attributes, "/d/e");
        tell(&mut handler, EventKind::Modify(ModifyKind::Name(RenameMode::To)), "/d/f");
        tell(&mut handler, EventKind::Modify(ModifyKind::Name(RenameMode::Both)), "/d/g");
        let entries = told.take().entries();
        let entries: Vec<_> = entries.iter().map(|(p, e)| (p.to_str().unwrap(), e)).collect();
        let entry = |is_dir, place| Entry { happened: Happened::Replaced, is_dir, place };
        let expected = [("/d/e", &entry(true, 0)), ("/d/f", &entry(false, 1))];
        assert_eq!(entries, expected);
    }

    #[test]
    fn too_much_is_an_overflow_and_keeps_no_memory() {
        let (mut handler, told) = handler();
        for number in 0..=MAX_WAITING {
            let came = EventKind::Modify(ModifyKind::Name(RenameMode::To));
            tell(&mut handler, came, &format!("/d/{number}"));
        }
        tell(&mut handler, WRITTEN, "/d/f");
        let news = told.take();
        assert_eq!((news.lost, news.dirs.len()), (Some(Lost::Overflow), 0));
        assert_eq!(news.entries.capacity(), 0);
    }

    #[test]
    fn losses_are_told() {
        let (mut handler, told) = handler();
        handler.handle_event(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert_eq!(told.take().lost, Some(Lost::Overflow));
        handler.handle_event(Err(notify::Error::generic("broken")));
        assert_eq!(told.take().lost, Some(Lost::Failed));
        drop(handler);
        assert!(told.take().ended);
    }
}
