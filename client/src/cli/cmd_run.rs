//! `backup run`: back up.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::values::{BytesPerSecond, Compression, Size, TagList};
use super::context::{Context, not_wired};
use super::exit::{CliError, Exit};

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
    /// Back up this set of config.toml; given again: also that one
    #[arg(long, value_name = "NAME")]
    pub set: Vec<String>,
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
    #[arg(long, conflicts_with_all = ["paths", "files_from", "set", "stdin_from_command"])]
    pub stdin: bool,
    /// Back up what a command prints as one file, if the command succeeds
    #[arg(long, requires = "paths", conflicts_with_all = ["files_from", "set"])]
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
}

/// Backs up.
pub fn run(_ctx: &Context<'_>, _args: &RunArgs) -> Result<Exit, CliError> {
    Err(not_wired("run"))
}
