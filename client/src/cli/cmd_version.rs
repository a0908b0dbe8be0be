//! `backup version`.

use serde_json::json;

use super::context::Context;
use super::exit::{CliError, Exit};

/// What `version` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Example:
  backup version --json")]
pub struct VersionArgs {}

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the version.
pub fn run(ctx: &Context<'_>, _args: &VersionArgs) -> Result<Exit, CliError> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    if ctx.ui.is_json() {
        ctx.ui.json(&json!({
            "message_type": "version",
            "version": VERSION,
            "os": os,
            "arch": arch,
        }));
    } else {
        ctx.ui.line(&format!("backup {VERSION} on {os}/{arch}"));
    }
    Ok(Exit::Done)
}
