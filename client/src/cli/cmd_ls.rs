//! `backup ls`: the files of a snapshot.

use super::args::SnapshotFilter;
use super::args::values::SnapshotPath;
use super::context::Context;
use super::escape::{escape_for_terminal, insert_name};
use super::exit::{CliError, Exit};
use super::reading::{self, local_time, machine_time};
use super::units::bytes;
use super::vault;
use crate::browse::chunks::Chunks;
use crate::browse::ls::{Found, Lister, find_path};
use crate::browse::resolve::Chosen;
use crate::tree::entry::{Entry, FileTime, Kind};

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
pub fn run(ctx: &Context<'_>, args: &LsArgs) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    let reading = reading::open(ctx, &runtime)?;
    let named = (&args.snapshot, &args.filter);
    reading.look(ctx, named, &runtime, |chosen, chunks| list(ctx, args, chosen, chunks))?;
    Ok(Exit::Done)
}

fn list(
    ctx: &Context<'_>,
    args: &LsArgs,
    chosen: &Chosen,
    chunks: &mut Chunks<'_>,
) -> Result<(), CliError> {
    let path = chosen.path.clone().unwrap_or_default();
    let found = find_path(chunks, chosen.manifest.root, &path)?;
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({
            "message_type": "snapshot",
            "id": chosen.snapshot.id.to_string(),
            "short_id": chosen.snapshot.id.short(),
            "time": machine_time(chosen.snapshot.time),
        }));
    } else {
        ctx.ui.status(&format!(
            "snapshot {} of {}",
            chosen.snapshot.id.short(),
            local_time(chosen.snapshot.time)
        ));
    }
    let mut base = Vec::new();
    for name in &path {
        base.push(b'/');
        base.extend_from_slice(name.as_bytes());
    }
    let tree = match found {
        Found::Root(tree) => tree,
        Found::Entry(entry) => {
            let Kind::Directory { tree } = entry.kind else {
                show(ctx, args, &base, &entry);
                return Ok(());
            };
            tree
        }
    };
    let mut lister = Lister::new(tree, args.recursive || chosen.path.is_none());
    while let Some(line) = lister.next(chunks)? {
        let full = [base.as_slice(), b"/", &line.path].concat();
        show(ctx, args, &full, &line.entry);
        if ctx.ui.is_closed() {
            break;
        }
    }
    Ok(())
}

fn show(ctx: &Context<'_>, args: &LsArgs, path: &[u8], entry: &Entry) {
    let meta = &entry.meta;
    let size = if let Kind::File { size, .. } = entry.kind { size } else { 0 };
    if ctx.ui.is_json() {
        let mut object = serde_json::Map::new();
        object.insert("message_type".into(), "node".into());
        insert_name(&mut object, "name", entry.name.as_bytes());
        insert_name(&mut object, "path", path);
        object.insert("type".into(), kind_name(&entry.kind).into());
        object.insert("uid".into(), meta.uid.into());
        object.insert("gid".into(), meta.gid.into());
        object.insert("size".into(), size.into());
        object.insert("mode".into(), meta.mode.into());
        object.insert("permissions".into(), mode_text(entry).into());
        object.insert("mtime".into(), file_time(meta.mtime, "%Y-%m-%dT%H:%M:%S.%9f%:z").into());
        if let Kind::Symlink { target } = &entry.kind {
            insert_name(&mut object, "linktarget", target);
        }
        ctx.ui.json(&object);
        return;
    }
    let name = escape_for_terminal(path);
    if !args.long {
        ctx.ui.line(&name);
        return;
    }
    let owner = |name: &Option<std::sync::Arc<str>>, id: u32| {
        name.as_ref().map_or_else(|| id.to_string(), |name| (**name).to_owned())
    };
    let size = if args.human_readable { bytes(size) } else { size.to_string() };
    let arrow = match &entry.kind {
        Kind::Symlink { target } => format!(" -> {}", escape_for_terminal(target)),
        _ => String::new(),
    };
    ctx.ui.line(&format!(
        "{} {:>8} {:>8} {size:>12} {} {name}{arrow}",
        mode_text(entry),
        owner(&meta.user, meta.uid),
        owner(&meta.group, meta.gid),
        file_time(meta.mtime, "%Y-%m-%d %H:%M:%S"),
    ));
}

const fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::File { .. } => "file",
        Kind::Directory { .. } => "dir",
        Kind::Symlink { .. } => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice(_) => "chardev",
        Kind::BlockDevice(_) => "dev",
    }
}

/// As `ls -l` has it.
fn mode_text(entry: &Entry) -> String {
    let mode = entry.meta.mode;
    let mut text = String::from(match entry.kind {
        Kind::File { .. } => "-",
        Kind::Directory { .. } => "d",
        Kind::Symlink { .. } => "l",
        Kind::Fifo => "p",
        Kind::Socket => "s",
        Kind::CharDevice(_) => "c",
        Kind::BlockDevice(_) => "b",
    });
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    for (class, (bit, with, without)) in [6_u32, 3, 0].into_iter().zip(special) {
        let bits = (mode >> class) & 7;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & bit != 0, bits & 1 != 0) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn file_time(time: FileTime, format: &str) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    match jiff::Timestamp::new(time.seconds, nanos) {
        Ok(moment) => moment.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string(),
        Err(_) => format!("{} s", time.seconds),
    }
}
