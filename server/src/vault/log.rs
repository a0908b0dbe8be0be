//! Extending the log: append, slots, commit.

use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use unseen_common::codec::Canonical;
use unseen_common::id::{DeviceId, Hash};
use unseen_common::limits::{MAX_MANIFEST, MAX_SLOT, MAX_SLOTS};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{Author, Body, Entry};
use unseen_common::log::fold::{FoldError, Known};
use unseen_common::time::Timestamp;
use unseen_common::vault::{CommitRequest, Result, VaultError, slot_set_hash};

use super::account::{Account, Tables, storage_error};
use super::lists::{bytes_of, is_manifest, row_of};
use super::load::{names_slots, remember_gone};
use super::packs::length_of;
use super::references::{Place, fold};
use crate::store::key::Key;
use crate::store::lock;
use crate::store::row::AccountRow;

/// The right to extend the log; held over check, journal and fold. What is checked and what is
/// written bear the same stamp: some entries are good for a time only.
pub(super) struct Writer<'a> {
    #[expect(dead_code, reason = "held, not read")]
    guard: MutexGuard<'a, ()>,
    pub(super) received: Timestamp,
}

/// Once in so many records it is noted that they were checked, so that the next start checks no
/// more than these.
const CHECKED: u64 = 256;

impl Account {
    /// Appends an entry that needs nothing besides: policy, devices, forget, hold and so on.
    pub(super) fn append(self: &Arc<Self>, author: Author, signed: SignedEntry) -> Result<Record> {
        let entry = parse(&signed, author)?;
        match entry.body {
            Body::Snapshot(_) => return invalid("a snapshot is made by a commit"),
            Body::Slots(_) => return invalid("slots are replaced together with their entry"),
            Body::Compact(_) => return invalid("a compaction comes with its packsets"),
            _ => {}
        }
        let writer = self.writer()?;
        if let Some(record) = self.already(&entry, &signed)? {
            return Ok(record);
        }
        self.check(&writer, &signed)?;
        if let Body::RestoreForgotten(restore) = &entry.body {
            self.check_restore(restore)?;
        }
        self.extend(&writer, signed)
    }

    /// Replaces the slots.
    pub(super) fn put_slots(&self, slots: &[Bytes], signed: SignedEntry) -> Result<Record> {
        let entry = parse(&signed, Author::Root)?;
        let Body::Slots(body) = &entry.body else {
            return invalid("not a slots entry");
        };
        check_slots(slots)?;
        if slot_set_hash(slots) != body.hash {
            return invalid("the slots are not those of the entry");
        }
        let writer = self.writer()?;
        if let Some(record) = self.already(&entry, &signed)? {
            return Ok(record);
        }
        self.check(&writer, &signed)?;
        let (key, blob) = (Key::slots(self.id, body.hash), encode_slots(slots));
        self.put_blob(&key, &blob)?;
        let record = self.extend(&writer, signed)?;
        self.put_second(&key, &blob);
        Ok(record)
    }

    /// Makes a snapshot: everything that it names is there, or nothing happens.
    pub(super) fn commit(&self, device: DeviceId, request: CommitRequest) -> Result<Record> {
        let CommitRequest { manifest, packs, entry: signed } = request;
        let entry = parse(&signed, Author::Device(device))?;
        let Body::Snapshot(snapshot) = &entry.body else {
            return invalid("not a snapshot entry");
        };
        if manifest.len() > MAX_MANIFEST {
            return invalid("the manifest is too long");
        }
        if !is_manifest(snapshot.manifest, &manifest) {
            return invalid("the manifest is not the one of the entry");
        }
        let packset = bytes_of(&packs)?;
        let writer = self.writer()?;
        let made = lock(&self.tables).made(device, snapshot.manifest);
        if let Some(seq) = made {
            let record = self.record(seq)?;
            return record.ok_or_else(|| VaultError::Server("a record is gone".to_owned()));
        }
        self.check(&writer, &signed)?;
        self.check_packs(&packs, snapshot.packset_hash)?;
        let id = snapshot.manifest;
        let bytes = length_of(&manifest).saturating_add(length_of(&packset));
        lock(&self.tables).room_for_metadata(bytes)?;
        let place = Place { snapshot: id, compacted: None };
        let (list_key, manifest_key) = (place.key(self.id), Key::manifest(self.id, id));
        self.put_blob(&list_key, &packset)?;
        self.put_blob(&manifest_key, &manifest)?;
        let rows = vec![AccountRow::Metadata { snapshot: id, bytes }, row_of(place, &packset)];
        let record = self.extend_with(&writer, signed, rows)?;
        self.put_second(&list_key, &packset);
        self.put_second(&manifest_key, &manifest);
        Ok(record)
    }

