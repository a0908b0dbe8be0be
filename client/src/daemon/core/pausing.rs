//! Pauses, and clocks that are set.

use std::time::Duration;

use super::{Core, Now};
use crate::daemon::pause::Pause;

impl Core {
    /// Nothing begins by itself for so long.
    pub fn pause(&mut self, time: Duration, now: Now) {
        self.schedule.pause(now.at + time);
        self.book.pause = Some(Pause::new(time, now));
        self.paused_here = true;
    }

    /// It may again.
    pub fn resume(&mut self) {
        self.schedule.resume();
        self.book.pause = None;
    }

    /// The clock on the wall was set, by so many seconds. Nothing is due for it, earlier or later.
    pub fn clock_was_set(&mut self, seconds: i64, now: Now) {
        self.book.clock_was_set(seconds, now.wall);
        let end = self.schedule.paused(now.at);
        if let (Some(pause), Some(end)) = (&mut self.book.pause, end) {
            let left = end.saturating_sub(now.at);
            if self.paused_here {
                // It is as long as somebody said.
                pause.clock_was_set(left, now);
            } else {
                // The clock may be right only now. Nothing makes it longer.
                self.schedule.pause(now.at + left.min(pause.left(now)));
            }
        }
    }

    /// Notes how the pause goes on, and that it is over.
    pub(super) fn keep_pause(&mut self, now: Now) {
        match (&mut self.book.pause, self.schedule.paused(now.at)) {
            (Some(pause), Some(end)) => pause.goes_on(end.saturating_sub(now.at)),
            (Some(_), None) => self.book.pause = None,
            (None, _) => {}
        }
    }
}
