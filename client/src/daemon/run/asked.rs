//! What commands ask of the daemon, and what it answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Daemon, MAX_PAUSE, Under};
use crate::daemon::alerts;
use crate::daemon::control::{Answer, Request};
use crate::daemon::core::{Now, Running, Why, length};
use crate::daemon::job::Trouble;
use crate::sets::there::there;

/// The longest that others come first, when they ask.
const MAKE_WAY: Duration = Duration::from_secs(60);

/// How long is waited until all that has happened has been told.
const CATCH_UP: Duration = Duration::from_secs(5);

impl Daemon {
    /// Answers a request.
    pub(super) fn answer(&mut self, request: Request) -> Answer {
        let now = self.now();
        match request {
            Request::Status => {
                self.take_in();
                let mut status = self.core.status(now);
                status.vault = self.around.vault();
                status.running = self.running.as_ref().map(|under| Running {
                    run: under.run.number,
                    set: under.job.set.clone(),
                    seconds: under.run.elapsed().as_secs(),
                    counts: under.run.counts(),
                });
                status.alerts = alerts::current(&self.core.book, now.wall);
                Answer::Status(Box::new(status))
            }
            Request::Pause { seconds } => self.pause(Duration::from_secs(seconds), now),
            Request::Resume => {
                self.core.resume();
                self.around.log("resumed");
                self.around.keep(&self.core.book);
                Answer::Done { sets: Vec::new() }
            }
            Request::MakeWay { seconds } => self.make_way(Duration::from_secs(seconds), now),
            Request::Reload => match self.reload_told() {
                Ok(()) => Answer::Done { sets: self.core.named(None) },
                Err(trouble) => Answer::Refused(trouble),
            },
            Request::Now { set, full } => {
                // What was saved a moment ago belongs to it.
                let full = full || !self.source.catch_up(CATCH_UP);
                self.take_in();
                self.want(set.as_deref(), full, now)
            }
            Request::Run { set } => {
                let answer = self.want(Some(&set), true, now);
                if matches!(answer, Answer::Done { .. }) {
                    self.followed.insert(set);
                }
                answer
            }
            Request::Lifted { snapshots } => {
                let sets = self.core.book.lifted(snapshots.as_deref());
                self.next_look = Duration::ZERO;
                self.around.keep(&self.core.book);
                Answer::Done { sets }
            }
            Request::Why { path } => {
                let unreadable = there(&self.core.roots(), &path).trouble(&path);
                Answer::Why(Why { unreadable, ..self.core.why(&path) })
            }
            // Answered by the threads that talk to clients.
            Request::Progress => Answer::Waiting,
        }
    }

    fn pause(&mut self, time: Duration, now: Now) -> Answer {
        if time.is_zero() || time > MAX_PAUSE {
            let most = MAX_PAUSE.as_secs();
            let text = format!("a pause is from 1 to {most} seconds long");
            return Answer::Refused(Trouble {
                hint: Some("`resume` ends a pause".to_owned()),
                ..Trouble::new(Trouble::USAGE, text)
            });
        }
        self.core.pause(time, now);
        self.around.log(&format!("paused for {}", length(time.as_secs())));
        if let Some(under) = &self.running {
            under.stop.store(true, Ordering::Relaxed);
        }
        self.around.keep(&self.core.book);
        Answer::Done { sets: Vec::new() }
    }

    /// Somebody else needs what a run holds. One that somebody waits for goes on.
    fn make_way(&mut self, time: Duration, now: Now) -> Answer {
        let under = self.running.as_ref();
        let followed =
            |under: &&Under| under.job.followed || self.followed.contains(&under.job.set);
        if let Some(under) = under.filter(followed) {
            let text =
                format!("a backup of {} is under way that somebody waits for", under.job.set);
            let counts = under.run.counts();
            let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
            let read = megabytes(counts.found.bytes.saturating_sub(counts.read));
            let sent = megabytes(counts.planned.saturating_sub(counts.transferred));
            return Answer::Refused(Trouble {
                hint: Some(format!(
                    "wait for its end, or end it where it was begun: as far as is known, {read} MB \
                     are to be read and {sent} MB to be sent"
                )),
                ..Trouble::new(Trouble::BUSY, text)
            });
        }
        if let Some(under) = under {
            self.around.log("stopping: another command comes first");
            under.stop.store(true, Ordering::Relaxed);
        }
        let job = under.map(|under| under.job.clone());
        self.core.make_way(time.min(MAKE_WAY), job.as_ref(), now);
        Answer::Done { sets: job.into_iter().map(|job| job.set).collect() }
    }

    fn want(&mut self, set: Option<&str>, full: bool, now: Now) -> Answer {
        let sets = self.core.named(set);
        if sets.is_empty() {
            let text = match set {
                Some(set) => format!("there is no set {set}"),
                None => "there is no set".to_owned(),
            };
            return Answer::Refused(Trouble::new(Trouble::USAGE, text));
        }
        for set in &sets {
            self.core.want(set, full, now.at);
        }
        Answer::Done { sets }
    }
}
