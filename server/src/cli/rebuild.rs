//! `backup-server rebuild`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use unseen_common::id::VaultId;

use super::error::CliError;
use super::output;
use super::units::plural;
use crate::vault::rebuild::{Fate, Rebuilt, rebuild};
use crate::vault::{Core, Options, account_among};

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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Rebuild) -> Result<(), CliError> {
    Core::is_there(&command.data)?;
    let account = command.account.as_deref();
    let account = account.map(|name| named(&command.data, name)).transpose()?;
    let fates = rebuild(&command.data, account, &Options::default())?;
    if command.json {
        output::json(&fates.iter().map(in_json).collect::<Vec<_>>())?;
    } else {
        fates.iter().for_each(tell);
    }
    let refused = fates.iter().any(|(_, fate)| matches!(fate, Fate::Refused(_)));
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
    Ok(account_among(found, name)?)
}

fn in_json((id, fate): &(VaultId, Fate)) -> Value {
    let account = id.short();
    match fate {
        Fate::Whole => json!({ "account": account, "fate": "whole" }),
        Fate::Refused(error) => {
            json!({ "account": account, "fate": "refused", "problem": output::with_causes(error) })
        }
        Fate::Rebuilt(rebuilt) => {
            let Rebuilt { records, packs, damaged, missing, strange, same_identity } = rebuilt;
            json!({
                "account": account,
                "fate": "rebuilt",
                "log_records": records,
                "packs": packs,
                "damaged_packs": damaged,
                "missing_packs": missing,
                "strange_files": strange,
                "same_identity": same_identity,
            })
        }
    }
}

fn tell((id, fate): &(VaultId, Fate)) {
    match fate {
        Fate::Whole => {
            output::line(&format!("account {id}: its journal is whole; left as it is"));
        }
        Fate::Rebuilt(rebuilt) => tell_rebuilt(*id, rebuilt),
        Fate::Refused(error) => {
            let error = output::with_causes(error);
            output::line(&format!("account {id}: not rebuilt, nothing was changed: {error}"));
        }
    }
}

fn tell_rebuilt(id: VaultId, rebuilt: &Rebuilt) {
    let Rebuilt { records, packs, damaged, missing, strange, same_identity } = *rebuilt;
    let records = plural(records, "log record", "log records");
    let packs = plural(packs, "pack", "packs");
    output::line(&format!("account {id}: rebuilt, {records}, {packs}"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::rebuild::RebuildError;

    #[test]
    fn accounts_are_found_by_files_or_journal_and_the_first_digits() {
        let dir = tempfile::tempdir().unwrap();
        let ids = ["aaaa0000", "aaaabbbb", "bbbbcccc"].map(|digits| digits.repeat(4));
        std::fs::create_dir_all(dir.path().join("accounts").join(&ids[0])).unwrap();
        let code = |name: &str| named(dir.path(), name).unwrap_err().exit_code();
        assert_eq!(named(dir.path(), "aaaa").unwrap().to_string(), ids[0], "no journals at all");
        std::fs::create_dir(dir.path().join("journal")).unwrap();
        for file in [&*ids[1], &*ids[2], "server", "bbbb.old"] {
            std::fs::write(dir.path().join("journal").join(file), "").unwrap();
        }
        assert_eq!(named(dir.path(), "bbbb").unwrap().to_string(), ids[2]);
        assert_eq!(named(dir.path(), &ids[1]).unwrap().to_string(), ids[1]);
        assert_eq!(code("aaaa"), 2, "several");
        assert_eq!(code("bbb"), 2, "too short, as for every other command");
        assert_eq!(code("BBBB"), 2);
        assert_eq!(code("cccc"), 1);
    }

    #[test]
    fn what_became_of_an_account_in_json() {
        let id = VaultId::from_bytes([0xab; 16]);
        let refused = Fate::Refused(RebuildError::Gap { missing: 3, beyond: 5 });
        let problem = "log record 3 is damaged or missing, and record 5 is there";
        let rebuilt = Rebuilt {
            records: 1,
            packs: 2,
            damaged: 3,
            missing: 4,
            strange: 5,
            same_identity: true,
        };
        for (fate, wanted) in [
            (Fate::Whole, json!({ "fate": "whole" })),
            (refused, json!({ "fate": "refused", "problem": problem })),
            (
                Fate::Rebuilt(rebuilt),
                json!({
                    "fate": "rebuilt", "log_records": 1, "packs": 2, "damaged_packs": 3,
                    "missing_packs": 4, "strange_files": 5, "same_identity": true,
                }),
            ),
        ] {
            let mut wanted = wanted;
            wanted["account"] = id.short().into();
            assert_eq!(in_json(&(id, fate)), wanted);
        }
    }
}
