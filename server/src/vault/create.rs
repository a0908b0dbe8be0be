//! Making accounts, and the invites that allow it.

use std::collections::HashMap;
use std::sync::Mutex;

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
use super::load::LoadError;
use super::log::{check_slots, encode_slots, refusal};
use crate::store::frame::Owner;
use crate::store::journal::{Journal, JournalError};
use crate::store::journal_files::Journals;
use crate::store::key::Key;
use crate::store::row::{AccountRow, ServerRow};
use crate::store::{lock, random};

/// Length of an invite's secret, in bytes.
pub(super) const INVITE_BYTES: usize = 18;
/// Entries that a new account may begin with.
const MAX_FIRST_ENTRIES: usize = 8;
/// Seconds by which the clocks may differ when an account is made.
const MAX_CLOCK_SKEW: u64 = 24 * 60 * 60;

#[derive(Debug, Clone, Copy)]
struct Invite {
    quota: Option<u64>,
    expires: Timestamp,
    used: Option<(VaultId, Hash)>,
}

/// What an invite allows.
#[derive(Debug, Clone, Copy)]
struct Grant {
    quota: Option<u64>,
}

impl Invite {
    const fn grant(self) -> Grant {
        Grant { quota: self.quota }
    }
}

/// The server's own journal and what it says.
#[derive(Debug)]
pub(super) struct Invites {
    journal: Journal,
    known: Mutex<HashMap<Hash, Invite>>,
    /// One account is made at a time.
    making: Mutex<()>,
}

impl Invites {
    pub(super) fn open(journals: &dyn Journals) -> std::result::Result<Self, LoadError> {
        loop {
            let mut known = HashMap::new();
            let journal = Journal::open(journals, Owner::Server, |_, bytes| {
                remember(&mut known, ServerRow::from_bytes(bytes)?);
                Ok::<(), LoadError>(())
            })?;
            match journal {
                Some(journal) => {
                    return Ok(Self {
                        journal,
                        known: Mutex::new(known),
                        making: Mutex::default(),
                    });
                }
                None => Journal::create(journals, Owner::Server, &[])?,
            }
        }
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    fn append(&self, row: ServerRow) -> std::result::Result<(), JournalError> {
        self.journal.append(vec![row.to_bytes()])?;
        remember(&mut lock(&self.known), row);
        Ok(())
    }

    /// Marks an invite as used by this account; again for the same account is no error.
    fn redeem(
        &self,
        secret: &[u8],
        account: VaultId,
        genesis: Hash,
        now: Timestamp,
    ) -> std::result::Result<Option<Grant>, JournalError> {
        let secret = Hash::of(secret);
        let Some(invite) = lock(&self.known).get(&secret).copied() else {
            return Ok(None);
        };
        match invite.used {
            Some(by) if by == (account, genesis) => return Ok(Some(invite.grant())),
            Some(_) => return Ok(None),
            None if invite.expires < now => return Ok(None),
            None => {}
        }
        self.append(ServerRow::Used { secret, account, genesis })?;
        Ok(Some(invite.grant()))
    }
}

fn remember(known: &mut HashMap<Hash, Invite>, row: ServerRow) {
    match row {
        ServerRow::Invite { secret, quota, expires } => {
            let invite = Invite { quota, expires, used: None };
            known.insert(secret, invite);
        }
        ServerRow::Used { secret, account, genesis } => {
            if let Some(invite) = known.get_mut(&secret) {
                invite.used = Some((account, genesis));
            }
        }
    }
}

impl Inner {
    /// Makes an invite; the secret is told this once.
    pub(super) fn invite(&self, quota: Option<u64>, seconds: u64) -> Result<[u8; INVITE_BYTES]> {
        let secret = random::<INVITE_BYTES>();
        let expires = Timestamp(self.shared.clock.now().0.saturating_add(seconds));
        let row = ServerRow::Invite { secret: Hash::of(&secret), quota, expires };
        self.invites.append(row).map_err(|error| self.server_journal_error(&error))?;
        Ok(secret)
    }

    pub(super) fn create_account(&self, new: &NewAccount) -> Result<()> {
        check_slots(&new.slots)?;
        let (state, records) = self.first_records(new)?;
        let genesis = records.first().map(|record| Hash::of(&record.signed.bytes));
        let genesis = genesis.ok_or_else(|| VaultError::Invalid("no entries".to_owned()))?;
        let _making = lock(&self.invites.making);
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
            self.invites
                .redeem(&new.invite, state.vault, genesis, now)
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
        if stated.0.abs_diff(self.shared.clock.now().0) > MAX_CLOCK_SKEW {
            return Err(VaultError::Invalid(
                "the clocks of this machine and of the server differ by more than a day".to_owned(),
            ));
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
        store
            .blobs
            .put(&Key::slots(id, state.slots.hash), &[&encode_slots(&new.slots)])
            .map_err(|error| storage_error(&error))?;
        let mut rows = vec![AccountRow::Opened { quota }.to_bytes()];
        rows.extend(records.iter().map(|r| AccountRow::Log(r.clone()).to_bytes()));
        Journal::create(&*store.journals, Owner::Account(id), &rows)
            .map_err(|error| journal_error(&error))?;
        // Opening writes the copies of the records, and proves that all of it can be read.
        match self.account(id)? {
            Some(_) => Ok(()),
            None => Err(VaultError::Server("the new account is gone".to_owned())),
        }
    }

    /// The slots of an account as they were stored.
    pub(super) fn slots_of(&self, id: VaultId, hash: Hash) -> Result<Vec<Bytes>> {
        let blob = self
            .shared
            .store
            .blobs
            .get(&Key::slots(id, hash))
            .map_err(|error| storage_error(&error))?;
        blob.and_then(|blob| super::log::decode_slots(&blob))
            .ok_or_else(|| VaultError::NotFound("the slots".to_owned()))
    }

    fn server_journal_error(&self, error: &JournalError) -> VaultError {
        if matches!(error, JournalError::Fatal { .. }) {
            self.shared.failed.send_replace(true);
        }
        journal_error(error)
    }
}
