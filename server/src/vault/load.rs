//! Opening an account: its journal is read once, from the start.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;

use roaring::RoaringBitmap;
use tokio::sync::watch;
use unseen_common::codec::{Canonical, DecodeError};
use unseen_common::id::{DeviceId, PackNumber, SnapshotId, VaultId};
use unseen_common::log::chain::Record;
use unseen_common::log::entry::{Body, Entry};
use unseen_common::log::fold::{FoldError, Known, State};
use unseen_common::time::Timestamp;
use unseen_common::vault::VaultError;

use super::account::{Account, Tables, is_full, kind_is_full};
use super::damage::Words;
use super::guard::Guard;
use super::references::{self, References};
use super::standing::Standing;
use super::table::{PackTable, TableError};
use crate::store::frame::Owner;
use crate::store::index::{Index, Progress};
use crate::store::journal::{Journal, JournalError, Past, Position};
use crate::store::key::{self, Key};
use crate::store::row::{AccountRow, PackRow};
use crate::store::space::Disk;
use crate::store::{Store, lock};

/// Why an account cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The journal cannot be read, or is damaged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A record of it cannot be read.
    #[error("a record of the journal cannot be read")]
    Row(#[from] DecodeError),
    /// The log in it does not hold together.
    #[error("the log in the journal does not hold together")]
    Fold(#[from] FoldError),
    /// The packs in it contradict each other.
    #[error("the packs in the journal contradict each other")]
    Table(#[from] TableError),
    /// It has no log.
    #[error("the journal has no log")]
    Empty,
    /// A log record was acknowledged that the journal has not.
    #[error("the journal ends at log record {head}, but record {copy} was acknowledged")]
    Behind {
        /// The newest in the journal.
        head: u64,
        /// The newest among the copies.
        copy: u64,
    },
    /// The blobs cannot be read.
    #[error("the blobs cannot be read")]
    Blobs(#[from] io::Error),
}

impl LoadError {
    /// Whether the journal is not what it was, rather than out of reach.
    pub fn is_damage(&self) -> bool {
        !matches!(
            self,
            Self::Blobs(_) | Self::Journal(JournalError::Io { .. } | JournalError::Fatal { .. })
        )
    }

    /// Whether there was no room for it.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Blobs(error) => kind_is_full(error.kind()),
            Self::Journal(error) => is_full(error),
            _ => false,
        }
    }

    /// What a caller is told: damage in words.
    pub(super) fn tell(&self, words: &Words) -> VaultError {
        match self {
            Self::Journal(error) => super::account::journal_error(error, words),
            Self::Blobs(error) => super::account::storage_error(error),
            other => words.journal(other),
        }
    }
}

/// What an account shares with the rest of the server.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) disk: Arc<Disk>,
    pub(super) clock: Arc<Guard>,
    pub(super) failed: watch::Sender<bool>,
    pub(super) words: Words,
}

/// Rows that go to the index at once.
const INDEX_BATCH: usize = 1000;
/// Rows that are kept for the index while the journal is read; more are read again.
const MANY: usize = 10_000;
/// Bytes of journal that the index may lack and an account still waits for it.
const MUCH: u64 = 4 * 1024 * 1024;

struct Replay<'s> {
    account: VaultId,
    shared: &'s Shared,
    /// What an earlier start has checked.
    known: Option<Known>,
    state: Option<State>,
    packs: PackTable,
    records: Vec<Position>,
    gone: HashMap<(DeviceId, SnapshotId), u64>,
    standing: Standing,
    references: References,
    slots_since: Timestamp,
    index_from: u64,
    unindexed: Vec<PackRow>,
    /// There were more of them than are kept.
    overflowed: bool,
    /// Packs that are gone, and that the index may still have.
    index_gone: RoaringBitmap,
}

/// Opens an account; `None` if there is none of this id.
///
/// What the index says was checked before is not checked again, if the chain leads to it: that
/// tells records that were damaged, left out or exchanged. If it does not, the index is wrong or the
/// log is, and everything is checked.
pub(super) fn load(shared: &Shared, id: VaultId) -> Result<Option<Account>, LoadError> {
    let index = &shared.store.index;
    let known = index.checked(id);
    let opened = match load_after(shared, id, known) {
        Err(LoadError::Fold(error)) if known.is_some() => {
            tracing::warn!(account = id.short(), %error, "the whole log is checked again");
            index.note_checked(id, None);
            load_after(shared, id, None)
        }
        opened => opened,
    }?;
    if let Some(account) = &opened {
        let checked = account.with_state(|s| Known { seq: s.head_seq, head: s.head });
        if known != Some(checked) {
            index.note_checked(id, Some(&checked));
        }
    }
    Ok(opened)
}

