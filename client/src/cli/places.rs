//! Where the program keeps its files.
//!
//! | what | default | instead |
//! |---|---|---|
//! | `config.toml` | `$XDG_CONFIG_HOME/unseen/config.toml` | `BACKUP_CONFIG`, the file |
//! | keys, pins, local vault | `$XDG_DATA_HOME/unseen/PROFILE` | `BACKUP_DATA_DIR`, then `/PROFILE` |
//! | `device.key` | with the keys | `$CREDENTIALS_DIRECTORY/backup-device-key`, if it is there |
//! | state | `$XDG_STATE_HOME/unseen/PROFILE` | `BACKUP_STATE_DIR`, then `/PROFILE` |
//! | cache, always safe to delete | `$XDG_CACHE_HOME/unseen/PROFILE` | `BACKUP_CACHE_DIR`, then `/PROFILE` |
//! | the daemon's socket | `$XDG_RUNTIME_DIR/unseen/PROFILE.sock` | `BACKUP_RUNTIME_DIR`, then `/PROFILE.sock` |
//!
//! Without the XDG variables: `~/.config`, `~/.local/share`, `~/.local/state`, `~/.cache`; and the
//! socket is in the state folder. A relative path in an XDG variable counts as unset, as their specification demands.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use unseen_common::id::Hash;

use super::env::Environment;
use super::exit::{CliError, Exit};
use crate::daemon::control::noted;
use crate::daemon::service::CREDENTIAL;
use crate::pins::private_folder;

/// The name of a profile: letters, digits, `.`, `_`, `-`; at most 64; not beginning with `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName(String);

/// A text that is no profile name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a profile name: {0:?} (letters, digits, '.', '_' and '-', at most 64)")]
pub struct NotAProfileName(String);

