//! `backup-server scrub`.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};
use unseen_common::id::VaultId;
use unseen_common::time::Timestamp;
use unseen_common::vault::VaultError;

use super::admin::{self, Ask};
use super::error::CliError;
use super::units::plural;
use super::{manage, output, units};
use crate::ops::metrics::Job;
use crate::store::space::DiskLimits;
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
    /// Damaged packs that a snapshot names.
    damaged_packs: Vec<u32>,
    /// Damaged packs that none names: they go by themselves.
    unneeded_damaged_packs: Vec<u32>,
    /// Snapshots that need one of them, by log record.
    suffering_snapshots: Vec<u64>,
    /// What is lost in both copies, in words.
    lost: Vec<String>,
    /// Repairs for which there was no room on the disk.
    no_room: u64,
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
        let found = self.read.is_some_and(|read| read.newly_damaged > 0);
        found || !self.damaged_packs.is_empty() || !self.lost.is_empty() || self.rebuild
    }

    /// Of an account that could not be looked at.
    fn failed(id: VaultId, error: &VaultError) -> Self {
        Self {
            account: id.short(),
            no_room: u64::from(matches!(error, VaultError::DiskFull)),
            problem: Some(error.to_string()),
            rebuild: matches!(error, VaultError::Damaged { .. }),
            ..Self::default()
        }
    }
}

pub(super) fn run(command: &Scrub) -> Result<(), CliError> {
    let order = Order { account: command.account.clone(), now: command.now };
    let told = if let Some(told) = admin::ask_for_damage(&command.data, &Ask::Scrub(order.clone()))?
    {
        told
    } else {
        let core = Core::open_existing(&command.data, Options::default())?;
        manage::watch(&core, &command.data, DiskLimits::default());
        let rounds = Rounds::new(core.clone(), Some(&command.data));
        order.fulfil(&core, &rounds)?
    };
    let found: Vec<Found> = serde_json::from_str(&told.0).map_err(CliError::Answer)?;
    if command.json {
        output::json(&found)?;
    } else {
        show(&found);
    }
    outcome(&found)
}

/// Damage is said first: what there was no room for can be done again.
fn outcome(all: &[Found]) -> Result<(), CliError> {
    if all.iter().any(Found::is_damaged) {
        return Err(CliError::Damage);
    }
    if all.iter().any(|found| found.no_room > 0) {
        return Err(CliError::Vault(VaultError::DiskFull));
    }
    match all.iter().filter(|found| found.problem.is_some()).count() {
        0 => Ok(()),
        failed => Err(CliError::NotLookedAt(failed)),
    }
}

/// What a scrub of everything is remembered by.
pub(super) fn newly_damaged(packs: u64) -> String {
    format!("{} newly found damaged", plural(packs, "pack", "packs"))
}

impl Order {
    /// What was found, as JSON, and whether there is damage.
    pub(super) fn fulfil(&self, core: &Core, rounds: &Rounds) -> Result<(String, bool), CliError> {
        let accounts = match &self.account {
            Some(name) => vec![core.find_account(name)?],
            None => core.accounts().map_err(|e| VaultError::Server(e.to_string()))?,
        };
        let mut all = Vec::new();
        for id in accounts {
            let found = self.one(core, rounds, id);
            all.push(found.unwrap_or_else(|error| Found::failed(id, &error)));
        }
        if self.now {
            let found = all.iter().filter_map(|found| found.read).map(|read| read.newly_damaged);
            core.metrics().remember(Job::Scrub, rounds.all_finished());
            core.metrics().found(Job::Scrub, newly_damaged(found.sum()));
        }
        let damage = all.iter().any(Found::is_damaged);
        Ok((serde_json::to_string(&all).map_err(CliError::Answer)?, damage))
    }

