//! A set made ready to run: paths found, patterns compiled.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_channel::Sender;
use unseen_common::time::Timestamp;

use super::command::{Patient, Piped};
use super::defaults;
use super::named::{Hooks, Label, NamedSet, NoHome, SetSource};
use super::values::Compression;
use crate::backup::{RunOptions, SmallFirst, Source, StreamSource};
use crate::scan::exclude::{Case, Options, Pattern, PatternFileError, Rules, parse_pattern_file};
use crate::scan::names::OwnerNames;
use crate::tree::entry::{FileTime, Meta, Name};

/// How long after Ctrl-C the vault may take for each request that a checkpoint needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a first backup saves before all others, if those take a while.
const SMALL_FIRST: SmallFirst = SmallFirst { at_most: 1024 * 1024, others: 256 * 1024 * 1024 };
/// A long run saves what it has so far this often.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(600);

/// What one run does.
#[derive(Debug, Clone)]
pub struct Job {
    /// The name of the set.
    pub set: String,
    /// What is read.
    pub source: JobSource,
    /// What is left out, the program's own folders aside.
    pub excludes: Options,
    /// Where each of the patterns comes from.
    pub origins: Vec<Origin>,
    /// Stay on the file systems of the paths.
    pub one_file_system: bool,
    /// What the snapshot says about itself.
    pub label: Label,
    /// How hard to compress; as the profile has it if none.
    pub compression: Option<Compression>,
    /// Make no snapshot if nothing changed.
    pub skip_if_unchanged: bool,
    /// What is run around it.
    pub hooks: Hooks,
}

/// What a run reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobSource {
    /// Absolute paths.
    Paths(Vec<PathBuf>),
    /// What a command prints, as one file.
    Command {
        /// The program and its arguments.
        argv: Vec<OsString>,
        /// The name of the file.
        file: Name,
    },
    /// Standard input, as one file of this name.
    Stdin(Name),
}

/// Where a pattern comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The list of [`defaults`].
    Default,
    /// This key of the set in config.toml.
    Key(&'static str),
    /// A file of patterns.
    File(PathBuf),
    /// The command line.
    CommandLine,
}

/// Why a set cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Nobody knows where home is.
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// A file of patterns cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of patterns has a line that is none.
    #[error("{}", .path.display())]
    Patterns {
        /// The file.
        path: PathBuf,
        /// Which line, and why.
        source: PatternFileError,
    },
    /// The command cannot be started.
    #[error("cannot run {program}")]
    Command {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing of what is to be saved is there.
    #[error("nothing of the set {set} is there: {}", .first.display())]
    NothingThere {
        /// The set.
        set: String,
        /// Its first path.
        first: PathBuf,
        /// Why that cannot be looked at.
        source: io::Error,
    },
}

/// What a run needs to know of this machine and its vault.
#[derive(Debug, Clone)]
pub struct Here {
    /// The program's own folders.
    pub own: Vec<PathBuf>,
    /// The name of this machine, for sets that do not name another.
    pub host: String,
    /// For sets that do not say how hard to compress.
    pub compression: Compression,
    /// The vault is a folder of this machine.
    pub local: bool,
}

impl Job {
    /// Makes a set of config.toml ready. Reads its files of patterns.
    pub fn of(set: &NamedSet, home: Option<&Path>) -> Result<Self, JobError> {
        let paths = set.paths(home)?;
        let (excludes, origins) = excludes(set, &paths, home)?;
        let source = match &set.source {
            SetSource::Paths(_) => JobSource::Paths(paths),
            SetSource::Command { argv, file } => JobSource::Command {
                argv: argv.iter().map(OsString::from).collect(),
                file: file.clone(),
            },
        };
        Ok(Self {
            set: set.name.clone(),
            source,
            excludes,
            origins,
            one_file_system: set.excludes.one_file_system,
            label: set.label.clone(),
            compression: set.compression,
            skip_if_unchanged: set.skip_if_unchanged,
            hooks: set.hooks.clone(),
        })
    }

    /// Whether commands belong to it: around its runs, or to make what is saved.
    pub fn has_commands(&self) -> bool {
        let Hooks { before, after, failed, timeout: _ } = &self.hooks;
        matches!(self.source, JobSource::Command { .. })
            || [before, after, failed].into_iter().any(Option::is_some)
    }

