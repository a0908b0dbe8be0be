//! Storing and reading packs.

use std::ops::Range;
use std::sync::Arc;

use unseen_common::id::{DeviceId, Hash, PackId, PackNumber};
use unseen_common::limits::{PACK_HEADER, PACK_TRAILER, footer_size_ok, on_ladder};
use unseen_common::packset::PackSet;
use unseen_common::vault::{PackBytes, PackUpload, Result, VaultError, pack_id};

use super::account::{Account, storage_error};
use super::log::refusal;
use super::standing::Reservation;
use super::table::Pack;
use crate::store::key::Key;
use crate::store::lock;
use crate::store::row::{AccountRow, PackMark, PackRow};

const MAGIC: &[u8; 8] = b"UNSEENP1";
const SUITE: u8 = 1;
const TRAILER_VERSION: u16 = 1;

/// Who brings a pack.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bringer {
    /// The device that made it.
    Device(DeviceId),
    /// The owner, who writes packs of any device anew.
    Owner,
}

impl From<DeviceId> for Bringer {
    fn from(device: DeviceId) -> Self {
        Self::Device(device)
    }
}

/// The right to write one pack; others that bring the same pack wait for its end.
pub(super) struct Claim<'a> {
    account: &'a Account,
    id: PackId,
    number: PackNumber,
}

/// What to do with a pack that comes in.
enum Turn<'a> {
    /// It is there.
    Known(PackNumber),
    /// It is there since long ago, and may be about to go: its grace begins anew.
    Touch(Claim<'a>),
    /// It is there and damaged: this copy heals it.
    Heal(Claim<'a>),
    /// It is new.
    New(Claim<'a>),
}

/// A pack that is sent again is noted, if it was last sent so many days ago. Every grace is longer.
const TOUCH_AFTER_DAYS: u32 = 1;

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.account.tables).storing.remove(&self.id);
        self.account.uploaded.notify_all();
    }
}

impl Account {
    /// Stores a pack that is whole, named by its content and made by the device that brings it, or
    /// of any device if the owner does. Durable when it returns. The same pack again is told its
    /// number.
    pub(super) fn put_pack(
        self: &Arc<Self>,
        bringer: impl Into<Bringer>,
        pack: &PackUpload,
        reserved: Option<Reservation>,
    ) -> Result<PackNumber> {
        let bringer = bringer.into();
        self.writable()?;
        let device = self.maker(bringer, pack)?;
        let content_hash = check_pack(pack)?;
        let length = length_of(&pack.bytes);
        let mut reserved = match reserved.filter(|reserved| reserved.covers(&pack.id, length)) {
            Some(reserved) => Some(reserved),
            None => self.reserve(pack.id, length)?,
        };
        let claim = match self.claim(pack.id)? {
            Turn::Known(number) => return Ok(number),
            Turn::Touch(claim) => return self.touch(&claim),
            Turn::Heal(claim) => return self.heal(&claim, pack),
            Turn::New(claim) => claim,
        };
        if reserved.is_none() {
            // It was there when room was asked for, and was deleted since.
            reserved = self.reserve(pack.id, length)?;
        }
        let key = Key::pack(self.id, claim.number, pack.id);
        self.put_blob(&key, &pack.bytes)?;
        let row = PackRow {
            number: claim.number,
            id: pack.id,
            content_hash,
            device,
            length,
            footer_len: pack.footer_len.into(),
            received: self.stamp(),
        };
        self.publish(bringer, &row, reserved).inspect_err(|_error| {
            // After a failed fsync the journal may name the pack all the same.
            if !self.journal.has_failed()
                && let Err(error) = self.store.blobs.delete(&key)
            {
                tracing::warn!(kind = ?error.kind(), "a pack that was not taken stays behind");
                self.leave_strays();
            }
        })?;
        let number = claim.number;
        drop(claim);
        self.close_segment(number);
        Ok(number)
    }

    /// The device that a pack names, which must be the one that brings it. The owner's packs may be
    /// of any device of this vault, revoked ones too.
    fn maker(&self, bringer: Bringer, pack: &PackUpload) -> Result<DeviceId> {
        let named = pack.bytes.get(13..29).and_then(DeviceId::from_slice);
        let right = |named: &DeviceId| match bringer {
            Bringer::Device(device) => *named == device,
            Bringer::Owner => self.with_state(|state| state.devices.contains_key(named)),
        };
        let wrong = || VaultError::Forbidden("the pack names another device".to_owned());
        named.filter(right).ok_or_else(wrong)
    }

