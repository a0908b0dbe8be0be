//! `config.toml`: read strictly, changed in place with every comment kept.
//!
//! Precedence everywhere: flag, then `BACKUP_*` variable, then the profile here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml_edit::{DocumentMut, Item, Table, value};

use super::exit::{CliError, Exit};
use super::places::{PlaceError, ProfileName, create_private};
use crate::daemon::config::DaemonConfig;
use crate::sets::NamedSet;
use crate::sets::edit::EditError;

/// What `config.toml` says. A key that is not known is refused: a typing error must not turn an
/// exclude or a limit off.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default, rename = "profile")]
    profiles: BTreeMap<String, Profile>,
    /// What the daemon does.
    #[serde(default)]
    pub daemon: DaemonConfig,
    #[serde(default, rename = "set")]
    sets: Vec<NamedSet>,
    /// Why the commands in it are not run.
    #[serde(skip)]
    pub exposed: Option<Exposed>,
}

/// Why the commands in a file are not run: somebody else may have put them there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exposed {
    /// Its mode lets others write.
    #[error("others can write to {}: the commands in it are not run", .path.display())]
    Writable {
        /// The file.
        path: PathBuf,
    },
    /// It is neither the user's nor root's.
    #[error("{} belongs to another user: the commands in it are not run", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

impl Exposed {
    fn of(file: &fs::File, path: &Path) -> io::Result<Option<Self>> {
        let (found, path) = (file.metadata()?, path.to_path_buf());
        let me = rustix::process::geteuid().as_raw();
        Ok(if [me, 0].contains(&found.uid()) {
            (found.mode() & 0o022 != 0).then_some(Self::Writable { path })
        } else {
            Some(Self::Foreign { path })
        })
    }
}

impl From<Exposed> for CliError {
    fn from(error: Exposed) -> Self {
        let hint = match &error {
            Exposed::Writable { path } => format!("`chmod go-w {}`", path.display()),
            Exposed::Foreign { path } => {
                format!("look at it, then `chown` it: {}", path.display())
            }
        };
        Self::from_error(Exit::Usage, error).hint(hint)
    }
}

/// One `[profile.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The vault: `unseen://host:port/ACCOUNT?pin=…` or `file:///path`.
    pub server: Option<String>,
    /// The host name that snapshots carry.
    pub host: Option<String>,
    /// As `--compression`.
    pub compression: Option<String>,
    /// As `--limit-upload`.
    pub limit_upload: Option<String>,
    /// As `--limit-download`.
    pub limit_download: Option<String>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read or written.
    #[error("{}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML, or has a key or value that is not known.
    #[error("{}{}: {message}", .path.display(), in_words(.at.as_ref()))]
    Content {
        /// The file.
        path: PathBuf,
        /// Where, if it is one place.
        at: Option<Spot>,
        /// What is wrong.
        message: String,
    },
    /// The folder cannot be made.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spot {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

impl Spot {
    /// The place that comes after so much of the file.
    fn after(text: &str) -> Self {
        let line = text.rsplit('\n').next().unwrap_or_default();
        Self { line: text.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

fn in_words(at: Option<&Spot>) -> String {
    at.map(|at| format!(", line {}, column {}", at.line, at.column)).unwrap_or_default()
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Content { .. } => Self::from_error(Exit::Usage, error),
            ConfigError::Io { .. } => Self::from_error(Exit::Failed, error),
            ConfigError::Place(error) => error.into(),
        }
    }
}

impl Config {
    /// Reads a file. One that is not there says nothing.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = || -> io::Result<_> {
            let mut file = fs::File::open(path)?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok((text, Exposed::of(&file, path)?))
        };
        match read() {
            Ok((text, exposed)) => Ok(Self { exposed, ..Self::parse(&text, path)? }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(io_error(path, source)),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let fail = |at, message| ConfigError::Content { path: path.to_path_buf(), at, message };
        let config: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            fail(before.map(Spot::after), error.message().to_owned())
        })?;
        for name in config.profiles.keys() {
            let parsed = name.parse::<ProfileName>();
            parsed.map_err(|error| fail(None, error.to_string()))?;
        }
        let mut seen = BTreeSet::new();
        for set in &config.sets {
            let parsed = set.profile.parse::<ProfileName>();
            parsed.map_err(|error| fail(None, format!("the set {}: {error}", set.name)))?;
            if !seen.insert((&set.profile, &set.name)) {
                return Err(fail(None, format!("there are two sets {}", set.name)));
            }
        }
        Ok(config)
    }

    /// What a profile says; nothing if it is not there.
    pub fn profile(&self, name: &ProfileName) -> Profile {
        self.profiles.get(name.as_str()).cloned().unwrap_or_default()
    }

    /// The sets of a profile, in the order of the file.
    pub fn sets(&self, profile: &ProfileName) -> impl Iterator<Item = &NamedSet> {
        self.sets.iter().filter(|set| set.profile == profile.as_str())
    }

    /// The names of all profiles.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }
}

