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
/// How long after the wish packs may still be sent. On a slow link a full one takes minutes: what
/// is not there by then waits for the next run.
const LAST_PACKS: Duration = Duration::from_secs(10);
/// How long it may take to find what a checkpoint of all that has arrived is made of, and then how
/// long to send its trees.
const LAST_LOOK: Duration = Duration::from_secs(5);
const LAST_TREES: Duration = Duration::from_secs(30);

/// The user's wish to stop, and what it means for requests under way.
#[derive(Debug)]
pub struct Stop<'a> {
    flag: &'a AtomicBool,
    /// How long the vault may take for each request from then on.
    patience: Duration,
    monitor: &'a dyn Monitor,
    since: OnceLock<Instant>,
    /// Then it comes by itself.
    due: Option<Instant>,
    /// How long packs may be sent from then on.
    packs: Duration,
}

impl<'a> Stop<'a> {
    /// Looks at `flag`, which is raised once and stays so.
    pub fn new(flag: &'a AtomicBool, patience: Duration, monitor: &'a dyn Monitor) -> Self {
        let packs = LAST_PACKS.min(patience);
        Self { flag, patience, monitor, since: OnceLock::new(), due: None, packs }
    }

    /// For what comes after a wish: it comes once more by itself, soon.
    #[must_use]
    pub fn soon(&self) -> Self {
        let due = Some(Instant::now() + LAST_LOOK.min(self.patience));
        let packs = LAST_TREES.min(self.patience);
        Self { since: OnceLock::new(), due, packs, ..*self }
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
        self.wait(runtime, (Some(Instant::now()), self.patience), request)
    }

    /// Sends a pack. [`BackupError::Interrupted`] if the user wants to stop and it is not there
    /// soon after, however long it has been under way.
    pub fn before_long<T, E: Into<BackupError>>(
        &self,
        runtime: &Handle,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BackupError> {
        self.wait(runtime, (None, self.packs), request)
    }

    /// Runs a request of which nothing is lost when the user wants to stop.
    pub fn at_once<T, E: Into<BackupError>>(
        &self,
        runtime: &Handle,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BackupError> {
        self.wait(runtime, (None, Duration::ZERO), request)
    }

    fn wait<T, E: Into<BackupError>>(
        &self,
        runtime: &Handle,
        (begun, patience): (Option<Instant>, Duration),
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BackupError> {
        runtime.block_on(async {
            let mut request = std::pin::pin!(request);
            loop {
                if let Ok(done) = tokio::time::timeout(LOOK_UP, request.as_mut()).await {
                    return done.map_err(|error| self.sort(error.into()));
                }
                // Counted from the wish, or if that was before it from its own beginning.
                let from = |since: Instant| begun.map_or(since, |begun| since.max(begun));
                if self.since().is_some_and(|since| from(since).elapsed() >= patience) {
                    return Err(BackupError::Interrupted);
                }
            }
        })
    }

    /// What could be tried again later is not: that is what stopping means.
    fn sort(&self, error: BackupError) -> BackupError {
        match &error {
            BackupError::Vault(cause) | BackupError::Repo(RepoError::Vault(cause))
                if cause.is_transient() && (self.due.is_some() || self.is_wanted()) =>
            {
                BackupError::Interrupted
            }
            _ => error,
        }
    }

    fn since(&self) -> Option<Instant> {
        if let Some(due) = self.due {
            // The wish was told of already.
            return (Instant::now() >= due).then_some(due);
        }
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
