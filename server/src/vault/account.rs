//! One account: what its journal adds up to, in memory.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use roaring::RoaringBitmap;
use tokio::sync::watch;
use unseen_common::codec::Canonical;
use unseen_common::id::{DeviceId, PackId, PackNumber, SnapshotId, VaultId};
use unseen_common::limits::MAX_LOG_PAGE;
use unseen_common::log::chain::Record;
use unseen_common::log::fold::State;
use unseen_common::time::Timestamp;
use unseen_common::vault::{LogPage, VaultError};

use super::alarm::Alarm;
use super::damage::Words;
use super::gc::Looked;
use super::guard::Guard;
use super::references::References;
use super::standing::Standing;
use super::table::PackTable;
use crate::store::journal::{Journal, JournalError, Position};
use crate::store::row::AccountRow;
use crate::store::space::Disk;
use crate::store::{Store, lock};

/// Most bytes of records in one answer; at least one record is always told.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// An account that is open.
#[derive(Debug)]
pub struct Account {
    pub(super) id: VaultId,
    pub(super) store: Store,
    pub(super) clock: Arc<Guard>,
    pub(super) journal: Journal,
    pub(super) disk: Arc<Disk>,
    pub(super) tables: Mutex<Tables>,
    /// Held by whoever extends the log, over check, journal and fold. Poisoned when a writer
    /// panicked in between: then memory may lag behind the journal, and nothing more is written.
    pub(super) log_writer: Mutex<()>,
    /// Held by whoever deletes: one at a time.
    pub(super) collecting: Mutex<Looked>,
    /// Which damaged packs matter.
    pub(super) alarm: Mutex<Alarm>,
    /// Held while a second copy of footers is written or removed.
    pub(super) segments: Mutex<()>,
    pub(super) uploaded: Condvar,
    /// Why nothing may be written, if so: what it has is only in memory.
    pub(super) read_only: Option<String>,
    /// How its damage is told.
    pub(super) words: Words,
    /// Told when the process must end.
    pub(super) failed: watch::Sender<bool>,
}

/// What every decision is made from. Derived from the journal alone.
pub(super) struct Tables {
    pub(super) state: State,
    pub(super) packs: PackTable,
    /// Where the records of the log are in the journal, by number.
    pub(super) records: Vec<Position>,
    /// Which record made a snapshot that is gone.
    pub(super) gone: HashMap<(DeviceId, SnapshotId), u64>,
    pub(super) standing: Standing,
    pub(super) next_number: u32,
    /// Packs that are being stored or looked at right now, with their numbers.
    pub(super) storing: HashMap<PackId, PackNumber>,
    /// Packs whose rows are going right now.
    pub(super) leaving: RoaringBitmap,
    /// Which lists of packs count.
    pub(super) references: References,
    /// Since when the log names the slots that it names.
    pub(super) slots_since: Timestamp,
    /// There may be files that nothing names.
    pub(super) strays: bool,
}

impl Tables {
    /// Which record made a snapshot, also when the snapshot is gone.
    pub(super) fn made(&self, device: DeviceId, id: SnapshotId) -> Option<u64> {
        let live = self.state.snapshots.get(&id).filter(|snapshot| snapshot.device == device);
        live.map(|snapshot| snapshot.seq).or_else(|| self.gone.get(&(device, id)).copied())
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("head", &self.state.head_seq).finish_non_exhaustive()
    }
}

impl Account {
    /// Its id.
    pub const fn id(&self) -> VaultId {
        self.id
    }

    /// Bytes that it may use; no limit with `None`.
    pub fn quota(&self) -> Option<u64> {
        lock(&self.tables).standing.quota
    }

    /// Packs and their bytes.
    pub fn totals(&self) -> (u64, u64) {
        lock(&self.tables).packs.totals()
    }

    /// Memory and disk may differ from here on: the process must end.
    pub(super) fn fail(&self) {
        self.failed.send_replace(true);
    }