fn load_after(
    shared: &Shared,
    id: VaultId,
    known: Option<Known>,
) -> Result<Option<Account>, LoadError> {
    let progress = shared.store.index.progress(id);
    let mut replay = Replay {
        account: id,
        shared,
        known,
        state: None,
        packs: PackTable::default(),
        records: Vec::new(),
        gone: HashMap::new(),
        standing: Standing::default(),
        references: References::default(),
        slots_since: Timestamp(0),
        index_from: progress.map_or(0, |p| p.read),
        unindexed: Vec::new(),
        overflowed: false,
        index_gone: RoaringBitmap::new(),
    };
    let opened = Journal::open(&*shared.store.journals, Owner::Account(id), |at, bytes| {
        replay.visit(at, bytes)
    })?;
    let Some(journal) = opened else {
        return Ok(None);
    };
    let head = replay.state.as_ref().ok_or(LoadError::Empty)?.head_seq;
    if let Some(known) = known.filter(|known| head < known.seq) {
        return Err(FoldError::OtherHistory(known.seq).into());
    }
    replay.catch_up(&journal, progress);
    let Some(state) = replay.state else {
        return Err(LoadError::Empty);
    };
    let next_number = next_number(&shared.store, id, replay.packs.next())?;
    let tables = Tables {
        state,
        packs: replay.packs,
        records: replay.records,
        gone: replay.gone,
        standing: replay.standing,
        next_number,
        storing: HashMap::new(),
        leaving: RoaringBitmap::new(),
        references: replay.references,
        slots_since: replay.slots_since,
        strays: true,
    };
    let account = Account {
        id,
        store: shared.store.clone(),
        clock: Arc::clone(&shared.clock),
        journal,
        disk: Arc::clone(&shared.disk),
        tables: Mutex::new(tables),
        log_writer: Mutex::new(()),
        collecting: Mutex::default(),
        alarm: Mutex::default(),
        segments: Mutex::default(),
        uploaded: Condvar::new(),
        read_only: None,
        words: shared.words.clone(),
        failed: shared.failed.clone(),
    };
    account.restore_log_copies()?;
    Ok(Some(account))
}

impl Replay<'_> {
    fn visit(&mut self, at: Position, bytes: &[u8]) -> Result<(), LoadError> {
        let row = AccountRow::from_bytes(bytes)?;
        self.standing.take(&row);
        self.references.take(&row);
        match row {
            AccountRow::Log(record) => {
                let entry = self.fold(&record)?;
                if let Some(state) = &self.state {
                    remember_gone(&mut self.gone, &entry, state);
                }
                if names_slots(&entry) {
                    self.slots_since = record.received;
                }
                self.records.push(at);
            }
            AccountRow::Pack(row) => {
                self.packs.insert(&row)?;
                if at.frame >= self.index_from {
                    self.overflowed |= self.unindexed.len() >= MANY;
                    if !self.overflowed {
                        self.unindexed.push(row);
                    }
                }
            }
            AccountRow::Touched { number, at: stamp } => self.packs.touch(number, stamp),
            AccountRow::Removed { packs, .. } => {
                self.packs.remove(&packs);
                if at.frame >= self.index_from {
                    self.unindexed.retain(|row| !packs.0.contains(row.number.0));
                    self.index_gone |= packs.0;
                }
            }
            AccountRow::Damaged(mark) => self.packs.mark(mark.number, true),
            AccountRow::Healed(mark) => self.packs.mark(mark.number, false),
            AccountRow::Rebuilt(mark) => self.packs.skip_to(mark.number),
            // Standing and references took them.
            AccountRow::Opened { .. }
            | AccountRow::Quota { .. }
            | AccountRow::Suspended { .. }
            | AccountRow::Access(_)
            | AccountRow::Metadata { .. }
            | AccountRow::Packset { .. }
            | AccountRow::Dropped { .. } => {}
        }
        Ok(())
    }

    fn fold(&mut self, record: &Record) -> Result<Entry, LoadError> {
        if let Some(state) = &mut self.state {
            let known = self.known.as_ref();
            return Ok(references::fold(state, &mut self.references, record, known)?);
        }
        self.state = Some(State::begin(record)?);
        Ok(record.signed.entry()?)
    }

    /// Brings the index to the end of the journal: at once if little is missing, else beside what
    /// the account does. One that was made from another file, or knows more than the journal, is
    /// made anew.
    fn catch_up(&mut self, journal: &Journal, known: Option<Progress>) {
        let (read, salt) = journal.extent();
        let progress = Progress { read, salt };
        if known == Some(progress) {
            return;
        }
        let index = &self.shared.store.index;
        let stale = known.is_some_and(|known| known.salt != salt || known.read > read);
        if !stale && !self.overflowed {
            index.remove(self.account, self.index_gone.iter().map(PackNumber));
            index.add(self.account, &self.unindexed, Some(progress));
            return;
        }
        let from = if stale { 0 } else { self.index_from };
        let filling = Filling {
            index: Arc::downgrade(index),
            account: self.account,
            past: journal.past(),
            from,
            progress,
            stale,
        };
        let much = read.saturating_sub(from) > MUCH;
        self.unindexed = Vec::new();
        if much {
            filling.start();
        } else {
            filling.run();
        }
    }
}

