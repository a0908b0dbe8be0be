//! `backup-server invite`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use unseen_common::wire::address::split_authority;

use super::admin::{self, Ask};
use super::config::ConfigError;
use super::error::CliError;
use super::manage::Manage;
use super::place::Place;
use super::{output, units};
use crate::http::tls::{self, Certificate};
use crate::vault::{Core, InviteInfo, Options, amount};

/// Make an invite: one line to paste on the machine that is to be backed up
///
/// Example: backup-server invite --data /srv/unseen --quota 500GB --expires 7d
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Invite {
    /// The data folder of the server
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA", global = true)]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// How much the account may store, such as 500GB
    #[arg(long, value_name = "SIZE", value_parser = units::some_bytes)]
    quota: Option<u64>,
    /// How long the invite is good for
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = units::some_seconds)]
    expires: u64,
    /// Where clients reach the server
    #[arg(long, value_name = "HOST:PORT", env = "UNSEEN_PUBLIC_ADDRESS")]
    public_address: Option<String>,
    /// The certificate that clients see, if it is not the server's own
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The invites that are still good
    ///
    /// Example: backup-server invite list --data /srv/unseen
    List,
    /// Take an invite back
    ///
    /// Example: backup-server invite revoke 40dc1520 --data /srv/unseen
    Revoke {
        /// The first digits of its name, as `list` shows it
        invite: String,
    },
}

/// What an invite is to allow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    quota: Option<u64>,
    seconds: u64,
    public_address: Option<String>,
    tls_cert: Option<PathBuf>,
}

impl Order {
    /// Whether what was given makes sense by itself.
    fn check(&self) -> Result<(), CliError> {
        if let Some(text) = &self.public_address {
            split_authority(text)
                .map_err(|source| CliError::Address { text: text.clone(), source })?;
        }
        self.tls_cert.as_deref().map(Certificate::read).transpose()?;
        Ok(())
    }

    /// Makes the invite; gives the line to paste.
    pub(super) fn fulfil(&self, core: &Core, kept: Option<Place>) -> Result<String, CliError> {
        let mut place = match (&self.public_address, kept) {
            (Some(address), kept) => {
                Place { address: address.clone(), spki: kept.and_then(|place| place.spki) }
            }
            (None, Some(kept)) => kept,
            (None, None) => return Err(CliError::NoAddress),
        };
        if let Some(path) = &self.tls_cert {
            place.spki = Some(Certificate::read(path)?.spki);
        }
        // What can go wrong goes wrong before an invite is made.
        place.invitation(core.identity(), &[0; 16])?;
        let secret = core.invite(self.quota, self.seconds)?;
        place.invitation(core.identity(), &secret)
    }
}

pub(super) fn run(command: Invite) -> Result<(), CliError> {
    let data = command.data.ok_or(ConfigError::NoData)?;
    let json = command.json;
    match command.command {
        None => {}
        Some(Command::List) => {
            let list: Vec<InviteInfo> = Manage::Invites.done(&data)?;
            if json {
                return output::json(&list);
            }
            show(&list);
            return Ok(());
        }
        Some(Command::Revoke { invite }) => {
            let name: String = Manage::Revoke { invite }.done(&data)?;
            if json {
                return output::json(&serde_json::json!({ "revoked": name }));
            }
            output::line(&format!("invite {name} is good for nothing now"));
            return Ok(());
        }
    }
    let order = Order {
        quota: command.quota,
        seconds: command.expires,
        public_address: command.public_address,
        tls_cert: command.tls_cert,
    };
    let line = match admin::ask(&data, &Ask::Invite(order.clone()))? {
        Some(line) => line,
        None => offline(&data, &order)?,
    };
    if json {
        return output::json(&serde_json::json!({ "command": line }));
    }
    output::line(&line);
    Ok(())
}

fn show(list: &[InviteInfo]) {
    if list.is_empty() {
        output::note("no invite is open; `backup-server invite` makes one");
        return;
    }
    output::line("INVITE    QUOTA       GOOD UNTIL");
    for one in list {
        let quota = one.quota.map_or_else(|| "none".to_owned(), amount);
        output::line(&format!("{:<9} {quota:<11} {}", one.invite, units::moment(one.expires)));
    }
}

fn offline(data: &Path, order: &Order) -> Result<String, CliError> {
    // Nothing is made if the rest cannot be done.
    order.check()?;
    let mut kept = Place::read(data)?;
    if kept.is_none() && order.public_address.is_none() {
        // Nothing is made in a folder that was mistyped.
        return Err(CliError::NoAddress);
    }
    let core = Core::open(data, Options::default())?;
    if kept.is_none()
        && let Some(address) = &order.public_address
    {
        kept = Some(Place { address: address.clone(), spki: Some(tls::own(data)?.0.spki) });
    }
    order.fulfil(&core, kept)
}