    /// Looks at the folded log.
    pub(super) fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&lock(&self.tables).state)
    }

    /// The stamp for what is received now.
    pub(super) fn stamp(&self) -> Timestamp {
        let head = lock(&self.tables).state.head_received;
        self.clock.now().max(head)
    }

    /// The stamp of the next record. By a clock that is in doubt, nothing comes due that waits for
    /// its day in the log.
    pub(super) fn log_stamp(&self) -> Timestamp {
        let (now, sure) = (self.clock.now(), self.clock.sure());
        let tables = lock(&self.tables);
        let pending = tables.state.pending.iter().map(|pending| pending.effective);
        let next = pending.filter(|effective| *effective > sure).min();
        let before = next.map(|effective| Timestamp(effective.0.saturating_sub(1)));
        before.map_or(now, |before| now.min(before)).max(tables.state.head_received)
    }

    /// Refuses to write where the journal is damaged.
    pub fn writable(&self) -> Result<(), VaultError> {
        match &self.read_only {
            Some(why) => Err(self.words.read_only(why)),
            None => Ok(()),
        }
    }

    /// Appends to the journal; durable when it returns.
    pub(super) fn journal_append(&self, rows: &[AccountRow]) -> Result<Position, VaultError> {
        self.writable()?;
        let items: Vec<_> = rows.iter().map(Canonical::to_bytes).collect();
        let mut done = self.journal.append(items.clone());
        while done.as_ref().is_err_and(is_full) && self.disk.spend() {
            done = self.journal.append(items.clone());
        }
        done.map_err(|error| self.journal_error(&error))
    }

    pub(super) fn journal_error(&self, error: &JournalError) -> VaultError {
        if matches!(error, JournalError::Fatal { .. }) {
            self.fail();
        }
        journal_error(error, &self.words)
    }

    /// Records after number `after`.
    pub(super) fn records_after(&self, after: Option<u64>) -> Result<LogPage, VaultError> {
        let first = after.map_or(0, |seq| seq.saturating_add(1));
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let (positions, more) = {
            let tables = lock(&self.tables);
            let all = tables.records.get(first..).unwrap_or_default();
            let page = all.get(..MAX_LOG_PAGE).unwrap_or(all);
            (page.to_vec(), all.len() > page.len())
        };
        let mut page = LogPage { records: Vec::new(), more };
        let mut bytes = 0;
        for position in positions {
            if bytes > MAX_PAGE_BYTES {
                page.more = true;
                break;
            }
            let record = self.record_at(position)?;
            bytes += record.signed.bytes.len();
            page.records.push(record);
        }
        Ok(page)
    }

    /// The record of this number, if there is one.
    pub(super) fn record(&self, seq: u64) -> Result<Option<Record>, VaultError> {
        let place = usize::try_from(seq).unwrap_or(usize::MAX);
        let position = lock(&self.tables).records.get(place).copied();
        position.map(|at| self.record_at(at)).transpose()
    }

    fn record_at(&self, position: Position) -> Result<Record, VaultError> {
        let bytes = self.journal.read(position).map_err(|error| self.journal_error(&error))?;
        match AccountRow::from_bytes(&bytes) {
            Ok(AccountRow::Log(record)) => Ok(record),
            _ => Err(self.words.journal(&"a log record in its journal cannot be read")),
        }
    }

    /// Waits until `ready` gives an answer; looks again whenever an upload has ended.
    pub(super) fn wait_for<T>(&self, mut ready: impl FnMut(&mut Tables) -> Option<T>) -> T {
        let mut tables = lock(&self.tables);
        loop {
            if let Some(answer) = ready(&mut tables) {
                return answer;
            }
            tables = self.uploaded.wait(tables).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Whether there was no room for a record.
pub(super) fn is_full(error: &JournalError) -> bool {
    matches!(error, JournalError::Io { kind, .. } if kind_is_full(*kind))
}

/// Whether an error says that the disk is full.
pub(super) const fn kind_is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What a caller is told of a journal's error.
pub(super) fn journal_error(error: &JournalError, words: &Words) -> VaultError {
    match error {
        JournalError::Io { kind, .. } => io_kind(*kind),
        JournalError::TooLong { .. } => VaultError::Invalid("too long for one record".to_owned()),
        JournalError::Fatal { .. } => {
            VaultError::Server("the journal cannot be written".to_owned())
        }
        JournalError::Damaged { .. } => words.journal(error),
    }
}

/// What a caller is told of a storage error.
pub(super) fn storage_error(error: &io::Error) -> VaultError {
    if kind_is_full(error.kind()) {
        tracing::warn!("the disk is full");
    } else {
        tracing::error!(kind = ?error.kind(), "storage failed");
    }
    io_kind(error.kind())
}

fn io_kind(kind: io::ErrorKind) -> VaultError {
    if kind_is_full(kind) {
        return VaultError::DiskFull;
    }
    VaultError::Server(format!("storage: {kind}"))
}
