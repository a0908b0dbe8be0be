//! `backup snapshots`: what there is.

use super::args::SnapshotFilter;
use super::context::{Context, not_wired};
use super::exit::{CliError, Exit};

/// What `snapshots` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Asks for no secret: this device's own snapshots are shown in full, those of others by id, time and
what their server may see.

Example:
  backup snapshots --host laptop --latest 5")]
pub struct SnapshotsArgs {
    /// Only these: ids or beginnings of ids, latest, latest~N
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Only the newest N of each device and set
    #[arg(long, value_name = "N")]
    pub latest: Option<std::num::NonZeroU32>,
    /// Which ones.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// Lists snapshots.
pub fn run(_ctx: &Context<'_>, _args: &SnapshotsArgs) -> Result<Exit, CliError> {
    Err(not_wired("snapshots"))
}
