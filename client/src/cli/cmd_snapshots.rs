//! `backup snapshots`: what there is.

use std::collections::BTreeMap;

use std::sync::Arc;

use tokio::runtime::Runtime;
use unseen_common::log::entry::Status;
use unseen_common::log::fold::Leave;
use unseen_common::time::{Clock, Timestamp};

use super::args::SnapshotFilter;
use super::cmd_undelete::leave_word;
use super::context::{Context, Setup};
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::reading::{self, local_time, machine_time};
use super::silence;
use super::units::{Align, Table, bytes, count, plural};
use super::vault::{self, SystemClock};
use crate::browse::resolve::{Which, matching_gone, matching_listed, parse};
use crate::browse::snapshots::{Row, gone_locked, list_locked};
use crate::sets::name::is_derived;
use crate::state::own_snapshots::OwnSnapshots;
use crate::tree::manifest::Manifest;

/// What `snapshots` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Asks for no secret: this device's own snapshots are shown in full, those of others by id, time and
what their server may see. With --unlock or a filter all are shown in full; so they are if there are
others and BACKUP_PASSPHRASE or BACKUP_RECOVERY_CODE (or either with _FILE or _FD) is set.

Example:
  backup snapshots --unlock
  backup snapshots --host laptop --latest 5")]
pub struct SnapshotsArgs {
    /// Only these: ids or beginnings of ids, latest, latest~N
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Also those that were forgotten or have expired, and can be brought back
    #[arg(short, long)]
    pub all: bool,
    /// Ask for the passphrase or the recovery code, and show what every snapshot is of
    #[arg(long)]
    pub unlock: bool,
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
    let shown = look(ctx, args, &setup, &runtime)?;
    if ctx.ui.is_json() {
        let all: Vec<_> = shown.iter().map(json_of).collect();
        ctx.ui.json(&all);
        return Ok(Exit::Done);
    }
    if shown.is_empty() {
        ctx.ui.status("there is no snapshot yet");
        return Ok(Exit::Done);
    }
    for line in table(&shown).lines() {
        ctx.ui.line(&line);
    }
    ctx.ui.line(&plural(shown.len() as u64, "snapshot", "snapshots"));
    if shown.iter().any(|one| one.manifest.is_none()) {
        ctx.ui.status("`backup snapshots --unlock` shows what the sealed ones are of");
    }
    Ok(Exit::Done)
}

/// In full where that is wanted or costs no question, else as far as this machine can.
fn look(
    ctx: &Context<'_>,
    args: &SnapshotsArgs,
    setup: &Setup,
    runtime: &Runtime,
) -> Result<Vec<Shown>, CliError> {
    if args.unlock || !args.filter.is_empty() || !setup.places.device_key().exists() {
        return unlocked(ctx, args, runtime);
    }
    let known = own(ctx, args, setup, runtime);
    let is_all = known.as_ref().is_ok_and(|(shown, _)| shown.iter().all(|s| s.manifest.is_some()));
    if ctx.secrets().are_at_hand() && !is_all {
        match unlocked(ctx, args, runtime) {
            // Nobody asked for it: a secret for something else is no reason to show nothing.
            Err(error) if error.code() == Exit::WrongSecret => {
                ctx.ui.warn(&format!("{}: shown without it", error.report()));
            }
            shown => return shown,
        }
    }
    let (shown, warnings) = known?;
    for text in warnings {
        ctx.ui.warn(&text);
    }
    Ok(shown)
}

/// A snapshot, with as much of its manifest as can be shown.
#[derive(Debug)]
struct Shown {
    row: Row,
    manifest: Option<Manifest>,
    /// It went, and can be brought back until then.
    gone: Option<(Leave, Timestamp)>,
}

