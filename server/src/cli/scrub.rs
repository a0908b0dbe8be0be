//! `backup-server scrub`, and the scrubs that a server makes by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use unseen_common::id::VaultId;
use unseen_common::time::Timestamp;
use unseen_common::vault::VaultError;

use super::admin::{self, Ask};
use super::error::CliError;
use super::{output, units};
use crate::ops::metrics::Job;
use crate::vault::rounds::Rounds;
use crate::vault::scrub::{Broken, ScrubReport, Spot};
use crate::vault::{Core, Options, amount};

/// Tell what is damaged; with --now: read everything again first
///
/// Damage is exit code 20. A server that runs does this by itself, see `serve --scrub-every`.
///
/// Example: backup-server scrub --data /srv/unseen --now
#[derive(Debug, Args)]
pub(super) struct Scrub {
    /// The data folder of the server
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA")]
    data: PathBuf,
    /// Only this account: the first digits of its id
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Read everything again, as fast as the disk allows
    #[arg(long)]
    now: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to look at.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    account: Option<String>,
    now: bool,
}

/// What is known of one account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    /// The first digits of its id.
    account: String,
    /// Packs that it has, and bytes of them.
    packs: u64,
    bytes: u64,
    /// When everything was last read again.
    last_scrub: Option<Timestamp>,
    /// What reading it just now has shown.
    read: Option<Reading>,
    damaged_packs: Vec<u32>,
    /// Snapshots that need one of them, by log record.
    suffering_snapshots: Vec<u64>,
    /// What is lost in both copies, in words.
    lost: Vec<String>,
    /// Why it could not be looked at.
    problem: Option<String>,
    /// Whether `rebuild` is next.
    rebuild: bool,
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    bytes: u64,
    newly_damaged: u64,
    whole_again: u64,
    repaired: u64,
}

impl Found {
    fn is_damaged(&self) -> bool {
        !self.damaged_packs.is_empty() || !self.lost.is_empty() || self.problem.is_some()
    }
}

pub(super) fn run(command: &Scrub) -> Result<(), CliError> {
    let order = Order { account: command.account.clone(), now: command.now };
    let told = if let Some(told) = admin::ask_for_damage(&command.data, &Ask::Scrub(order.clone()))?
    {
        told
    } else {
        let core = Core::open_existing(&command.data, Options::default())?;
        let rounds = Rounds::new(core.clone(), Some(&command.data));
        order.fulfil(&core, &rounds)?
    };
    let found: Vec<Found> = serde_json::from_str(&told.0).map_err(CliError::Answer)?;
    if command.json {
        output::json(&found)?;
    } else {
        show(&found);
    }
    if told.1 { Err(CliError::Damage) } else { Ok(()) }
}

impl Order {
    /// What was found, as JSON, and whether there is damage.
    pub(super) fn fulfil(&self, core: &Core, rounds: &Rounds) -> Result<(String, bool), CliError> {
        let mut accounts = match &self.account {
            Some(name) => vec![core.find_account(name)?],
            None => core.accounts().map_err(|e| VaultError::Server(e.to_string()))?,
        };
        accounts.sort_unstable();
        let mut all = Vec::new();
        for id in accounts {
            all.push(self.one(core, rounds, id).unwrap_or_else(|error| Found {
                account: id.short(),
                problem: Some(error.to_string()),
                rebuild: matches!(error, VaultError::Damaged { .. }),
                ..Found::default()
            }));
        }
        if self.now {
            core.metrics().remember(Job::Scrub, rounds.all_finished());
        }
        let damage = all.iter().any(Found::is_damaged);
        Ok((serde_json::to_string(&all).map_err(CliError::Answer)?, damage))
    }

