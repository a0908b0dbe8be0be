//! `backup ls`: the files of a snapshot.

use super::args::SnapshotFilter;
use super::args::values::SnapshotPath;
use super::context::{Context, not_wired};
use super::exit::{CliError, Exit};

/// What `ls` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Example:
  backup ls -l latest:/home/anna/Documents")]
pub struct LsArgs {
    /// The snapshot: an id or its beginning, latest or latest~N; and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub snapshot: SnapshotPath,
    /// Also mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// Everything beneath; without it, only what lies in the folder itself once a path is given
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Sizes with units
    #[arg(long)]
    pub human_readable: bool,
    /// Which one `latest` is.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// Lists files.
pub fn run(_ctx: &Context<'_>, _args: &LsArgs) -> Result<Exit, CliError> {
    Err(not_wired("ls"))
}
