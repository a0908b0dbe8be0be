//! `backup restore`: bring files back.

mod left;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::args::SnapshotFilter;
use super::args::values::SnapshotPath;
use super::bars::{Bars, Task};
use super::cmd_check::tell_healing;
use super::context::Context;
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::interrupt::Interrupt;
use super::reading::{self, Reading, Want, local_time};
use super::units::{bytes, count, duration, plural};
use super::vault;
use crate::browse::resolve::Chosen;
use crate::maintain::heal::{Healing, verify};
use crate::repo::{ReaderIndex, ReaderRepo};
use crate::restore::{Existing, Kept, Prepared, RestoreOptions, RestoreOutcome, Select, Stayed};
use crate::scan::exclude::{Case, Pattern};

/// What `restore` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(group = clap::ArgGroup::new("place").required(true))]
#[command(after_help = "\
Beneath the target, files get the full path that they had. With SNAPSHOT:PATH the target becomes the
folder PATH, with its owner, mode and times; a PATH that is a file goes into the target. In place,
PATH alone is restored; folders above it stay as they are and are made if they are missing. A
restore that was interrupted goes on with the file at which it stopped.

Before files that are there and differ are replaced, or anything is deleted, it asks, unless you say
--yes; --overwrite WHEN answers for the files.

Example:
  backup restore latest --target /tmp/restored --include '*.ods'
  backup restore 40dc1520:/home/anna/Documents --target ~/Documents --overwrite if-newer
  backup restore latest:/home/anna/Documents/letter.odt --in-place")]
pub struct RestoreArgs {
    /// The snapshot: an id or its beginning, latest or latest~N; and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub snapshot: SnapshotPath,
    /// Restore into this folder, which is made if it is not there
    #[arg(short, long, value_name = "DIR", group = "place")]
    pub target: Option<PathBuf>,
    /// Restore to where the files came from
    #[arg(long, group = "place")]
    pub in_place: bool,
    /// Only what matches this pattern
    #[arg(short, long, value_name = "PATTERN")]
    pub include: Vec<OsString>,
    /// Not what matches this pattern
    #[arg(short = 'e', long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// What becomes of files that are there [default: always]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub overwrite: Option<Overwrite>,
    /// Delete what the snapshot does not have, except what the backup left out or could not read
    #[arg(long)]
    pub delete: bool,
    /// Say what would be done and name what would be deleted, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Read what was written once more and compare it
    #[arg(long)]
    pub verify: bool,
    /// Give files to owners by name instead of by number
    #[arg(long)]
    pub ownership_by_name: bool,
    /// Also setuid and setgid, capabilities, security attributes and device nodes: what is left out
    /// is told
    #[arg(long)]
    pub preserve_privileged: bool,
    /// Which one `latest` is.
    #[command(flatten)]
    pub filter: SnapshotFilter,
}

/// What becomes of files that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Overwrite {
    /// They are replaced; equal ones are not fetched
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
pub fn run(ctx: &Context<'_>, args: &RestoreArgs) -> Result<Exit, CliError> {
    let runtime = vault::reading_runtime()?;
    let select = Select::new(patterns(&args.include)?, patterns(&args.exclude)?);
    let reading = reading::open(ctx, &runtime)?;
    let named = (&args.snapshot, &args.filter);
    let want = if args.snapshot.path.is_some() { Want::Little } else { Want::Much };
    let (chosen, index) = reading.choose_with_index(ctx, named, want, &runtime)?;
    let target = target(ctx, args, &chosen)?;
    let options = RestoreOptions {
        target,
        in_place: args.in_place,
        select,
        existing: args.overwrite.unwrap_or_default().into(),
        delete: args.delete,
        kept: kept(ctx, &reading),
        dry_run: args.dry_run,
        survey: false,
        verify: args.verify,
        ownership_by_name: args.ownership_by_name,
        privileged: args.preserve_privileged,
        workers: 0,
    };
    let place = if options.in_place {
        "where it was".to_owned()
    } else {
        options.target.display().to_string()
    };
    let mut bars = Bars::waiting(ctx.ui, Task::Restore);
    if args.dry_run {
        let in_place = if options.in_place { Vec::new() } else { stands_for(&chosen) };
        bars.name_deleted(&options.target, in_place);
    }
    let (from, handle) = ((&reading.repo, &index), runtime.handle());
    let prepared = Prepared::new(from, &chosen, &options, &bars, handle)?;
    may_begin(ctx, args, &prepared)?;
    let interrupt = Interrupt::install()
        .map_err(|error| CliError::new(Exit::Failed, "cannot watch for Ctrl-C").because(error))?;
    let ready = prepared.open()?;
    ctx.ui.status(&format!(
        "restoring snapshot {} of {} to {place}",
        chosen.snapshot.id.short(),
        local_time(chosen.snapshot.time),
    ));
    bars.show();
    let outcome = ready.run(&interrupt.flag());
    let (_, took) = bars.finish();
    let outcome = outcome?;
    report(ctx, args, &outcome, took);
    for at in options.select.unmatched() {
        if let Some(pattern) = args.include.get(at).filter(|_| !outcome.interrupted) {
            let pattern = escape_for_terminal(pattern.as_bytes());
            ctx.ui.warn(&format!("--include {pattern}: nothing in the snapshot matches it"));
        }
    }
    if !outcome.interrupted {
        tell_vault(ctx, (&reading.repo, &index), &outcome, &runtime);
    }
    Ok(if outcome.interrupted {
        Exit::Interrupted
    } else if outcome.problem_count == 0 {
        // What was damaged in one place came from another.
        Exit::Done
    } else if outcome.suspects.0.is_empty() {
        Exit::Failed
    } else {
        Exit::Damaged
    })
}

