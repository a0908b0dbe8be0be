//! `backup-server rebuild`.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use unseen_common::id::VaultId;
use unseen_common::vault::VaultError;

use super::error::CliError;
use super::output;
use crate::vault::rebuild::{Fate, Rebuilt, rebuild};
use crate::vault::{Core, Options};

/// Make damaged or lost journals anew from what is stored
///
/// The server must not run. Whole journals are left as they are; old ones are kept aside, nothing
/// is deleted. Lost with the journal of the server: invites that were not used yet.
///
/// Example: backup-server rebuild --data /srv/unseen
#[derive(Debug, Args)]
pub(super) struct Rebuild {
    /// The data folder of the server
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA")]
    data: PathBuf,
    /// Only this account: the first digits of its id
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

pub(super) fn run(command: &Rebuild) -> Result<(), CliError> {
    Core::is_there(&command.data)?;
    let account = command.account.as_deref();
    let account = account.map(|name| named(&command.data, name)).transpose()?;
    let fates = rebuild(&command.data, account, &Options::default())?;
    let mut refused = false;
    for (id, fate) in &fates {
        match fate {
            Fate::Whole => {
                output::line(&format!("account {id}: its journal is whole; left as it is"));
            }
            Fate::Rebuilt(rebuilt) => tell(*id, rebuilt),
            Fate::Refused(error) => {
                refused = true;
                let mut text = format!("account {id}: not rebuilt, nothing was changed: {error}");
                let mut cause = error.source();
                while let Some(error) = cause {
                    text = format!("{text}: {error}");
                    cause = error.source();
                }
                output::line(&text);
            }
        }
    }
    if refused { Err(CliError::Damage) } else { Ok(()) }
}

/// The account whose id begins so. It may have files and no journal, or the other way round.
fn named(data: &Path, name: &str) -> Result<VaultId, CliError> {
    let mut found = BTreeSet::new();
    for folder in ["accounts", "journal"].map(|folder| data.join(folder)) {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(|source| CliError::Io { path: folder, source })?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        found.extend(names.filter_map(|name| name.parse::<VaultId>().ok()));
    }
    found.retain(|id| id.to_string().starts_with(name));
    match (found.pop_first(), found.is_empty()) {
        (Some(id), true) => Ok(id),
        (Some(_), false) => Err(VaultError::Invalid(format!(
            "{name} begins the ids of several accounts: give more digits"
        ))
        .into()),
        (None, _) => Err(VaultError::NotFound(format!("account {name}")).into()),
    }
}

fn tell(id: VaultId, rebuilt: &Rebuilt) {
    let Rebuilt { records, packs, damaged, missing, strange, same_identity } = *rebuilt;
    output::line(&format!("account {id}: rebuilt, {records} log records, {packs} packs"));
    for (count, what) in [
        (damaged, "packs are damaged: run `backup-server scrub`"),
        (missing, "packs that snapshots need are not there: `backup check` names the files"),
        (strange, "files among the packs make no sense; they were left where they are"),
    ] {
        if count > 0 {
            output::line(&format!("  {count} {what}"));
        }
    }
    if !same_identity {
        output::line(
            "  identity.key is not the one of this account: its clients will refuse this server",
        );
        output::line("  put the identity.key of the old server into the data folder");
    }
}
