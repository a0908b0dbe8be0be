//! What config.toml says, as the daemon needs it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::cmd_run::host_name;
use super::super::config::{Config, Profile};
use super::super::context::Setup;
use super::super::exit::CliError;
use crate::daemon::config::AlertConfig;
use crate::daemon::core::SetSpec;
use crate::daemon::schedule::Kind;
use crate::sets::{Here, Job, JobSource};

/// What was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// The sets of the profile, ready to run, by name.
    pub(super) jobs: BTreeMap<String, Job>,
    /// The profile.
    pub(super) profile: Profile,
    /// How the user is told of trouble.
    pub(super) alerts: AlertConfig,
}

/// The profile that the daemon works for, on this machine.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The profile.
    pub(super) setup: Setup,
    /// What is never saved: the program's own folders, a local vault, the kit.
    pub(super) own: Vec<PathBuf>,
    /// The vault is a folder of this machine.
    pub(super) local: bool,
}

impl Place {
    /// Reads config.toml.
    pub(super) fn read(&self) -> Result<(Settings, Vec<SetSpec>), CliError> {
        let config = Config::load(&self.setup.places.config)?;
        let mut specs = Vec::new();
        let mut jobs = BTreeMap::new();
        for set in config.sets(&self.setup.name) {
            let job = Job::of(set, self.setup.home.as_deref())?;
            let (kind, roots) = match &job.source {
                JobSource::Paths(paths) => (Kind::Watched, paths.clone()),
                JobSource::Command { .. } | JobSource::Stdin(_) => (Kind::Timed, Vec::new()),
            };
            specs.push(SetSpec {
                name: set.name.clone(),
                roots,
                rules: job.rules(self.own.clone()),
                kind,
                pace: config.daemon.pace(&set.schedule),
            });
            jobs.insert(set.name.clone(), job);
        }
        let profile = config.profile(&self.setup.name);
        Ok((Settings { jobs, profile, alerts: config.daemon.alerts }, specs))
    }

    /// What a run needs to know.
    pub(super) fn here(&self, settings: &Settings) -> Result<Here, CliError> {
        let profile = &settings.profile;
        let compression =
            super::super::cmd_run::configured(None, profile.compression.as_deref(), "compression")?;
        Ok(Here {
            own: self.own.clone(),
            host: profile.host.clone().unwrap_or_else(host_name),
            compression: compression.unwrap_or_default(),
            local: self.local,
        })
    }
}
