//! `backup connect`: this machine joins a vault.

use std::path::PathBuf;

use super::context::{Context, not_wired};
use super::exit::{CliError, Exit};

/// What `connect` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Asks for the recovery code, unless BACKUP_RECOVERY_CODE or BACKUP_PASSPHRASE gives a secret.

Example: everything back on a bare machine, with the kit at hand
  backup connect 'unseen://nas.home:8443/ACCOUNT?pin=…'
  backup restore latest --target /tmp/restored")]
pub struct ConnectArgs {
    /// The vault's address, as the kit has it
    #[arg(value_name = "SERVER", conflicts_with = "local")]
    pub server: Option<String>,
    /// A local vault in this folder
    #[arg(long, value_name = "DIR")]
    pub local: Option<PathBuf>,
    /// Take the place of this device: what it uploaded counts as this one's, and it is revoked
    #[arg(long, value_name = "DEVICE")]
    pub replaces: Option<String>,
    /// Keep nothing here that helps to open a backup: for servers
    #[arg(long)]
    pub backup_only: bool,
    /// Name this device so [default: the host name]
    #[arg(long, value_name = "DEVICE-NAME")]
    pub name: Option<String>,
}

/// Joins a vault.
pub fn run(_ctx: &Context<'_>, _args: &ConnectArgs) -> Result<Exit, CliError> {
    Err(not_wired("connect"))
}
