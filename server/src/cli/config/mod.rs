//! Settings: a flag wins over the environment, that over the file, that over the default.

pub(super) mod check;
pub(super) mod file;
pub(super) mod flags;
pub(super) mod keys;
mod owner;
mod serving;

use std::fmt;
use std::io;
use std::path::PathBuf;

use file::File;
use flags::{Flags, Given};
use keys::Key;
pub(super) use serving::Serving;

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no TOML.
    #[error("{path}, line {line}: {why}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// A key that means nothing.
    #[error("{path}, line {line}: there is no key {key}; `backup-server serve --help` lists them")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// The key.
        key: String,
    },
    /// A value that cannot be.
    #[error("{at}: {key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// Where the value came from.
        at: String,
        /// What it should be.
        why: String,
    },
    /// Nothing says where the data are.
    #[error(
        "no data folder is given: use --data DIR, UNSEEN_DATA, or `data` in the configuration file"
    )]
    NoData,
    /// Settings that contradict each other.
    #[error("{0}")]
    Together(&'static str),
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Flag,
    Variable(String),
    File(String),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("the command line"),
            Self::Variable(name) => f.write_str(name),
            Self::File(place) => f.write_str(place),
            Self::Default => f.write_str("default"),
        }
    }
}

/// All settings as they are in force.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    values: Vec<(&'static Key, String, Source)>,
}

impl Settings {
    /// Brings together what was given; values were checked where they were read.
    pub(super) fn new(file: &File, everywhere: &Flags<true>, serving: &Flags<false>) -> Self {
        let given: Vec<&Given> = everywhere.0.iter().chain(&serving.0).collect();
        let value = |key: &'static Key| {
            if let Some(given) = given.iter().find(|given| given.key.name == key.name) {
                let source =
                    if given.by_variable { Source::Variable(key.variable()) } else { Source::Flag };
                return Some((key, given.value.clone(), source));
            }
            if let (Some((value, line)), Some(path)) = (file.get(key), &file.path) {
                return Some((key, value.to_owned(), Source::File(file::place(path, line))));
            }
            key.default.map(|value| (key, value.to_owned(), Source::Default))
        };
        Self { values: keys::ALL.iter().filter_map(|key| value(key)).collect() }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &Key) -> Option<&str> {
        self.find(key).map(|(value, _)| value)
    }

    fn find(&self, key: &Key) -> Option<(&str, &Source)> {
        let found = self.values.iter().find(|(known, ..)| known.name == key.name);
        found.map(|(_, value, source)| (value.as_str(), source))
    }

    /// The value of a key as what it means.
    fn read<T>(
        &self,
        key: &Key,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((value, source)) = self.find(key) else {
            return Ok(None);
        };
        let wrong = |why| ConfigError::Value { key: key.name, at: source.to_string(), why };
        parse(value).map(Some).map_err(wrong)
    }
}

/// Settings as `serve --data` has them, on a free loopback port.
#[cfg(test)]
pub(super) fn test_serving(data: &std::path::Path) -> Serving {
    let text = format!("data = \"{}\"\nlisten = \"127.0.0.1:0\"", data.display());
    let file = file::parse(std::path::Path::new("s.toml"), &text).unwrap();
    Serving::read(&Settings::new(&file, &Flags::default(), &Flags::default())).unwrap()
}