impl ProfileName {
    /// What a vault has that is named by its address alone (`--vault`): made from the address, so
    /// the same address finds the same state again.
    pub fn of_vault(address: &str) -> Self {
        Self(format!("vault-{}", Hash::of(address.as_bytes()).short()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ProfileName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for ProfileName {
    type Err = NotAProfileName;

    fn from_str(text: &str) -> Result<Self, NotAProfileName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let good =
            (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.');
        if good { Ok(Self(text.to_owned())) } else { Err(NotAProfileName(text.to_owned())) }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a place is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Nothing says where.
    #[error("cannot tell where to keep the {what}: none of {variable}, {xdg} and HOME is set")]
    Nowhere {
        /// What is kept there.
        what: &'static str,
        /// Our variable.
        variable: &'static str,
        /// The XDG variable.
        xdg: &'static str,
    },
    /// What is written there could not be used by its owner any more.
    #[error("{} belongs to another user", .path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be made.
    #[error("cannot make the folder {}", .path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<PlaceError> for CliError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Nowhere { variable, .. } => Self::from_error(Exit::Failed, error)
                .hint(format!("set HOME, or {variable} to a folder of your choice")),
            error @ PlaceError::Create { .. } => Self::from_error(Exit::Failed, error),
            error @ PlaceError::Foreign { .. } => Self::from_error(Exit::Usage, error).hint(
                "run it as that user; or with folders of your own: by `sudo -H`, or \
                 BACKUP_DATA_DIR, BACKUP_STATE_DIR and BACKUP_CACHE_DIR",
            ),
        }
    }
}

/// The places of one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `config.toml`, which all profiles share.
    pub config: PathBuf,
    /// The device's keys, the remembered heads, the local vault: to be kept.
    pub data: PathBuf,
    /// What a backup remembers; without it the next one reads every file again.
    pub state: PathBuf,
    /// Safe to delete at any time.
    pub cache: PathBuf,
    /// `device.key` as the service manager hands it over.
    pub credential: Option<PathBuf>,
    /// The daemon's socket, where there is a runtime folder.
    pub socket: Option<PathBuf>,
}

impl Places {
    /// Looks at the environment; touches nothing.
    pub fn find(env: &dyn Environment, profile: &ProfileName) -> Result<Self, PlaceError> {
        let folder = |base: &Base| base.find(env).map(|path| path.join(profile.as_str()));
        let config = match env.var("BACKUP_CONFIG") {
            Some(path) if !path.is_empty() => path.into(),
            _ => CONFIG.find(env)?.join("config.toml"),
        };
        Ok(Self {
            config,
            data: folder(&DATA)?,
            state: folder(&STATE)?,
            cache: folder(&CACHE)?,
            credential: env
                .var("CREDENTIALS_DIRECTORY")
                .map(|folder| Path::new(&folder).join(CREDENTIAL))
                .filter(|path| path.exists()),
            socket: RUNTIME.find(env).ok().map(|path| path.join(format!("{profile}.sock"))),
        })
    }

    /// Refuses folders of somebody else, which root could write to: by `sudo` with the HOME of
    /// whoever asked for it, say. Those that are not there are nobody's.
    pub fn check_owner(&self) -> Result<(), PlaceError> {
        let of = |path: &PathBuf| std::fs::metadata(path).ok().map(|found| found.uid());
        let me = rustix::process::geteuid().as_raw();
        let foreign = |path: &&PathBuf| of(path).is_some_and(|owner| owner != me);
        match [&self.data, &self.state, &self.cache].into_iter().find(foreign) {
            Some(path) => Err(PlaceError::Foreign { path: path.clone() }),
            None => Ok(()),
        }
    }

    /// The device's secrets.
    pub fn device_key(&self) -> PathBuf {
        self.credential.clone().unwrap_or_else(|| self.data.join("device.key"))
    }

    /// The remembered heads of the log.
    pub fn pins(&self) -> PathBuf {
        self.data.join("pins")
    }

    /// Where `init` makes a local vault unless told otherwise.
    pub fn local_vault(&self) -> PathBuf {
        self.data.join("vault")
    }

    /// Holds the path of the recovery kit that `init` wrote.
    pub fn kit_note(&self) -> PathBuf {
        self.data.join("kit")
    }

    /// The recovery kit that `init` wrote, wherever it is now.
    pub fn kit(&self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let path = std::fs::read(self.kit_note()).ok()?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(path));
        path.is_absolute().then_some(path)
    }

    /// Where the daemon listens: in the runtime folder, or else beside the state.
    pub fn own_socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.state.join("daemon.sock"))
    }

    /// Where the daemon's socket may be: where one of this environment would listen, where it has
    /// written that it does, or beside the state.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let mut sockets = vec![self.own_socket()];
        for other in noted(&self.state).into_iter().chain([self.state.join("daemon.sock")]) {
            if !sockets.contains(&other) {
                sockets.push(other);
            }
        }
        sockets
    }

    /// Makes the folders, each readable by its owner alone. Those that exist stay as they are.
    pub fn create(&self) -> Result<(), PlaceError> {
        for path in [&self.data, &self.state, &self.cache] {
            create_private(path)?;
        }
        Ok(())
    }

    /// Removes the folders again, as far as nothing is in them: of a vault that did not come to be.
    pub fn remove_empty(&self) {
        for path in [&self.data, &self.state, &self.cache] {
            let above = path.parent().filter(|above| above.ends_with("unseen"));
            for folder in std::iter::once(path.as_path()).chain(above) {
                // Fails if it holds anything.
                std::fs::remove_dir(folder).ok();
            }
        }
    }

    /// What a backup leaves out, each folder also by the path that symbolic links lead to. A kit
    /// among what it opens would be of no use, and to be forgotten there.
    pub fn own(&self) -> Vec<PathBuf> {
        let mut own = Vec::new();
        own.extend(self.kit().filter(|kit| crate::enrol::kit::read(kit).is_ok()));
        for path in [&self.data, &self.state, &self.cache] {
            let real = path.canonicalize().ok();
            own.extend(real.filter(|real| real != path));
            own.push(path.clone());
        }
        own
    }
}

