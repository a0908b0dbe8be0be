//! How an account stands with whoever runs the server: what it uses and may use, whether it may
//! write, and who looked at it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use unseen_common::id::{PackId, SnapshotId};
use unseen_common::privacy::{Access, Looked, MAX_ACCESS};
use unseen_common::time::Timestamp;
use unseen_common::vault::{Result, VaultError};

use super::account::{Account, Tables};
use crate::store::lock;
use crate::store::row::AccountRow;
use crate::store::space::Promise;

/// Manifests and packsets may go over the quota by this part of it, at least by so many bytes, so
/// that a run that hits the quota can still save what it has sent.
const MARGIN_PART: u64 = 32;
const MARGIN: u64 = 1024 * 1024;
/// Looking again within so many seconds makes no further line in the access record.
const SAME_LOOK: u64 = 60 * 60;

/// Derived from the journal, the reservations aside.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) quota: Option<u64>,
    /// When the quota was set by a command of its own.
    pub(super) quota_set: Option<Timestamp>,
    pub(super) suspended: Option<Timestamp>,
    pub(super) access: VecDeque<Access>,
    /// When the journal was made anew.
    pub(super) rebuilt: Option<Timestamp>,
    /// The account is being erased.
    pub(super) gone: bool,
    metadata: BTreeMap<SnapshotId, u64>,
    metadata_bytes: u64,
    reserved: HashMap<PackId, Reserved>,
}

/// Of one pack, however often it is being sent.
#[derive(Debug, Default)]
struct Reserved {
    uploads: usize,
    bytes: u64,
}

impl Standing {
    /// Takes a row of the journal; those of log and packs are none of its business.
    pub(super) fn take(&mut self, row: &AccountRow) {
        match *row {
            AccountRow::Opened { quota } => self.quota = quota,
            AccountRow::Quota { quota, at } => {
                self.quota = quota;
                self.quota_set = Some(at);
            }
            AccountRow::Suspended { suspended, at } => self.suspended = suspended.then_some(at),
            AccountRow::Access(access) => {
                if self.access.len() >= MAX_ACCESS {
                    self.access.pop_front();
                }
                self.access.push_back(access);
            }
            AccountRow::Metadata { snapshot, bytes } => {
                let before = self.metadata.insert(snapshot, bytes).unwrap_or(0);
                self.metadata_bytes =
                    self.metadata_bytes.saturating_sub(before).saturating_add(bytes);
            }
            AccountRow::Rebuilt(mark) => self.rebuilt = Some(mark.at),
            AccountRow::Dropped { snapshot, compacted: _, whole: true } => {
                let before = self.metadata.remove(&snapshot).unwrap_or(0);
                self.metadata_bytes = self.metadata_bytes.saturating_sub(before);
            }
            _ => {}
        }
    }

    /// Snapshots whose manifests and packsets are stored, and their bytes.
    pub(super) fn metadata(&self) -> (u64, u64) {
        (u64::try_from(self.metadata.len()).unwrap_or(u64::MAX), self.metadata_bytes)
    }

    fn reserved(&self) -> u64 {
        self.reserved.values().fold(0, |sum, one| sum.saturating_add(one.bytes))
    }

    fn release(&mut self, id: &PackId) {
        if let Some(one) = self.reserved.get_mut(id) {
            one.uploads = one.uploads.saturating_sub(1);
            if one.uploads == 0 {
                self.reserved.remove(id);
            }
        }
    }

    /// Refuses what changes the vault while it is suspended or being erased.
    pub(super) fn may_write(&self) -> Result<()> {
        if self.gone {
            return Err(VaultError::Unauthorized);
        }
        match self.suspended {
            Some(_) => Err(VaultError::Suspended(
                "nothing new is taken; what is there can be read and restored".to_owned(),
            )),
            None => Ok(()),
        }
    }

    /// Whether this look makes a line of its own.
    fn is_news(&self, access: Access) -> bool {
        let repeats = matches!(access.what, Looked::List | Looked::Show | Looked::Scrub);
        let last = self.access.iter().rev().find(|line| line.what == access.what);
        !repeats || last.is_none_or(|line| access.at.0.abs_diff(line.at.0) >= SAME_LOOK)
    }
}

impl Tables {
    /// Bytes that count against the quota.
    pub(super) fn used(&self) -> u64 {
        self.packs.totals().1.saturating_add(self.standing.metadata_bytes)
    }

    /// Refuses a commit whose manifest and packset do not fit.
    pub(super) fn room_for_metadata(&self, bytes: u64) -> Result<()> {
        let Some(quota) = self.standing.quota else {
            return Ok(());
        };
        let most = quota.saturating_add(MARGIN.max(quota / MARGIN_PART));
        let used = self.used();
        if used.saturating_add(bytes) > most {
            return Err(over(used, quota, bytes));
        }
        Ok(())
    }
}

