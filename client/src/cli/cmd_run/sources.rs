//! What `run` reads, and what it leaves out.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::super::context::Context;
use super::super::escape::escape_for_terminal;
use super::super::exit::{CliError, Exit};
use super::super::reading::set_name;
use super::super::units::plural;
use super::{ExcludeArgs, RunArgs};
use crate::backup::plan::absolute;
use crate::backup::{Changes, Depth};
use crate::scan::exclude::{Case, Marker, Options, Pattern};
use crate::sets::job::{Origin, nothing_there, pattern_file};
use crate::sets::named::Label;
use crate::sets::{Hooks, Job, JobError, JobSource, NamedSet, name};
use crate::tree::entry::Name;

/// What is to be done: what the command line names, or the sets of config.toml.
pub(super) fn jobs(ctx: &Context<'_>, args: &RunArgs) -> Result<Vec<Job>, CliError> {
    let stream = args.stdin.reads_stdin() || args.stdin.stdin_from_command;
    if stream || !args.paths.is_empty() || !args.files_from.is_empty() {
        return typed(args).map(|job| vec![job]);
    }
    let setup = ctx.setup()?;
    let wanted = args.set.as_deref().map(set_name).transpose()?;
    let sets: Vec<&NamedSet> = setup
        .sets
        .iter()
        .filter(|set| wanted.as_ref().is_none_or(|name| set.name == *name))
        .collect();
    if sets.is_empty() {
        return Err(match wanted {
            Some(name) => CliError::usage(format!("there is no set {name} in config.toml")).hint(
                "`backup set list` lists them; or name the paths: `backup run --set NAME PATH…`",
            ),
            None => CliError::usage("nothing to back up").hint(
                "name it: `backup run PATH…`, or once and for all: `backup set add NAME PATH…`",
            ),
        });
    }
    if args.excludes != ExcludeArgs::default() {
        return Err(CliError::usage("a set of config.toml says by itself what it leaves out")
            .hint("`backup set edit NAME --exclude …` changes that"));
    }
    let home = setup.home.as_deref();
    let job = |set| {
        let job = Job::of(set, home)?;
        match setup.exposed.clone().filter(|_| job.has_commands()) {
            Some(exposed) => Err(exposed.into()),
            None => Ok(with_flags(job, args)),
        }
    };
    sets.into_iter().map(job).collect()
}

/// What the command line says of a set that is configured.
fn with_flags(mut job: Job, args: &RunArgs) -> Job {
    job.label.tags.extend(tags(args));
    job.label.host = args.label.host.clone().or(job.label.host);
    job.compression = args.how.compression.or(job.compression);
    job.skip_if_unchanged |= args.how.skip_if_unchanged;
    job
}

fn tags(args: &RunArgs) -> impl Iterator<Item = String> {
    args.label.tag.iter().flat_map(|list| list.0.clone())
}

/// What the command line names.
fn typed(args: &RunArgs) -> Result<Job, CliError> {
    let (source, by_itself) = if args.stdin.stdin_from_command {
        let file = stream_name(args)?;
        let set = name::of_stream(file.as_bytes());
        (JobSource::Command { argv: args.paths.clone(), file }, set)
    } else if args.stdin.reads_stdin() {
        if let Some(path) = args.paths.first() {
            let path = escape_for_terminal(path.as_bytes());
            return Err(CliError::usage(format!("either {path} or standard input is backed up"))
                .hint("--stdin-filename alone means standard input: run once for each"));
        }
        let file = stream_name(args)?;
        let set = name::of_stream(file.as_bytes());
        (JobSource::Stdin(file), set)
    } else {
        let paths = paths(args)?;
        let set = name::of_paths(paths.iter().map(PathBuf::as_path));
        (JobSource::Paths(paths), set)
    };
    let set = args.set.as_deref().map(set_name).transpose()?.unwrap_or(by_itself);
    let excludes = excludes(&args.excludes)?;
    let job = Job {
        set,
        source,
        origins: vec![Origin::CommandLine; excludes.patterns.len()],
        excludes,
        one_file_system: args.excludes.one_file_system,
        label: Label::default(),
        compression: None,
        skip_if_unchanged: false,
        hooks: Hooks::default(),
    };
    Ok(with_flags(job, args))
}

