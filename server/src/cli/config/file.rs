//! The file: TOML, flat, the keys of the table and no others.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::keys::Key;

/// Read when no other is named and it is there.
pub(super) const USUAL: &str = "/etc/unseen/server.toml";
/// Names another.
pub(in crate::cli) const VARIABLE: &str = "UNSEEN_CONFIG";

/// A file that was read: what it sets, and in which line.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::cli) struct File {
    /// Where it is; `None` if there is none.
    pub(in crate::cli) path: Option<PathBuf>,
    values: Vec<(String, String, usize)>,
}

impl File {
    /// The value of a key and the number of its line.
    pub(super) fn get(&self, key: &Key) -> Option<(&str, usize)> {
        let found = self.values.iter().find(|(name, ..)| name == key.name);
        found.map(|(_, value, line)| (value.as_str(), *line))
    }
}

/// The file that a command line names, before anything else of it is looked at: what the file
/// says is the default of other arguments.
pub(in crate::cli) fn find(
    arguments: &[OsString],
    variable: Option<OsString>,
) -> Result<File, ConfigError> {
    let named = flag(arguments).or(variable.filter(|path| !path.is_empty())).map(PathBuf::from);
    let path = match named {
        Some(path) => path,
        None if Path::new(USUAL).exists() => PathBuf::from(USUAL),
        None => return Ok(File::default()),
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|source| ConfigError::Read { path: path.clone(), source: tidy(source) })?;
    parse(&path, &text)
}

fn tidy(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::InvalidData {
        io::Error::other("it is no text")
    } else {
        error
    }
}

fn flag(arguments: &[OsString]) -> Option<OsString> {
    let mut words = arguments.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().cloned();
        }
        if let Some(path) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            return Some(OsStr::new(path).to_owned());
        }
    }
    None
}

/// Reads what a file says. Every value is checked, so that a mistake is told with its line.
pub(super) fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        why: error.message().to_owned(),
    })?;
    let mut values = Vec::new();
    for (name, value) in table.into_inner() {
        let at = line_of(text, name.span().start);
        let name = name.into_inner().into_owned();
        let key = Key::find(&name).ok_or_else(|| ConfigError::Unknown {
            path: path.to_owned(),
            line: at,
            key: name.clone(),
        })?;
        let wrong = |why| ConfigError::Value { key: key.name, at: place(path, at), why };
        let value = match value.into_inner() {
            DeValue::String(text) if !key.is_switch() => text.into_owned(),
            DeValue::Boolean(value) if key.is_switch() => value.to_string(),
            _ if key.is_switch() => return Err(wrong("it is true or false".to_owned())),
            _ => return Err(wrong("the value is a text in quotes".to_owned())),
        };
        (key.check)(&value).map_err(wrong)?;
        values.push((name, value, at));
    }
    Ok(File { path: Some(path.to_owned()), values })
}

/// How a line of a file is named in messages.
pub(super) fn place(path: &Path, line: usize) -> String {
    format!("{}, line {line}", path.display())
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.split(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::super::keys::{BEHIND_PROXY, DATA, LISTEN};
    use super::*;

    fn parsed(text: &str) -> Result<File, ConfigError> {
        parse(Path::new("s.toml"), text)
    }

    #[test]
    fn values_come_with_their_lines() {
        let file = parsed("# a comment\nlisten = \"1.2.3.4:5\"\n\nbehind-proxy = true\n").unwrap();
        assert_eq!(file.get(&LISTEN), Some(("1.2.3.4:5", 2)));
        assert_eq!(file.get(&BEHIND_PROXY), Some(("true", 4)));
        assert_eq!(file.get(&DATA), None);
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        for (text, line, told) in [
            ("\nlisen = \"x\"", 2, "lisen"),
            ("[server]\ndata = \"x\"", 1, "server"),
            ("data = \"x\"\ndata = \"y\"", 2, "duplicate key"),
            ("data = \"x\"\nlisten = 80", 2, "listen"),
            ("data = \"x\"\nlisten = \"host:80\"", 2, "listen"),
            ("behind-proxy = \"yes\"", 1, "behind-proxy"),
            ("data = ", 1, "s.toml, line 1"),
        ] {
            let told_of = parsed(text).unwrap_err().to_string();
            assert!(told_of.contains(told), "{told_of}");
            assert!(told_of.contains(&format!("s.toml, line {line}")), "{told_of}");
        }
    }

    #[test]
    fn the_flag_wins_over_the_variable() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(flag(&words("p serve --config a")), Some("a".into()));
        assert_eq!(flag(&words("p --config=b serve")), Some("b".into()));
        assert_eq!(flag(&words("p serve -- --config=b")), None);
        assert_eq!(flag(&words("--config x")), None);
        let missing = find(&words("p --config /nowhere/x"), Some("/nowhere/y".into()));
        assert!(missing.unwrap_err().to_string().contains("/nowhere/x"));
        let missing = find(&words("p"), Some("/nowhere/y".into()));
        assert!(missing.unwrap_err().to_string().contains("/nowhere/y"));
    }
}