    fn one(&self, core: &Core, rounds: &Rounds, id: VaultId) -> Result<Found, VaultError> {
        let report = if self.now {
            Some(rounds.scrub_from(id, Spot::default(), &mut |_| true)?)
        } else {
            None
        };
        let account = core.account(id)?;
        let account = account.ok_or_else(|| VaultError::NotFound(format!("account {id}")))?;
        let suffering = account.suffering()?;
        let (packs, bytes) = account.totals();
        let hint = rounds.hint(id);
        let mut lost: Vec<String> = report
            .iter()
            .flat_map(|report| report.broken.iter().copied().map(lost_in_words))
            .collect();
        if report.is_none() && hint.known_lost() > 0 {
            let count = hint.known_lost();
            lost.push(format!("{count} manifests, lists of packs or slots; --now names them"));
        }
        Ok(Found {
            account: id.short(),
            packs,
            bytes,
            last_scrub: hint.finished,
            read: report.as_ref().map(reading),
            damaged_packs: suffering.packs.0.iter().collect(),
            suffering_snapshots: suffering.snapshots,
            lost,
            ..Found::default()
        })
    }
}

fn reading(report: &ScrubReport) -> Reading {
    Reading {
        bytes: report.bytes,
        newly_damaged: report.found.0.len(),
        whole_again: report.healed.0.len(),
        repaired: report.repaired,
    }
}

fn show(all: &[Found]) {
    if all.is_empty() {
        output::line("there are no accounts");
    }
    for found in all {
        output::line(&first_line(found));
        if !found.damaged_packs.is_empty() {
            let packs = listed(found.damaged_packs.iter().copied().map(u64::from));
            let snapshots = listed(found.suffering_snapshots.iter().copied());
            output::line(&format!("  damaged packs: {packs}"));
            output::line(&format!("  snapshots that need them, by log record: {snapshots}"));
            output::line("  `backup check` names the files that suffer");
            output::line("  the next `backup run` sends again what its machine still has");
        }
        for lost in &found.lost {
            output::line(&format!("  lost: {lost}"));
        }
        if found.rebuild {
            output::line("  `backup-server rebuild` makes its journal anew");
        }
    }
}

fn first_line(found: &Found) -> String {
    let Found { account, packs, bytes, last_scrub, read, problem, .. } = found;
    if let Some(problem) = problem {
        return format!("account {account}: {problem}");
    }
    let s = if *packs == 1 { "" } else { "s" };
    let mut text = format!("account {account}: {packs} pack{s}, {}", amount(*bytes));
    let Some(read) = read else {
        let last = last_scrub.map_or_else(|| "never".to_owned(), units::moment);
        return format!("{text}; all of it last read again: {last}");
    };
    text = format!("{text}; read {} just now", amount(read.bytes));
    for (count, what) in [
        (read.newly_damaged, "newly found damaged"),
        (read.whole_again, "whole again"),
        (read.repaired, "repaired from another copy"),
    ] {
        if count > 0 {
            text = format!("{text}; {count} {what}");
        }
    }
    text
}

fn lost_in_words(lost: Broken) -> String {
    match lost {
        Broken::Manifest(seq) => format!("the manifest of the snapshot of log record {seq}"),
        Broken::Packset(seq) => format!("the list of packs of the snapshot of log record {seq}"),
        Broken::Slots => {
            "the unlock slots; put the folder slots back from a copy of the data folder".to_owned()
        }
    }
}

/// Numbers that are listed at most.
const LISTED: usize = 1000;

fn listed(numbers: impl Iterator<Item = u64>) -> String {
    let mut words: Vec<String> =
        numbers.take(LISTED + 1).map(|number| number.to_string()).collect();
    if words.len() > LISTED {
        words.truncate(LISTED);
        words.push("and more".to_owned());
    }
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

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
        run.succeed(core.now(), format!("{damaged} packs newly found damaged"));
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

    #[test]
    fn lists_are_short() {
        assert_eq!(listed([3, 5].into_iter()), "3, 5");
        assert_eq!(listed(std::iter::empty()), "none");
        assert!(listed(0..5000).ends_with("999, and more"));
    }
}