    fn claim(&self, id: PackId) -> Result<Turn<'_>> {
        let now = self.stamp();
        self.wait_for(|tables| {
            if tables.standing.gone {
                return Some(Err(VaultError::Unauthorized));
            }
            if tables.storing.contains_key(&id) {
                return None;
            }
            if let Some(number) = tables.packs.find(&id) {
                if tables.leaving.contains(number.0) {
                    return None;
                }
                let stamp = tables.packs.stamp(number).unwrap_or_default();
                let damaged = tables.packs.is_damaged(number);
                if !damaged && now < stamp.plus_days(TOUCH_AFTER_DAYS) {
                    return Some(Ok(Turn::Known(number)));
                }
                tables.storing.insert(id, number);
                let claim = Claim { account: self, id, number };
                return Some(Ok(if damaged { Turn::Heal(claim) } else { Turn::Touch(claim) }));
            }
            let number = PackNumber(tables.next_number);
            if number.0 == u32::MAX {
                return Some(Err(VaultError::Quota("no pack number is left".to_owned())));
            }
            tables.next_number += 1;
            tables.storing.insert(id, number);
            Some(Ok(Turn::New(Claim { account: self, id, number })))
        })
    }

    /// Notes, durably, that a pack was sent again.
    fn touch(&self, claim: &Claim<'_>) -> Result<PackNumber> {
        let (number, at) = (claim.number, self.stamp());
        self.journal_append(&[AccountRow::Touched { number, at }])?;
        lock(&self.tables).packs.touch(number, at);
        Ok(number)
    }

    /// Puts the copy that was sent in the place of a damaged one. Its grace begins anew too.
    fn heal(&self, claim: &Claim<'_>, pack: &PackUpload) -> Result<PackNumber> {
        lock(&self.tables).standing.may_write()?;
        let (number, at) = (claim.number, self.stamp());
        let key = Key::pack(self.id, number, pack.id);
        self.put_blob(&key, &pack.bytes)?;
        let mark = PackMark { number, at };
        self.journal_append(&[AccountRow::Healed(mark), AccountRow::Touched { number, at }])?;
        let mut tables = lock(&self.tables);
        tables.packs.mark(number, false);
        tables.packs.touch(number, at);
        Ok(number)
    }

    /// Keeps uploads and deletion of a pack that is there away from it; nothing if it is gone.
    pub(super) fn claim_known(&self, number: PackNumber, id: PackId) -> Option<Claim<'_>> {
        self.wait_for(|tables| {
            let there = tables.packs.get(number).is_some_and(|pack| pack.id == id);
            if tables.standing.gone || !there {
                return Some(None);
            }
            if tables.storing.contains_key(&id) || tables.leaving.contains(number.0) {
                return None;
            }
            tables.storing.insert(id, number);
            Some(Some(Claim { account: self, id, number }))
        })
    }

    /// Notes, durably, that packs are damaged or whole again.
    pub(super) fn mark(&self, numbers: &[PackNumber], damaged: bool) -> Result<()> {
        let at = self.stamp();
        let row = |number: &PackNumber| {
            let mark = PackMark { number: *number, at };
            if damaged { AccountRow::Damaged(mark) } else { AccountRow::Healed(mark) }
        };
        self.journal_append(&numbers.iter().map(row).collect::<Vec<_>>())?;
        let mut tables = lock(&self.tables);
        for number in numbers {
            tables.packs.mark(*number, damaged);
        }
        Ok(())
    }

    fn publish(
        &self,
        bringer: Bringer,
        row: &PackRow,
        mut reserved: Option<Reservation>,
    ) -> Result<()> {
        // It may have been revoked, or the account suspended, while its bytes came in.
        if let Bringer::Device(device) = bringer {
            self.with_state(|state| state.active_device(device).map(drop))
                .map_err(|error| refusal(&error))?;
        }
        lock(&self.tables).standing.may_write()?;
        self.journal_append(&[AccountRow::Pack(*row)])?;
        let mut tables = lock(&self.tables);
        tables.packs.insert(row).map_err(|error| {
            tracing::error!(%error, "a pack that was stored does not fit");
            self.fail();
            VaultError::Server("the packs contradict each other".to_owned())
        })?;
        if let Some(reserved) = &mut reserved {
            reserved.settle(&mut tables);
        }
        drop(tables);
        self.store.index.add(self.id, &[*row], None);
        Ok(())
    }

    /// The packs that are there and whole.
    pub(super) fn live_packs(&self) -> PackSet {
        lock(&self.tables).packs.live()
    }

    /// The packs that are there and damaged.
    pub(super) fn damaged_packs(&self) -> PackSet {
        lock(&self.tables).packs.damaged()
    }

    /// Reads a pack, or a range of it.
    pub(super) fn get_pack(
        &self,
        number: PackNumber,
        range: Option<Range<u64>>,
    ) -> Result<PackBytes> {
        let gone = || VaultError::NotFound(format!("pack {number}"));
        let (pack, damaged) = {
            let tables = lock(&self.tables);
            (tables.packs.get(number).ok_or_else(gone)?, tables.packs.is_damaged(number))
        };
        let range = range.unwrap_or(0..pack.length);
        if range.start >= range.end || range.end > pack.length {
            return Err(VaultError::Invalid(format!(
                "bytes {}..{} of a pack of {} bytes",
                range.start, range.end, pack.length
            )));
        }
        let wanted = range.end - range.start;
        let key = Key::pack(self.id, number, pack.id);
        let bytes = self
            .store
            .blobs
            .get_range(&key, range)
            .map_err(|error| storage_error(&error))?
            .ok_or_else(gone)?;
        let damaged = damaged || length_of(&bytes) != wanted;
        Ok(PackBytes { damaged, bytes, total: pack.length })
    }

    /// The content hash of a pack: from the index, else from its bytes.
    pub(super) fn content_hash(&self, number: PackNumber, pack: &Pack) -> Result<Option<Hash>> {
        let known = self.store.index.pack(self.id, number);
        if let Some(row) = known.filter(|row| row.id == pack.id) {
            return Ok(Some(row.content_hash));
        }
        let content = pack.length - pack.footer_len - PACK_TRAILER;
        let key = Key::pack(self.id, number, pack.id);
        let bytes =
            self.store.blobs.get_range(&key, 0..content).map_err(|error| storage_error(&error))?;
        Ok(bytes.filter(|bytes| length_of(bytes) == content).map(|bytes| Hash::of(&bytes)))
    }
}

