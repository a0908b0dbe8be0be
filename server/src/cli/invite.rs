//! `backup-server invite`.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::admin::{self, Ask};
use super::error::CliError;
use super::place::Place;
use super::{output, units};
use crate::http::tls::{self, Certificate};
use crate::vault::{Core, Options};

/// Make an invite: one line to paste on the machine that is to be backed up
///
/// Example: backup-server invite --data /srv/unseen --quota 500GB --expires 7d
#[derive(Debug, Args)]
pub(super) struct Invite {
    /// The data folder of the server
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA")]
    data: PathBuf,
    /// How much the account may store, such as 500GB
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    quota: Option<u64>,
    /// How long the invite is good for
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = units::seconds)]
    expires: u64,
    /// Where clients reach the server
    #[arg(long, value_name = "HOST:PORT", env = "UNSEEN_PUBLIC_ADDRESS")]
    public_address: Option<String>,
    /// The certificate that clients see, if it is not the server's own
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
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

pub(super) fn run(command: &Invite) -> Result<(), CliError> {
    let order = Order {
        quota: command.quota,
        seconds: command.expires,
        public_address: command.public_address.clone(),
        tls_cert: command.tls_cert.clone(),
    };
    let line = match admin::ask(&command.data, &Ask::Invite(order.clone()))? {
        Some(line) => line,
        None => offline(command, &order)?,
    };
    output::line(&line);
    Ok(())
}

fn offline(command: &Invite, order: &Order) -> Result<String, CliError> {
    let mut kept = Place::read(&command.data)?;
    if kept.is_none() && order.public_address.is_none() {
        // Nothing is made in a folder that was mistyped.
        return Err(CliError::NoAddress);
    }
    let core = Core::open(&command.data, Options::default())?;
    if kept.is_none()
        && let Some(address) = &order.public_address
    {
        kept =
            Some(Place { address: address.clone(), spki: Some(tls::own(&command.data)?.0.spki) });
    }
    order.fulfil(&core, kept)
}
