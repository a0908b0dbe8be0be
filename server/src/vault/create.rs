//! Making accounts and invites.

use bytes::Bytes;
use unseen_common::codec::Canonical;
use unseen_common::id::{Hash, VaultId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::Body;
use unseen_common::log::fold::{FoldError, State};
use unseen_common::time::Timestamp;
use unseen_common::vault::{NewAccount, Result, VaultError, slot_set_hash};

use super::account::{journal_error, storage_error};
use super::core::Inner;
use super::damage::slots_lost;
use super::log::{check_slots, encode_slots, refusal};
use crate::store::frame::Owner;
use crate::store::journal::{Journal, JournalError};
use crate::store::key::Key;
use crate::store::random;
use crate::store::row::AccountRow;
use crate::store::second::either;
use crate::store::server_row::ServerRow;

/// Length of an invite's secret, in bytes.
pub(super) const INVITE_BYTES: usize = 18;
/// Entries that a new account may begin with.
const MAX_FIRST_ENTRIES: usize = 8;
/// Seconds by which the clocks may differ when an account is made.
const MAX_CLOCK_SKEW: u64 = 24 * 60 * 60;

impl Inner {
    /// Makes an invite; the secret is told this once.
    pub(super) fn invite(&self, quota: Option<u64>, seconds: u64) -> Result<[u8; INVITE_BYTES]> {
        let secret = random::<INVITE_BYTES>();
        let expires = Timestamp(self.shared.clock.now().0.saturating_add(seconds));
        let row = ServerRow::Invite { secret: Hash::of(&secret), quota, expires };
        self.write_ledger(&row)?;
        Ok(secret)
    }

    pub(super) fn create_account(&self, new: &NewAccount) -> Result<()> {
        check_slots(&new.slots)?;
        let (state, records) = self.first_records(new)?;
        let genesis = records.first().map(|record| Hash::of(&record.signed.bytes));
        let genesis = genesis.ok_or_else(|| VaultError::Invalid("no entries".to_owned()))?;
        let _making = self.ledger.making.take(state.vault);
        if self.ledger.is_erased(state.vault) {
            return Err(VaultError::Forbidden("this account was erased".to_owned()));
        }
        if let Some(account) = self.account(state.vault)? {
            let first = account.record(0)?;
            return match first.zip(records.first()) {
                Some((there, ours)) if there.signed == ours.signed => Ok(()),
                _ => Err(VaultError::Forbidden("this account exists".to_owned())),
            };
        }
        let quota = if self.open_accounts {
            None
        } else {
            let now = self.shared.clock.now();
            self.ledger
                .redeem(&new.invite, (state.vault, genesis), now, &self.shared.disk)
                .map_err(|error| self.server_journal_error(&error))?
                .ok_or_else(|| VaultError::NotFound("this invite".to_owned()))?
                .quota
        };
        self.write_account(&state, &records, new, quota)
    }

    /// The state and the records that a new account begins with.
    fn first_records(&self, new: &NewAccount) -> Result<(State, Vec<Record>)> {
        if new.entries.len() > MAX_FIRST_ENTRIES {
            return Err(VaultError::Invalid("too many entries".to_owned()));
        }
        let received = self.first_stamp(new)?;
        let records: Vec<Record> =
            new.entries.iter().map(|signed| Record { signed: signed.clone(), received }).collect();
        let first =
            records.first().ok_or_else(|| VaultError::Invalid("no genesis entry".to_owned()))?;
        let mut state = State::begin(first).map_err(|error| refusal(&error))?;
        if state.server_identity != self.identity_key() {
            return Err(VaultError::Invalid("the genesis entry names another server".to_owned()));
        }
        if slot_set_hash(&new.slots) != state.slots.hash {
            return Err(VaultError::Invalid(
                "the slots are not those of the genesis entry".to_owned(),
            ));
        }
        for record in records.iter().skip(1) {
            let entry = state.apply(record).map_err(|error| refusal(&error))?;
            if !matches!(entry.body, Body::DeviceAdd(_)) {
                return Err(VaultError::Invalid(
                    "a new account begins with devices alone".to_owned(),
                ));
            }
        }
        Ok((state, records))
    }

    /// The stamp of the first records is the time that the genesis entry states: each entry names
    /// the whole record before it, and they are all signed before the server sees any.
    fn first_stamp(&self, new: &NewAccount) -> Result<Timestamp> {
        let stated = match new.entries.first().map(SignedEntry::entry) {
            Some(Ok(entry)) => entry.time,
            Some(Err(error)) => return Err(refusal(&FoldError::Decode(error))),
            None => return Err(VaultError::Invalid("no genesis entry".to_owned())),
        };
        let now = self.shared.clock.now();
        if stated.0.abs_diff(now.0) > MAX_CLOCK_SKEW {
            return Err(VaultError::Invalid(format!(
                "the clocks differ by more than a day: this machine's says {stated}, the server's \
                 {now}; put the wrong one right"
            )));
        }
        Ok(stated)
    }

    fn write_account(
        &self,
        state: &State,
        records: &[Record],
        new: &NewAccount,
        quota: Option<u64>,
    ) -> Result<()> {
        let id = state.vault;
        let store = &self.shared.store;
        let (key, slots) = (Key::slots(id, state.slots.hash), encode_slots(&new.slots));
        for key in [key.second(), key] {
            store.blobs.put(&key, &[&slots]).map_err(|error| storage_error(&error))?;
        }
        let mut rows = vec![AccountRow::Opened { quota }.to_bytes()];
        rows.extend(records.iter().map(|r| AccountRow::Log(r.clone()).to_bytes()));
        Journal::create(&*store.journals, Owner::Account(id), &rows)
            .map_err(|error| journal_error(&error, &self.shared.words))?;
        // Opening writes the copies of the records, and proves that all of it can be read.
        match self.account(id)? {
            Some(_) => Ok(()),
            None => Err(VaultError::Server("the new account is gone".to_owned())),
        }
    }

    /// The slots of an account as they were stored.
    pub(super) fn slots_of(&self, id: VaultId, hash: Hash) -> Result<Vec<Bytes>> {
        let same = |blob: &Bytes| super::log::slots_in(blob, hash);
        let read = either(&*self.shared.store.blobs, &Key::slots(id, hash), same);
        read.map_err(|error| storage_error(&error))?.ok_or_else(slots_lost)
    }

    /// Appends to the server's journal; durable when it returns.
    pub(super) fn write_ledger(&self, row: &ServerRow) -> Result<()> {
        self.ledger
            .append(row, &self.shared.disk)
            .map_err(|error| self.server_journal_error(&error))
    }

    fn server_journal_error(&self, error: &JournalError) -> VaultError {
        if matches!(error, JournalError::Fatal { .. }) {
            self.shared.failed.send_replace(true);
        }
        journal_error(error, &self.shared.words)
    }
}
