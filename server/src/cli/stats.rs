//! `backup-server stats`.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};
use unseen_common::time::Timestamp;

use super::admin::{self, Ask};
use super::error::CliError;
use super::{output, units};
use crate::ops::machine::Disk;
use crate::ops::metrics::{Job, JobState, Metrics};
use crate::vault::rounds::Rounds;
use crate::vault::stats::{AccountStats, Stats};
use crate::vault::{Core, Held, Options, amount};

/// Show what is stored, and when the server last did its rounds
///
/// Accounts are shown by the first digits of their ids. It counts as a look at each of them.
/// Damage is exit code 20.
///
/// Example: backup-server stats --data /srv/unseen
#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// The data folder of the server
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA")]
    data: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the process that has the folder open knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    stats: Stats,
    held: Option<Held>,
    jobs: Vec<JobStats>,
}

/// A job of the server's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobStats {
    job: String,
    running: bool,
    last_success: Option<Timestamp>,
    failures: u64,
    found: String,
    trouble: String,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    version: &'static str,
    /// Whether a server runs on the folder.
    running: bool,
    disk: Option<Disk>,
    totals: Totals,
    accounts: &'a [AccountStats],
    unsound: &'a [String],
    /// Why nothing expires and nothing is deleted, if so.
    deletion_held: Option<Held>,
    /// None when no server runs: nobody remembers.
    jobs: &'a [JobStats],
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Totals {
    accounts: usize,
    packs: u64,
    pack_bytes: u64,
    damaged: u64,
    lost: u64,
    metadata_bytes: u64,
    journal_bytes: u64,
    snapshots: u64,
    devices: u64,
    silent: u64,
}

/// What the process that has the folder open answers.
pub(super) fn fulfil(core: &Core, rounds: &Rounds) -> Result<String, CliError> {
    let jobs = jobs(core.metrics());
    let answer = Answer { stats: core.stats(rounds)?, held: core.held(), jobs };
    serde_json::to_string(&answer).map_err(CliError::Answer)
}

fn jobs(metrics: &Metrics) -> Vec<JobStats> {
    let one = |job: Job| {
        let JobState { running, succeeded, failures, found, trouble } = metrics.job(job);
        let job = job.name().to_owned();
        JobStats { job, running, last_success: succeeded, failures, found, trouble }
    };
    Job::ALL.into_iter().map(one).collect()
}

pub(super) fn run(command: &StatsArgs) -> Result<(), CliError> {
    let asked = admin::ask(&command.data, &Ask::Stats)?;
    let running = asked.is_some();
    let text = if let Some(text) = asked {
        text
    } else {
        let core = Core::open_existing(&command.data, Options::default())?;
        fulfil(&core, &Rounds::new(core.clone(), Some(&command.data)))?
    };
    let Answer { stats, held, jobs } = serde_json::from_str(&text).map_err(CliError::Answer)?;
    let shown = Shown {
        version: env!("CARGO_PKG_VERSION"),
        running,
        disk: Disk::of(&command.data),
        totals: totals(&stats.accounts),
        accounts: &stats.accounts,
        unsound: &stats.unsound,
        deletion_held: held,
        jobs: if running { &jobs } else { &[] },
    };
    if command.json {
        output::json(&shown)?;
    } else {
        show(&shown);
    }
    if shown.is_damaged() { Err(CliError::Damage) } else { Ok(()) }
}

impl Shown<'_> {
    /// Whether it tells of damage.
    fn is_damaged(&self) -> bool {
        let Totals { damaged, lost, .. } = self.totals;
        let journals = self.accounts.iter().any(|account| account.journal_damaged);
        damaged > 0 || lost > 0 || journals || !self.unsound.is_empty()
    }
}

