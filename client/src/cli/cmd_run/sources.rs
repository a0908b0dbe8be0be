//! What `run` reads, and what it leaves out.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::exit::{CliError, Exit};
use super::super::secrets::SECRET_VARIABLES;
use super::RunArgs;
use crate::backup::plan::absolute;
use crate::backup::{Changes, Depth, Source, StreamSource};
use crate::cli::vault::SystemClock;
use crate::scan::exclude::{Case, Marker, Options, Pattern, parse_pattern_file};
use crate::sets::name;
use crate::tree::entry::{FileTime, Meta, Name};
use unseen_common::time::Clock;

/// The paths to back up, absolute; all are there. Empty when a stream is read instead.
pub(super) fn paths(args: &RunArgs) -> Result<Vec<PathBuf>, CliError> {
    if args.stdin.reads_stdin() || args.stdin.stdin_from_command {
        return Ok(Vec::new());
    }
    let current = std::env::current_dir().map_err(|error| {
        CliError::new(Exit::Failed, "the current folder is gone").because(error)
    })?;
    let mut named: Vec<OsString> = args.paths.clone();
    for file in &args.files_from {
        named.extend(lines(file)?);
    }
    if args.set.is_some() && named.is_empty() {
        return Err(CliError::usage("sets of config.toml come with the watcher")
            .hint("name the paths: `backup run --set NAME PATH…`"));
    }
    if named.is_empty() {
        return Err(CliError::usage("nothing to back up").hint("name it: `backup run PATH…`"));
    }
    let mut paths = Vec::new();
    for name in named {
        let path = absolute(Path::new(&name), &current);
        if let Err(error) = path.symlink_metadata() {
            let message = format!("cannot back up {}", path.display());
            return Err(CliError::new(Exit::Failed, message).because(error));
        }
        paths.push(path);
    }
    Ok(paths)
}

/// The set that is named, or the one that the source makes by itself.
pub(super) fn set_name(args: &RunArgs, paths: &[PathBuf]) -> Result<String, CliError> {
    match &args.set {
        Some(text) => name::typed(text).map_err(|error| CliError::usage("--set").because(error)),
        None if paths.is_empty() => Ok(name::of_stream(stream_name(args)?.as_bytes())),
        None => Ok(name::of_paths(paths.iter().map(PathBuf::as_path))),
    }
}

/// What a stream is called in the snapshot.
fn stream_name(args: &RunArgs) -> Result<Name, CliError> {
    let name = args.stdin.stdin_filename.clone().unwrap_or_else(|| "stdin".into());
    Name::new(name.as_bytes()).map_err(|error| {
        CliError::usage("--stdin-filename takes a name without slashes").because(error)
    })
}

/// Opens the source.
pub(super) fn open(args: &RunArgs, paths: Vec<PathBuf>) -> Result<Source, CliError> {
    let reader: Box<dyn Read + Send> = if args.stdin.stdin_from_command {
        Box::new(Piped::start(&args.paths)?)
    } else if args.stdin.reads_stdin() {
        Box::new(io::stdin())
    } else {
        return Ok(Source::Paths(paths));
    };
    let name = stream_name(args)?;
    let now = i64::try_from(SystemClock.now().0).unwrap_or(i64::MAX);
    let meta = Meta {
        mode: 0o600,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: FileTime { seconds: now, nanos: 0 },
        ..Meta::default()
    };
    Ok(Source::Stream(Some(StreamSource { name, source: reader, meta })))
}

/// What is left out, the program's own folders aside.
pub(super) fn excludes(args: &RunArgs) -> Result<Options, CliError> {
    let excludes = &args.excludes;
    let mut patterns = Vec::new();
    for (texts, case) in [(&excludes.exclude, Case::Sensitive), (&excludes.iexclude, Case::Ignored)]
    {
        for text in texts {
            let pattern = Pattern::parse(text.as_bytes(), case);
            patterns.push(pattern.map_err(|error| CliError::from_error(Exit::Usage, error))?);
        }
    }
    for file in &excludes.exclude_file {
        let unreadable = || format!("cannot read {}", file.display());
        let bytes = std::fs::read(file)
            .map_err(|error| CliError::new(Exit::Usage, unreadable()).because(error))?;
        let variable = |name: &str| std::env::var_os(name).map(OsString::into_vec);
        let parsed = parse_pattern_file(&bytes, Case::Sensitive, &variable);
        patterns.extend(parsed.map_err(|error| {
            CliError::new(Exit::Usage, file.display().to_string()).because(error)
        })?);
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
        own: Vec::new(),
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

/// The output of a command, which fails at its end if the command failed: half a dump is no backup.
struct Piped {
    child: Child,
    name: String,
    done: bool,
}

impl Piped {
    fn start(command: &[OsString]) -> Result<Self, CliError> {
        let (program, args) =
            command.split_first().ok_or_else(|| CliError::usage("which command?"))?;
        let mut start = Command::new(program);
        start.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        for secret in SECRET_VARIABLES {
            start.env_remove(secret);
        }
        let name = program.to_string_lossy().into_owned();
        let child = start.spawn().map_err(|error| {
            CliError::new(Exit::Failed, format!("cannot run {name}")).because(error)
        })?;
        Ok(Self { child, name, done: false })
    }
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done {
            return Ok(0);
        }
        let read = match &mut self.child.stdout {
            Some(out) => out.read(buffer)?,
            None => 0,
        };
        if read == 0 && !buffer.is_empty() {
            self.done = true;
            let status = self.child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("{} failed: {status}", self.name)));
            }
        }
        Ok(read)
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        if !self.done {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
