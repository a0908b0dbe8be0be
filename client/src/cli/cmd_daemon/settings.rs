//! What config.toml says, as the daemon needs it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::config::{Config, Profile};
use super::super::context::Setup;
use super::super::exit::{CliError, Exit};
use crate::daemon::config::AlertConfig;
use crate::daemon::core::SetSpec;
use crate::daemon::schedule::Kind;
use crate::scan::exclude::{Case, Options, Rules, parse_pattern_file};
use crate::sets::named::MarkerText;
use crate::sets::{NamedSet, SetSource};

/// What was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// The sets of the profile, by name.
    pub(super) sets: BTreeMap<String, NamedSet>,
    /// The profile.
    pub(super) profile: Profile,
    /// How the user is told of trouble.
    pub(super) alerts: AlertConfig,
}

/// Where things are that config.toml only hints at.
#[derive(Debug, Clone)]
pub(super) struct Here {
    /// The profile.
    pub(super) setup: Setup,
    /// The home folder.
    pub(super) home: Option<PathBuf>,
    /// What is never saved, the program's own folders aside: a local vault, the kit.
    pub(super) own: Vec<PathBuf>,
}

impl Here {
    /// Reads config.toml.
    pub(super) fn read(&self) -> Result<(Settings, Vec<SetSpec>), CliError> {
        let config = Config::load(&self.setup.places.config)?;
        let mut specs = Vec::new();
        let mut sets = BTreeMap::new();
        for set in config.sets(&self.setup.name) {
            let kind = match set.source {
                SetSource::Paths(_) => Kind::Watched,
                SetSource::Command { .. } => Kind::Timed,
            };
            specs.push(SetSpec {
                name: set.name.clone(),
                roots: self.roots(set)?,
                rules: Rules::new(self.excludes(set)?),
                kind,
                pace: config.daemon.pace(&set.schedule),
            });
            sets.insert(set.name.clone(), set.clone());
        }
        let profile = config.profile(&self.setup.name);
        Ok((Settings { sets, profile, alerts: config.daemon.alerts }, specs))
    }

    /// The paths of a set.
    pub(super) fn roots(&self, set: &NamedSet) -> Result<Vec<PathBuf>, CliError> {
        set.paths(self.home.as_deref()).map_err(|error| CliError::from_error(Exit::Usage, error))
    }

    /// What a set leaves out, the program's own folders with it.
    pub(super) fn excludes(&self, set: &NamedSet) -> Result<Options, CliError> {
        let (excludes, home) = (&set.excludes, self.home.as_deref());
        let no_home = |error| CliError::from_error(Exit::Usage, error);
        let mut patterns = Vec::new();
        for (texts, case) in
            [(&excludes.patterns, Case::Sensitive), (&excludes.ignoring_case, Case::Ignored)]
        {
            for text in texts {
                patterns.push(text.pattern(case, home).map_err(no_home)?);
            }
        }
        for file in &excludes.files {
            let path = file.expand(home).map_err(no_home)?;
            let named = || format!("the set {}: {}", set.name, path.display());
            let bytes = std::fs::read(&path)
                .map_err(|error| CliError::new(Exit::Usage, named()).because(error))?;
            let variable =
                |name: &str| std::env::var_os(name).map(std::os::unix::ffi::OsStringExt::into_vec);
            let parsed = parse_pattern_file(&bytes, Case::Sensitive, &variable);
            let parsed = parsed.map_err(|e| CliError::new(Exit::Usage, named()).because(e))?;
            patterns.extend(parsed);
        }
        let mut own = self.setup.places.own();
        own.extend(self.own.iter().cloned());
        Ok(Options {
            patterns,
            caches: excludes.caches,
            if_present: excludes.if_present.iter().map(MarkerText::marker).collect(),
            larger_than: excludes.larger_than.map(|size| size.0),
            git_ignore: excludes.git_ignore,
            own,
        })
    }
}
