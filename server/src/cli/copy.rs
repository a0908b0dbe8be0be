//! `backup-server copy`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use unseen_common::id::VaultId;

use super::admin::{self, Ask};
use super::error::CliError;
use super::output;
use super::units::plural;
use crate::vault::copy::Copied;
use crate::vault::{Core, Options};

/// Copy everything into another folder, while clients go on
///
/// The copy is a data folder of its own. An older copy of this server is brought up to date: only
/// what changed is copied, and what nothing needs any more is removed.
///
/// On the same disk files are linked, not copied: this protects from a mistake, not from the end of
/// the disk.
///
/// Example: backup-server copy --data /srv/unseen /mnt/usb/unseen-copy
#[derive(Debug, Args)]
pub(super) struct Copy {
    /// The data folder of the server
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA")]
    data: PathBuf,
    /// Where to: a folder that is not there yet, or an older copy of this server
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was copied, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    /// Accounts in the copy.
    accounts: u64,
    /// Files, or second names of them.
    files: u64,
    /// Those that an older copy did not have.
    new_files: u64,
    /// Files of an older copy that nothing needs any more.
    removed_files: u64,
    /// Files that should be there and are not.
    missing_files: u64,
    /// Packs that are damaged here and were not in the copy before.
    damaged_files: u64,
    /// Accounts that were not copied, as their journals are damaged or gone: the first digits
    /// of ids.
    left_out: Vec<String>,
}

pub(super) fn run(command: &Copy) -> Result<(), CliError> {
    let io = |source| CliError::Io { path: command.to.clone(), source };
    // The server's working folder is another one.
    let to = std::path::absolute(&command.to).map_err(io)?;
    let told = if let Some(told) = admin::ask_for_damage(&command.data, &Ask::Copy(to.clone()))? {
        told
    } else {
        let core = Core::open_existing(&command.data, Options::default())?;
        fulfil(&core, &to)?
    };
    let report: Report = serde_json::from_str(&told.0).map_err(CliError::Answer)?;
    if command.json {
        output::json(&report)?;
    } else {
        show(&report);
    }
    if told.1 { Err(CliError::Damage) } else { Ok(()) }
}

/// Copies; tells what was done, as JSON, and whether something is damaged.
pub(super) fn fulfil(core: &Core, to: &Path) -> Result<(String, bool), CliError> {
    let Copied { accounts, blobs, new, removed, missing, rotten, damaged } = core.copy_to(to)?;
    let left_out = damaged.iter().map(VaultId::short).collect();
    let report = Report {
        accounts,
        files: blobs,
        new_files: new,
        removed_files: removed,
        missing_files: missing,
        damaged_files: rotten,
        left_out,
    };
    let damage = report.missing_files + report.damaged_files > 0 || !report.left_out.is_empty();
    Ok((serde_json::to_string(&report).map_err(CliError::Answer)?, damage))
}

fn show(report: &Report) {
    let Report { accounts, files, new_files, removed_files, .. } = report;
    output::line(&format!("copied: accounts {accounts}, files {files}, {new_files} of them new"));
    if *removed_files > 0 {
        output::line(&format!(
            "removed from the older copy, since nothing needs them: {removed_files}"
        ));
    }
    if report.missing_files > 0 {
        output::line(&format!(
            "{} not there: run `backup-server scrub --now`",
            plural(report.missing_files, "file is", "files are")
        ));
    }
    if report.damaged_files > 0 {
        output::line(&format!(
            "{} packs are damaged: run `backup-server scrub --now`; a later copy takes them again",
            report.damaged_files
        ));
    }
    for account in &report.left_out {
        output::line(&format!(
            "account {account} was not copied (an older copy has what it had): its journal is \
             damaged or gone; stop the server, run `backup-server rebuild`, and copy again"
        ));
    }
}