/// Makes a folder and what is above it, mode 0700.
pub fn create_private(path: &Path) -> Result<(), PlaceError> {
    private_folder(path).map_err(|source| PlaceError::Create { path: path.to_path_buf(), source })
}

/// One of the folders that XDG defines.
struct Base {
    what: &'static str,
    variable: &'static str,
    xdg: &'static str,
    /// Beneath HOME; `None` if HOME does not help.
    home: Option<&'static str>,
}

const CONFIG: Base = Base {
    what: "configuration",
    variable: "BACKUP_CONFIG",
    xdg: "XDG_CONFIG_HOME",
    home: Some(".config"),
};
const DATA: Base = Base {
    what: "keys",
    variable: "BACKUP_DATA_DIR",
    xdg: "XDG_DATA_HOME",
    home: Some(".local/share"),
};
const STATE: Base = Base {
    what: "state",
    variable: "BACKUP_STATE_DIR",
    xdg: "XDG_STATE_HOME",
    home: Some(".local/state"),
};
const CACHE: Base = Base {
    what: "cache",
    variable: "BACKUP_CACHE_DIR",
    xdg: "XDG_CACHE_HOME",
    home: Some(".cache"),
};
const RUNTIME: Base =
    Base { what: "socket", variable: "BACKUP_RUNTIME_DIR", xdg: "XDG_RUNTIME_DIR", home: None };

