//! Which accounts there are: those that have a journal, and those that lost it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use unseen_common::id::VaultId;
use unseen_common::vault::{Result, VaultError};

use super::account::{Account, storage_error};
use super::core::{Core, Inner};
use crate::store::key;

/// All accounts that are not erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Their ids, ascending.
    pub(super) ids: Vec<VaultId>,
    /// Those of them whose journal is gone.
    pub(super) without_journal: BTreeSet<VaultId>,
}

impl Core {
    /// An account for a command of whoever runs the server, opened if need be; `None` if there is
    /// none of this id. One whose journal is gone is damaged even while a process has it open: it
    /// ends with that process. Blocks.
    pub fn account_to_tell(&self, id: VaultId) -> Result<Option<Arc<Account>>> {
        if !self.0.ledger.is_erased(id) {
            let there = self.0.has_journal(id).map_err(|error| storage_error(&error))?;
            if !there {
                self.0.journal_is_there(id)?;
            }
        }
        self.0.account(id)
    }
}

impl Inner {
    pub(super) fn account_ids(&self) -> io::Result<Vec<VaultId>> {
        self.census().map(|census| census.ids)
    }

    /// Counts all accounts. Blocks.
    pub(super) fn census(&self) -> io::Result<Census> {
        let store = &self.shared.store;
        let ids_of = |names: Vec<String>| -> BTreeSet<VaultId> {
            let ids = names.iter().filter_map(|name| name.parse().ok());
            ids.filter(|id| !self.ledger.is_erased(*id)).collect()
        };
        let mut ids = ids_of(store.journals.list()?);
        let folders = ids_of(store.blobs.list(key::ACCOUNTS)?);
        let mut without_journal = BTreeSet::new();
        for id in folders.into_iter().filter(|id| !ids.contains(id)) {
            // It may have been made, or erased, since the journals were listed.
            if self.was_there(id)? && !self.has_journal(id)? && !self.ledger.is_erased(id) {
                without_journal.insert(id);
            }
        }
        ids.extend(&without_journal);
        // One that was made meanwhile has its journal by now.
        Ok(Census { ids: ids.into_iter().collect(), without_journal })
    }

    pub(super) fn has_journal(&self, id: VaultId) -> io::Result<bool> {
        self.shared.store.journals.open(&id.to_string()).map(|found| found.is_some())
    }

    /// Refuses an account that has no journal and had one: it is damaged.
    pub(super) fn journal_is_there(&self, id: VaultId) -> Result<()> {
        if !self.was_there(id).map_err(|error| storage_error(&error))? {
            return Ok(());
        }
        let error: VaultError = self.shared.words.no_journal();
        tracing::error!(account = id.short(), %error, "an account cannot be opened");
        Err(error)
    }

    /// Whether something of an account is stored that is stored only once it has a journal.
    fn was_there(&self, id: VaultId) -> io::Result<bool> {
        let blobs = &self.shared.store.blobs;
        for folder in [key::log_folder(id), key::packs_folder(id)] {
            if !blobs.list(&folder)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
