//! `backup snapshots`: what there is.

use std::sync::Arc;

use tokio::runtime::Runtime;
use unseen_common::log::entry::Status;

use super::args::SnapshotFilter;
use super::context::{Context, Setup};
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::reading::{self, local_time, machine_time};
use super::units::{Align, Table, bytes, count, plural};
use super::vault;
use crate::browse::resolve::{Which, matching, parse};
use crate::browse::snapshots::{Row, list_locked, with_manifests};
use crate::state::own_snapshots::OwnSnapshots;
use crate::tree::manifest::Manifest;

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
pub fn run(ctx: &Context<'_>, args: &SnapshotsArgs) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    let setup = ctx.setup()?;
    let shown = if setup.places.device_key().exists() && args.filter.is_empty() {
        own(ctx, &setup, &runtime)?
    } else {
        unlocked(ctx, args, &runtime)?
    };
    let mut shown = narrow(shown, &args.snapshots)?;
    if let Some(latest) = args.latest {
        keep_latest(&mut shown, latest.get());
    }
    if ctx.ui.is_json() {
        let all: Vec<_> = shown.iter().map(json_of).collect();
        ctx.ui.json(&all);
        return Ok(Exit::Done);
    }
    if shown.is_empty() {
        ctx.ui.status("there is no snapshot yet");
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Host", Align::Left),
        ("Set", Align::Left),
        ("Tags", Align::Left),
        ("Files", Align::Right),
        ("Size", Align::Right),
        ("Paths", Align::Left),
    ]);
    for one in &shown {
        table.row(cells(one));
    }
    for line in table.lines() {
        ctx.ui.line(&line);
    }
    ctx.ui.line(&plural(shown.len() as u64, "snapshot", "snapshots"));
    Ok(Exit::Done)
}

/// A snapshot, with as much of its manifest as can be shown.
#[derive(Debug)]
struct Shown {
    row: Row,
    manifest: Option<Manifest>,
}

/// Without any secret: what this machine remembers of its own, what the log says of the others.
fn own(ctx: &Context<'_>, setup: &Setup, runtime: &Runtime) -> Result<Vec<Shown>, CliError> {
    let (repo, _) = vault::open_repository(ctx, setup, (runtime, Arc::default()))?;
    let rows = list_locked(&repo.log.state);
    let own = OwnSnapshots::open(&repo.folders.own_snapshots());
    let shown = rows.into_iter().map(|row| Shown { manifest: own.get(&row.id), row });
    Ok(shown.collect())
}

fn unlocked(
    ctx: &Context<'_>,
    args: &SnapshotsArgs,
    runtime: &Runtime,
) -> Result<Vec<Shown>, CliError> {
    let reading = reading::open(ctx, runtime)?;
    let filter = reading::one_filter(&args.filter)?;
    let rows = runtime.block_on(matching(&reading.repo, &filter));
    let listed = runtime.block_on(with_manifests(&reading.repo, rows));
    let shown = listed.into_iter().map(|listed| {
        if let Err(error) = &listed.manifest {
            ctx.ui.warn(&format!("snapshot {}: {error}", listed.row.id.short()));
        }
        Shown { row: listed.row, manifest: listed.manifest.ok() }
    });
    Ok(shown.collect())
}

fn narrow(all: Vec<Shown>, wanted: &[String]) -> Result<Vec<Shown>, CliError> {
    if wanted.is_empty() {
        return Ok(all);
    }
    let mut ids = Vec::new();
    for text in wanted {
        let parsed = parse(text).map_err(|e| CliError::from_error(Exit::Usage, e))?;
        let found = match parsed.which {
            Which::Latest(back) => {
                let whole = all.iter().filter(|s| s.row.status != Status::Checkpoint);
                whole.rev_nth(back).map(|s| s.row.id)
            }
            Which::Id(prefix) => {
                all.iter().find(|s| s.row.id.to_string().starts_with(&prefix)).map(|s| s.row.id)
            }
        };
        ids.push(found.ok_or_else(|| CliError::new(Exit::Failed, format!("no snapshot {text}")))?);
    }
    Ok(all.into_iter().filter(|s| ids.contains(&s.row.id)).collect())
}

trait RevNth<T> {
    fn rev_nth(self, back: u32) -> Option<T>;
}

impl<T, I: DoubleEndedIterator<Item = T>> RevNth<T> for I {
    fn rev_nth(self, back: u32) -> Option<T> {
        self.rev().nth(back as usize)
    }
}

fn keep_latest(shown: &mut Vec<Shown>, latest: u32) {
    let mut seen = std::collections::HashMap::new();
    let mut keep: Vec<bool> = shown
        .iter()
        .rev()
        .map(|one| {
            let count = seen.entry((one.row.device, one.row.set)).or_insert(0_u32);
            *count += 1;
            *count <= latest
        })
        .collect();
    shown.retain(|_| keep.pop().unwrap_or(false));
}

fn cells(one: &Shown) -> Vec<String> {
    let row = &one.row;
    let mut id = row.id.short();
    match row.status {
        Status::Complete => {}
        Status::Partial => id.push_str(" partial"),
        Status::Checkpoint => id.push_str(" checkpoint"),
    }
    if !row.trusted {
        id.push_str(" UNTRUSTED");
    }
    let time = local_time(row.time);
    let Some(manifest) = &one.manifest else {
        let host = row.device_name.clone().unwrap_or_else(|| format!("({})", row.device.short()));
        let (files, size) = row.disclosure.totals.map_or_else(
            || (String::new(), String::new()),
            |(files, size)| (format!("~{}", count(files)), format!("~{}", bytes(size))),
        );
        return vec![id, time, host, String::new(), String::new(), files, size, "(sealed)".into()];
    };
    let paths: Vec<String> =
        manifest.paths.iter().map(|p| escape_for_terminal(p).into_owned()).collect();
    vec![
        id,
        time,
        manifest.host.clone(),
        manifest.set.clone(),
        manifest.tags.join(","),
        count(manifest.totals.files),
        bytes(manifest.totals.bytes),
        paths.join(" "),
    ]
}

fn json_of(one: &Shown) -> serde_json::Value {
    let row = &one.row;
    let mut object = serde_json::json!({
        "id": row.id.to_string(),
        "short_id": row.id.short(),
        "time": machine_time(row.time),
        "received": machine_time(row.received),
        "device": row.device.to_string(),
        "device_name": row.device_name,
        "status": row.status,
        "trusted": row.trusted,
        "disclosed": row.disclosure,
    });
    if let (Some(manifest), Some(object)) = (&one.manifest, object.as_object_mut()) {
        let paths: Vec<_> =
            manifest.paths.iter().map(|p| escape_for_terminal(p).into_owned()).collect();
        object.insert("paths".into(), paths.into());
        object.insert("hostname".into(), manifest.host.clone().into());
        object.insert("username".into(), manifest.user.clone().into());
        object.insert("set".into(), manifest.set.clone().into());
        object.insert("tags".into(), manifest.tags.clone().into());
        object.insert("tree".into(), data_encoding::HEXLOWER.encode(&manifest.root.0).into());
        object.insert("program_version".into(), manifest.program.clone().into());
        object.insert(
            "summary".into(),
            serde_json::json!({
                "total_files_processed": manifest.totals.files,
                "total_dirs_processed": manifest.totals.dirs,
                "total_bytes_processed": manifest.totals.bytes,
                "errors": manifest.error_count,
                "backup_start": machine_time(manifest.start),
                "backup_end": machine_time(manifest.end),
            }),
        );
    }
    object
}
