//! Serving the tables of contents of packs.

use unseen_common::id::{DeviceId, PackNumber};
use unseen_common::limits::{PACK_HEADER, PACK_TRAILER};
use unseen_common::vault::{FooterItem, FooterPage, Result};

use super::account::{Account, storage_error};
use super::packs::length_of;
use super::table::Pack;
use crate::store::key::Key;
use crate::store::lock;

/// Most footers in one answer.
const MAX_ITEMS: usize = 1000;
/// Most bytes in one answer; at least one footer is always told.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

impl Account {
    /// Footers of packs above `after` that one of `devices` wrote; of all with `None`. A pack
    /// whose bytes are gone is left out: it shows by being listed as live.
    pub(super) fn footers(
        &self,
        devices: Option<&[DeviceId]>,
        after: Option<PackNumber>,
    ) -> Result<FooterPage> {
        let mut packs = lock(&self.tables).packs.after(after, devices, MAX_ITEMS + 1);
        let mut page = FooterPage { items: Vec::new(), more: packs.len() > MAX_ITEMS };
        packs.truncate(MAX_ITEMS);
        let mut bytes = 0;
        for (number, pack) in packs {
            bytes += pack.footer_len + PACK_HEADER;
            if bytes > MAX_BYTES && !page.items.is_empty() {
                page.more = true;
                break;
            }
            match self.footer(number, &pack)? {
                Some(item) => page.items.push(item),
                None => {
                    tracing::warn!(%number, "a pack is damaged or gone; its footer is left out");
                }
            }
        }
        Ok(page)
    }

    fn footer(&self, number: PackNumber, pack: &Pack) -> Result<Option<FooterItem>> {
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
