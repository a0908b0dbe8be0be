//! What the daemon cannot know by itself: configuration, log, service manager, and how a user is
//! told.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::output::Ui;
use super::runner::trouble_of;
use super::settings::{Here, Settings};
use crate::daemon::alerts::Alert;
use crate::daemon::book::Book;
use crate::daemon::core::SetSpec;
use crate::daemon::job::Trouble;
use crate::daemon::run::{Around, State};

/// This machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) ui: Arc<Ui>,
    pub(super) here: Here,
    pub(super) settings: Arc<Mutex<Arc<Settings>>>,
    pub(super) runtime: tokio::runtime::Handle,
    /// What was written last.
    pub(super) kept: Book,
}

impl Around for Machine {
    fn held(&mut self) -> Option<String> {
        None
    }

    fn sets(&mut self) -> Result<Vec<SetSpec>, Trouble> {
        let (settings, specs) = self.here.read().map_err(|error| trouble_of(&error))?;
        if specs.is_empty() {
            self.log("config.toml has no [[set]] for this profile: there is nothing to watch");
        }
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        Ok(specs)
    }

    fn log(&mut self, line: &str) {
        self.ui.status(line);
    }

    fn state(&mut self, state: State<'_>) {
        if state == State::Ready {
            self.log("watching");
        }
    }

    fn keep(&mut self, book: &Book) {
        if *book == self.kept {
            return;
        }
        match book.write(&self.here.setup.places.state) {
            Ok(()) => self.kept = book.clone(),
            Err(error) => self.ui.warn(&format!("cannot write to the state folder: {error}")),
        }
    }

    fn alert(&mut self, alert: &Alert) {
        self.ui.warn(&format!("{} {}", alert.text, alert.hint));
        let settings = Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner));
        super::deliver::tell(&self.ui, &self.runtime, &settings.alerts, alert);
    }
}