    /// The right to write, where that is allowed.
    pub(super) fn writer(&self) -> Result<Writer<'_>> {
        self.writable()?;
        let writer = self.writer_to_end()?;
        if self.journal.has_failed() {
            // The last record may be durable, and what it names must stay until that is known.
            return Err(VaultError::Server("the journal cannot be written".to_owned()));
        }
        Ok(writer)
    }

    /// The same for an account that is about to go, whatever state it is in.
    pub(super) fn writer_to_end(&self) -> Result<Writer<'_>> {
        match self.log_writer.lock() {
            Ok(_) if lock(&self.tables).standing.gone => Err(VaultError::Unauthorized),
            Ok(guard) => Ok(Writer { guard, received: self.log_stamp() }),
            Err(_poisoned) => Err(VaultError::Server(
                "a writer of this account broke off; restart the server".to_owned(),
            )),
        }
    }

    /// The record of this very entry, if it was taken before: an answer was lost.
    pub(super) fn already(&self, entry: &Entry, signed: &SignedEntry) -> Result<Option<Record>> {
        let record = self.record(entry.seq)?;
        Ok(record.filter(|record| record.signed == *signed))
    }

    pub(super) fn check(&self, writer: &Writer<'_>, signed: &SignedEntry) -> Result<()> {
        let checked = self.with_state(|state| state.check(signed, writer.received).map(drop));
        match checked {
            Ok(()) => Ok(()),
            Err(FoldError::NotNext { found, head }) if found <= head => {
                let known = found.checked_sub(1);
                Err(VaultError::Conflict(self.records_after(known)?.records))
            }
            Err(FoldError::NotNext { .. } | FoldError::OtherHistory(_)) => {
                Err(VaultError::Conflict(Vec::new()))
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    /// The journal's fsync is the commit point; the copy among the blobs can be made later.
    fn extend(&self, writer: &Writer<'_>, signed: SignedEntry) -> Result<Record> {
        self.extend_with(writer, signed, Vec::new())
    }

    /// The same, with rows about it in the same fsync.
    pub(super) fn extend_with(
        &self,
        writer: &Writer<'_>,
        signed: SignedEntry,
        besides: Vec<AccountRow>,
    ) -> Result<Record> {
        let record = Record { signed, received: writer.received };
        // The position is that of the first row.
        let rows: Vec<_> = [AccountRow::Log(record.clone())].into_iter().chain(besides).collect();
        let position = self.journal_append(&rows).inspect_err(|_told| self.leave_strays())?;
        let seq = {
            let mut tables = lock(&self.tables);
            let Tables { state, references, .. } = &mut *tables;
            let entry = fold(state, references, &record, None).map_err(|error| {
                tracing::error!(%error, "a record that was checked does not fold");
                self.fail();
                VaultError::Server("the log cannot be extended".to_owned())
            })?;
            tables.records.push(position);
            for row in &rows {
                tables.standing.take(row);
                tables.references.take(row);
            }
            let Tables { state, gone, .. } = &mut *tables;
            remember_gone(gone, &entry, state);
            if names_slots(&entry) {
                tables.slots_since = record.received;
            }
            if entry.seq % CHECKED == 0 {
                let known = Known { seq: entry.seq, head: tables.state.head };
                self.store.index.note_checked(self.id, Some(&known));
            }
            entry.seq
        };
        let key = Key::log(self.id, seq);
        if let Err(error) = self.store.blobs.put(&key, &[&record.to_bytes()]) {
            tracing::warn!(kind = ?error.kind(), "copy of a log record; it is made at the next start");
        }
        Ok(record)
    }

    pub(super) fn put_blob(&self, key: &Key, bytes: &[u8]) -> Result<()> {
        self.store.blobs.put(key, &[bytes]).map_err(|error| {
            self.leave_strays();
            storage_error(&error)
        })
    }

    /// Something was written that no record names: the next sweep looks for it.
    pub(super) fn leave_strays(&self) {
        lock(&self.tables).strays = true;
    }
}

/// What the caller is told of an entry that the fold refuses.
pub(super) fn refusal(error: &FoldError) -> VaultError {
    match error {
        FoldError::Forbidden { .. } | FoldError::Revoked(_) | FoldError::Erased(_) => {
            VaultError::Forbidden(error.to_string())
        }
        FoldError::Decode(source) => VaultError::Invalid(format!("{error}: {source}")),
        _ => VaultError::Invalid(error.to_string()),
    }
}

/// Refuses slots that are too many or too long.
pub(super) fn check_slots<T: AsRef<[u8]>>(slots: &[T]) -> Result<()> {
    if slots.is_empty() || slots.len() > MAX_SLOTS {
        return invalid("a vault has 1 to 16 slots");
    }
    if slots.iter().any(|slot| slot.as_ref().len() > MAX_SLOT) {
        return invalid("a slot is too long");
    }
    Ok(())
}

/// The blob of a slot set: each slot behind its length, u16 little-endian.
pub(super) fn encode_slots<T: AsRef<[u8]>>(slots: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    for slot in slots {
        let slot = slot.as_ref();
        let length = u16::try_from(slot.len()).expect("slots are at most 1024 bytes long");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(slot);
    }
    out
}

/// The slots in a blob, if they are those of this hash.
pub(super) fn slots_in(blob: &Bytes, hash: Hash) -> Option<Vec<Bytes>> {
    decode_slots(blob).filter(|slots| slot_set_hash(slots) == hash)
}

/// Reads the blob of a slot set.
fn decode_slots(blob: &Bytes) -> Option<Vec<Bytes>> {
    let mut slots = Vec::new();
    let mut rest = blob.clone();
    while !rest.is_empty() {
        let length = usize::from(u16::from_le_bytes(*rest.first_chunk()?));
        let end = length.checked_add(2)?;
        rest.get(..end)?;
        let slot = rest.split_to(end);
        slots.push(slot.slice(2..));
    }
    Some(slots)
}

pub(super) fn parse(signed: &SignedEntry, author: Author) -> Result<Entry> {
    let entry = signed.entry().map_err(|error| refusal(&FoldError::Decode(error)))?;
    if entry.author != author {
        return Err(VaultError::Forbidden("the entry is not by who is logged in".to_owned()));
    }
    Ok(entry)
}

pub(super) fn invalid<T>(what: &str) -> Result<T> {
    Err(VaultError::Invalid(what.to_owned()))
}
