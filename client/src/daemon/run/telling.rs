//! What the user is told unasked: alerts on their way, and what becomes of them.

use std::time::Duration;

use super::Daemon;
use crate::daemon::alerts::{self, Outcome, Told};
use crate::daemon::core::Now;
use crate::daemon::schedule::At;

impl Daemon {
    /// Looks for trouble that is to be told. The log has it at once.
    pub(super) fn look_for_trouble(&mut self, now: Now) {
        for alert in alerts::due(&mut self.core.book, now.wall) {
            self.around.warn(&alert);
        }
        for alert in self.core.book.outbox.give_up(now.wall) {
            self.around.log(&format!("nobody could be told, and it is given up: {}", alert.text));
        }
    }

    /// Tells what is due to be told.
    pub(super) fn tell(&mut self, now: Now) {
        for (alert, way) in self.core.book.outbox.due(now.wall) {
            self.around.tell(&alert, way);
        }
    }

    /// When something is due to be told.
    pub(super) fn next_telling(&self) -> Option<At> {
        let (next, now) = (self.core.book.outbox.next()?, self.now());
        Some(now.at + Duration::from_secs(next.since(now.wall)))
    }

    /// Takes in how telling went. The log has when that changes.
    pub(super) fn told(&mut self, told: &Told) {
        self.core.book.outbox.told(told);
        let name = told.way.name();
        match &told.outcome {
            Outcome::Failed(why) => {
                if self.mute.insert(told.way, why.clone()).as_ref() != Some(why) {
                    self.around.log(&format!("{name} does not work: {why}; it is tried again"));
                }
            }
            Outcome::Told => {
                if self.mute.remove(&told.way).is_some() {
                    self.around.log(&format!("{name} works again"));
                }
            }
            Outcome::Unwanted => drop(self.mute.remove(&told.way)),
        }
        self.around.keep(&self.core.book);
    }
}
