//! `backup dump`: one file of a snapshot, on standard output.

use std::path::PathBuf;

use super::args::SnapshotFilter;
use super::args::values::SnapshotPath;
use super::context::{Context, not_wired};
use super::exit::{CliError, Exit};

/// What `dump` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Example:
  backup dump latest /home/anna/notes.txt | less")]
pub struct DumpArgs {
    /// The snapshot: an id or its beginning, latest or latest~N; and a folder in it
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: SnapshotPath,
    /// The file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Which one `latest` is.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// Prints a file.
pub fn run(_ctx: &Context<'_>, _args: &DumpArgs) -> Result<Exit, CliError> {
    Err(not_wired("dump"))
}