/// What was found to be damaged the vault is asked to look at, so that it is sent again.
fn tell_vault(
    ctx: &Context<'_>,
    (repo, index): (&ReaderRepo, &ReaderIndex),
    outcome: &RestoreOutcome,
    runtime: &Runtime,
) {
    if outcome.suspects.0.is_empty() {
        return;
    }
    match runtime.block_on(verify(&*repo.vault, &outcome.suspects.0)) {
        Ok((_, bad)) => {
            tell_healing(ctx, &Healing::of((repo, index), &bad));
            if !bad.is_empty() {
                ctx.ui.status("`backup check` names what else suffers");
            }
        }
        Err(error) => ctx.ui.warn(&format!("the vault could not be told of the damage: {error}")),
    }
}

fn target(ctx: &Context<'_>, args: &RestoreArgs, chosen: &Chosen) -> Result<PathBuf, CliError> {
    if let Some(target) = &args.target {
        return Ok(target.clone());
    }
    let mut target = PathBuf::from("/");
    for name in chosen.path.iter().flatten() {
        target.push(name.as_os_str());
    }
    let delete = if args.delete {
        ", and delete there what the snapshot does not have, except what the backup left out"
    } else {
        ""
    };
    let question = format!("Restore over what is in {} now{delete}?", target.display());
    if args.dry_run || ctx.confirm(&question) {
        return Ok(PathBuf::from("/"));
    }
    Err(CliError::usage("restoring in place needs a yes")
        .hint("answer yes, or add --yes; with --target DIR the files go elsewhere"))
}

/// Asks before files that are at the target are replaced or deleted.
///
/// What a restore of the same snapshot has put there is the same, so one that goes on asks nothing.
fn may_begin(
    ctx: &Context<'_>,
    args: &RestoreArgs,
    prepared: &Prepared<'_>,
) -> Result<(), CliError> {
    // In place, the question has been asked.
    let told = args.in_place || args.dry_run || ctx.global.yes;
    if told || (args.overwrite.is_some() && !args.delete) {
        return Ok(());
    }
    // Ctrl-C ends the program: nothing has been changed.
    let found = prepared.survey(&AtomicBool::new(false))?;
    let replaced = if args.overwrite.is_some() { 0 } else { found.replaced };
    let mut what = Vec::new();
    if replaced > 0 {
        let files = plural(replaced, "file that differs", "files that differ");
        what.push(format!("replace {files} from the snapshot's"));
    }
    if found.deleted > 0 {
        let things = plural(found.deleted, "thing", "things");
        what.push(format!("delete {things} that it does not have"));
    }
    let what = what.join(" and ");
    let target = args.target.as_deref().unwrap_or(Path::new("/")).display();
    let would = format!("{target}: this would {what}");
    if what.is_empty() || ctx.confirm(&format!("{would}. Go on?")) {
        return Ok(());
    }
    let hint = match (replaced, found.deleted) {
        (_, 0) => {
            "answer the question, or add --yes; -n -v names what would change; --overwrite never \
             or if-newer leaves files as they are"
        }
        (0, _) => "answer the question, or add --yes; -n names what would be deleted",
        _ => "answer the question, or add --yes; -n -v names what would change or be deleted",
    };
    Err(CliError::usage(would).hint(hint))
}

