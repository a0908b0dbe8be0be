//! `[[set]]` of config.toml: what is backed up under a name, and how. Read strictly: a typing
//! error must not turn an exclude off.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::name::{self, NotASetName};
use super::values::{BadValue, Compression, Size, Span, TagList};
use crate::scan::exclude::{Case, Marker, Pattern};
use crate::tree::entry::Name;

/// The profile of a set that names none.
pub const DEFAULT_PROFILE: &str = "default";
/// The file that a command's output becomes, unless the set says otherwise.
const STDIN: &str = "stdin";

/// One `[[set]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Keys")]
pub struct NamedSet {
    /// What it is called; no other set of its profile is called so.
    pub name: String,
    /// The profile whose vault it goes to.
    pub profile: String,
    /// What is read.
    pub source: SetSource,
    /// What is left out.
    pub excludes: Excludes,
    /// What snapshots say about themselves.
    pub label: Label,
    /// Hard or lightly; as the profile has it if none.
    pub compression: Option<Compression>,
    /// Make no snapshot if nothing changed.
    pub skip_if_unchanged: bool,
    /// When the daemon saves it.
    pub schedule: Schedule,
    /// What is run around it.
    pub hooks: Hooks,
}

/// What a set reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetSource {
    /// Files and folders, at least one.
    Paths(Vec<SetPath>),
    /// What a command prints, as one file.
    Command {
        /// The program and its arguments, at least the program.
        argv: Vec<String>,
        /// The name of the file.
        file: Name,
    },
}

/// What a set leaves out.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excludes {
    /// Also what [`super::defaults`] lists.
    pub defaults: bool,
    /// `exclude`.
    pub patterns: Vec<PatternText>,
    /// `iexclude`: in upper or lower case.
    pub ignoring_case: Vec<PatternText>,
    /// `exclude_file`: files of patterns.
    pub files: Vec<SetPath>,
    /// `exclude_caches`.
    pub caches: bool,
    /// `exclude_if_present`.
    pub if_present: Vec<MarkerText>,
    /// `exclude_larger_than`.
    pub larger_than: Option<Size>,
    /// `git_ignore`.
    pub git_ignore: bool,
    /// `one_file_system`.
    pub one_file_system: bool,
}

/// What the snapshots of a set say about themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// Tags.
    pub tags: Vec<String>,
    /// The host they are of, if not this machine.
    pub host: Option<String>,
}

/// When the daemon saves a set, where it is not as `[daemon]` has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Wait for so much silence after a change.
    pub quiet: Option<Span>,
    /// But never longer than this after the first one.
    pub max_wait: Option<Span>,
    /// Between two snapshots.
    pub min_interval: Option<Span>,
    /// Between two looks at everything.
    pub rescan: Option<Span>,
}

/// Shell commands around a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before it; if it fails there is no run.
    pub before: Option<String>,
    /// After a snapshot was made, or nothing had changed.
    pub after: Option<String>,
    /// After there was none.
    pub failed: Option<String>,
    /// How long each may take.
    pub timeout: Option<Span>,
}

/// A path in config.toml: from the root, or from home on (`~`, `~/Documents`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SetPath(String);

/// A pattern that was understood, as it was written; `~/` in front is home.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PatternText(String);

/// `NAME` or `NAME:HEADER`, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MarkerText(String);