/// The index that catches up with a journal.
struct Filling {
    /// Whoever closes the store need not wait for this.
    index: Weak<Index>,
    account: VaultId,
    past: Past,
    from: u64,
    progress: Progress,
    stale: bool,
}

impl Filling {
    fn start(self) {
        let started = thread::Builder::new().name("index".to_owned()).spawn(move || self.run());
        if let Err(error) = started {
            tracing::warn!(kind = ?error.kind(), "the index is filled at the next start");
        }
    }

    fn run(&self) {
        if self.stale
            && let Some(index) = self.index.upgrade()
        {
            index.forget(self.account);
        }
        let mut rows = Vec::new();
        let mut closed = false;
        let visited = self.past.visit(self.from, |bytes| {
            match AccountRow::from_bytes(bytes) {
                Ok(AccountRow::Pack(row)) => {
                    rows.push(row);
                    if rows.len() >= INDEX_BATCH {
                        closed = !self.add(&rows, None);
                        rows.clear();
                    }
                }
                Ok(AccountRow::Removed { packs, .. }) => {
                    rows.retain(|row| !packs.0.contains(row.number.0));
                    if let Some(index) = self.index.upgrade() {
                        index.remove(self.account, packs.numbers());
                    }
                }
                _ => {}
            }
            !closed
        });
        match visited {
            Ok(()) if !closed => {
                self.add(&rows, Some(self.progress));
            }
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the index is filled at the next start"),
        }
    }

    /// Adds rows, unless the store was closed.
    fn add(&self, rows: &[PackRow], progress: Option<Progress>) -> bool {
        let index = self.index.upgrade();
        index.is_some_and(|index| {
            index.add(self.account, rows, progress);
            true
        })
    }
}

/// Notes which records made the snapshots that an entry took; `state` is the one after it.
pub(super) fn remember_gone(
    made: &mut HashMap<(DeviceId, SnapshotId), u64>,
    entry: &Entry,
    state: &State,
) {
    if let Body::Forget(ids) | Body::Expire(ids) = &entry.body {
        let gone = ids.iter().filter_map(|id| Some((id, &state.gone.get(&id)?.snapshot)));
        made.extend(gone.map(|(id, snapshot)| ((snapshot.device, id), snapshot.seq)));
    }
}

/// Whether an entry says which slots are valid from then on.
pub(super) const fn names_slots(entry: &Entry) -> bool {
    matches!(entry.body, Body::Genesis(_) | Body::Slots(_))
}

/// The lowest number that no blob has either, so that the number of an upload that was cut off is
/// not given again.
fn next_number(store: &Store, id: VaultId, mut next: u32) -> Result<u32, LoadError> {
    let mut look = PackNumber(next);
    loop {
        let names = store.blobs.list(&key::pack_shard(id, look))?;
        let highest = names.iter().filter_map(|n| key::pack_number_of(n)).max();
        let Some(highest) = highest else {
            return Ok(next);
        };
        next = next.max(highest.0.saturating_add(1));
        let shard = key::next_shard(look);
        if shard <= look {
            return Ok(next);
        }
        look = shard;
    }
}

impl Account {
    /// Writes the copies of log records that are missing among the blobs.
    fn restore_log_copies(&self) -> Result<(), LoadError> {
        let names = self.store.blobs.list(&key::log_folder(self.id))?;
        let there: HashSet<u64> =
            names.iter().filter_map(|name| u64::from_str_radix(name, 16).ok()).collect();
        let head = lock(&self.tables).state.head_seq;
        if let Some(copy) = there.iter().copied().max().filter(|copy| *copy > head) {
            return Err(LoadError::Behind { head, copy });
        }
        for seq in (0..=head).filter(|seq| !there.contains(seq)) {
            let record = self.record(seq).map_err(|_told| LoadError::Empty)?;
            let record = record.ok_or(LoadError::Empty)?;
            let key = Key::log(self.id, seq);
            match self.store.blobs.put(&key, &[&record.to_bytes()]) {
                Err(error) if kind_is_full(error.kind()) => {
                    tracing::warn!("the disk is full: a copy of a log record is made later");
                    return Ok(());
                }
                done => done?,
            }
        }
        Ok(())
    }
}
