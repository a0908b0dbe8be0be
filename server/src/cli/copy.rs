//! `backup-server copy`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::admin::{self, Ask};
use super::error::CliError;
use super::output;
use crate::vault::{Core, Options};

/// Copy everything into another folder, while clients go on
///
/// The copy is a data folder of its own. On the same disk files are linked, not copied: this
/// protects from a mistake, not from the end of the disk.
///
/// Example: backup-server copy --data /srv/unseen /mnt/usb/unseen-copy
#[derive(Debug, Args)]
pub(super) struct Copy {
    /// The data folder of the server
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA")]
    data: PathBuf,
    /// Where to: a folder that is not there yet
    #[arg(value_name = "TO")]
    to: PathBuf,
}

pub(super) fn run(command: &Copy) -> Result<(), CliError> {
    let io = |source| CliError::Io { path: command.to.clone(), source };
    // The server's working folder is another one.
    let to = std::path::absolute(&command.to).map_err(io)?;
    let told = if let Some(told) = admin::ask_for_damage(&command.data, &Ask::Copy(to.clone()))? {
        told
    } else {
        let core = Core::open_existing(&command.data, Options::default())?;
        fulfil(&core, &to)?
    };
    output::line(&told.0);
    if told.1 { Err(CliError::Damage) } else { Ok(()) }
}

/// Copies; tells what was done, and whether something is damaged.
pub(super) fn fulfil(core: &Core, to: &Path) -> Result<(String, bool), CliError> {
    let copied = core.copy_to(to)?;
    let mut lines = vec![format!("copied: accounts {}, files {}", copied.accounts, copied.blobs)];
    if copied.missing > 0 {
        lines.push(format!(
            "{} files are not there: run `backup-server scrub --now`",
            copied.missing
        ));
    }
    for id in &copied.damaged {
        lines.push(format!(
            "account {id} is not in the copy: its journal is damaged; run `backup-server rebuild`"
        ));
    }
    Ok((lines.join("\n"), copied.missing > 0 || !copied.damaged.is_empty()))
}
