//! Erasing accounts: what is left is a receipt.
//!
//! The order: note what is to be erased in the server's journal; shut the account; remove blobs,
//! index and journal; sign the receipt and note it. After a crash the first note has the rest done
//! by the next sweep.

use std::sync::Arc;

use unseen_common::id::{Hash, VaultId};
use unseen_common::log::state::{Change, Pending, State};
use unseen_common::receipt::{ErasedBy, Receipt, SignedReceipt};
use unseen_common::time::Timestamp;
use unseen_common::vault::{Result, VaultError};

use super::account::{Account, storage_error};
use super::core::Inner;
use crate::store::frame::Owner;
use crate::store::lock;
use crate::store::server_row::ServerRow;

/// When an owner's wish to erase the account is carried out, if there is one.
pub(super) fn due(state: &State) -> Option<Timestamp> {
    wish(state).map(|pending| pending.effective)
}

pub(super) fn wish(state: &State) -> Option<&Pending> {
    state.pending.iter().find(|pending| pending.change == Change::Erase)
}

impl Inner {
    /// Erases an account, whatever state it is in.
    pub(super) fn erase(
        &self,
        id: VaultId,
        by: ErasedBy,
        requested: Timestamp,
    ) -> Result<SignedReceipt> {
        let making = self.ledger.making.take(id);
        if let Some(receipt) = self.ledger.receipt(id) {
            return Ok(receipt);
        }
        let account = match self.account(id) {
            Ok(Some(account)) => Some(account),
            Ok(None) => return Err(VaultError::NotFound(format!("account {}", id.short()))),
            Err(error) => {
                tracing::warn!(account = id.short(), %error, "a damaged account is erased");
                None
            }
        };
        if let Some(account) = &account {
            account.shut()?;
        }
        let plan = Receipt {
            account: id,
            by,
            requested,
            erased: Timestamp(0),
            packs: 0,
            bytes: 0,
            snapshots: 0,
            head: Hash::from_bytes([0; 32]),
            identity: self.identity_key(),
        };
        let plan = account.as_ref().map_or(plan, |account| account.count_into(plan));
        self.write_ledger(&ServerRow::Erasing(plan)).inspect_err(|_told| {
            if let Some(account) = &account {
                lock(&account.tables).standing.gone = false;
            }
        })?;
        drop(making);
        self.finish_erasing(plan)
    }

    /// Removes what is left and signs the receipt.
    pub(super) fn finish_erasing(&self, plan: Receipt) -> Result<SignedReceipt> {
        let id = plan.account;
        let _making = self.ledger.making.take(id);
        if let Some(receipt) = self.ledger.receipt(id) {
            return Ok(receipt);
        }
        self.forget_account(id);
        let store = &self.shared.store;
        store.blobs.remove_account(id).map_err(|error| storage_error(&error))?;
        store.index.erase(id);
        let name = Owner::Account(id).file_name();
        store.journals.remove(&name).map_err(|error| storage_error(&error))?;
        super::rounds::forget(self, id).map_err(|error| storage_error(&error))?;
        let erased = self.shared.clock.now().max(plan.requested);
        let signed = self.sign_receipt(&Receipt { erased, ..plan });
        self.write_ledger(&ServerRow::Erased(signed.clone()))?;
        tracing::info!(account = id.short(), "erased");
        Ok(signed)
    }
}

impl Account {
    /// Ends all sessions and waits for what is being stored, repaired or deleted.
    fn shut(self: &Arc<Self>) -> Result<()> {
        let writer = self.writer_to_end()?;
        lock(&self.tables).standing.gone = true;
        self.uploaded.notify_all();
        drop(writer);
        self.wait_for(|tables| tables.storing.is_empty().then_some(()));
        // Whoever is at it ends first; nobody begins any more.
        drop(lock(&self.segments));
        drop(lock(&self.collecting));
        Ok(())
    }

    fn count_into(&self, plan: Receipt) -> Receipt {
        let tables = lock(&self.tables);
        let (packs, bytes) = tables.packs.totals();
        let snapshots = u64::try_from(tables.state.snapshots.len()).unwrap_or(u64::MAX);
        Receipt { packs, bytes, snapshots, head: tables.state.head, ..plan }
    }
}
