//! `backup privacy export`: all that the server holds about the account, in one document.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;
use unseen_common::id::VaultId;
use unseen_common::log::chain::Record;
use unseen_common::privacy::StoredObject;
use unseen_common::time::Clock as _;
use unseen_common::vault::{ServerInfo, Vault, VaultError};

use super::entries;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::reading::{self, machine_time};
use crate::cli::units::{bytes, plural};
use crate::cli::vault::SystemClock;

/// What `privacy export` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
One JSON document: every field of `privacy show`, the whole log with each entry decoded and as it was
signed, the access record, and every file that is kept, with its length. It holds nothing that opens
a backup. Packs and manifests themselves are not in it: `backup restore` gets back what is in them.

Example:
  backup privacy export unseen-export.json")]
pub struct ExportArgs {
    /// A new file, which its owner alone can read; standard output if not given
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// The version of the document.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize)]
struct Export {
    message_type: &'static str,
    format: u32,
    made: String,
    account: VaultId,
    server: ServerInfo,
    held: Vec<Value>,
    differences: Vec<String>,
    access: Vec<Value>,
    log: Vec<Value>,
    objects: Vec<StoredObject>,
    totals: Totals,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Totals {
    records: usize,
    objects: usize,
    bytes: u64,
}

pub(super) fn run(
    ctx: &Context<'_>,
    args: &ExportArgs,
    runtime: &Runtime,
) -> Result<Exit, CliError> {
    if let Some(file) = args.file.as_ref().filter(|file| file.exists()) {
        return Err(there_already(file));
    }
    let reading = reading::open(ctx, runtime)?;
    let (vault, account) = (&*reading.repo.vault, reading.repo.log.state.vault);
    let server = runtime.block_on(reading.opened.service.describe())?;
    let export = runtime.block_on(gather(vault, account, server))?;
    let Some(file) = &args.file else {
        if ctx.ui.is_json() {
            ctx.ui.json(&export);
        } else {
            ctx.ui.line(&String::from_utf8_lossy(&pretty(&export)?));
        }
        return Ok(Exit::Done);
    };
    write(file, &pretty(&export)?)?;
    let Totals { records, objects, bytes: stored } = export.totals;
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({
            "message_type": "privacy_export",
            "file": file.to_string_lossy(),
            "records": records,
            "objects": objects,
            "bytes": stored,
        }));
    } else {
        ctx.ui.summary(&format!(
            "{}: {} of the log, and the names of {} with {}",
            file.display(),
            plural(records as u64, "record", "records"),
            plural(objects as u64, "file", "files"),
            bytes(stored),
        ));
    }
    Ok(Exit::Done)
}

async fn gather(
    vault: &dyn Vault,
    account: VaultId,
    server: ServerInfo,
) -> Result<Export, VaultError> {
    let report = vault.privacy().await?;
    let access = vault.access().await?;
    let log = records(vault).await?;
    let objects = objects(vault).await?;
    let totals = Totals {
        records: log.len(),
        objects: objects.len(),
        bytes: objects.iter().fold(0, |sum, object| sum.saturating_add(object.bytes)),
    };
    let line = |line: &unseen_common::privacy::Access| serde_json::json!({ "time": machine_time(line.at), "what": line.what });
    Ok(Export {
        message_type: "privacy_export",
        format: FORMAT,
        made: machine_time(SystemClock.now()),
        account,
        held: report.held.iter().map(super::json_of).collect(),
        differences: super::doubts(&report, &server.policy),
        server,
        access: access.iter().map(line).collect(),
        log: log.iter().map(entries::json_of).collect(),
        objects,
        totals,
    })
}

/// The log as the server has it now. That it is the one that this machine knows was checked when
/// the vault was opened.
async fn records(vault: &dyn Vault) -> Result<Vec<Record>, VaultError> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let after = u64::try_from(records.len()).unwrap_or(u64::MAX).checked_sub(1);
        let page = vault.log(after).await?;
        let more = page.more && !page.records.is_empty();
        records.extend(page.records);
        if !more {
            return Ok(records);
        }
    }
}

async fn objects(vault: &dyn Vault) -> Result<Vec<StoredObject>, VaultError> {
    let mut objects: Vec<StoredObject> = Vec::new();
    loop {
        let after = objects.last().map(|object| object.name.clone());
        let page = vault.objects(after.clone()).await?;
        // Else a server could keep us here for ever.
        let ascends = page.objects.first().is_none_or(|first| Some(&first.name) > after.as_ref());
        if !ascends || !page.objects.is_sorted_by(|a, b| a.name < b.name) {
            return Err(VaultError::BadAnswer("files that do not ascend by name".to_owned()));
        }
        let more = page.more && !page.objects.is_empty();
        objects.extend(page.objects);
        if !more {
            return Ok(objects);
        }
    }
}

fn pretty(export: &Export) -> Result<Vec<u8>, CliError> {
    serde_json::to_vec_pretty(export).map_err(|error| {
        CliError::new(Exit::Failed, "the document cannot be written").because(error)
    })
}

fn write(file: &Path, text: &[u8]) -> Result<(), CliError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut out| {
        out.write_all(text)?;
        out.write_all(b"\n")?;
        out.sync_all()
    });
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => there_already(file),
        _ => CliError::new(Exit::Failed, format!("{} cannot be written", file.display()))
            .because(error),
    })
}

fn there_already(file: &Path) -> CliError {
    CliError::new(Exit::Failed, format!("{} is there already", file.display()))
        .hint("name a new file, or remove that one first")
}