/// Why a `[[set]]` makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetFault {
    /// It cannot be called so.
    #[error(transparent)]
    Name(#[from] NotASetName),
    /// It reads nothing.
    #[error("the set {0} has neither paths nor a stdin_from_command")]
    Nothing(String),
    /// It reads two things.
    #[error("the set {0} has both paths and a stdin_from_command: make two sets of it")]
    Both(String),
    /// Keys about files, where there are none.
    #[error("the set {name}: {key} is about files, and this set saves what a command prints")]
    NoFiles {
        /// The set.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// A name for the output of a command, and no command.
    #[error("the set {0} has a stdin_filename and no stdin_from_command")]
    FileName(String),
    /// No name for a file.
    #[error("the set {name}: {file:?} is not the name of a file")]
    NotAFile {
        /// The set.
        name: String,
        /// What it was to be.
        file: String,
    },
}

/// The keys as TOML has them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
struct Keys {
    name: String,
    profile: Option<String>,
    paths: Vec<SetPath>,
    stdin_from_command: Vec<String>,
    stdin_filename: Option<String>,
    default_excludes: bool,
    exclude: Vec<PatternText>,
    iexclude: Vec<PatternText>,
    exclude_file: Vec<SetPath>,
    exclude_caches: bool,
    exclude_if_present: Vec<MarkerText>,
    exclude_larger_than: Option<Size>,
    git_ignore: bool,
    one_file_system: bool,
    tags: Vec<Tag>,
    host: Option<String>,
    compression: Option<Compression>,
    skip_if_unchanged: bool,
    quiet: Option<Span>,
    max_wait: Option<Span>,
    min_interval: Option<Span>,
    rescan: Option<Span>,
    before: Option<String>,
    after: Option<String>,
    failed: Option<String>,
    hook_timeout: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Tag(String);

impl TryFrom<Keys> for NamedSet {
    type Error = SetFault;

    fn try_from(keys: Keys) -> Result<Self, SetFault> {
        let set = Self {
            name: name::typed(&keys.name)?,
            profile: keys.profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned()),
            source: source(&keys.name, keys.paths, keys.stdin_from_command, keys.stdin_filename)?,
            excludes: Excludes {
                defaults: keys.default_excludes,
                patterns: keys.exclude,
                ignoring_case: keys.iexclude,
                files: keys.exclude_file,
                caches: keys.exclude_caches,
                if_present: keys.exclude_if_present,
                larger_than: keys.exclude_larger_than,
                git_ignore: keys.git_ignore,
                one_file_system: keys.one_file_system,
            },
            label: Label {
                tags: keys.tags.into_iter().map(|tag| tag.0).collect(),
                host: keys.host,
            },
            compression: keys.compression,
            skip_if_unchanged: keys.skip_if_unchanged,
            schedule: Schedule {
                quiet: keys.quiet,
                max_wait: keys.max_wait,
                min_interval: keys.min_interval,
                rescan: keys.rescan,
            },
            hooks: Hooks {
                before: keys.before,
                after: keys.after,
                failed: keys.failed,
                timeout: keys.hook_timeout,
            },
        };
        set.fault().map_or(Ok(set), Err)
    }
}

impl NamedSet {
    /// A set of this name with nothing said about it but what it reads.
    pub fn new(name: String, source: SetSource) -> Self {
        Self {
            name,
            profile: DEFAULT_PROFILE.to_owned(),
            source,
            excludes: Excludes::default(),
            label: Label::default(),
            compression: None,
            skip_if_unchanged: false,
            schedule: Schedule::default(),
            hooks: Hooks::default(),
        }
    }

    /// What of it makes no sense together, if anything.
    pub fn fault(&self) -> Option<SetFault> {
        let SetSource::Command { .. } = &self.source else {
            return None;
        };
        let excludes = &self.excludes;
        let about_files = [
            ("default_excludes", excludes.defaults),
            ("exclude", !excludes.patterns.is_empty()),
            ("iexclude", !excludes.ignoring_case.is_empty()),
            ("exclude_file", !excludes.files.is_empty()),
            ("exclude_caches", excludes.caches),
            ("exclude_if_present", !excludes.if_present.is_empty()),
            ("exclude_larger_than", excludes.larger_than.is_some()),
            ("git_ignore", excludes.git_ignore),
            ("one_file_system", excludes.one_file_system),
        ];
        let found = about_files.into_iter().find(|(_, given)| *given);
        found.map(|(key, _)| SetFault::NoFiles { name: self.name.clone(), key })
    }

    /// The paths, from the root on; none for a command's output.
    pub fn paths(&self, home: Option<&Path>) -> Result<Vec<PathBuf>, NoHome> {
        match &self.source {
            SetSource::Paths(paths) => paths.iter().map(|path| path.expand(home)).collect(),
            SetSource::Command { .. } => Ok(Vec::new()),
        }
    }
}

/// What a set of these keys reads.
pub fn source(
    name: &str,
    paths: Vec<SetPath>,
    argv: Vec<String>,
    file: Option<String>,
) -> Result<SetSource, SetFault> {
    let name = name.to_owned();
    match (paths.is_empty(), argv.is_empty(), file) {
        (true, true, _) => Err(SetFault::Nothing(name)),
        (false, false, _) => Err(SetFault::Both(name)),
        (false, true, Some(_)) => Err(SetFault::FileName(name)),
        (false, true, None) => Ok(SetSource::Paths(paths)),
        (true, false, file) => {
            let file = file.unwrap_or_else(|| STDIN.to_owned());
            match Name::new(file.as_bytes()) {
                Ok(file) => Ok(SetSource::Command { argv, file }),
                Err(_) => Err(SetFault::NotAFile { name, file }),
            }
        }
    }
}

/// A path begins with `~`, and nobody knows where that is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} of config.toml is from home on, and HOME is not set")]
pub struct NoHome {
    /// The path.
    pub path: String,
}

impl SetPath {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// From the root on, without `.` and `..`.
    pub fn expand(&self, home: Option<&Path>) -> Result<PathBuf, NoHome> {
        let path = match self.0.strip_prefix('~') {
            None => PathBuf::from(&self.0),
            Some(rest) => {
                let home = home.ok_or_else(|| NoHome { path: self.0.clone() })?;
                home.join(rest.trim_start_matches('/'))
            }
        };
        Ok(crate::backup::plan::absolute(&path, Path::new("/")))
    }
}

impl TryFrom<String> for SetPath {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        if text.starts_with('/') || text == "~" || text.starts_with("~/") {
            return Ok(Self(text));
        }
        Err(BadValue::new(format!("a path begins with / or ~/, and {text:?} does not")))
    }
}