    fn one(&self, core: &Core, rounds: &Rounds, id: VaultId) -> Result<Found, VaultError> {
        let account = core.account_to_tell(id)?;
        let account = account.ok_or_else(|| VaultError::NotFound(format!("account {id}")))?;
        account.note_scrub()?;
        let report = if self.now {
            Some(rounds.scrub_from(id, Spot::default(), &mut |_| true)?)
        } else {
            None
        };
        let suffering = account.suffering();
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
            unneeded_damaged_packs: suffering.unneeded.0.iter().collect(),
            suffering_snapshots: suffering.snapshots,
            lost,
            no_room: report.as_ref().map_or(0, |report| report.no_room),
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
            output::line(&format!("  damaged: {}", numbered(&found.damaged_packs)));
            output::line(&format!("  {}", needed_by(&found.suffering_snapshots)));
            output::line("  `backup check` names the files that suffer");
            output::line("  the next `backup run` sends again what its machine still has");
            output::line(
                "  then `backup compact` takes the snapshots off them, as far as nothing is lost; \
                 else they are told",
            );
            output::line("  of until those snapshots have expired or were forgotten");
        }
        if !found.unneeded_damaged_packs.is_empty() {
            let packs = numbered(&found.unneeded_damaged_packs);
            output::line(&format!(
                "  damaged, but no snapshot needs that, and it goes by itself: {packs}"
            ));
        }
        for lost in &found.lost {
            output::line(&format!("  lost: {lost}"));
        }
        if found.no_room > 0 && found.problem.is_none() {
            let files = plural(found.no_room, "file", "files");
            output::line(&format!("  {files} not repaired, for want of room on the disk"));
        }
        if found.rebuild {
            output::line("  stop the server; `backup-server rebuild` makes its journal anew");
        }
    }
}

fn first_line(found: &Found) -> String {
    let Found { account, packs, bytes, last_scrub, read, problem, .. } = found;
    if let Some(problem) = problem {
        return format!("account {account}: {problem}");
    }
    let packs = plural(*packs, "pack", "packs");
    let mut text = format!("account {account}: {packs}, {}", amount(*bytes));
    let Some(read) = read else {
        let last = last_scrub.map_or_else(|| "never".to_owned(), units::moment);
        return format!("{text}; all of it last read again: {last}");
    };
    text = format!("{text}; read {} just now", amount(read.bytes));
    let (packs, files) = (("pack", "packs"), ("file", "files"));
    for (count, (one, many), what) in [
        (read.newly_damaged, packs, "newly found damaged"),
        (read.whole_again, packs, "whole again"),
        (read.repaired, files, "repaired from another copy"),
    ] {
        if count > 0 {
            text = format!("{text}; {} {what}", plural(count, one, many));
        }
    }
    text
}

pub(super) fn lost_in_words(lost: Broken) -> String {
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

/// `pack 29`, `packs 1, 29`: by number, and not how many.
fn numbered(packs: &[u32]) -> String {
    let word = if packs.len() == 1 { "pack" } else { "packs" };
    format!("{word} {}", listed(packs.iter().copied().map(u64::from)))
}

fn needed_by(records: &[u64]) -> String {
    let listed = listed(records.iter().copied());
    match records.len() {
        0 => "which snapshots need that is not known".to_owned(),
        1 => format!("needed by the snapshot of log record {listed}"),
        _ => format!("needed by the snapshots of log records {listed}"),
    }
}

fn listed(numbers: impl Iterator<Item = u64>) -> String {
    let mut words: Vec<String> =
        numbers.take(LISTED + 1).map(|number| number.to_string()).collect();
    if words.len() > LISTED {
        words.truncate(LISTED);
        words.push("and more".to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_short() {
        assert_eq!(listed([3, 5].into_iter()), "3, 5");
        assert!(listed(0..5000).ends_with("999, and more"));
    }

    #[test]
    fn a_number_of_a_pack_does_not_read_as_a_count() {
        assert_eq!(numbered(&[29]), "pack 29");
        assert_eq!(numbered(&[1, 29]), "packs 1, 29");
        assert_eq!(needed_by(&[3]), "needed by the snapshot of log record 3");
        assert_eq!(needed_by(&[3, 5]), "needed by the snapshots of log records 3, 5");
        assert_eq!(needed_by(&[]), "which snapshots need that is not known");
        let read = Reading { bytes: 0, newly_damaged: 1, whole_again: 2, repaired: 1 };
        let found = Found { packs: 1, read: Some(read), ..Found::default() };
        assert!(first_line(&found).ends_with(
            "1 pack newly found damaged; 2 packs whole again; 1 file repaired from another copy"
        ));
    }
}
