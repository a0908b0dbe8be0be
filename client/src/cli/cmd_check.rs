//! `backup check`: verify what is stored.

use super::args::values::Subset;
use super::context::{Context, not_wired};
use super::exit::{CliError, Exit};

/// What `check` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Without options: that the log, the snapshots and the folders in them are whole, and that every
piece they need is there. Damage is exit code 20.

Example:
  backup check --read-data-subset 10%")]
pub struct CheckArgs {
    /// Also fetch every pack, and verify every byte
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Likewise some of them: the n-th of t parts, a share, or an amount
    #[arg(long, value_name = "n/t|x%|SIZE")]
    pub read_data_subset: Option<Subset>,
}

/// Checks.
pub fn run(_ctx: &Context<'_>, _args: &CheckArgs) -> Result<Exit, CliError> {
    Err(not_wired("check"))
}