/// The paths to back up, absolute. At least one is there; of the others the run tells.
fn paths(args: &RunArgs) -> Result<Vec<PathBuf>, CliError> {
    let current = std::env::current_dir().map_err(|error| {
        CliError::new(Exit::Failed, "the current folder is gone").because(error)
    })?;
    let mut named: Vec<OsString> = args.paths.clone();
    for file in &args.files_from {
        named.extend(lines(file)?);
    }
    if named.is_empty() {
        return Err(CliError::usage("nothing to back up").hint("the list of paths is empty"));
    }
    let mut paths = Vec::new();
    for name in named {
        if name.is_empty() {
            return Err(CliError::usage("one of the paths is empty")
                .hint("an unset variable? `backup run .` saves the current folder"));
        }
        paths.push(absolute(Path::new(&name), &current));
    }
    let Some((first, error)) = nothing_there(&paths) else {
        return Ok(paths);
    };
    let others = match paths.len() - 1 {
        0 => String::new(),
        others => format!(", nor {}", plural(others as u64, "other path", "other paths")),
    };
    let message = format!("cannot back up {}{others}", first.display());
    Err(CliError::new(Exit::Failed, message).because(error))
}

/// What a stream is called in the snapshot.
fn stream_name(args: &RunArgs) -> Result<Name, CliError> {
    let name = args.stdin.stdin_filename.clone().unwrap_or_else(|| "stdin".into());
    Name::new(name.as_bytes()).map_err(|error| {
        CliError::usage("--stdin-filename takes a name without slashes").because(error)
    })
}

/// What is left out, the program's own folders aside.
fn excludes(excludes: &ExcludeArgs) -> Result<Options, CliError> {
    let mut patterns = Vec::new();
    for (texts, case) in [(&excludes.exclude, Case::Sensitive), (&excludes.iexclude, Case::Ignored)]
    {
        for text in texts {
            let pattern = Pattern::parse(text.as_bytes(), case);
            patterns.push(pattern.map_err(|error| CliError::from_error(Exit::Usage, error))?);
        }
    }
    for file in &excludes.exclude_file {
        patterns.extend(pattern_file(file)?);
    }
    let mut if_present = Vec::new();
    for text in &excludes.exclude_if_present {
        let marker = Marker::parse(text.as_bytes());
        if_present.push(marker.ok_or_else(|| {
            CliError::usage("--exclude-if-present takes NAME or NAME:HEADER, without slashes")
        })?);
    }
    Ok(Options {
        patterns,
        caches: excludes.exclude_caches,
        if_present,
        larger_than: excludes.exclude_larger_than.map(|size| size.0),
        git_ignore: excludes.git_ignore,
        ..Options::default()
    })
}

/// What may have changed, as the file says.
pub(super) fn changes(file: &Path) -> Result<Changes, CliError> {
    let wrong = |what: &str| CliError::usage(format!("{}: {what}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| wrong("cannot be read").because(error))?;
    let mut changes = Changes::default();
    for entry in bytes.split(|&b| b == 0).filter(|entry| !entry.is_empty()) {
        let (depth, path) = match entry {
            [b'd', b' ', path @ ..] => (Depth::Listing, path),
            [b'D', b' ', path @ ..] => (Depth::Everything, path),
            _ => return Err(wrong("an entry is neither `d PATH` nor `D PATH`")),
        };
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        if !path.is_absolute() {
            return Err(wrong("a path is not absolute"));
        }
        changes.add(path, depth);
    }
    Ok(changes)
}

fn lines(file: &Path) -> Result<Vec<OsString>, CliError> {
    let read = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    let bytes = read.map_err(|error| {
        CliError::new(Exit::Usage, format!("cannot read {}", file.display())).because(error)
    })?;
    let lines = bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| OsString::from_vec(line.to_vec())).collect())
}

impl From<JobError> for CliError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::NoHome(_) | JobError::Unreadable { .. } | JobError::Patterns { .. } => {
                Self::from_error(Exit::Usage, error)
            }
            JobError::Command { .. } | JobError::NothingThere { .. } => {
                Self::from_error(Exit::Failed, error)
            }
        }
    }
}
