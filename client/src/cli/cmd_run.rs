//! `backup run`: back up.

pub(super) mod report;
mod sources;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::args::values::{BytesPerSecond, Compression, Size, TagList};
use super::bars::{Bars, Task};
use super::cmd_init::InitArgs;
use super::config::Profile;
use super::context::{Context, Setup};
use super::exit::{CliError, Exit};
use super::interrupt::Interrupt;
use super::vault::{self, Opened};
use crate::backup::{self, Changes, RunOptions, Source};
use crate::scan::exclude::{Options, Rules};
use crate::scan::names::OwnerNames;

/// How long after Ctrl-C the vault may take for each request that a checkpoint needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What `run` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
A pattern without a slash matches a name anywhere, one with a slash in front begins at the root,
** stands for any number of folders, ! at the start takes a match back, a / at the end means
folders only. The program's own folders are always left out.

Example:
  backup run ~/Documents ~/Pictures -e '*.tmp' --exclude-caches --tag laptop
  backup run --stdin-filename db.sql --stdin-from-command -- pg_dump shop")]
pub struct RunArgs {
    /// What to back up; with --stdin-from-command, the command and its arguments
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// The set that the snapshot belongs to [default: its paths]
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// Read a list of paths from this file, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub files_from: Vec<PathBuf>,
    /// What is left out.
    #[command(flatten)]
    pub excludes: ExcludeArgs,
    /// What is read instead of files.
    #[command(flatten)]
    pub stdin: StdinArgs,
    /// What the snapshot says about itself.
    #[command(flatten)]
    pub label: LabelArgs,
    /// How it is done.
    #[command(flatten)]
    pub how: HowArgs,
}

/// What is left out.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What is left out")]
pub struct ExcludeArgs {
    /// Leave out what matches this pattern
    #[arg(short = 'e', long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// Likewise, in upper or lower case
    #[arg(long, value_name = "PATTERN")]
    pub iexclude: Vec<OsString>,
    /// Read patterns from this file, one a line, # for comments
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,
    /// Leave out folders with a CACHEDIR.TAG, except for the tag itself
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out folders with a file of this name (which begins with HEADER), except for the file
    #[arg(long, value_name = "NAME[:HEADER]")]
    pub exclude_if_present: Vec<OsString>,
    /// Leave out files larger than this
    #[arg(long, value_name = "SIZE")]
    pub exclude_larger_than: Option<Size>,
    /// Leave out what git ignores
    #[arg(long)]
    pub git_ignore: bool,
    /// Stay within the file system of each path
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
}

/// What is read instead of files.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Instead of files")]
pub struct StdinArgs {
    /// Back up standard input as one file
    #[arg(long, conflicts_with_all = ["paths", "files_from", "stdin_from_command"])]
    pub stdin: bool,
    /// Back up what a command prints as one file, if the command succeeds
    #[arg(long, requires = "paths", conflicts_with = "files_from")]
    pub stdin_from_command: bool,
    /// The name of that one file [default: stdin]
    #[arg(long, value_name = "NAME")]
    pub stdin_filename: Option<OsString>,
}

impl StdinArgs {
    /// Whether standard input is backed up: also when only a name for it was given.
    pub fn reads_stdin(&self) -> bool {
        self.stdin || (self.stdin_filename.is_some() && !self.stdin_from_command)
    }
}

/// What the snapshot says about itself.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "About the snapshot")]
pub struct LabelArgs {
    /// Tags of the snapshot
    #[arg(long, value_name = "TAG[,TAG]…")]
    pub tag: Vec<TagList>,
    /// The host it is of [default: the host name]
    #[arg(short = 'H', long, value_name = "NAME", env = "BACKUP_HOST")]
    pub host: Option<String>,
}

/// How it is done.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "How it is done")]
pub struct HowArgs {
    /// Say what would be backed up, and store nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Look only at what this file says has changed since the last run, each entry ended by a zero
    /// byte: `d PATH` for a folder and what is directly in it, `D PATH` for all that is beneath
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "force")]
    pub changes_from: Option<PathBuf>,
    /// Read every file again, also those that look unmodified
    #[arg(short = 'f', long)]
    pub force: bool,
    /// Make no snapshot if nothing changed since the last one
    #[arg(long)]
    pub skip_if_unchanged: bool,
    /// Send no faster than this: KiB a second, or with a unit
    #[arg(long, value_name = "RATE", env = "BACKUP_LIMIT_UPLOAD")]
    pub limit_upload: Option<BytesPerSecond>,
    /// Fetch no faster than this
    #[arg(long, value_name = "RATE", env = "BACKUP_LIMIT_DOWNLOAD")]
    pub limit_download: Option<BytesPerSecond>,
    /// off, fastest, auto, better, max, or a level from 1 to 19 [default: auto]
    #[arg(long, value_name = "HOW", env = "BACKUP_COMPRESSION")]
    pub compression: Option<Compression>,
    /// A long run saves what it has so far this often, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, hide = true)]
    pub checkpoint_every: u64,
}

