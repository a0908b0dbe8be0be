//! Why what has changed is not saved yet, for whoever asks.

use serde::{Deserialize, Serialize};
use unseen_common::time::Timestamp;

use super::{At, Core, Now};
use crate::daemon::schedule::{Wait, Waiting};

/// What a set waits for, though there is something to save.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// Since when there is something to save.
    pub since: Timestamp,
    /// Why it is not being saved, for programs.
    pub reason: Reason,
    /// The same in words: the end of a sentence that begins with "waiting".
    pub why: String,
    /// When it is tried next; none if that is as soon as the reason is gone.
    pub next: Option<Timestamp>,
}

/// Why something is not being saved now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody paused the daemon.
    Paused,
    /// There is no network.
    Offline,
    /// The battery is low.
    Battery,
    /// The connection costs money.
    Metered,
    /// What may be saved today though now is no good time is used up.
    Allowance,
    /// Only some of it may be saved now, and is.
    InPart,
    /// It failed, and is tried again later.
    Failed,
    /// Another command or another set comes first.
    Others,
    /// It was saved a moment ago.
    Interval,
    /// It is still changing, or does so all the time.
    Quiet,
}

impl Core {
    /// What a set waits for.
    pub(super) fn waits(&self, set: &str, now: Now) -> Option<Waits> {
        let Waiting { since, why, next } = self.schedule.waiting(set, now.at)?;
        let past =
            |at: At| Timestamp(now.wall.0.saturating_sub(now.at.saturating_sub(at).as_secs()));
        let ahead =
            |at: At| Timestamp(now.wall.0.saturating_add(at.saturating_sub(now.at).as_secs()));
        // A daemon that was there before may have known of it.
        let known = self.marks.since(set).filter(|since| *since <= now.wall);
        let since = known.map_or(past(since), |known| known.min(past(since)));
        let next = next.map(ahead);
        if let (Wait::Held, Some(held)) = (&why, &self.held) {
            let (reason, why) = (held.reason, held.why.clone());
            return Some(Waits { since, reason, why, next: held.until });
        }
        let (reason, why) = self.in_words(&why);
        Some(Waits { since, reason, why, next })
    }

    fn in_words(&self, why: &Wait) -> (Reason, String) {
        match why {
            Wait::Paused => (Reason::Paused, "for the end of the pause".to_owned()),
            Wait::Held => (Reason::Others, "for a better time".to_owned()),
            Wait::Failed => (Reason::Failed, "to try again what failed".to_owned()),
            Wait::Busy => (Reason::Others, "for another run of this profile to end".to_owned()),
            Wait::InPart => (
                Reason::InPart,
                match &self.sparing {
                    Some(sparing) => sparing.why.clone(),
                    None => "to save the rest: the last run was to save only some of it".to_owned(),
                },
            ),
            Wait::Others => (Reason::Others, "for another command".to_owned()),
            Wait::Behind(other) => (Reason::Others, format!("for the backup of {other} to end")),
            Wait::Interval(time) => (
                Reason::Interval,
                format!("for {} to pass since the last backup", length(time.as_secs())),
            ),
            Wait::Quiet(time) => {
                (Reason::Quiet, format!("for {} without a change", length(time.as_secs())))
            }
            Wait::Constant => (
                Reason::Quiet,
                "as it changes all the time, and is saved less often for it".to_owned(),
            ),
        }
    }
}

/// A length of time, for people.
pub fn length(seconds: u64) -> String {
    match seconds {
        120.. if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}