fn totals(accounts: &[AccountStats]) -> Totals {
    let start = Totals { accounts: accounts.len(), ..Totals::default() };
    accounts.iter().fold(start, |sum, one| Totals {
        accounts: sum.accounts,
        packs: sum.packs.saturating_add(one.packs),
        pack_bytes: sum.pack_bytes.saturating_add(one.pack_bytes),
        damaged: sum.damaged.saturating_add(one.damaged),
        lost: sum.lost.saturating_add(one.lost),
        metadata_bytes: sum.metadata_bytes.saturating_add(one.metadata_bytes),
        journal_bytes: sum.journal_bytes.saturating_add(one.journal_bytes),
        snapshots: sum.snapshots.saturating_add(one.snapshots),
        devices: sum.devices.saturating_add(one.devices),
        silent: sum.silent.saturating_add(one.silent),
    })
}

fn show(shown: &Shown<'_>) {
    if !shown.accounts.is_empty() {
        output::line(
            "ACCOUNT   PACKS    STORED      SNAPSHOTS  RECORDS  JOURNAL     DEVICES  \
             LAST BACKUP           LAST SCRUB",
        );
    }
    for one in shown.accounts {
        output::line(&row(one));
    }
    for account in shown.unsound {
        output::line(&format!("{account:<9} DAMAGED: `backup-server scrub` says how"));
    }
    for (name, value) in lines(shown) {
        output::line(&format!("{name:<12} {value}"));
    }
}

fn row(one: &AccountStats) -> String {
    let damaged = if one.journal_damaged { "  JOURNAL DAMAGED" } else { "" };
    format!(
        "{:<9} {:<8} {:<11} {:<10} {:<8} {:<11} {:<8} {:<21} {}{damaged}",
        one.account,
        one.packs,
        amount(one.pack_bytes.saturating_add(one.metadata_bytes)),
        one.snapshots,
        one.records,
        amount(one.journal_bytes),
        one.devices,
        moment(one.last_backup),
        moment(one.last_scrub),
    )
}

fn lines(shown: &Shown<'_>) -> Vec<(String, String)> {
    let Totals { packs, pack_bytes, metadata_bytes, journal_bytes, .. } = shown.totals;
    let Totals { damaged, lost, devices, silent, snapshots, .. } = shown.totals;
    let mut lines = vec![
        ("accounts".to_owned(), (shown.totals.accounts + shown.unsound.len()).to_string()),
        ("packs".to_owned(), format!("{packs}, {}; {damaged} damaged", amount(pack_bytes))),
        (
            "lists".to_owned(),
            format!("{} of manifests and lists of packs; {lost} lost", amount(metadata_bytes)),
        ),
        ("journals".to_owned(), amount(journal_bytes)),
        ("snapshots".to_owned(), snapshots.to_string()),
        ("devices".to_owned(), format!("{devices}; {silent} silent for too long")),
    ];
    if let Some(Disk { free, size }) = shown.disk {
        lines.push(("disk".to_owned(), format!("{} free of {}", amount(free), amount(size))));
    }
    for job in shown.jobs {
        let now = if job.running { "runs now; " } else { "" };
        let found = if job.found.is_empty() { String::new() } else { format!(", {}", job.found) };
        let mut failures = match job.failures {
            0 => String::new(),
            1 => "; failed once".to_owned(),
            number => format!("; failed {number} times"),
        };
        if !job.trouble.is_empty() {
            failures = format!("{failures}, the last time: {}", job.trouble);
        }
        let last = moment(job.last_success);
        lines.push((job.job.clone(), format!("{now}last success {last}{found}{failures}")));
    }
    if let Some(held) = shown.deletion_held {
        lines.push(("deletion".to_owned(), held.words()));
    }
    if !shown.unsound.is_empty() {
        let accounts = units::plural(shown.unsound.len(), "account", "accounts");
        lines.push(("DAMAGED".to_owned(), format!("{accounts} not counted above")));
    }
    if !shown.running {
        lines.push(("server".to_owned(), "does not run".to_owned()));
    }
    lines
}

fn moment(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "never".to_owned(), units::moment)
}
