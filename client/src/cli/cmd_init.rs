//! `backup init`: a new vault.

use std::path::PathBuf;

use super::context::{Context, not_wired};
use super::exit::{CliError, Exit};

/// What `init` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Without an invitation the vault is a folder: the one of --local, or one of the program's own.
The recovery kit is printed, or written to the file of --kit. Without a terminal, --kit is needed.

Example:
  backup init --local /mnt/disk/vault --kit ~/kit.html")]
pub struct InitArgs {
    /// The invitation that a server's operator gave you
    #[arg(value_name = "INVITE-LINK", conflicts_with = "local")]
    pub invite: Option<String>,
    /// Make a local vault in this folder
    #[arg(long, value_name = "DIR")]
    pub local: Option<PathBuf>,
    /// Write the recovery kit to this file: .txt, or .html to print
    #[arg(long, value_name = "FILE")]
    pub kit: Option<PathBuf>,
    /// Name this device so [default: the host name]
    #[arg(long, value_name = "DEVICE-NAME")]
    pub name: Option<String>,
    /// Let the passphrase alone open the vault, on any machine: whoever steals the server's disk
    /// can then try to guess it
    #[arg(long)]
    pub passphrase_anywhere: bool,
    /// Accept a passphrase that is easy to guess
    #[arg(long, conflicts_with = "passphrase_anywhere")]
    pub allow_weak_passphrase: bool,
}

/// Makes a vault.
pub fn run(_ctx: &Context<'_>, _args: &InitArgs) -> Result<Exit, CliError> {
    Err(not_wired("init"))
}