impl PatternText {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Compiles it.
    pub fn pattern(&self, case: Case, home: Option<&Path>) -> Result<Pattern, NoHome> {
        let (not, rest) = match self.0.strip_prefix('!') {
            Some(rest) => ("!", rest),
            None => ("", self.0.as_str()),
        };
        let text = match rest.strip_prefix("~/") {
            None => self.0.clone().into_bytes(),
            Some(rest) => {
                let home = home.ok_or_else(|| NoHome { path: self.0.clone() })?;
                [not.as_bytes(), &quoted(home), b"/", rest.as_bytes()].concat()
            }
        };
        // A home that is too long to be quoted is no home that a path can begin with.
        Pattern::parse(&text, case).map_err(|_e| NoHome { path: self.0.clone() })
    }
}

impl TryFrom<String> for PatternText {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        match Pattern::parse(text.as_bytes(), Case::Sensitive) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(BadValue::new(match std::error::Error::source(&error) {
                Some(why) => format!("{error}: {why}"),
                None => error.to_string(),
            })),
        }
    }
}

/// A path as a pattern that matches it and nothing else.
pub(super) fn quoted(path: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
        if matches!(byte, b'*' | b'?' | b'[' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    while out.last() == Some(&b'/') {
        out.pop();
    }
    out
}

impl MarkerText {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What it means.
    pub fn marker(&self) -> Marker {
        Marker::parse(self.0.as_bytes()).expect("it was read when it was made")
    }
}

impl TryFrom<String> for MarkerText {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        let good = Marker::parse(text.as_bytes()).is_some();
        good.then_some(Self(text)).ok_or_else(|| {
            BadValue::new("exclude_if_present takes NAME or NAME:HEADER, without slashes")
        })
    }
}

impl TryFrom<String> for Tag {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        let TagList(tags) = text.parse()?;
        match <[String; 1]>::try_from(tags) {
            Ok([tag]) => Ok(Self(tag)),
            Err(_) => Err(BadValue::new("a tag is a word without commas")),
        }
    }
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
