//! `backup-server gc`.

use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::manage::Manage;
use super::output;
use super::units::plural;
use crate::vault::{Swept, amount};

/// Expire and delete at once what is due; a running server does so by itself
///
/// Snapshots go by their owners' rules, packs once nothing needs them and their grace is over.
///
/// Example: backup-server gc --data /srv/unseen
#[derive(Debug, Args)]
pub(super) struct Gc {
    /// The data folder of the server
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA")]
    data: PathBuf,
    /// The clock is right: go on after it jumped forward, or after the server was off for long
    #[arg(long)]
    confirm_clock: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Gc) -> Result<(), CliError> {
    let ask = Manage::Gc { confirm_clock: command.confirm_clock };
    let swept: Swept = ask.done(&command.data)?;
    if command.json {
        output::json(&swept)?;
    } else {
        show(&swept);
    }
    if swept.held.is_some() {
        return Err(CliError::ClockJumped);
    }
    if swept.failed > 0 {
        return Err(CliError::SweepFailed(swept.failed));
    }
    Ok(())
}

fn show(swept: &Swept) {
    if let Some(held) = swept.held {
        let days = held.now.since(held.last) / unseen_common::time::SECONDS_A_DAY;
        let days = plural(days, "day", "days");
        output::note(&format!("the clock is {days} ahead of when it was last seen"));
        return;
    }
    let snapshots = |count| plural(count, "snapshot", "snapshots");
    let packs = plural(swept.packs, "pack", "packs");
    output::line(&format!("expired    {}", snapshots(swept.expired)));
    output::line(&format!("deleted    {packs}, {}", amount(swept.bytes)));
    output::line(&format!("grace over {}", snapshots(swept.snapshots)));
    if swept.erased > 0 {
        output::line(&format!("erased     {}", plural(swept.erased, "account", "accounts")));
    }
    if swept.strays > 0 {
        output::line(&format!(
            "left over  {} that nothing names",
            plural(swept.strays, "file", "files")
        ));
    }
}