/// The path in the snapshot that the target stands for.
fn stands_for(chosen: &Chosen) -> Vec<u8> {
    chosen.path.iter().flatten().fold(Vec::new(), |mut path, name| {
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        path
    })
}

/// A snapshot never has the program's own folders: they are not deleted for that.
fn kept(ctx: &Context<'_>, reading: &Reading) -> Kept {
    let mut own = reading.setup.places.own();
    own.extend(reading.opened.folder.clone());
    own.extend(reading.setup.places.config.parent().map(Path::to_path_buf));
    own.extend(super::cmd_init::default_kit(ctx, &reading.setup));
    Kept::new(&own)
}

fn patterns(texts: &[OsString]) -> Result<Vec<Pattern>, CliError> {
    let parse = |text: &OsString| {
        Pattern::parse(text.as_bytes(), Case::Sensitive)
            .map_err(|error| CliError::from_error(Exit::Usage, error))
    };
    texts.iter().map(parse).collect()
}

fn report(ctx: &Context<'_>, args: &RestoreArgs, outcome: &RestoreOutcome, took: Duration) {
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({
            "message_type": "summary",
            "dry_run": args.dry_run,
            "files_restored": outcome.files,
            "dirs_restored": outcome.dirs,
            "others_restored": outcome.others,
            "files_unmodified": outcome.unmodified,
            "files_skipped": outcome.skipped,
            "files_deleted": outcome.deleted,
            "files_kept": {
                "left_out_by_the_backup": outcome.stayed.left_out,
                "unread_by_the_backup": outcome.stayed.unread,
                "other_file_systems": outcome.stayed.elsewhere,
                "own": outcome.stayed.own,
            },
            "bytes_restored": outcome.bytes,
            "bytes_fetched": outcome.fetched,
            "files_verified": outcome.verified,
            "left_out": left::to_json(&outcome.left_out),
            "errors": outcome.problem_count,
            "interrupted": outcome.interrupted,
            "total_duration": took.as_secs_f64(),
        }));
        return;
    }
    left::tell(ctx.ui, &outcome.left_out);
    let mut line = format!(
        "{} {}, {}, {} in {} ({} fetched)",
        if args.dry_run { "would restore" } else { "restored" },
        plural(outcome.files + outcome.others, "file", "files"),
        plural(outcome.dirs, "folder", "folders"),
        bytes(outcome.bytes),
        duration(took),
        bytes(outcome.fetched),
    );
    for (number, what) in [
        (outcome.unmodified, "the same already"),
        (outcome.skipped, "left as they were"),
        (outcome.deleted, if args.dry_run { "to be deleted" } else { "deleted" }),
        (outcome.verified, "verified"),
    ] {
        if number > 0 {
            line = format!("{line}, {} {what}", count(number));
        }
    }
    ctx.ui.summary(&line);
    let stayed = stayed(&outcome.stayed);
    for line in [stayed, left::summary(&outcome.left_out)].into_iter().flatten() {
        ctx.ui.summary(&line);
    }
    if outcome.problem_count > 0 {
        ctx.ui.warn(&format!(
            "{} not restored, or not fully: see above",
            plural(outcome.problem_count, "thing was", "things were")
        ));
    }
    if outcome.interrupted {
        ctx.ui.warn("interrupted; the same command goes on from here");
    }
}

/// What `--delete` left alone; nothing if there is none.
fn stayed(stayed: &Stayed) -> Option<String> {
    let kinds = [
        (stayed.left_out, "left out by the backup"),
        (stayed.unread, "not readable for the backup"),
        (stayed.elsewhere, "on other file systems"),
        (stayed.own, "this program's own"),
    ];
    let all = kinds.iter().map(|(number, _)| number).sum();
    let kinds = kinds.iter().filter(|(number, _)| *number > 0);
    let kinds: Vec<_> = kinds.map(|(number, what)| format!("{} {what}", count(*number))).collect();
    let kept = plural(all, "thing", "things");
    (all > 0).then(|| format!("kept {kept} that the snapshot does not have: {}", kinds.join(", ")))
}

impl From<Overwrite> for Existing {
    fn from(overwrite: Overwrite) -> Self {
        match overwrite {
            Overwrite::Always => Self::Always,
            Overwrite::IfChanged => Self::IfChanged,
            Overwrite::IfNewer => Self::IfNewer,
            Overwrite::Never => Self::Never,
        }
    }
}