/// Writes a vault's address into a profile. The rest of the file, its comments and its order stay
/// as they are; a file that is not understood is not touched.
pub fn set_server(path: &Path, profile: &ProfileName, server: &str) -> Result<(), ConfigError> {
    let (path, text) = text_to_change(path)?;
    let changed = with_server(&text, profile, server).ok_or_else(|| ConfigError::Content {
        path: path.clone(),
        at: None,
        message: "`profile` is not a table".to_owned(),
    })?;
    write_private(&path, changed.as_bytes())
}

/// Changes the sets of a file. What comes out must be understood, too, or nothing is written.
pub fn change_sets(
    path: &Path,
    change: impl FnOnce(&str) -> Result<String, EditError>,
) -> Result<(), ConfigError> {
    let (path, text) = text_to_change(path)?;
    let changed = change(&text).map_err(|error| ConfigError::Content {
        path: path.clone(),
        at: None,
        message: error.to_string(),
    })?;
    Config::parse(&changed, &path)?;
    write_private(&path, changed.as_bytes())
}

/// A file that is understood, and where it is: what a link leads to is replaced and the link stays.
fn text_to_change(path: &Path) -> Result<(PathBuf, String), ConfigError> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(io_error(&path, source)),
    };
    Config::parse(&text, &path)?;
    Ok((path, text))
}

fn with_server(text: &str, profile: &ProfileName, server: &str) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let profiles = document.entry("profile").or_insert_with(|| {
        let mut table = Table::new();
        // No `[profile]` of its own, only `[profile.NAME]`.
        table.set_implicit(true);
        Item::Table(table)
    });
    let profiles = profiles.as_table_like_mut()?;
    let entry = profiles.entry(profile.as_str()).or_insert_with(toml_edit::table);
    let keys = entry.as_table_like_mut()?;
    match keys.get_mut("server").and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = server.into();
            *old.decor_mut() = decor;
        }
        None => {
            keys.insert("server", value(server));
        }
    }
    Some(document.to_string())
}

