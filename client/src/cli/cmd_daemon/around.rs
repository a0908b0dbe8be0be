//! What the daemon cannot know by itself: configuration, log, service manager, and how a user is
//! told.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use unseen_manager::Manager;

use super::super::escape::escape_for_terminal;
use super::super::output::Ui;
use super::deliver::Messenger;
use super::runner::trouble_of;
use super::settings::{Place, Settings};
use super::source::Filters;
use crate::daemon::alerts::{Alert, Way};
use crate::daemon::book::Book;
use crate::daemon::core::SetSpec;
use crate::daemon::filter::Filter;
use crate::daemon::job::Trouble;
use crate::daemon::run::{Around, State};
use crate::daemon::signs::{Places, Signs, Verdict};

/// How often the machine's signs are looked at: somebody else has to be asked for some of them.
const LOOK: Duration = Duration::from_secs(60);

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// Of this file; none if it is not there.
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        let changed = (meta.ctime(), meta.ctime_nsec());
        Some(Self { inode: meta.ino(), size: meta.size(), changed })
    }
}

/// This machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) ui: Arc<Ui>,
    pub(super) place: Place,
    /// What is shared with the source of changes.
    pub(super) filters: Filters,
    pub(super) settings: Arc<Mutex<Arc<Settings>>>,
    pub(super) messenger: Messenger,
    /// Who started the daemon.
    pub(super) manager: Manager,
    /// When it last heard that all is well.
    pub(super) pulsed: Option<Instant>,
    /// What was written last.
    pub(super) kept: Book,
    /// What config.toml was when it was last read.
    pub(super) read: Option<Stamp>,
    /// What the machine showed, and when.
    pub(super) seen: Option<(Instant, Signs)>,
}

impl Around for Machine {
    fn may_run(&mut self, overdue: u32) -> Verdict {
        let signs = match self.seen {
            Some((at, signs)) if at.elapsed() < LOOK => signs,
            _ => self.seen.insert((Instant::now(), Places::default().look())).1,
        };
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.policy.may_run(&signs, !settings.local, overdue)
    }

    fn has_other_sets(&mut self) -> bool {
        // One that is gone for a moment is being written: it has not changed yet.
        let now = Stamp::of(&self.place.setup.places.config);
        now.is_some() && now != self.read
    }

    fn sets(&mut self) -> Result<Vec<SetSpec>, Trouble> {
        // First: what changes while it is read is read again.
        self.read = Stamp::of(&self.place.setup.places.config);
        let (settings, specs) = self.place.read().map_err(|error| trouble_of(&error))?;
        if specs.is_empty() {
            self.log("config.toml has no [[set]] for this profile: there is nothing to watch");
        }
        let no_desktop = self.messenger.desktop.trouble();
        if let Some(text) = settings.alerts.told_by_nothing(no_desktop.as_deref()) {
            self.ui.warn(&text);
        }
        let filter = |spec: &SetSpec| Filter::new(spec.roots().to_vec(), spec.rules.clone());
        *self.filters.write().unwrap_or_else(PoisonError::into_inner) =
            specs.iter().map(filter).collect();
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        Ok(specs)
    }

    fn vault(&self) -> String {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).vault.clone()
    }

    fn log(&mut self, line: &str) {
        // However a path is called, it begins no line of its own.
        self.ui.status(&escape_for_terminal(line.as_bytes()));
    }

    fn state(&mut self, state: State<'_>) {
        match state {
            State::Ready => self.manager.ready(),
            State::Reloading => self.manager.reloading(),
            State::Doing(words) => self.manager.doing(words),
            State::Stopping => self.manager.stopping(),
            State::Alive => {
                let due = |pulse| self.pulsed.is_none_or(|at| at.elapsed() >= pulse);
                if self.manager.pulse().is_some_and(due) {
                    self.manager.alive();
                    self.pulsed = Some(Instant::now());
                }
            }
        }
    }

    fn keep(&mut self, book: &Book) {
        if *book == self.kept {
            return;
        }
        match book.write(&self.place.setup.places.state) {
            Ok(()) => self.kept = book.clone(),
            Err(error) => self.ui.warn(&format!("cannot write to the state folder: {error}")),
        }
    }

    fn warn(&mut self, alert: &Alert) {
        self.ui.advise(&alert.text, Some(&alert.hint));
    }

    fn tell(&mut self, alert: &Alert, way: Way) {
        let settings = Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ways = settings.alerts.clone();
        if let (Some(exposed), Some(_)) = (&settings.exposed, &ways.command) {
            self.ui.warn(&exposed.to_string());
            ways.command = None;
        }
        self.messenger.tell(&ways, alert, way);
    }
}
