//! From records to a [`State`]. The same function on both sides: what it refuses, nobody accepts.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use super::chain::{BadSignature, Record, SignedEntry};
use super::entry::{Author, Body, Entry, Genesis, PublicKey};
use super::groups::Groups;
use crate::id::Hash;
use crate::time::Timestamp;

pub use super::error::FoldError;
pub use super::policy::DEFAULT_POLICY;
pub use super::state::{Burst, Change, Device, Gone, Leave, Pending, Snapshot, State};

/// Whether what a record proves of itself is to be checked: its signature, and of an expire record
/// that the rules bear it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Check,
    /// The hash chain ends in a head that was checked before.
    Known,
}

/// A record that was checked before, and with it all records before it: the chain binds them to
/// its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub head: Hash,
}

impl State {
    /// Begins with the genesis record.
    pub fn begin(record: &Record) -> Result<Self, FoldError> {
        let entry = record.signed.entry()?;
        let Body::Genesis(genesis) = entry.body else {
            return Err(FoldError::Conflict("a log begins with its genesis entry"));
        };
        if entry.seq != 0 || entry.prev != Hash::from_bytes([0; 32]) {
            return Err(FoldError::Conflict("the genesis entry has number 0 and no predecessor"));
        }
        if entry.author != Author::Root {
            return Err(FoldError::Forbidden { author: entry.author.name() });
        }
        record.signed.verify(&genesis.root_key)?;
        let Genesis { root_key, vault_key_hash, owner_login, server_identity, slots } = genesis;
        Ok(Self {
            vault: entry.vault,
            head_seq: 0,
            head: record.hash(),
            head_received: record.received,
            root_key,
            vault_key_hash,
            epoch: 0,
            owner_login,
            server_identity,
            slots,
            policy: DEFAULT_POLICY,
            pending: Vec::new(),
            devices: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            gone: BTreeMap::new(),
            last_fold: None,
            groups: Groups::default(),
            leaving: BTreeSet::new(),
        })
    }

    /// Folds a whole log.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Self, FoldError> {
        let mut records = records.into_iter();
        let first = records.next().ok_or(FoldError::Conflict("an empty log"))?;
        let mut state = Self::begin(first)?;
        for record in records {
            state.apply(record)?;
        }
        Ok(state)
    }

    /// Folds a log that ends in a record that this machine has checked and pinned before. So
    /// signatures and expire records are not checked again.
    ///
    /// Calls `each` for every entry after the first.
    pub fn of_known<R: Borrow<Record>>(
        records: impl IntoIterator<Item = R>,
        known: &Known,
        mut each: impl FnMut(&Entry),
    ) -> Result<Self, FoldError> {
        let mut records = records.into_iter();
        let first = records.next().ok_or(FoldError::Conflict("an empty log"))?;
        let mut state = Self::begin(first.borrow())?;
        for record in records {
            each(&state.apply_known(record.borrow(), known)?);
        }
        if (state.head_seq, state.head) != (known.seq, known.head) {
            return Err(FoldError::OtherHistory(known.seq));
        }
        Ok(state)
    }

    /// Takes the next record; up to a known one without looking at what it proves of itself.
    ///
    /// What comes before the known record is not proved until that was taken: who gets an error,
    /// or no record of that number, has a state of which nothing may be believed.
    pub fn apply_known(&mut self, record: &Record, known: &Known) -> Result<Entry, FoldError> {
        if self.head_seq >= known.seq {
            return self.apply(record);
        }
        let entry = self.apply_with(record, Proof::Known)?;
        if self.head_seq == known.seq && self.head != known.head {
            return Err(FoldError::OtherHistory(known.seq));
        }
        Ok(entry)
    }

    /// Whether `signed` may come next if it is received at `received`: place, history, signature
    /// and permission.
    pub fn check(&self, signed: &SignedEntry, received: Timestamp) -> Result<Entry, FoldError> {
        self.check_with(signed, received, Proof::Check)
    }

    fn check_with(
        &self,
        signed: &SignedEntry,
        received: Timestamp,
        proof: Proof,
    ) -> Result<Entry, FoldError> {
        let entry = signed.entry()?;
        if entry.vault != self.vault {
            return Err(FoldError::OtherVault(entry.vault));
        }
        if self.head_seq.checked_add(1) != Some(entry.seq) {
            return Err(FoldError::NotNext { found: entry.seq, head: self.head_seq });
        }
        if entry.prev != self.head {
            return Err(FoldError::OtherHistory(entry.seq));
        }
        match self.author_key(entry.author)? {
            Some(key) if proof == Proof::Check => signed.verify(&key)?,
            None if !signed.is_unsigned() => return Err(BadSignature.into()),
            _ => {}
        }
        if received < self.head_received {
            return Err(FoldError::TimeWentBack(entry.seq));
        }
        self.permit(&entry, received, proof)?;
        Ok(entry)
    }

    /// Takes the next record.
    pub fn apply(&mut self, record: &Record) -> Result<Entry, FoldError> {
        self.apply_with(record, Proof::Check)
    }

    fn apply_with(&mut self, record: &Record, proof: Proof) -> Result<Entry, FoldError> {
        let entry = self.check_with(&record.signed, record.received, proof)?;
        self.take(&entry, record.received);
        self.head_seq = entry.seq;
        self.head = record.hash();
        self.head_received = record.received;
        Ok(entry)
    }

    /// The key that verifies the author; the server has none.
    fn author_key(&self, author: Author) -> Result<Option<PublicKey>, FoldError> {
        match author {
            Author::Root => Ok(Some(self.root_key)),
            Author::Device(id) => Ok(Some(self.active_device(id)?.add.manifest_key)),
            Author::Server => Ok(None),
        }
    }
}