/// Replaces a file at once, mode 0600, in a folder that is made if need be.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), ConfigError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    create_private(folder)?;
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Io { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("c.toml")).map_err(|e| CliError::from(e).report())
    }

    fn name(text: &str) -> ProfileName {
        text.parse().unwrap()
    }

    #[test]
    fn the_documented_example_is_read() {
        let config = parse(
            r#"
            [profile.default]
            server = "unseen://nas.home:8443/ab?pin=x"
            [daemon]
            quiet = "30s"
            max_wait = "10m"
            [[set]]
            name = "home"
            profile = "default"
            paths = ["~/Documents"]
            exclude = ["*.tmp"]
            "#,
        )
        .unwrap();
        let profile = config.profile(&name("default"));
        assert_eq!(profile.server.as_deref(), Some("unseen://nas.home:8443/ab?pin=x"));
        assert_eq!(config.profile(&name("other")), Profile::default());
        assert_eq!(config.profile_names().collect::<Vec<_>>(), ["default"]);
        let sets: Vec<_> = config.sets(&name("default")).map(|set| set.name.as_str()).collect();
        assert_eq!(sets, ["home"]);
        assert_eq!(config.sets(&name("other")).count(), 0);
        assert!(config.daemon.quiet.is_some() && config.daemon.rescan.is_none());
    }

    #[test]
    fn what_is_not_known_is_named_with_its_line() {
        let error = parse("[profile.default]\nserver = 'x'\nservr = 'y'\n").unwrap_err();
        assert!(error.starts_with("c.toml, line 3, column 1: unknown field `servr`"), "{error}");
        let error = parse("\nprofil = 1").unwrap_err();
        assert!(error.starts_with("c.toml, line 2, column 1: unknown field `profil`"), "{error}");
        let error = parse("[profile.default]\nserver = 7").unwrap_err();
        assert!(error.starts_with("c.toml, line 2, column 10: invalid type"), "{error}");
        assert!(parse("[profile.\"a/b\"]").unwrap_err().contains("profile name"));
        let error = parse("[[set]]\nname = 'a'\npaths = ['/']\nexclde = []").unwrap_err();
        assert!(error.starts_with("c.toml, line 4, column 1: unknown field `exclde`"), "{error}");
        let error = parse("[[set]]\nname = 'a'\npaths = ['/']\nquiet = '7'").unwrap_err();
        assert!(error.starts_with("c.toml, line 4, column 9: a length of time"), "{error}");
        let set = "[[set]]\nname = 'a'\npaths = ['/']\n";
        assert!(parse(&format!("{set}{set}")).unwrap_err().contains("two sets a"));
        assert!(parse(&format!("{set}{set}profile = 'b'")).is_ok());
        assert!(parse(&format!("{set}profile = '.b'")).unwrap_err().contains("profile name"));
        assert!(parse("[profile").is_err());
    }

    #[test]
    fn changing_the_server_keeps_all_else() {
        let before =
            "# mine\n[profile.default] # here\nserver = \"a\" # old\n\n[daemon]\nquiet = \"1s\"\n";
        assert_eq!(
            with_server(before, &name("default"), "b").unwrap(),
            before.replace("\"a\"", "\"b\"")
        );
        assert_eq!(
            with_server(before, &name("work"), "c").unwrap(),
            "# mine\n[profile.default] # here\nserver = \"a\" # old\n\n\
             [profile.work]\nserver = \"c\"\n\n[daemon]\nquiet = \"1s\"\n"
        );
        assert_eq!(
            with_server("", &name("default"), "x").unwrap(),
            "[profile.default]\nserver = \"x\"\n"
        );
        assert_eq!(
            with_server("profile.default = {}\n", &name("default"), "x").unwrap(),
            "profile.default = { server = \"x\" }\n"
        );
    }

    #[test]
    fn the_file_is_made_private_and_links_stay() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("dots/config.toml");
        set_server(&real, &name("default"), "file:///v").unwrap();
        let mode = fs::metadata(&real).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let link = dir.path().join("config.toml");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        set_server(&link, &name("default"), "file:///w").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let config = Config::load(&real).unwrap();
        let server = config.profile(&name("default")).server;
        assert_eq!(server.as_deref(), Some("file:///w"));
    }

    #[test]
    fn commands_that_others_may_have_written_are_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "").unwrap();
        let with = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Config::load(&path).unwrap().exposed
        };
        assert_eq!((with(0o600), with(0o644)), (None, None));
        let open = Exposed::Writable { path: path.clone() };
        assert_eq!((with(0o620), with(0o602)), (Some(open.clone()), Some(open.clone())));
        let error = CliError::from(open);
        assert!(error.report().contains("others can write to"), "{}", error.report());
        assert!(error.hint_text().unwrap().starts_with("`chmod go-w /"));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(1), None).unwrap();
            assert_eq!(with(0o600), Some(Exposed::Foreign { path: path.clone() }));
        } else {
            let passwd = Path::new("/etc/passwd");
            let file = fs::File::open(passwd).unwrap();
            assert_eq!(Exposed::of(&file, passwd).unwrap(), None, "root's are as good as mine");
        }
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        for text in ["[profile", "x = 1", "profile = 3"] {
            fs::write(&path, text).unwrap();
            assert!(set_server(&path, &name("default"), "y").is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(Config::load(&dir.path().join("none")).unwrap(), Config::default());
    }
}
