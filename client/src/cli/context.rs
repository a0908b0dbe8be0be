//! What every command needs, found out once.

use std::path::PathBuf;
use std::sync::Arc;

use super::args::Global;
use super::config::{Config, ConfigError, Exposed, Profile};
use super::env::{Environment, Terminal};
use super::exit::{CliError, Exit};
use super::output::Ui;
use super::places::{Places, ProfileName};
use super::secrets::Secrets;
use crate::sets::NamedSet;

/// Handed to every command.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Where to speak.
    pub ui: &'a Arc<Ui>,
    /// What holds for every command.
    pub global: &'a Global,
    /// The environment.
    pub env: &'a dyn Environment,
    /// Who can be asked.
    pub terminal: &'a dyn Terminal,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("global", self.global).finish_non_exhaustive()
    }
}

/// The profile that a command works with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its name.
    pub name: ProfileName,
    /// Where its files are.
    pub places: Places,
    /// What config.toml says about it.
    pub profile: Profile,
    /// The sets of the profile.
    pub sets: Vec<NamedSet>,
    /// The user's home, where it is known.
    pub home: Option<PathBuf>,
    /// The vault's address: of `--vault`, `BACKUP_VAULT` or the profile.
    pub vault: Option<String>,
    /// Why the commands of config.toml are not run.
    pub exposed: Option<Exposed>,
}

impl Setup {
    /// The vault's address, or exit 10.
    pub fn vault(&self) -> Result<&str, CliError> {
        self.vault.as_deref().ok_or_else(|| {
            CliError::new(Exit::NoVault, format!("no vault is set up (profile {})", self.name))
                .hint("`backup init` makes one, `backup connect ADDRESS` joins one that exists")
        })
    }
}

impl<'a> Context<'a> {
    /// Reads the configuration and finds the profile's places. Makes nothing.
    pub fn setup(&self) -> Result<Setup, CliError> {
        let places = self.places()?;
        places.check_owner()?;
        let config = Config::load(&places.config)?;
        Ok(self.setup_of(places, &config))
    }

    /// Likewise, for whoever can do without the configuration: if it cannot be used, it counts as
    /// empty, and why comes with it.
    pub fn setup_as_far(&self) -> Result<(Setup, Option<ConfigError>), CliError> {
        let places = self.places()?;
        let (config, error) = match Config::load(&places.config) {
            Ok(config) => (config, None),
            Err(error) => (Config::default(), Some(error)),
        };
        Ok((self.setup_of(places, &config), error))
    }

    /// Where the files of the profile are.
    pub fn places(&self) -> Result<Places, CliError> {
        Ok(Places::find(self.env, &self.global.profile_name())?)
    }

    fn setup_of(&self, places: Places, config: &Config) -> Setup {
        let name = self.global.profile_name();
        let profile = config.profile(&name);
        let sets = config.sets(&name).cloned().collect();
        let home = self.env.var("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let vault = self.global.vault.clone().or_else(|| profile.server.clone());
        let exposed = config.exposed.clone();
        Setup { name, places, profile, sets, home, vault, exposed }
    }

    /// Where secrets come from.
    pub fn secrets(&self) -> Secrets<'a> {
        Secrets::new(self.env, self.terminal)
    }

    /// Asks a question of yes or no. `--yes` answers it; with nobody to ask the answer is no.
    pub fn confirm(&self, question: &str) -> bool {
        if self.global.yes {
            return true;
        }
        if !self.terminal.is_present() {
            return false;
        }
        let answer = self.terminal.ask(&format!("{question} [y/N] "));
        answer.is_ok_and(|answer| {
            let answer = answer.trim();
            answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::env::{Answers, FixedEnv};
    use crate::cli::output::Voice;

    fn with<T>(
        global: &Global,
        env: &FixedEnv,
        terminal: &Answers,
        act: impl FnOnce(Context<'_>) -> T,
    ) -> T {
        let ui = Arc::new(Ui::captured(Voice::default()).0);
        act(Context { ui: &ui, global, env, terminal })
    }

    #[test]
    fn the_flag_goes_before_the_profile() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, "[profile.default]\nserver = 'file:///a'\n").unwrap();
        let env = FixedEnv::new(&[("HOME", "/h"), ("BACKUP_CONFIG", config.to_str().unwrap())]);
        let nobody = Answers::nobody();
        let vault = |global: &Global| {
            let setup = with(global, &env, &nobody, |ctx| ctx.setup()).unwrap();
            let vault = setup.vault().map(str::to_owned).map_err(|e| e.code());
            (setup.name.to_string(), vault)
        };
        let mut global = Global::default();
        assert_eq!(vault(&global), ("default".to_owned(), Ok("file:///a".to_owned())));
        global.profile = Some("other".parse().unwrap());
        assert_eq!(vault(&global), ("other".to_owned(), Err(Exit::NoVault)));
        global.profile = None;
        global.vault = Some("file:///b".to_owned());
        let (name, address) = vault(&global);
        assert_eq!(address, Ok("file:///b".to_owned()));
        assert!(name.starts_with("vault-"), "{name}");
    }

    #[test]
    fn questions() {
        let env = FixedEnv::default();
        let ask = |yes: bool, terminal: &Answers| {
            let global = Global { yes, ..Global::default() };
            with(&global, &env, terminal, |ctx| ctx.confirm("Really?"))
        };
        assert!(ask(true, &Answers::nobody()));
        assert!(!ask(false, &Answers::nobody()));
        assert!(ask(false, &Answers::new(&[" Yes "])));
        assert!(ask(false, &Answers::new(&["y"])));
        assert!(!ask(false, &Answers::new(&[""])));
        assert!(!ask(false, &Answers::new(&[])));
    }
}