/// Backs up.
pub fn run(ctx: &Context<'_>, args: &RunArgs) -> Result<Exit, CliError> {
    if let Some(exit) = super::cmd_daemon::through(ctx, args)? {
        return Ok(exit);
    }
    // All that the command line and the configuration can be wrong about, before anything is
    // opened or made.
    let paths = sources::paths(args)?;
    let wishes = Wishes::of(args, &paths, &ctx.setup()?.profile)?;
    let runtime = vault::runtime()?;
    let setup = ready(ctx, &runtime)?;
    let interrupt = Interrupt::install()
        .map_err(|error| CliError::new(Exit::Failed, "cannot watch for Ctrl-C").because(error))?;
    let (mut repo, opened) = vault::open_repository(ctx, &setup, (&runtime, interrupt.flag()))?;
    super::cmd_policy::tell_waiting(ctx, &repo.log.state);
    let source = sources::open(args, paths)?;
    repo.vault = vault::limited(repo.vault, wishes.up, wishes.down);
    let options = options(ctx, args, wishes, (&setup, &opened));
    warn_same_disk(ctx, &source, &opened);
    let bars = Bars::start(ctx.ui, Task::Backup);
    let flag = interrupt.flag();
    let outcome = backup::run(&mut repo, source, &options, (&bars, &flag), runtime.handle());
    let (counts, took) = bars.finish();
    let outcome = outcome?;
    report::finished(ctx.ui, args.how.dry_run, &outcome, &counts, took);
    if !args.how.dry_run && !outcome.interrupted {
        vault::sweep(ctx.ui, &setup, &opened);
    }
    Ok(if outcome.interrupted {
        Exit::Interrupted
    } else if outcome.problem_count > 0 {
        Exit::Incomplete
    } else {
        Exit::Done
    })
}

/// The profile, with a vault: one is made first if there is none and the user agrees.
fn ready(ctx: &Context<'_>, runtime: &Runtime) -> Result<Setup, CliError> {
    let setup = ctx.setup()?;
    if setup.places.device_key().exists() {
        return Ok(setup);
    }
    let folder = setup.places.local_vault();
    let question = format!(
        "There is no vault yet. Make one in {}, protected by a passphrase?",
        folder.display()
    );
    if setup.vault.is_some() || !ctx.confirm(&question) {
        vault::device_key(&setup)?;
    }
    let init = InitArgs {
        local: Some(folder),
        kit: super::cmd_init::default_kit(ctx, &setup),
        ..InitArgs::default()
    };
    super::cmd_init::make(ctx, &init, runtime)?;
    ctx.setup()
}

/// What of the command line and the configuration is more than a flag.
struct Wishes {
    set: String,
    excludes: Options,
    changes: Option<Changes>,
    compression: Compression,
    up: Option<BytesPerSecond>,
    down: Option<BytesPerSecond>,
}

impl Wishes {
    fn of(args: &RunArgs, paths: &[PathBuf], profile: &Profile) -> Result<Self, CliError> {
        let how = &args.how;
        Ok(Self {
            set: sources::set_name(args, paths)?,
            excludes: sources::excludes(args)?,
            changes: how.changes_from.as_deref().map(sources::changes).transpose()?,
            compression: configured(
                how.compression,
                profile.compression.as_deref(),
                "compression",
            )?
            .unwrap_or_default(),
            up: configured(how.limit_upload, profile.limit_upload.as_deref(), "limit_upload")?,
            down: configured(
                how.limit_download,
                profile.limit_download.as_deref(),
                "limit_download",
            )?,
        })
    }
}

/// The flag, or what the profile says.
pub fn configured<T: FromStr>(
    flag: Option<T>,
    config: Option<&str>,
    key: &str,
) -> Result<Option<T>, CliError>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match (flag, config) {
        (None, Some(text)) => text
            .parse()
            .map(Some)
            .map_err(|error| CliError::usage(format!("{key} in config.toml")).because(error)),
        (flag, _) => Ok(flag),
    }
}

fn options(
    ctx: &Context<'_>,
    args: &RunArgs,
    wishes: Wishes,
    (setup, opened): (&Setup, &Opened),
) -> RunOptions {
    let mut own = setup.places.own();
    own.extend(opened.folder.clone());
    own.extend(super::cmd_init::default_kit(ctx, setup));
    let host = args.label.host.clone().or_else(|| setup.profile.host.clone());
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    RunOptions {
        set: wishes.set,
        host: host.unwrap_or_else(host_name),
        user: user_name(),
        tags: args.label.tag.iter().flat_map(|list| list.0.clone()).collect(),
        rules: Rules::new(Options { own, ..wishes.excludes }),
        changes: wishes.changes,
        at_most: None,
        one_file_system: args.excludes.one_file_system,
        force: args.how.force,
        dry_run: args.how.dry_run,
        skip_if_unchanged: args.how.skip_if_unchanged,
        compression: wishes.compression.level(),
        checkpoint_every: Duration::from_secs(args.how.checkpoint_every),
        spool: opened.folder.is_none(),
        // Each holds a pack of 16 MiB: more of them would break the memory ceiling.
        workers: workers.clamp(1, 4),
        uploads: if opened.folder.is_some() { 1 } else { 3 },
        patience: PATIENCE,
    }
}

/// The name of this machine.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The name of the user.
pub fn user_name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    OwnerNames::of_this_machine().user(uid).unwrap_or_else(|| uid.to_string())
}

/// A local vault on the disk that it is to protect protects from mistakes, not from a dead disk.
fn warn_same_disk(ctx: &Context<'_>, source: &Source, opened: &Opened) {
    use std::os::unix::fs::MetadataExt;
    let (Source::Paths(paths), Some(folder)) = (source, &opened.folder) else {
        return;
    };
    let device = |path: &PathBuf| std::fs::metadata(path).map(|m| m.dev()).ok();
    let vault = device(folder);
    if vault.is_some() && paths.iter().any(|path| device(path) == vault) {
        ctx.ui.warn(
            "the vault is on the same disk as what it backs up: it will not survive that disk",
        );
    }
}
