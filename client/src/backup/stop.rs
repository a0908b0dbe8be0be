//! How a run stops when the user wants it to: what reads looks at the flag, what talks to the
//! vault gets a little longer, so that a checkpoint comes about if the vault answers at all.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::BackupError;
use crate::progress::{Monitor, Note};
use crate::repo::RepoError;

/// How often a wait looks whether the user wants to stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// The user's wish to stop, and what it means for requests under way.
#[derive(Debug)]
pub struct Stop<'a> {
    flag: &'a AtomicBool,
    /// How long, from the moment that the wish was noticed, the vault may still take.
    patience: Duration,
    monitor: &'a dyn Monitor,
    since: OnceLock<Instant>,
}

impl<'a> Stop<'a> {
    /// Looks at `flag`, which is raised once and stays so.
    pub fn new(flag: &'a AtomicBool, patience: Duration, monitor: &'a dyn Monitor) -> Self {
        Self { flag, patience, monitor, since: OnceLock::new() }
    }

    /// Whether the user wants to stop.
    pub fn is_wanted(&self) -> bool {
        self.since().is_some()
    }

    /// Runs a request that a checkpoint needs. [`BackupError::Interrupted`] if the user wants to
    /// stop and the vault does not answer in time, or only that it should be asked again later.
    pub fn in_time<T, E: Into<BackupError>>(
        &self,
        runtime: &Handle,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BackupError> {
        self.wait(runtime, self.patience, request)
    }

    /// Runs a request of which nothing is lost when the user wants to stop.
    pub fn at_once<T, E: Into<BackupError>>(
        &self,
        runtime: &Handle,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BackupError> {
        self.wait(runtime, Duration::ZERO, request)
    }

    fn wait<T, E: Into<BackupError>>(
        &self,
        runtime: &Handle,
        patience: Duration,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BackupError> {
        runtime.block_on(async {
            let mut request = std::pin::pin!(request);
            loop {
                if let Ok(done) = tokio::time::timeout(LOOK_UP, request.as_mut()).await {
                    return done.map_err(|error| self.sort(error.into()));
                }
                if self.since().is_some_and(|since| since.elapsed() >= patience) {
                    return Err(BackupError::Interrupted);
                }
            }
        })
    }

    /// What could be tried again later is not: that is what stopping means.
    fn sort(&self, error: BackupError) -> BackupError {
        match &error {
            BackupError::Vault(cause) | BackupError::Repo(RepoError::Vault(cause))
                if cause.is_transient() && self.is_wanted() =>
            {
                BackupError::Interrupted
            }
            _ => error,
        }
    }

    fn since(&self) -> Option<Instant> {
        if !self.flag.load(Ordering::Relaxed) {
            return None;
        }
        Some(*self.since.get_or_init(|| {
            let text = "stopping: saving what has been read; Ctrl-C again ends at once";
            self.monitor.note(&Note::info(text));
            Instant::now()
        }))
    }
}
