//! Accounts that are being made or erased: each by one at a time, beside all others, so that one
//! whose files hang holds up nobody else's.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

use unseen_common::id::VaultId;

use crate::store::lock;

/// Those that are being made or erased.
#[derive(Debug, Default)]
pub(super) struct Making {
    busy: Mutex<HashSet<VaultId>>,
    ended: Condvar,
}

impl Making {
    /// Takes an account for as long as what this returns lives; waits for who has it.
    pub(super) fn take(&self, account: VaultId) -> Taken<'_> {
        let busy = lock(&self.busy);
        let waited = self.ended.wait_while(busy, |busy| !busy.insert(account));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Taken { making: self, account }
    }
}

/// An account that one thread makes or erases.
#[derive(Debug)]
pub(super) struct Taken<'m> {
    making: &'m Making,
    account: VaultId,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        lock(&self.making.busy).remove(&self.account);
        self.making.ended.notify_all();
    }
}
