//! Which accounts are due for a scrub, and where one goes on that was broken off.
//!
//! Kept in a file of the data folder, as a hint: without it every account is due.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use unseen_common::id::VaultId;
use unseen_common::time::Timestamp;
use unseen_common::vault::{Result, VaultError};

use super::account::storage_error;
use super::core::{Core, Inner};
use super::scrub::{ScrubReport, Spot, Watch};
use super::survey::Survey;
use crate::store::{durable, lock};

/// The file's name.
pub const HINTS: &str = "scrub.json";

/// How far the scrub of an account has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// When the last one ended, if one did.
    pub finished: Option<Timestamp>,
    /// Manifests, lists and slots that the last one found lost in both copies.
    #[serde(default)]
    pub lost: u64,
    /// Those that the present one has found so far.
    #[serde(default)]
    pub losing: u64,
    /// How far it has come since.
    #[serde(flatten)]
    pub spot: Spot,
}

impl Hint {
    /// What is known to be lost.
    pub fn known_lost(&self) -> u64 {
        self.lost.max(self.losing)
    }
}

/// The scrubs of a server, one round after the other.
#[derive(Debug)]
pub struct Rounds {
    core: Core,
    path: Option<PathBuf>,
    hints: Mutex<BTreeMap<String, Hint>>,
}

impl Rounds {
    /// Over all accounts of a server; hints are kept in its data folder, or nowhere.
    pub fn new(core: Core, data: Option<&Path>) -> Self {
        let path = data.map(|data| data.join(HINTS));
        let read = path.as_deref().and_then(|path| std::fs::read(path).ok());
        // What cannot be read is done again.
        let hints = read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { core, path, hints: Mutex::new(hints) }
    }

    /// The accounts whose last scrub ended `every` seconds ago, or never, or in the future: then
    /// the clock was wrong.
    pub fn due(&self, every: u64) -> Result<Vec<VaultId>> {
        self.forget_erased();
        let now = self.core.now();
        let mut due = self.core.accounts().map_err(|error| storage_error(&error))?;
        due.retain(|id| {
            let finished = self.hint(*id).finished;
            finished.is_none_or(|at| at > now || now.since(at) >= every)
        });
        due.sort_unstable();
        Ok(due)
    }

    /// Scrubs what is due of a local vault, in which nothing else does so. An account that was
    /// never scrubbed counts from its beginning: what was only just written is not read again.
    pub fn scrub_due(
        &self,
        every: u64,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<ScrubReport>> {
        let mut reports = Vec::new();
        for id in self.due(every)? {
            if self.hint(id).finished.is_none() && self.is_young(id, every)? {
                continue;
            }
            let report = self.scrub(id, go_on)?;
            let goes_on = report.finished;
            reports.push(report);
            if !goes_on {
                break;
            }
        }
        Ok(reports)
    }

    /// Whether an account was made less than `seconds` ago.
    fn is_young(&self, id: VaultId, seconds: u64) -> Result<bool> {
        let first = self.core.account(id)?.map(|account| account.record(0)).transpose()?.flatten();
        Ok(first.is_some_and(|record| self.core.now().since(record.received) < seconds))
    }

    /// How all accounts stand, with what their scrubs have found. Blocks.
    pub fn survey(&self) -> std::io::Result<Survey> {
        let mut survey = self.core.survey()?;
        for account in &mut survey.accounts {
            account.damage.lost = self.hint(account.id).known_lost();
        }
        Ok(survey)
    }

    /// When everything had last been read again; nothing if an account never was.
    pub fn all_finished(&self) -> Option<Timestamp> {
        let ids = self.core.accounts().ok()?;
        let ends: Option<Vec<_>> = ids.into_iter().map(|id| self.hint(id).finished).collect();
        ends?.into_iter().min()
    }

    /// The core whose accounts these are.
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// How far an account is.
    pub fn hint(&self, id: VaultId) -> Hint {
        lock(&self.hints).get(&id.to_string()).copied().unwrap_or_default()
    }

    /// Scrubs one account, from where the last scrub broke off. `go_on` is told the bytes that were
    /// read, and says whether to go on.
    pub fn scrub(&self, id: VaultId, go_on: &mut dyn FnMut(u64) -> bool) -> Result<ScrubReport> {
        self.scrub_from(id, self.hint(id).spot, go_on)
    }

    /// Scrubs one account, but for what comes before `from`.
    pub fn scrub_from(
        &self,
        id: VaultId,
        from: Spot,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<ScrubReport> {
        let account = self.core.account(id)?;
        let account = account.ok_or_else(|| VaultError::NotFound(format!("account {id}")))?;
        if from == Spot::default() {
            self.note(id, |hint| hint.losing = 0);
        }
        let mut noting = Noting { rounds: self, id, go_on };
        let report = account.scrub(from, &mut noting)?;
        let found = u64::try_from(report.broken.len()).unwrap_or(u64::MAX);
        let finished = report.finished.then(|| self.core.now());
        self.note(id, |hint| {
            let losing = hint.losing.saturating_add(found);
            *hint = match finished {
                Some(_) => Hint { finished, lost: losing, ..Hint::default() },
                None => Hint { losing, ..*hint },
            };
        });
        Ok(report)
    }

    fn note(&self, id: VaultId, change: impl FnOnce(&mut Hint)) {
        let mut hints = lock(&self.hints);
        change(hints.entry(id.to_string()).or_default());
        self.keep(&mut hints);
    }

    /// Nothing stays here of accounts that were erased.
    fn forget_erased(&self) {
        let mut hints = lock(&self.hints);
        if hints.keys().any(|name| self.is_erased(name)) {
            self.keep(&mut hints);
        }
    }

    fn is_erased(&self, name: &str) -> bool {
        name.parse().is_ok_and(|id| self.core.0.ledger.is_erased(id))
    }

    fn keep(&self, hints: &mut BTreeMap<String, Hint>) {
        // Who erases an account says so before it takes this lock.
        let _file = lock(&self.core.0.hints);
        hints.retain(|name, _| !self.is_erased(name));
        let Some(path) = &self.path else {
            return;
        };
        let text = serde_json::to_vec(hints).unwrap_or_default();
        if let Err(error) = durable::write(path, &[&text]) {
            tracing::warn!(kind = ?error.kind(), "how far the scrub came could not be kept");
        }
    }
}

/// Removes an account that is being erased from the file, durably. Blocks.
pub(super) fn forget(inner: &Inner, id: VaultId) -> std::io::Result<()> {
    let Some(path) = inner.folder.as_ref().map(|folder| folder.join(HINTS)) else {
        return Ok(());
    };
    let _file = lock(&inner.hints);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let kept = serde_json::from_slice(&bytes).ok().and_then(|mut hints: BTreeMap<String, Hint>| {
        hints.remove(&id.to_string());
        serde_json::to_vec(&hints).ok()
    });
    // Without the file all is scrubbed anew: better than that the name stays on a full disk.
    match kept.map(|text| durable::write(&path, &[&text])) {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) | None => durable::remove(&path),
    }
}

struct Noting<'a> {
    rounds: &'a Rounds,
    id: VaultId,
    go_on: &'a mut dyn FnMut(u64) -> bool,
}

impl Watch for Noting<'_> {
    fn read(&mut self, bytes: u64) -> bool {
        (self.go_on)(bytes)
    }

    fn passed(&mut self, spot: Spot) {
        self.rounds.note(self.id, |hint| hint.spot = spot);
    }
}
