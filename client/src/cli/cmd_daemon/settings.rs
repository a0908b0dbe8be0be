//! What config.toml says, as the daemon needs it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::cmd_run::host_name;
use super::super::config::{Config, Exposed, Profile};
use super::super::context::Setup;
use super::super::exit::CliError;
use super::super::vault::{folder_of, parse};
use crate::daemon::config::AlertConfig;
use crate::daemon::core::SetSpec;
use crate::daemon::signs::Policy;
use crate::sets::{Here, Job};

/// What was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// The sets of the profile, ready to run, by name.
    pub(super) jobs: BTreeMap<String, Job>,
    /// The profile.
    pub(super) profile: Profile,
    /// How the user is told of trouble.
    pub(super) alerts: AlertConfig,
    /// When nothing begins by itself.
    pub(super) policy: Policy,
    /// Where the vault is: it may move.
    pub(super) vault: String,
    /// What is never saved: the program's own folders, a local vault, the kit.
    pub(super) own: Vec<PathBuf>,
    /// The vault is a folder of this machine.
    pub(super) local: bool,
    /// Why the commands of config.toml are not run.
    pub(super) exposed: Option<Exposed>,
}

/// The profile that the daemon works for, on this machine.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The profile, as it was at the start.
    pub(super) setup: Setup,
    /// The vault that the command line names: it goes before the profile's.
    pub(super) given: Option<String>,
    /// The vault that this machine was enrolled in.
    pub(super) enrolled: String,
    /// What is never saved, wherever the vault is.
    pub(super) own: Vec<PathBuf>,
}

impl Place {
    /// Reads config.toml.
    pub(super) fn read(&self) -> Result<(Settings, Vec<SetSpec>), CliError> {
        let config = Config::load(&self.setup.places.config)?;
        let profile = config.profile(&self.setup.name);
        let vault = self.given.as_ref().or(profile.server.as_ref()).unwrap_or(&self.enrolled);
        let vault = vault.clone();
        let folder = folder_of(&parse(&vault)?);
        let local = folder.is_some();
        let own: Vec<PathBuf> = self.own.iter().cloned().chain(folder).collect();
        let mut specs = Vec::new();
        let mut jobs = BTreeMap::new();
        for set in config.sets(&self.setup.name) {
            let job = Job::of(set, self.setup.home.as_deref())?;
            specs.push(SetSpec {
                name: set.name.clone(),
                source: job.source.clone(),
                rules: job.rules(own.clone()),
                one_file_system: job.one_file_system,
                pace: config.daemon.pace(&set.schedule),
            });
            jobs.insert(set.name.clone(), job);
        }
        let Config { daemon, exposed, .. } = config;
        let (policy, alerts) = (daemon.policy(), daemon.alerts);
        Ok((Settings { jobs, profile, alerts, policy, vault, own, local, exposed }, specs))
    }
}

impl Settings {
    /// What a run needs to know.
    pub(super) fn here(&self) -> Result<Here, CliError> {
        let profile = &self.profile;
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
