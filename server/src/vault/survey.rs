//! How all accounts stand, for the operator: sizes and ages, of accounts and devices by number.

use std::sync::TryLockError;

use unseen_common::id::{DeviceId, VaultId};
use unseen_common::log::silence::is_silent;
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
    /// Days after which its owner calls a device silent; never with 0.
    pub silent_days: u32,
    /// Its devices that are not revoked.
    pub devices: Vec<DeviceSurvey>,
    /// Since when it is suspended.
    pub suspended: Option<Timestamp>,
    /// When its owner's wish to erase it is carried out.
    pub erase_due: Option<Timestamp>,
    /// What is known to be damaged of it.
    pub damage: Damage,
}

/// Damage to one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Packs that a live snapshot names.
    pub packs: u64,
    /// Manifests, lists of packs and slots, as [`Rounds`](super::rounds::Rounds) knows them.
    pub lost: u64,
    /// Its journal: it can be read and not written, or its file is gone.
    pub journal: bool,
}

impl Damage {
    /// Whether there is any.
    pub fn is_there(&self) -> bool {
        *self != Self::default()
    }
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
    /// Those that are not since they are damaged, by id: nothing can be read of them.
    pub unreadable: Vec<VaultId>,
    /// Those that are not for another reason: being opened, or out of reach.
    pub closed: u64,
}

impl AccountSurvey {
    /// Its devices that have been silent for too long by the owner's policy. One that never made
    /// a backup was not silenced.
    pub fn silent(&self, now: Timestamp) -> impl Iterator<Item = &DeviceSurvey> {
        let late = move |newest: Timestamp| is_silent(self.silent_days, newest, now);
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
        let census = self.0.census()?;
        for id in census.ids {
            let no_journal = census.without_journal.contains(&id);
            match self.if_open(id) {
                Some(account) => {
                    let mut one = account.survey();
                    one.damage.journal |= no_journal;
                    survey.accounts.push(one);
                }
                None if no_journal || lock(&self.0.unreadable).contains(&id) => {
                    survey.unreadable.push(id);
                }
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
        let damaged = self.suffering().packs.0.len();
        let tables = lock(&self.tables);
        let (packs, bytes) = tables.packs.totals();
        let state = &tables.state;
        let newest = state.newest_snapshots().into_iter();
        AccountSurvey {
            id: self.id,
            packs,
            bytes,
            quota: tables.standing.quota,
            records: state.head_seq.saturating_add(1),
            snapshots: u64::try_from(state.snapshots.len()).unwrap_or(u64::MAX),
            silent_days: state.policy_at(self.clock.now()).silent_days,
            devices: newest.map(|(id, newest)| DeviceSurvey { id, newest }).collect(),
            suspended: tables.standing.suspended,
            erase_due: super::erase::due(state),
            damage: Damage { packs: damaged, lost: 0, journal: self.read_only.is_some() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use unseen_common::vault::Service;

    use super::*;
    use crate::testkit::{Bench, TestClock};
    use crate::vault::Options;

    #[test]
    fn the_policy_says_when_a_device_is_silent() {
        let device = |byte, newest| DeviceSurvey { id: DeviceId::from_bytes([byte; 16]), newest };
        let day = 86_400;
        let mut account = AccountSurvey {
            id: VaultId::from_bytes([0; 16]),
            packs: 0,
            bytes: 0,
            quota: None,
            records: 1,
            snapshots: 0,
            silent_days: 3,
            devices: vec![
                device(1, Some(Timestamp(7 * day))),
                device(2, Some(Timestamp(7 * day - 1))),
                device(3, None),
            ],
            suspended: None,
            erase_due: None,
            damage: Damage::default(),
        };
        let now = Timestamp(10 * day);
        let silent: Vec<DeviceId> = account.silent(now).map(|device| device.id).collect();
        assert_eq!(silent, [DeviceId::from_bytes([2; 16])]);
        assert_eq!(account.newest(), Some(Timestamp(7 * day)));
        account.silent_days = 0;
        assert_eq!(account.silent(now).count(), 0);
    }

    #[tokio::test]
    async fn accounts_are_counted_when_they_are_open() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::default());
        let options = || Options { clock: Arc::<TestClock>::clone(&clock), ..Options::default() };
        let core = Core::open(dir.path(), options()).unwrap();
        assert_eq!(core.survey().unwrap(), Survey::default());
        let service: Arc<dyn Service> = Arc::new(core.clone());
        let bench = Bench { service, clock: Arc::clone(&clock), core: core.clone() };
        let owner = bench.owner(1).await;
        let device = owner.log_in_device(&core, &owner.machine).await.unwrap();
        device.put_pack(owner.machine.small_pack(1)).await.unwrap();
        let survey = core.survey().unwrap();
        assert_eq!(survey.closed, 0);
        let account = survey.accounts.first().unwrap();
        assert_eq!((account.id, account.packs, account.bytes), (owner.vault, 1, 65536));
        let device = DeviceSurvey { id: owner.machine.id, newest: None };
        assert_eq!((account.snapshots, &account.devices[..]), (0, &[device][..]));
    }
}
