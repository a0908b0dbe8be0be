//! Serving the tables of contents of packs, and keeping the second copy of them.
//!
//! A pack ends with its footer. Once all numbers of a range are given, the footers of its packs
//! are also written to one blob, a segment: many of them are listed with one read, and either copy
//! repairs the other.

use std::collections::HashMap;

use unseen_common::id::{DeviceId, PackNumber};
use unseen_common::limits::{PACK_HEADER, PACK_TRAILER};
use unseen_common::vault::{FooterItem, FooterPage, Result};

use super::account::{Account, storage_error};
use super::packs::length_of;
use super::table::Pack;
use crate::store::key::Key;
use crate::store::lock;
use crate::store::segment::{self, Segment};

/// Most footers in one answer.
const MAX_ITEMS: usize = 1000;
/// Most bytes in one answer; at least one footer is always told.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Footers of one range that are read from the packs themselves; more from the segment.
const FEW: usize = 3;

/// Items by number.
pub(super) type Items = HashMap<PackNumber, FooterItem>;

impl Account {
    /// Footers of packs above `after` that one of `devices` wrote; of all with `None`. Damaged
    /// packs are among them; one whose footer is nowhere to be had is left out.
    pub(super) fn footers(
        &self,
        devices: Option<&[DeviceId]>,
        after: Option<PackNumber>,
    ) -> Result<FooterPage> {
        let mut packs = lock(&self.tables).packs.after(after, devices, MAX_ITEMS + 1);
        let mut page = FooterPage { items: Vec::new(), more: packs.len() > MAX_ITEMS };
        packs.truncate(MAX_ITEMS);
        let mut bytes = 0;
        for range in packs.chunk_by(|a, b| segment::first_of(a.0) == segment::first_of(b.0)) {
            let mut copies = self.copies_for(range)?;
            for (number, pack) in range {
                bytes += pack.footer_len + PACK_HEADER;
                if bytes > MAX_BYTES && !page.items.is_empty() {
                    page.more = true;
                    return Ok(page);
                }
                let copy = copies.remove(number).filter(|item| item.id == pack.id);
                match copy.map_or_else(|| self.footer(*number, pack), |item| Ok(Some(item)))? {
                    Some(item) => page.items.push(item),
                    None => {
                        tracing::warn!(%number, "a pack is damaged or gone; its footer is left out");
                    }
                }
            }
        }
        Ok(page)
    }

    /// The second copies of a range, if they are worth a read.
    fn copies_for(&self, range: &[(PackNumber, Pack)]) -> Result<Items> {
        let damaged = |n: &PackNumber| lock(&self.tables).packs.is_damaged(*n);
        match range.first() {
            Some((number, _))
                if range.len() > FEW || range.iter().any(|(number, _)| damaged(number)) =>
            {
                Ok(self.segment(segment::first_of(*number))?.0)
            }
            _ => Ok(Items::new()),
        }
    }

    /// The second copies of the footers of a range, those that are good, and whether all are.
    pub(super) fn segment(&self, first: PackNumber) -> Result<(Items, bool)> {
        let key = Key::footers(self.id, first);
        let blob = self.store.blobs.get(&key).map_err(|error| storage_error(&error))?;
        let Some(blob) = blob else {
            return Ok((Items::new(), false));
        };
        let (items, whole) = segment::decode(self.id, first, blob);
        Ok((items.into_iter().map(|item| (item.number, item)).collect(), whole))
    }

    /// Whether no number of a range can get a pack any more.
    pub(super) fn is_closed(&self, first: PackNumber) -> bool {
        let tables = lock(&self.tables);
        tables.next_number > segment::last_of(first).0
            && !tables.storing.values().any(|number| segment::first_of(*number) == first)
    }

    /// Writes the second copy of the footers of a range, if this pack was the last to come. When
    /// that fails, the next scrub does it.
    pub(super) fn close_segment(&self, number: PackNumber) {
        let first = segment::first_of(number);
        if !self.is_closed(first) {
            return;
        }
        let packs = self.packs_in(first);
        let all: u64 = packs.iter().map(|(_, pack)| pack.footer_len).sum();
        if usize::try_from(all).is_ok_and(|all| all > segment::MAX_SEGMENT) {
            return;
        }
        let mut made = Segment::new(self.id, first);
        for (number, pack) in packs {
            // Of one that went already, or is damaged already, there is nothing to keep.
            if let Ok(Some(item)) = self.footer(number, &pack) {
                made.push(&item);
            }
        }
        if let Err(error) = self.write_segment(first, made) {
            tracing::warn!(%error, "second copy of footers; the next scrub makes it");
        }
    }

    /// The packs of a range, ascending.
    pub(super) fn packs_in(&self, first: PackNumber) -> Vec<(PackNumber, Pack)> {
        let last = segment::last_of(first);
        let most = usize::try_from(last.0 - first.0 + 1).unwrap_or(0);
        let after = first.0.checked_sub(1).map(PackNumber);
        let mut packs = lock(&self.tables).packs.after(after, None, most);
        packs.retain(|(number, _)| *number <= last);
        packs
    }

    /// Removes the segment of a range that is closed and has no pack any more; whether it did.
    pub(super) fn drop_segment(&self, first: PackNumber) -> Result<bool> {
        let _held = lock(&self.segments);
        if !self.is_closed(first) || !self.packs_in(first).is_empty() {
            return Ok(false);
        }
        let deleted = self.store.blobs.delete(&Key::footers(self.id, first));
        deleted.map(|()| true).map_err(|error| storage_error(&error))
    }

    /// Writes a segment, unless it would be too long, or nothing is left for it.
    pub(super) fn write_segment(&self, first: PackNumber, made: Segment) -> Result<()> {
        let _held = lock(&self.segments);
        let gone = lock(&self.tables).standing.gone;
        if gone || self.packs_in(first).is_empty() {
            return Ok(());
        }
        match made.finish() {
            Some(bytes) => {
                let key = Key::footers(self.id, first);
                self.store.blobs.put(&key, &[&bytes]).map_err(|error| storage_error(&error))
            }
            None => Ok(()),
        }
    }

    /// What the pack itself says; nothing if it is not there or not as long as it should be.
    pub(super) fn footer(&self, number: PackNumber, pack: &Pack) -> Result<Option<FooterItem>> {
        let key = Key::pack(self.id, number, pack.id);
        let read = |range: std::ops::Range<u64>| {
            let wanted = range.end - range.start;
            let bytes = self.store.blobs.get_range(&key, range);
            bytes
                .map(|found| found.filter(|bytes| length_of(bytes) == wanted))
                .map_err(|error| storage_error(&error))
        };
        let tail = pack.length - pack.footer_len - PACK_TRAILER;
        let (Some(header), Some(footer), Some(content_hash)) =
            (read(0..PACK_HEADER)?, read(tail..pack.length)?, self.content_hash(number, pack)?)
        else {
            return Ok(None);
        };
        Ok(Some(FooterItem {
            number,
            id: pack.id,
            content_hash,
            length: pack.length,
            header,
            footer,
        }))
    }
}
