//! What a server does by itself, now and again: erase, expire, delete.

use serde::{Deserialize, Serialize};
use unseen_common::receipt::ErasedBy;
use unseen_common::time::Timestamp;
use unseen_common::vault::Result;

use super::account::{Account, storage_error};
use super::core::{Core, Inner};
use super::erase::wish;
use super::guard::Held;
use crate::ops::metrics::Job;
use crate::store::lock;
use crate::store::server_row::ServerRow;

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swept {
    /// Accounts that were erased.
    pub erased: u64,
    /// Snapshots that expired.
    pub expired: u64,
    /// Snapshots whose grace was over, and of which nothing is left but the log.
    pub snapshots: u64,
    /// Packs that were deleted.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that nothing named.
    pub strays: u64,
    /// Accounts in which something went wrong; the log says what.
    pub failed: u64,
    /// Why nothing was expired and deleted, if so.
    pub held: Option<Held>,
}

impl Core {
    /// Carries out what is due at this time: erasures, begun ones first; what has expired; packs
    /// that nothing needs. The reserve of the disk is filled again. Blocks.
    pub fn sweep(&self, now: Timestamp) -> Result<Swept> {
        self.0.counted_sweep(now, false)
    }

    /// Why nothing expires and nothing is deleted, if so.
    pub fn held(&self) -> Option<Held> {
        self.0.shared.clock.held()
    }

    /// The same at once, whatever the last sweep has seen; `confirm_clock` if whoever runs the
    /// server says that the clock is right. Blocks.
    pub fn gc(&self, confirm_clock: bool) -> Result<Swept> {
        let now = self.0.shared.clock.wall();
        if confirm_clock {
            self.0.believe(now, true)?;
        }
        self.0.counted_sweep(now, true)
    }
}

impl Inner {
    /// It counts as failed where it was held, or where an account was not swept.
    fn counted_sweep(&self, now: Timestamp, force: bool) -> Result<Swept> {
        let run = self.metrics.start(Job::Gc);
        let swept = self.sweep(now, force)?;
        match swept.held {
            Some(held) => run.fail(held.words()),
            None if swept.failed > 0 => {
                run.fail(format!("accounts in which something went wrong: {}", swept.failed));
            }
            None => {
                // Told by a clock that went back, it would be long ago once that is put right.
                let at = self.shared.clock.no_earlier(now);
                run.succeed(at, format!("{} packs, {} snapshots", swept.packs, swept.expired));
            }
        }
        Ok(swept)
    }

    fn sweep(&self, now: Timestamp, force: bool) -> Result<Swept> {
        self.shared.disk.refill();
        let mut swept = Swept::default();
        for plan in self.ledger.erasing() {
            match self.finish_erasing(plan) {
                Ok(_receipt) => swept.erased += 1,
                Err(error) => {
                    // It is tried again; the other accounts do not wait for it.
                    tracing::error!(account = plan.account.short(), %error, "an erasure broke off");
                    swept.failed += 1;
                }
            }
        }
        let looked = self.shared.clock.look(now);
        if let Some(sure) = self.shared.clock.to_note() {
            self.believe(sure, false)?;
        }
        if let Err(held) = looked {
            tracing::warn!(
                last = held.last.0,
                now = held.now.0,
                "the clock jumped forward: nothing expires and nothing is deleted until \
                 `backup-server gc --confirm-clock`"
            );
            swept.held = Some(held);
            return Ok(swept);
        }
        for id in self.account_ids().map_err(|error| storage_error(&error))? {
            // One that cannot be opened was reported where that was found.
            let Ok(Some(account)) = self.account(id) else {
                continue;
            };
            let due = account.with_state(|state| {
                wish(state).filter(|wish| wish.effective <= now).map(|wish| wish.received)
            });
            let done = match due {
                Some(requested) => self.erase(id, ErasedBy::Owner, requested).map(|_receipt| {
                    swept.erased += 1;
                }),
                None => account.sweep(now, force, &mut swept),
            };
            if let Err(error) = done {
                tracing::error!(account = id.short(), %error, "a sweep broke off");
                swept.failed += 1;
            }
        }
        Ok(swept)
    }

    fn believe(&self, at: Timestamp, confirmed: bool) -> Result<()> {
        self.write_ledger(&ServerRow::Clock { at, confirmed })?;
        self.shared.clock.was_noted(at, confirmed);
        Ok(())
    }
}

impl Account {
    /// What a suspended account has stays as it is, and what one has whose journal is damaged.
    fn sweep(&self, now: Timestamp, force: bool, swept: &mut Swept) -> Result<()> {
        if self.read_only.is_some() || lock(&self.tables).standing.suspended.is_some() {
            return Ok(());
        }
        let expired = self.expire(now)?;
        swept.expired += u64::try_from(expired).unwrap_or(0);
        let collected = self.collect(now, force)?;
        swept.packs += collected.packs;
        swept.bytes = swept.bytes.saturating_add(collected.bytes);
        swept.snapshots += collected.snapshots;
        swept.strays += collected.strays;
        Ok(())
    }
}
