//! `backup restore`: bring files back.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::SnapshotFilter;
use super::args::values::SnapshotPath;
use super::context::{Context, not_wired};
use super::exit::{CliError, Exit};

/// What `restore` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[command(after_help = "\
Beneath the target, files get the full path that they had; with SNAPSHOT:PATH, what is beneath PATH
goes right into the target. A restore that was interrupted goes on where it stopped.

Example:
  backup restore latest --target /tmp/restored --include '*.ods'
  backup restore 40dc1520:/home/anna/Documents --target ~/Documents --overwrite if-newer")]
pub struct RestoreArgs {
    /// The snapshot: an id or its beginning, latest or latest~N; and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub snapshot: SnapshotPath,
    /// Restore into this folder, which is made if it is not there
    #[arg(
        short,
        long,
        value_name = "DIR",
        required_unless_present = "in_place",
        conflicts_with = "in_place"
    )]
    pub target: Option<PathBuf>,
    /// Restore to where the files came from
    #[arg(long)]
    pub in_place: bool,
    /// Only what matches this pattern
    #[arg(short, long, value_name = "PATTERN")]
    pub include: Vec<OsString>,
    /// Not what matches this pattern
    #[arg(short = 'e', long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// What becomes of files that are there
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub overwrite: Overwrite,
    /// Delete what the snapshot does not have
    #[arg(long)]
    pub delete: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Read what was written once more and compare it
    #[arg(long)]
    pub verify: bool,
    /// Give files to owners by name instead of by number
    #[arg(long)]
    pub ownership_by_name: bool,
    /// Also setuid and setgid, capabilities, security attributes and device nodes
    #[arg(long)]
    pub preserve_privileged: bool,
    /// Which one `latest` is.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// What becomes of files that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Overwrite {
    /// They are replaced; equal parts are not fetched
    #[default]
    Always,
    /// Replaced if size or time differ
    IfChanged,
    /// Replaced if the snapshot's is newer
    IfNewer,
    /// They stay
    Never,
}

/// Restores.
pub fn run(_ctx: &Context<'_>, _args: &RestoreArgs) -> Result<Exit, CliError> {
    Err(not_wired("restore"))
}