/// A share of the quota and of the disk, for a pack that is on its way. Dropping it gives the
/// share back.
#[derive(Debug)]
pub struct Reservation {
    account: Arc<Account>,
    id: PackId,
    bytes: u64,
    /// The pack is stored, and counts by itself.
    settled: bool,
    _disk: Promise,
}

impl Reservation {
    /// Whether it was made for this pack.
    pub(super) fn covers(&self, id: &PackId, bytes: u64) -> bool {
        self.id == *id && self.bytes >= bytes
    }

    /// The pack is stored from now on; under the same lock that made it so.
    pub(super) fn settle(&mut self, tables: &mut Tables) {
        if !self.settled {
            tables.standing.release(&self.id);
            self.settled = true;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            lock(&self.account.tables).standing.release(&self.id);
        }
    }
}

impl Account {
    /// Reserves what a pack needs; nothing for one that is there. Of two uploads of one pack the
    /// second needs nothing more.
    pub(super) fn reserve(self: &Arc<Self>, id: PackId, bytes: u64) -> Result<Option<Reservation>> {
        let mut tables = lock(&self.tables);
        tables.standing.may_write()?;
        if tables.packs.find(&id).is_some() {
            return Ok(None);
        }
        let has = tables.standing.reserved.get(&id).map_or(0, |one| one.bytes);
        let more = bytes.saturating_sub(has);
        let used = tables.used().saturating_add(tables.standing.reserved());
        if let Some(quota) = tables.standing.quota
            && used.saturating_add(more) > quota
        {
            return Err(over(used, quota, bytes));
        }
        let disk = self.disk.promise(bytes).map_err(|_full| VaultError::DiskFull)?;
        let one = tables.standing.reserved.entry(id).or_default();
        one.uploads += 1;
        one.bytes = one.bytes.max(bytes);
        let account = Arc::clone(self);
        Ok(Some(Reservation { account, id, bytes, settled: false, _disk: disk }))
    }

    /// Notes that whoever runs the server looks for damage; refuses a damaged journal.
    pub fn note_scrub(&self) -> Result<()> {
        self.writable()?;
        self.note_if_room(Looked::Scrub)
    }

    /// Notes a look that keeps what is stored safe: it is not to fail for want of room.
    pub(super) fn note_if_room(&self, what: Looked) -> Result<()> {
        match self.note(what, None) {
            Err(VaultError::DiskFull) => {
                tracing::warn!(
                    account = self.id.short(),
                    "no room for a line of the access record"
                );
                Ok(())
            }
            noted => noted,
        }
    }

    /// Journals rows of whoever runs the server and takes them over. The access record has its
    /// line before anything is shown.
    pub(super) fn note(&self, what: Looked, row: Option<AccountRow>) -> Result<()> {
        let _writer = self.writer()?;
        let access = Access { what, at: self.clock.now() };
        let mut rows: Vec<AccountRow> = row.into_iter().collect();
        if lock(&self.tables).standing.is_news(access) {
            rows.push(AccountRow::Access(access));
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.journal_append(&rows)?;
        let mut tables = lock(&self.tables);
        for row in &rows {
            tables.standing.take(row);
        }
        Ok(())
    }
}

fn over(used: u64, quota: u64, more: u64) -> VaultError {
    VaultError::Quota(format!(
        "{} of {} are in use, and {} more do not fit",
        amount(used),
        amount(quota),
        amount(more)
    ))
}

/// Bytes as people read them, such as `3.9 MiB`: rounded down, so that what is full looks full.
pub fn amount(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scale: u64 = 1024;
    if bytes < scale {
        return format!("{bytes} B");
    }
    let mut unit = "KiB";
    for next in units.into_iter().skip(1) {
        if bytes / scale < 1024 {
            break;
        }
        scale = scale.saturating_mul(1024);
        unit = next;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(scale);
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        tenth => format!("{}.{tenth} {unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (4_000_000, "3.8 MiB"),
            (4 << 20, "4 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(amount(bytes), text);
        }
    }

    #[test]
    fn the_access_record_is_bounded_and_looks_count_once_an_hour() {
        let mut standing = Standing::default();
        let line = |what, at| Access { what, at: Timestamp(at) };
        standing.take(&AccountRow::Access(line(Looked::List, 10_000)));
        assert!(!standing.is_news(line(Looked::List, 10_000 + SAME_LOOK - 1)));
        assert!(standing.is_news(line(Looked::List, 10_000 + SAME_LOOK)));
        assert!(standing.is_news(line(Looked::Show, 10_000)));
        standing.take(&AccountRow::Access(line(Looked::Quota, 10_000)));
        assert!(standing.is_news(line(Looked::Quota, 10_000)), "a change is always told");
        for at in 0..2000 {
            standing.take(&AccountRow::Access(line(Looked::Show, at)));
        }
        assert_eq!(standing.access.len(), MAX_ACCESS);
        assert_eq!(standing.access.back().unwrap().at, Timestamp(1999));
    }
}
