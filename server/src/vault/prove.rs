//! The whole log is checked again, signatures and all: a start checks what is new to it.

use unseen_common::codec::Canonical;
use unseen_common::log::fold::{Known, State};
use unseen_common::vault::Result;

use super::account::Account;
use super::packs::length_of;
use super::scrub::{Spot, Watch};
use crate::store::row::AccountRow;

impl Account {
    /// Checks the log as the journal has it, from the record on that `spot` names; what comes before
    /// was checked by an earlier part of the scrub. Tells whether `watch` let it come to the end.
    pub(super) fn prove_log(&self, spot: &mut Spot, watch: &mut dyn Watch) -> Result<bool> {
        let before = spot.proved.checked_sub(1);
        let before = before.map_or(Ok(None), |seq| self.record(seq))?;
        let known = Known {
            seq: if before.is_some() { spot.proved - 1 } else { 0 },
            head: before.map_or_else(|| self.with_state(|state| state.head), |r| r.hash()),
        };
        let (mut state, mut fault, mut goes_on) = (None::<State>, None, true);
        let visited = self.journal.past().visit(0, |bytes| {
            let Ok(AccountRow::Log(record)) = AccountRow::from_bytes(bytes) else {
                return true;
            };
            let taken = match state.as_mut() {
                Some(state) => state.apply_known(&record, &known).map(|entry| entry.seq),
                None => State::begin(&record).map(|first| {
                    state = Some(first);
                    0
                }),
            };
            match taken {
                Ok(seq) if seq >= spot.proved => {
                    spot.proved = seq.saturating_add(1);
                    goes_on = watch.read(length_of(bytes));
                }
                Ok(_) => {}
                Err(error) => fault = Some(error),
            }
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