    /// What the engine wants to know.
    pub fn options(&self, here: &Here) -> RunOptions {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        RunOptions {
            set: self.set.clone(),
            host: self.label.host.clone().unwrap_or_else(|| here.host.clone()),
            user: user_name(),
            tags: self.label.tags.clone(),
            rules: self.rules(here.own.clone()),
            changes: None,
            at_most: None,
            in_all: None,
            // A vault on this machine is done with the long ones soon, too.
            small_first: (!here.local).then_some(SMALL_FIRST),
            one_file_system: self.one_file_system,
            force: false,
            dry_run: false,
            skip_if_unchanged: self.skip_if_unchanged,
            compression: self.compression.unwrap_or(here.compression).level(),
            checkpoint_every: CHECKPOINT_EVERY,
            spool: !here.local,
            ahead: false,
            // Each holds a pack of 16 MiB: more of them would break the memory ceiling.
            workers: workers.clamp(1, 4),
            uploads: if here.local { 1 } else { 3 },
            patience: PATIENCE,
        }
    }

    /// What is left out, with the program's own folders.
    pub fn rules(&self, own: Vec<PathBuf>) -> Rules {
        Rules::new(Options { own, ..self.excludes.clone() })
    }

    /// Opens what is read. At least one of the paths must be there; those that are not are told by
    /// the run. Neither a command nor standard input is waited for once `stop` is raised. What a
    /// command says beside its output goes to `aside`, or where this process says things.
    pub fn open(
        &self,
        now: Timestamp,
        (stop, aside): (&Arc<AtomicBool>, Option<Sender<String>>),
    ) -> Result<Source, JobError> {
        let (reader, file): (Box<dyn Read + Send>, &Name) = match &self.source {
            JobSource::Paths(paths) => {
                return match nothing_there(paths) {
                    Some((first, source)) => {
                        Err(JobError::NothingThere { set: self.set.clone(), first, source })
                    }
                    None => Ok(Source::Paths(paths.clone())),
                };
            }
            JobSource::Command { argv, file } => {
                let program = || argv.first().map(|name| name.to_string_lossy().into_owned());
                let piped = Piped::start(argv, (stop, aside));
                let piped = piped.map_err(|source| JobError::Command {
                    program: program().unwrap_or_default(),
                    source,
                })?;
                (Box::new(piped), file)
            }
            JobSource::Stdin(file) => (Box::new(Patient::new(io::stdin(), stop)), file),
        };
        let seconds = i64::try_from(now.0).unwrap_or(i64::MAX);
        let meta = Meta {
            mode: 0o600,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime: FileTime { seconds, nanos: 0 },
            ..Meta::default()
        };
        Ok(Source::Stream(Some(StreamSource { name: file.clone(), source: reader, meta })))
    }
}

/// The first path, and what is wrong with it, if not one of them can be looked at.
pub fn nothing_there(paths: &[PathBuf]) -> Option<(PathBuf, io::Error)> {
    let mut first = None;
    for path in paths {
        let error = path.symlink_metadata().err()?;
        first.get_or_insert_with(|| (path.clone(), error));
    }
    first
}

fn excludes(
    set: &NamedSet,
    paths: &[PathBuf],
    home: Option<&Path>,
) -> Result<(Options, Vec<Origin>), JobError> {
    let excludes = &set.excludes;
    let (mut patterns, mut origins) = (Vec::new(), Vec::new());
    for (texts, case, key) in [
        (&excludes.patterns, Case::Sensitive, "exclude"),
        (&excludes.ignoring_case, Case::Ignored, "iexclude"),
    ] {
        for text in texts {
            patterns.push(text.pattern(case, home)?);
            origins.push(Origin::Key(key));
        }
    }
    for file in &excludes.files {
        let path = file.expand(home)?;
        let found = pattern_file(&path)?;
        origins.extend(found.iter().map(|_| Origin::File(path.clone())));
        patterns.extend(found);
    }
    let mut options = Options {
        patterns,
        caches: excludes.caches,
        if_present: excludes.if_present.iter().map(super::named::MarkerText::marker).collect(),
        larger_than: excludes.larger_than.map(|size| size.0),
        git_ignore: excludes.git_ignore,
        ..Options::default()
    };
    if excludes.defaults {
        let count = defaults::add(&mut options, paths, home);
        origins.splice(0..0, std::iter::repeat_n(Origin::Default, count));
    }
    Ok((options, origins))
}

/// The patterns of a file, one a line, with the environment's variables put in.
pub fn pattern_file(path: &Path) -> Result<Vec<Pattern>, JobError> {
    let path = path.to_path_buf();
    let bytes = std::fs::read(&path)
        .map_err(|source| JobError::Unreadable { path: path.clone(), source })?;
    let variable = |name: &str| std::env::var_os(name).map(OsString::into_vec);
    parse_pattern_file(&bytes, Case::Sensitive, &variable)
        .map_err(|source| JobError::Patterns { path, source })
}

fn user_name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    OwnerNames::of_this_machine()
        .user(uid)
        .map_or_else(|| uid.to_string(), |name| (*name).to_owned())
}
