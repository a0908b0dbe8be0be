//! The whole log is checked again, signatures and all: a start checks what is new to it.

use unseen_common::codec::Canonical;
use unseen_common::log::fold::State;
use unseen_common::vault::Result;

use super::account::Account;
use super::packs::length_of;
use super::scrub::Watch;
use crate::store::row::AccountRow;

impl Account {
    /// Checks the log as the journal has it, from its first record on. Tells whether `watch` let it
    /// come to the end.
    pub(super) fn prove_log(&self, watch: &mut dyn Watch) -> Result<bool> {
        let (mut state, mut fault, mut goes_on) = (None::<State>, None, true);
        let visited = self.journal.past().visit(0, |bytes| {
            let Ok(AccountRow::Log(record)) = AccountRow::from_bytes(bytes) else {
                return true;
            };
            let taken = match state.as_mut() {
                Some(state) => state.apply(&record).map(drop),
                None => State::begin(&record).map(|first| state = Some(first)),
            };
            fault = taken.err();
            goes_on = watch.read(length_of(bytes));
            goes_on && fault.is_none()
        });
        visited.map_err(|error| self.journal_error(&error))?;
        if let Some(error) = fault {
            tracing::error!(account = self.id.short(), %error, "the log does not hold together");
            // The next start does not go by what was noted.
            self.store.index.note_checked(self.id, None);
            return Err(self.words.journal(&error));
        }
        Ok(goes_on)
    }
}
