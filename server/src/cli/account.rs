//! `backup-server account`.

use std::io::{BufRead, IsTerminal, stdin};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use unseen_common::codec::Canonical;
use unseen_common::id::VaultId;
use unseen_common::receipt::{ErasedBy, Receipt, SignedReceipt};
use unseen_common::time::Timestamp;
use unseen_common::wire::body::ReceiptBody;

use super::config::ConfigError;
use super::error::CliError;
use super::manage::Manage;
use super::units::plural;
use super::{output, units};
use crate::vault::{AccountInfo, Listed, amount};

/// Look at accounts and change them; each look lands in the account's access record
///
/// Example: backup-server account list --data /srv/unseen
#[derive(Debug, Args)]
pub(super) struct Account {
    /// The data folder of the server
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA", global = true)]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Accounts are named by the first digits of their ids, as `list` shows them.
#[derive(Debug, Subcommand)]
enum Command {
    /// All accounts
    ///
    /// Example: backup-server account list --data /srv/unseen --json
    List,
    /// One account
    ///
    /// Example: backup-server account show 40dc1520 --data /srv/unseen
    Show {
        /// The first digits of its id
        account: String,
    },
    /// Change how much an account may store; it counts at once, and removes nothing
    ///
    /// Example: backup-server account quota 40dc1520 500GB --data /srv/unseen
    Quota {
        /// The first digits of its id
        account: String,
        /// Such as 500GB, or `none` for no limit
        #[arg(value_parser = quota)]
        size: Quota,
    },
    /// Take no more writes: what is there can be read and restored
    ///
    /// Example: backup-server account suspend 40dc1520 --data /srv/unseen
    Suspend {
        /// The first digits of its id
        account: String,
    },
    /// Take writes again
    ///
    /// Example: backup-server account resume 40dc1520 --data /srv/unseen
    Resume {
        /// The first digits of its id
        account: String,
    },
    /// Remove an account at once and for good; prints a signed receipt
    ///
    /// Example: backup-server account erase 40dc1520 --data /srv/unseen
    Erase {
        /// The first digits of its id
        account: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Quota(Option<u64>);

fn quota(text: &str) -> Result<Quota, String> {
    if text == "none" {
        return Ok(Quota(None));
    }
    units::bytes(text).map(|bytes| Quota(Some(bytes)))
}

pub(super) fn run(command: Account) -> Result<(), CliError> {
    let data = command.data.ok_or(ConfigError::NoData)?;
    let json = command.json;
    let account = match command.command {
        Command::List => {
            let list: Vec<Listed> = Manage::List.done(&data)?;
            if json {
                output::json(&list.iter().map(in_json).collect::<Vec<_>>())?;
            } else {
                show_list(&list);
            }
            let damage = list.iter().any(|one| matches!(one, Listed::Damaged { .. }));
            return if damage { Err(CliError::Damage) } else { Ok(()) };
        }
        Command::Erase { account, yes } => {
            let id: VaultId = Manage::Find { account }.done(&data)?;
            if !yes {
                confirm(id)?;
            }
            let receipt = Manage::Erase { account: id.to_string() }.done(&data)?;
            return if json { output::json(&receipt) } else { show_receipt(receipt) };
        }
        Command::Show { account } => Manage::Show { account },
        Command::Quota { account, size } => Manage::Quota { account, bytes: size.0 },
        Command::Suspend { account } => Manage::Suspend { account },
        Command::Resume { account } => Manage::Resume { account },
    };
    let info: AccountInfo = account.done(&data)?;
    if json {
        return output::json(&info);
    }
    show(&info);
    Ok(())
}

/// The pseudonym must be typed; with nobody to type it nothing happens.
fn confirm(id: VaultId) -> Result<(), CliError> {
    let wanted = id.short();
    if !stdin().is_terminal() {
        return Err(CliError::Unconfirmed(wanted));
    }
    output::note(&format!(
        "Everything of account {wanted} will be gone, and its owner's backups with it."
    ));
    output::note(&format!("Type {wanted} to go on:"));
    let mut typed = String::new();
    let read = stdin().lock().read_line(&mut typed);
    match read {
        Ok(_) if typed.trim() == wanted => Ok(()),
        _ => Err(CliError::Unconfirmed(wanted)),
    }
}

/// An account that cannot be opened has a `problem` and nothing else.
fn in_json(one: &Listed) -> serde_json::Value {
    match one {
        Listed::Sound(info) => serde_json::json!(info),
        Listed::Damaged { account, problem } => {
            serde_json::json!({ "account": account, "problem": problem })
        }
    }
}

fn show_list(list: &[Listed]) {
    if list.is_empty() {
        output::note("no accounts; `backup-server invite` makes an invite for one");
        return;
    }
    output::line("ACCOUNT   USED        QUOTA       SNAPSHOTS  LAST BACKUP           STATE");
    for one in list {
        match one {
            Listed::Sound(info) => output::line(&format!(
                "{:<9} {:<11} {:<11} {:<10} {:<21} {}",
                info.account,
                amount(info.used),
                limit(info.quota),
                info.snapshots,
                info.last_backup.map_or_else(|| "never".to_owned(), units::moment),
                state(info),
            )),
            Listed::Damaged { account, problem } => {
                output::line(&format!("{account:<9} DAMAGED: {problem}"));
            }
        }
    }
}

fn show(info: &AccountInfo) {
    let moment = |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), units::moment);
    let lines = [
        ("account", info.account.clone()),
        ("state", state(info)),
        ("created", units::moment(info.created)),
        ("used", amount(info.used)),
        ("quota", limit(info.quota)),
        ("packs", info.packs.to_string()),
        ("snapshots", info.snapshots.to_string()),
        ("devices", info.devices.to_string()),
        ("last backup", moment(info.last_backup)),
    ];
    for (name, value) in lines {
        output::line(&format!("{name:<12} {value}"));
    }
}

fn show_receipt(body: ReceiptBody) -> Result<(), CliError> {
    let text = serde_json::to_string(&body).map_err(CliError::Answer)?;
    let signed = SignedReceipt::from(body);
    let receipt = Receipt::from_bytes(&signed.bytes).map_err(CliError::Receipt)?;
    let by = match receipt.by {
        ErasedBy::Owner => "its owner",
        ErasedBy::Operator => "whoever runs the server",
    };
    output::line(&format!(
        "account {} is gone ({}, {}, {}), erased for {by}",
        receipt.account.short(),
        plural(receipt.packs, "pack", "packs"),
        amount(receipt.bytes),
        plural(receipt.snapshots, "snapshot", "snapshots"),
    ));
    output::line(&format!("receipt {text}"));
    Ok(())
}

fn limit(quota: Option<u64>) -> String {
    quota.map_or_else(|| "none".to_owned(), amount)
}

fn state(info: &AccountInfo) -> String {
    match (info.erase_due, info.suspended) {
        (Some(due), _) => format!("its owner has it erased on {}", units::moment(due)),
        (None, Some(since)) => format!("suspended since {}", units::moment(since)),
        (None, None) => "active".to_owned(),
    }
}
