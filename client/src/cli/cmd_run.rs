//! `backup run`: back up.

pub(super) mod each;
pub(super) mod links;
pub(super) mod one;
pub(super) mod report;
mod sources;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::runtime::Runtime;

use super::args::values::{BytesPerSecond, Compression, Size, TagList};
use super::cmd_init::InitArgs;
use super::config::Profile;
use super::context::{Context, Setup};
use super::exit::{CliError, Exit};
use super::interrupt::Interrupt;
use super::vault;
use crate::backup::Changes;

use one::Runs;

/// What `run` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
A pattern without a slash matches a name anywhere, one with a slash in front begins at the root,
** stands for any number of folders, ! at the start takes a match back, a / at the end means
folders only. The program's own folders are always left out.

Without a path, the sets of config.toml are backed up one after the other, or with --set the one of
that name: `backup set add` makes one. The exit code is that of the one that went worst.

Example:
  backup run
  backup run ~/Documents ~/Pictures -e '*.tmp' --exclude-caches --tag laptop
  backup run --stdin-filename db.sql --stdin-from-command -- pg_dump shop")]
pub struct RunArgs {
    /// What to back up [default: the sets of config.toml]; with --stdin-from-command, the command
    /// and its arguments
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// The set that the snapshot belongs to [default: its paths]; with no path, the one to back up
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
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
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
    #[arg(long, value_name = "NAME", conflicts_with = "files_from")]
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
    let jobs = sources::jobs(ctx, args)?;
    let wishes = Wishes::of(args, &ctx.setup()?.profile)?;
    let runtime = vault::runtime()?;
    let setup = ready(ctx, &runtime)?;
    let interrupt = Interrupt::install()
        .map_err(|error| CliError::new(Exit::Failed, "cannot watch for Ctrl-C").because(error))?;
    let runs = Runs {
        ctx,
        args,
        wishes: &wishes,
        setup: &setup,
        runtime: &runtime,
        interrupt: &interrupt,
        told: each::Once::default(),
    };
    runs.all(&jobs)
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

/// What the command line and the profile say of all sets.
struct Wishes {
    changes: Option<Changes>,
    compression: Compression,
    up: Option<BytesPerSecond>,
    down: Option<BytesPerSecond>,
}

impl Wishes {
    fn of(args: &RunArgs, profile: &Profile) -> Result<Self, CliError> {
        let how = &args.how;
        Ok(Self {
            changes: how.changes_from.as_deref().map(sources::changes).transpose()?,
            compression: configured(None, profile.compression.as_deref(), "compression")?
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

/// The name of this machine.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
