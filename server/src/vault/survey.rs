//! How all accounts stand, for the operator: sizes and ages, of accounts and devices by number.

use std::sync::TryLockError;

use unseen_common::id::{DeviceId, VaultId};
use unseen_common::time::Timestamp;

use super::account::Account;
use super::core::Core;
use crate::store::lock;

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSurvey {
    /// Its id; its first digits are its pseudonym.
    pub id: VaultId,
    /// Packs that are there.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that it may use; no limit with `None`.
    pub quota: Option<u64>,
    /// Records of its log.
    pub records: u64,
    /// Snapshots that are not forgotten.
    pub snapshots: u64,
    /// Its devices that are not revoked.
    pub devices: Vec<DeviceSurvey>,
}

/// One device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSurvey {
    /// Its id.
    pub id: DeviceId,
    /// When its newest snapshot arrived.
    pub newest: Option<Timestamp>,
}

/// All accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Those that are open, by id.
    pub accounts: Vec<AccountSurvey>,
    /// Those that are not: being opened, or damaged.
    pub closed: u64,
}

/// A device counts as silent when its newest snapshot is older than this many seconds.
const SILENT: u64 = 7 * 24 * 60 * 60;

impl AccountSurvey {
    /// Its devices that have been silent for too long. One that never made a backup was not
    /// silenced.
    pub fn silent(&self, now: Timestamp) -> impl Iterator<Item = &DeviceSurvey> {
        let late = move |newest: Timestamp| now.since(newest) > SILENT;
        self.devices.iter().filter(move |device| device.newest.is_some_and(late))
    }

    /// When its newest snapshot arrived.
    pub fn newest(&self) -> Option<Timestamp> {
        self.devices.iter().filter_map(|device| device.newest).max()
    }
}

impl Core {
    /// How all accounts stand. Waits for none that is being opened. Blocks.
    pub fn survey(&self) -> std::io::Result<Survey> {
        let mut survey = Survey::default();
        let mut ids = self.accounts()?;
        ids.sort_unstable();
        for id in ids {
            match self.if_open(id) {
                Some(account) => survey.accounts.push(account.survey()),
                None => survey.closed += 1,
            }
        }
        Ok(survey)
    }

    fn if_open(&self, id: VaultId) -> Option<std::sync::Arc<Account>> {
        let cell = lock(&self.0.accounts).get(&id).cloned()?;
        match cell.try_lock() {
            Ok(open) => open.clone(),
            Err(TryLockError::Poisoned(open)) => open.into_inner().clone(),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Account {
    fn survey(&self) -> AccountSurvey {
        let tables = lock(&self.tables);
        let (packs, bytes) = tables.packs.totals();
        let state = &tables.state;
        let newest = |id| {
            let own = state.snapshots.values().filter(|snapshot| snapshot.device == id);
            own.map(|snapshot| snapshot.received).max()
        };
        let devices = state.devices.iter().filter(|(_, device)| device.revoked.is_none());
        AccountSurvey {
            id: self.id,
            packs,
            bytes,
            quota: tables.quota,
            records: state.head_seq.saturating_add(1),
            snapshots: u64::try_from(state.snapshots.len()).unwrap_or(u64::MAX),
            devices: devices.map(|(&id, _)| DeviceSurvey { id, newest: newest(id) }).collect(),
        }
    }
}
