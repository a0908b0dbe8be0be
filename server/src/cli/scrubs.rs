//! The scrubs that a server makes by itself, in a thread of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::CliError;
use super::scrub::{lost_in_words, newly_damaged};
use crate::ops::metrics::Job;
use crate::vault::rounds::Rounds;
use crate::vault::scrub::ScrubReport;

/// How long the thread rests between looks at what is due.
const REST: Duration = Duration::from_secs(60);
/// The same after something went wrong.
const LONG_REST: Duration = Duration::from_secs(3600);

/// How the server scrubs by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Every {
    /// Every account every so many seconds.
    pub(super) seconds: u64,
    /// At most so many bytes a second.
    pub(super) rate: u64,
}

/// The thread that scrubs in the background.
#[derive(Debug)]
pub(super) struct Scrubs {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Scrubs {
    pub(super) fn start(rounds: Arc<Rounds>, every: Every) -> Result<Self, CliError> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let work = move || {
            be_nice();
            while !told.load(Ordering::Relaxed) {
                let rest = if round(&rounds, every, &told) { REST } else { LONG_REST };
                wait(rest, &told);
            }
        };
        let thread = thread::Builder::new().name("scrub".to_owned()).spawn(work);
        Ok(Self { stop, thread: thread.map_err(CliError::Runtime)? })
    }

    /// Ends it; what it was at is gone on with by the next server.
    pub(super) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // If it broke off, that was logged.
        drop(self.thread.join());
    }
}

/// Scrubs what is due; false if something went wrong.
fn round(rounds: &Rounds, every: Every, stop: &AtomicBool) -> bool {
    let due = match rounds.due(every.seconds) {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(%error, "accounts cannot be listed");
            return false;
        }
    };
    if due.is_empty() {
        return true;
    }
    let core = rounds.core();
    let run = core.metrics().start(Job::Scrub);
    let (mut well, mut damaged) = (true, 0);
    for id in due {
        if stop.load(Ordering::Relaxed) {
            return true;
        }
        let mut pace = |bytes: u64| {
            wait(time_for(bytes, every.rate), stop);
            !stop.load(Ordering::Relaxed)
        };
        match rounds.scrub(id, &mut pace) {
            Ok(report) => {
                damaged += report.found.0.len();
                tell(&report);
            }
            Err(error) => {
                tracing::error!(account = id.short(), %error, "an account cannot be scrubbed");
                well = false;
            }
        }
    }
    if well {
        run.succeed(core.now(), newly_damaged(damaged));
    }
    well
}

fn tell(report: &ScrubReport) {
    let account = report.account.short();
    let (packs, found, repaired) = (report.packs, report.found.0.len(), report.repaired);
    if found > 0 || !report.broken.is_empty() {
        let lost: Vec<String> = report.broken.iter().copied().map(lost_in_words).collect();
        tracing::error!(account, packs, found, repaired, ?lost, "scrub found damage");
    } else {
        tracing::info!(account, packs, repaired, finished = report.finished, "scrubbed");
    }
    if report.no_room > 0 {
        let missing = report.no_room;
        tracing::warn!(account, missing, "repairs for which there was no room on the disk");
    }
}

/// The time that so many bytes may take at least.
fn time_for(bytes: u64, rate: u64) -> Duration {
    let micros = bytes.saturating_mul(1_000_000).checked_div(rate).unwrap_or(0);
    Duration::from_micros(micros)
}

fn wait(time: Duration, stop: &AtomicBool) {
    let end = Instant::now() + time;
    while !stop.load(Ordering::Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// Whoever waits for an answer goes first. Where a thread has no priority of its own, nothing.
fn be_nice() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19) {
        tracing::debug!(%error, "the scrub runs at full priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept() {
        assert_eq!(time_for(30_000_000, 30_000_000), Duration::from_secs(1));
        assert_eq!(time_for(1 << 24, 1 << 23), Duration::from_secs(2));
        assert_eq!(time_for(5, 0), Duration::ZERO, "no rate is no limit");
        assert_eq!(time_for(u64::MAX, 1).as_micros(), u128::from(u64::MAX));
    }
}