/// Checks everything about a pack that can be checked without a key; gives its content hash.
fn check_pack(pack: &PackUpload) -> Result<Hash> {
    let total = length_of(&pack.bytes);
    let footer_len = u64::from(pack.footer_len);
    if !on_ladder(total) {
        return invalid(format!("{total} bytes is no length of a pack"));
    }
    let tail = footer_len + PACK_TRAILER;
    if !footer_size_ok(footer_len) || PACK_HEADER + tail > total {
        return invalid(format!(
            "{footer_len} bytes is no length of a footer in a pack of {total}"
        ));
    }
    if pack.bytes.get(..8) != Some(MAGIC) || pack.bytes.get(8) != Some(&SUITE) {
        return invalid("not a pack of a kind that is known here".to_owned());
    }
    if pack.bytes.last_chunk() != Some(&trailer(pack.footer_len)) {
        return invalid("the trailer contradicts the footer's length".to_owned());
    }
    let split = usize::try_from(total - tail).unwrap_or(usize::MAX);
    let (content, footer) = pack
        .bytes
        .split_at_checked(split)
        .ok_or_else(|| VaultError::Invalid("a pack shorter than its footer".to_owned()))?;
    let content_hash = Hash::of(content);
    if pack_id(content_hash, footer, total, footer_len) != pack.id {
        return invalid("the pack is not the one that its name says".to_owned());
    }
    Ok(content_hash)
}

/// The last 16 bytes of a pack: footer length u32 LE, format version u16 LE, zeros.
fn trailer(footer_len: u32) -> [u8; 16] {
    let mut out = [0; 16];
    out[..4].copy_from_slice(&footer_len.to_le_bytes());
    out[4..6].copy_from_slice(&TRAILER_VERSION.to_le_bytes());
    out
}

pub(super) fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("lengths in memory fit 64 bits")
}

fn invalid<T>(what: String) -> Result<T> {
    Err(VaultError::Invalid(what))
}
