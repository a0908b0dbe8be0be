//! What a server stores, for whoever runs it: sizes, counts and times, accounts by pseudonym.

use serde::{Deserialize, Serialize};
use unseen_common::privacy::Looked;
use unseen_common::time::Timestamp;
use unseen_common::vault::Result;

use super::account::{Account, storage_error};
use super::core::Core;
use super::rounds::{Hint, Rounds};
use crate::store::lock;

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountStats {
    /// Its pseudonym: the first digits of its id.
    pub account: String,
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Packs that are damaged and that a live snapshot names.
    pub damaged: u64,
    /// Manifests, lists of packs and slots that the last scrub found lost.
    pub lost: u64,
    /// Bytes of manifests and lists of packs.
    pub metadata_bytes: u64,
    /// Bytes of its journal.
    pub journal_bytes: u64,
    /// Bytes that it may use; no limit with `None`.
    pub quota: Option<u64>,
    /// Live snapshots.
    pub snapshots: u64,
    /// Snapshots that can be brought back.
    pub gone: u64,
    /// Records of its log.
    pub records: u64,
    /// Devices that are not revoked.
    pub devices: u64,
    /// Those of them that have been silent for longer than the owner's policy allows.
    pub silent: u64,
    /// When the newest snapshot was received.
    pub last_backup: Option<Timestamp>,
    /// When everything of it was last read again.
    pub last_scrub: Option<Timestamp>,
    /// Its journal is damaged: it can be read and not written, and its access record, too.
    pub journal_damaged: bool,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Those that can be opened, by id.
    pub accounts: Vec<AccountStats>,
    /// Pseudonyms of those that cannot.
    pub unsound: Vec<String>,
}

impl Core {
    /// What is stored. It counts as a look at each account. Blocks.
    pub fn stats(&self, rounds: &Rounds) -> Result<Stats> {
        let mut stats = Stats::default();
        let ids = self.accounts().map_err(|error| storage_error(&error))?;
        for id in ids {
            let found = self.account_to_tell(id).and_then(|found| match found {
                // Its totals are the server's, and there is nowhere to note the look.
                Some(account) if account.read_only.is_some() => Ok(Some(account)),
                Some(account) => account.note(Looked::List, None).map(|()| Some(account)),
                None => Ok(None),
            });
            match found {
                Ok(Some(account)) => {
                    let one = account.stats(self.now(), rounds.hint(id));
                    stats.accounts.push(one);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(account = id.short(), %error, "an account cannot be counted");
                    stats.unsound.push(id.short());
                }
            }
        }
        Ok(stats)
    }
}

impl Account {
    fn stats(&self, now: Timestamp, scrubs: Hint) -> AccountStats {
        let (journal_bytes, _) = self.journal.extent();
        let damaged = self.suffering().packs.0.len();
        let tables = lock(&self.tables);
        let state = &tables.state;
        let (packs, pack_bytes) = tables.packs.totals();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let newest = state.newest_snapshots();
        AccountStats {
            account: self.id.short(),
            packs,
            pack_bytes,
            damaged,
            lost: scrubs.known_lost(),
            metadata_bytes: tables.standing.metadata().1,
            journal_bytes,
            quota: tables.standing.quota,
            snapshots: count(state.snapshots.len()),
            gone: count(state.gone.values().filter(|gone| now < gone.until).count()),
            records: state.head_seq.saturating_add(1),
            devices: count(newest.len()),
            silent: count(state.silent_devices(now).len()),
            last_backup: state.snapshots.values().map(|snapshot| snapshot.received).max(),
            last_scrub: scrubs.finished,
            journal_damaged: self.read_only.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::vault::gc_lab::{DAY, Lab};

    #[test]
    fn everything_is_counted_and_counts_as_a_look() {
        let mut lab = Lab::new();
        let (pack, other) = (lab.put(1), lab.put(2));
        let gone = lab.commit(from_ref(&pack)).unwrap();
        lab.commit(&[pack, other.clone()]).unwrap();
        lab.forget(gone);
        lab.account.mark(&[other.0], true).unwrap();
        let rounds = Rounds::new(lab.core.clone(), None);
        let stats = lab.core.stats(&rounds).unwrap();
        assert!(stats.unsound.is_empty());
        let [one] = &stats.accounts[..] else { panic!("one account: {stats:?}") };
        assert_eq!(one.account, lab.owner.vault.short());
        assert_eq!((one.packs, one.pack_bytes, one.damaged), (2, 2 * 65536, 1));
        assert_eq!((one.snapshots, one.gone, one.records, one.devices), (1, 1, 5, 1));
        assert_eq!((one.silent, one.last_backup), (0, Some(lab.now())));
        assert!(one.journal_bytes > 0 && one.metadata_bytes > 0);
        assert_eq!((one.quota, one.last_scrub), (None, None));
        assert_eq!(lab.account.access().len(), 1);

        rounds.scrub(lab.owner.vault, &mut |_| true).unwrap();
        lab.clock.advance(400 * DAY);
        let stats = lab.core.stats(&rounds).unwrap();
        let one = &stats.accounts[0];
        assert_eq!(one.last_scrub, one.last_backup);
        let days = lab.account.with_state(|state| state.policy.silent_days);
        assert_eq!((one.silent, one.gone), (u64::from(days > 0), 0));
    }
}