impl Base {
    fn find(&self, env: &dyn Environment) -> Result<PathBuf, PlaceError> {
        let set = |name: &str| env.var(name).filter(|value| !value.is_empty());
        let absolute = |name: &str| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // BACKUP_CONFIG names a file and was looked at already.
        if self.variable != CONFIG.variable
            && let Some(path) = set(self.variable)
        {
            return Ok(path.into());
        }
        if let Some(path) = absolute(self.xdg) {
            return Ok(path.join("unseen"));
        }
        match (self.home, absolute("HOME")) {
            (Some(beneath), Some(home)) => Ok(home.join(beneath).join("unseen")),
            _ => {
                Err(PlaceError::Nowhere { what: self.what, variable: self.variable, xdg: self.xdg })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::env::FixedEnv;

    fn find(variables: &[(&str, &str)], profile: &str) -> Result<Places, PlaceError> {
        Places::find(&FixedEnv::new(variables), &profile.parse().unwrap())
    }

    #[test]
    fn the_service_manager_may_hand_over_the_device_key() {
        let folder = tempfile::tempdir().unwrap();
        let variables =
            [("HOME", "/h"), ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
        let mine = Path::new("/h/.local/share/unseen/default/device.key");
        assert_eq!(find(&variables, "default").unwrap().device_key(), mine);
        let handed = folder.path().join("backup-device-key");
        std::fs::write(&handed, "").unwrap();
        assert_eq!(find(&variables, "default").unwrap().device_key(), handed);
    }

    #[test]
    fn folders_of_somebody_else_are_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("unseen");
        let mut variables = vec![("HOME", home.path().to_str().unwrap())];
        find(&variables, "bin").unwrap().check_owner().unwrap();
        std::fs::create_dir_all(state.join("bin")).unwrap();
        variables.push(("BACKUP_STATE_DIR", state.to_str().unwrap()));
        find(&variables, "bin").unwrap().check_owner().unwrap();
        let foreign = if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(state.join("bin"), Some(1), None).unwrap();
            state.join("bin")
        } else {
            variables.push(("BACKUP_DATA_DIR", "/usr"));
            PathBuf::from("/usr/bin")
        };
        let refused = find(&variables, "bin").unwrap().check_owner();
        assert!(matches!(refused, Err(PlaceError::Foreign { path }) if path == foreign));
    }

    #[test]
    fn home_alone() {
        let places = find(&[("HOME", "/h")], "default").unwrap();
        assert_eq!(places.config, Path::new("/h/.config/unseen/config.toml"));
        assert_eq!(places.data, Path::new("/h/.local/share/unseen/default"));
        assert_eq!(places.state, Path::new("/h/.local/state/unseen/default"));
        assert_eq!(places.cache, Path::new("/h/.cache/unseen/default"));
        assert_eq!(places.socket, None);
        assert_eq!(places.device_key(), Path::new("/h/.local/share/unseen/default/device.key"));
    }

    #[test]
    fn xdg_goes_before_home_and_ours_before_both() {
        let places = find(
            &[
                ("HOME", "/h"),
                ("XDG_CONFIG_HOME", "/c"),
                ("XDG_DATA_HOME", "relative"),
                ("XDG_STATE_HOME", "/s"),
                ("BACKUP_STATE_DIR", "/mine"),
                ("BACKUP_CACHE_DIR", ""),
                ("XDG_RUNTIME_DIR", "/run/user/1"),
            ],
            "work",
        )
        .unwrap();
        assert_eq!(places.config, Path::new("/c/unseen/config.toml"));
        assert_eq!(places.data, Path::new("/h/.local/share/unseen/work"));
        assert_eq!(places.state, Path::new("/mine/work"));
        assert_eq!(places.cache, Path::new("/h/.cache/unseen/work"));
        assert_eq!(places.socket.unwrap(), Path::new("/run/user/1/unseen/work.sock"));
        let places = find(&[("HOME", "/h"), ("BACKUP_CONFIG", "/x/y.toml")], "default").unwrap();
        assert_eq!(places.config, Path::new("/x/y.toml"));
    }

    #[test]
    fn nowhere_to_go() {
        let error = CliError::from(find(&[("BACKUP_CONFIG", "/c")], "default").unwrap_err());
        assert_eq!(
            error.report(),
            "cannot tell where to keep the keys: none of BACKUP_DATA_DIR, XDG_DATA_HOME and HOME is set"
        );
        assert!(error.hint_text().unwrap().contains("BACKUP_DATA_DIR"));
        let all_ours = [
            ("BACKUP_CONFIG", "/c"),
            ("BACKUP_DATA_DIR", "/d"),
            ("BACKUP_STATE_DIR", "/s"),
            ("BACKUP_CACHE_DIR", "/k"),
        ];
        assert!(find(&all_ours, "default").is_ok());
    }

    #[test]
    fn a_daemon_is_found_from_another_environment() {
        let state = tempfile::tempdir().unwrap();
        let variables = [("HOME", "/h"), ("BACKUP_STATE_DIR", state.path().to_str().unwrap())];
        let places = find(&variables, "p").unwrap();
        let beside = places.state.join("daemon.sock");
        assert_eq!(places.sockets(), std::slice::from_ref(&beside));
        std::fs::create_dir(&places.state).unwrap();
        let elsewhere = PathBuf::from("/run/user/1/unseen/p.sock");
        crate::daemon::control::note(&places.state, &elsewhere).unwrap();
        assert_eq!(places.sockets(), [beside.clone(), elsewhere.clone()]);
        let inside = find(&[&variables[..], &[("XDG_RUNTIME_DIR", "/run/user/1")]].concat(), "p");
        assert_eq!(inside.unwrap().sockets(), [elsewhere, beside]);
    }

    #[test]
    fn profile_names() {
        for good in ["default", "a.b-c_9", &"x".repeat(64)] {
            assert!(good.parse::<ProfileName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".x", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<ProfileName>().is_err(), "{bad}");
        }
        let named = ProfileName::of_vault("file:///x");
        assert_eq!(named, ProfileName::of_vault("file:///x"));
        assert!(named.as_str().parse::<ProfileName>().is_ok());
    }

    #[test]
    fn folders_are_private_and_links_are_followed_for_excludes() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        let link = dir.path().join("link");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let places = find(&[("HOME", link.to_str().unwrap())], "default").unwrap();
        places.create().unwrap();
        places.create().unwrap();
        let mode = std::fs::metadata(&places.data).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let own = places.own();
        assert!(own.contains(&places.state));
        let real = real.canonicalize().unwrap();
        assert!(own.contains(&real.join(".local/state/unseen/default")));
    }
}