/// Without any secret: what this machine remembers of its own, what the log says of the others. And
/// what is to be warned of.
fn own(
    ctx: &Context<'_>,
    args: &SnapshotsArgs,
    setup: &Setup,
    runtime: &Runtime,
) -> Result<(Vec<Shown>, Vec<String>), CliError> {
    let (repo, _) = vault::open_repository(ctx, setup, (runtime, Arc::default()))?;
    let state = &repo.log.state;
    let this = repo.key.secrets.device;
    let name = |device| (device == this).then(|| "this machine".to_owned());
    let warnings = silence::warnings(state, &name);
    let own = OwnSnapshots::open(&repo.folders.own_snapshots());
    let mut shown: Vec<Shown> = list_locked(state)
        .into_iter()
        .map(|row| Shown { manifest: own.get(&row.id), row, gone: None })
        .collect();
    if args.all {
        let gone = gone_locked(state, state.head_received.max(SystemClock.now()));
        shown.extend(gone.into_iter().map(|gone| {
            let went = Some((gone.why, gone.until));
            Shown { manifest: own.get(&gone.row.id), row: gone.row, gone: went }
        }));
        shown.sort_by_key(|one| one.row.seq);
    }
    Ok((wanted(shown, args)?, warnings))
}

fn unlocked(
    ctx: &Context<'_>,
    args: &SnapshotsArgs,
    runtime: &Runtime,
) -> Result<Vec<Shown>, CliError> {
    let reading = reading::open(ctx, runtime)?;
    let name = |device| reading.repo.device_name(device).map(str::to_owned);
    silence::warn(ctx, &reading.repo.log.state, &name);
    let filter = reading::one_filter(&args.filter)?;
    let mut all = runtime.block_on(matching_listed(&reading.repo, &filter));
    let mut went = BTreeMap::new();
    if args.all {
        let now = reading.repo.log.state.head_received.max(SystemClock.now());
        let gone = runtime.block_on(matching_gone(&reading.repo, &filter, now));
        went.extend(gone.iter().map(|(gone, _)| (gone.row.id, (gone.why, gone.until))));
        all.extend(gone.into_iter().map(|(_, listed)| listed));
        all.sort_by_key(|listed| listed.row.seq);
    }
    let shown = all.into_iter().map(|listed| {
        if let Err(error) = &listed.manifest {
            ctx.ui.warn(&format!("snapshot {}: {error}", listed.row.id.short()));
        }
        let gone = went.get(&listed.row.id).copied();
        Shown { row: listed.row, manifest: listed.manifest.ok(), gone }
    });
    wanted(shown.collect(), args)
}

fn wanted(all: Vec<Shown>, args: &SnapshotsArgs) -> Result<Vec<Shown>, CliError> {
    let mut wanted = narrow(all, &args.snapshots)?;
    if let Some(latest) = args.latest {
        keep_latest(&mut wanted, latest.get());
    }
    Ok(wanted)
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
                let whole =
                    all.iter().filter(|s| s.gone.is_none() && s.row.status != Status::Checkpoint);
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

/// The paths name a set that has no name of its own, so that column is there only if one has.
fn table(shown: &[Shown]) -> Table {
    let mut columns = vec![
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Host", Align::Left),
        ("Set", Align::Left),
        ("Tags", Align::Left),
        ("Files", Align::Right),
        ("Size", Align::Right),
        ("Paths", Align::Left),
    ];
    let mut rows: Vec<Vec<String>> = shown.iter().map(cells).collect();
    if rows.iter().all(|row| row.get(SET).is_none_or(String::is_empty)) {
        columns.remove(SET);
        for row in &mut rows {
            row.remove(SET);
        }
    }
    let mut table = Table::new(&columns);
    for row in rows {
        table.row(row);
    }
    table
}

/// The column of the set.
const SET: usize = 3;

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
    if row.pinned {
        id.push_str(" pinned");
    }
    if row.held {
        id.push_str(" held");
    }
    if let Some((why, _)) = one.gone {
        id.push(' ');
        id.push_str(leave_word(why));
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
        if is_derived(&manifest.set, &manifest.paths) {
            String::new()
        } else {
            manifest.set.clone()
        },
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
        "pinned": row.pinned,
        "held": row.held,
        "gone": one.gone.map(|(why, until)| serde_json::json!({
            "why": leave_word(why),
            "until": machine_time(until),
        })),
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
