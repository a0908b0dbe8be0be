//! Making the journal of an account anew from its blobs.
//!
//! The log is taken from its copies, record by record, and every record must follow from the one
//! before. Packs are what lies in the pack folders under a name that fits. Whole frames of a
//! damaged journal fill holes. Nothing is deleted: the old journal is kept aside, and blobs that
//! make no sense stay where they are. Every pack counts as received now, so no grace has run out.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use roaring::RoaringBitmap;
use tokio::sync::watch;
use unseen_common::codec::Canonical;
use unseen_common::id::{DeviceId, Hash, PackId, PackNumber, SnapshotId, VaultId};
use unseen_common::limits::{PACK_HEADER, PACK_TRAILER, footer_size_ok, on_ladder};
use unseen_common::log::chain::Record;
use unseen_common::log::fold::State;
use unseen_common::packset::PackSet;
use unseen_common::time::Timestamp;
use unseen_common::vault::FooterItem;

use super::account::Account;
use super::core::{OpenError, Options, lock_folder};
use super::format;
use super::ledger::Ledger;
use super::load::{self, LoadError, Shared};
use super::scrub::{is_of, whole};
use super::table::Pack;
use crate::store::frame::Owner;
use crate::store::index::Index;
use crate::store::journal::{Journal, JournalError};
use crate::store::key::{self, Key};
use crate::store::memory::MemJournals;
use crate::store::row::{AccountRow, PackMark, PackRow};
use crate::store::{Store, segment};

/// Numbers that are left out behind the highest that was seen.
const SKIPPED: u32 = 1 << 16;

/// Why an account is not rebuilt. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no genesis record.
    #[error("its first log record is nowhere to be found")]
    NoLog,
    /// A record is missing, and later ones are there.
    #[error("log record {missing} is damaged or missing, and record {beyond} is there")]
    Gap {
        /// The first that is missing.
        missing: u64,
        /// The newest that is there.
        beyond: u64,
    },
    /// The log is that of another account.
    #[error("its log is that of account {0}")]
    Foreign(VaultId),
    /// Two packs of one number.
    #[error("two packs have the number {0}")]
    TwoPacks(PackNumber),
    /// The blobs cannot be read.
    #[error("the blobs cannot be read")]
    Blobs(#[from] io::Error),
    /// The new journal cannot be written.
    #[error("the journal cannot be written")]
    Journal(#[from] JournalError),
    /// What was written cannot be opened.
    #[error("the new journal cannot be opened")]
    Load(#[from] LoadError),
}

/// What was rebuilt of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Log records.
    pub records: u64,
    /// Packs.
    pub packs: u64,
    /// Those of them that are damaged.
    pub damaged: u64,
    /// Packs that snapshots need and that are not there.
    pub missing: u64,
    /// Files among the packs that make no sense; they stay where they are.
    pub strange: u64,
    /// Whether the server's identity key is the one that the account was made with.
    pub same_identity: bool,
}

/// What became of an account.
#[derive(Debug)]
pub enum Fate {
    /// Its journal can be read: left as it is.
    Whole,
    /// Its journal was made anew.
    Rebuilt(Rebuilt),
    /// Nothing was changed.
    Refused(RebuildError),
}

/// What a new journal is to say.
struct Plan {
    items: Vec<Vec<u8>>,
    rebuilt: Rebuilt,
}

/// What the whole frames of a journal say.
#[derive(Default)]
struct Salvage {
    quota: Option<u64>,
    /// What the operator did, oldest first.
    standing: Vec<AccountRow>,
    records: BTreeMap<u64, Record>,
    packs: HashMap<(PackNumber, PackId), PackRow>,
    damaged: RoaringBitmap,
    next: u32,
}

/// Rebuilds the journals of a data folder that cannot be read or are not there; of one account, or
/// of all. Whole ones are left as they are. Blocks.
pub fn rebuild(
    dir: &Path,
    only: Option<VaultId>,
    options: &Options,
) -> Result<Vec<(VaultId, Fate)>, OpenError> {
    let wrap = |source| OpenError::Io { folder: dir.to_owned(), source };
    let _lock = lock_folder(dir)?;
    format::check(dir)?;
    let identity = super::core::identity(&dir.join("identity.key"))?;
    let store = Store::folder(dir).map_err(wrap)?;
    let rebuilder = Rebuilder::new(store, options, identity.verifying_key());
    let ledger = rebuilder.server()?;
    let mut fates = Vec::new();
    for id in rebuilder.accounts().map_err(wrap)? {
        // Of one that is being erased, the rest goes when the server runs.
        if only.is_none_or(|only| only == id) && !ledger.is_erased(id) {
            fates.push((id, rebuilder.account(id)));
        }
    }
    Ok(fates)
}

/// Rebuilds, on a store that nobody else has open.
#[derive(Debug)]
pub(super) struct Rebuilder {
    shared: Shared,
    identity: VerifyingKey,
}

impl Rebuilder {
    pub(super) fn new(store: Store, options: &Options, identity: VerifyingKey) -> Self {
        let clock = Arc::clone(&options.clock);
        let (disk, failed) = (Arc::default(), watch::channel(false).0);
        Self { shared: Shared { store, disk, clock, failed }, identity }
    }

    /// The accounts that have blobs or a journal.
    fn accounts(&self) -> io::Result<Vec<VaultId>> {
        let store = &self.shared.store;
        let mut names = store.blobs.list("accounts")?;
        names.extend(store.journals.list()?);
        let mut ids: Vec<VaultId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// A server's journal that cannot be read begins anew: invites and receipts are nowhere else.
    pub(super) fn server(&self) -> Result<Ledger, OpenError> {
        let journals = &*self.shared.store.journals;
        match Ledger::open(journals) {
            Err(error) if error.is_damage() => {
                let name = Owner::Server.file_name();
                let wrap =
                    |kind| OpenError::Journal(JournalError::Io { name: name.clone(), kind }.into());
                journals.keep_aside(&name).map_err(|error| wrap(error.kind()))?;
                Journal::create(journals, Owner::Server, &[])
                    .map_err(|error| OpenError::Journal(error.into()))?;
                Ledger::open(journals).map_err(OpenError::Journal)
            }
            opened => opened.map_err(OpenError::Journal),
        }
    }

    /// Rebuilds an account, unless its journal can be read.
    pub(super) fn account(&self, id: VaultId) -> Fate {
        match load::load(&self.shared, id) {
            Ok(Some(_)) => return Fate::Whole,
            Err(error) if !error.is_damage() => return Fate::Refused(error.into()),
            Ok(None) | Err(_) => {}
        }
        match self.replace(id) {
            Ok(rebuilt) => Fate::Rebuilt(rebuilt),
            Err(error) => Fate::Refused(error),
        }
    }

    fn replace(&self, id: VaultId) -> Result<Rebuilt, RebuildError> {
        let store = &self.shared.store;
        let (plan, state) = Planner::new(store, id, self.shared.clock.now())?.plan(true)?;
        let same_identity = state.server_identity == self.identity.to_bytes();
        store.journals.keep_aside(&Owner::Account(id).file_name())?;
        Journal::create(&*store.journals, Owner::Account(id), &plan.items)?;
        store.index.forget(id);
        load::load(&self.shared, id)?;
        Ok(Rebuilt { same_identity, ..plan.rebuilt })
    }
}

/// An account whose journal is damaged, as its blobs have it: to be read, not written.
pub(super) fn read_only(shared: &Shared, id: VaultId, why: &LoadError) -> Option<Account> {
    if !why.is_damage() {
        return None;
    }
    let journals = MemJournals::default();
    let now = shared.clock.now();
    let planned = Planner::new(&shared.store, id, now).and_then(|planner| planner.plan(false));
    let (plan, _) = planned
        .inspect_err(|error| {
            tracing::error!(account = id.short(), %error, "it cannot be read from its blobs either");
        })
        .ok()?;
    Journal::create(&journals, Owner::Account(id), &plan.items).ok()?;
    let store = Store {
        blobs: Arc::clone(&shared.store.blobs),
        journals: Arc::new(journals),
        index: Arc::new(Index::none()),
    };
    let mut account = load::load(&Shared { store, ..shared.clone() }, id).ok()??;
    account.read_only = Some(why.to_string());
    tracing::warn!(account = id.short(), "the account can be read, not written: run `rebuild`");
    Some(account)
}

struct Planner<'s> {
    store: &'s Store,
    id: VaultId,
    now: Timestamp,
    salvage: Salvage,
}

impl<'s> Planner<'s> {
    fn new(store: &'s Store, id: VaultId, now: Timestamp) -> Result<Self, RebuildError> {
        let mut salvage = Salvage::default();
        Journal::salvage(&*store.journals, Owner::Account(id), |bytes| salvage.take(bytes))?;
        Ok(Self { store, id, now, salvage })
    }

    /// With `hash`, packs of which no hash is known are read whole; else it stays unknown.
    fn plan(mut self, hash: bool) -> Result<(Plan, State), RebuildError> {
        let (records, state) = self.log()?;
        let needed = self.needed(&state)?;
        self.salvage.next = self.salvage.next.max(self.above_packsets()?);
        let received = self.now.max(state.head_received);
        let (rows, damaged, strange) = self.packs((hash, received), &needed)?;
        let there: RoaringBitmap = rows.keys().map(|number| number.0).collect();
        let highest = needed.max().max(there.max()).map_or(0, |number| number.saturating_add(1));
        let next = highest.max(self.salvage.next).saturating_add(SKIPPED);
        let mark = PackMark { number: PackNumber(next), at: received };
        let mut items = vec![
            AccountRow::Opened { quota: self.salvage.quota }.to_bytes(),
            AccountRow::Rebuilt(mark).to_bytes(),
        ];
        let rebuilt = Rebuilt {
            records: state.head_seq + 1,
            packs: there.len(),
            damaged: damaged.len(),
            missing: (&needed - &there).len(),
            strange,
            same_identity: true,
        };
        items.extend(self.salvage.standing.iter().map(Canonical::to_bytes));
        for id in state.snapshots.keys() {
            items.push(self.metadata(*id)?.to_bytes());
        }
        items.extend(records.into_iter().map(|record| AccountRow::Log(record).to_bytes()));
        items.extend(rows.into_values().map(|row| AccountRow::Pack(row).to_bytes()));
        items.extend(damaged.iter().map(|number| {
            AccountRow::Damaged(PackMark { number: PackNumber(number), at: received }).to_bytes()
        }));
        Ok((Plan { items, rebuilt }, state))
    }

    /// The log, as far as each record follows from the one before.
    fn log(&mut self) -> Result<(Vec<Record>, State), RebuildError> {
        let names = self.store.blobs.list(&key::log_folder(self.id))?;
        let copies = names.iter().filter_map(|name| u64::from_str_radix(name, 16).ok()).max();
        let newest = copies.max(self.salvage.records.keys().copied().max());
        let (mut records, mut state) = (Vec::new(), None::<State>);
        for seq in 0.. {
            let copy = self.store.blobs.get(&Key::log(self.id, seq))?;
            let copy = copy.and_then(|bytes| Record::from_bytes(&bytes).ok());
            // What a frame holds has a checksum; the stamp in a copy is under none but the next
            // record's hash.
            let found = [self.salvage.records.remove(&seq), copy]
                .into_iter()
                .flatten()
                .find(|record| follows(&mut state, record));
            match found {
                Some(record) => records.push(record),
                None => break,
            }
        }
        let state = state.ok_or(RebuildError::NoLog)?;
        if state.vault != self.id {
            return Err(RebuildError::Foreign(state.vault));
        }
        match newest.filter(|newest| *newest > state.head_seq) {
            Some(beyond) => Err(RebuildError::Gap { missing: state.head_seq + 1, beyond }),
            None => Ok((records, state)),
        }
    }

    /// What manifest and packset of a snapshot count against the quota.
    fn metadata(&self, snapshot: SnapshotId) -> Result<AccountRow, RebuildError> {
        let length = |key| self.store.blobs.length(&key).map(Option::unwrap_or_default);
        let manifest = length(Key::manifest(self.id, snapshot))?;
        let packset = length(Key::packset(self.id, snapshot))?;
        Ok(AccountRow::Metadata { snapshot, bytes: manifest.saturating_add(packset) })
    }

    /// The packs that the live snapshots need.
    fn needed(&self, state: &State) -> Result<RoaringBitmap, RebuildError> {
        let mut needed = RoaringBitmap::new();
        for id in state.snapshots.keys() {
            let packset = self.store.blobs.get(&Key::packset(self.id, *id))?;
            if let Some(packs) = packset.and_then(|bytes| PackSet::from_bytes(&bytes).ok()) {
                needed |= packs.0;
            }
        }
        Ok(needed)
    }

    /// A number above all that any list of packs names, of snapshots that are gone too.
    fn above_packsets(&self) -> Result<u32, RebuildError> {
        let mut above = 0;
        for name in self.store.blobs.list(&key::packsets_folder(self.id))? {
            let Ok(id) = name.parse::<SnapshotId>() else {
                continue;
            };
            let packset = self.store.blobs.get(&Key::packset(self.id, id))?;
            let packs = packset.and_then(|bytes| PackSet::from_bytes(&bytes).ok());
            let highest = packs.and_then(|packs| packs.0.max());
            above = above.max(highest.map_or(0, |highest| highest.saturating_add(1)));
        }
        Ok(above)
    }

    /// Rows of all packs that are there, which of them are damaged, and how many files are no packs.
    fn packs(
        &mut self,
        (hash, received): (bool, Timestamp),
        needed: &RoaringBitmap,
    ) -> Result<(BTreeMap<PackNumber, PackRow>, RoaringBitmap, u64), RebuildError> {
        let mut rows = BTreeMap::new();
        let (mut damaged, mut strange) = (RoaringBitmap::new(), 0);
        let mut numbers: HashMap<PackId, PackNumber> = HashMap::new();
        let mut copies = (PackNumber(u32::MAX), HashMap::new());
        for (number, id) in self.names()? {
            self.salvage.next = self.salvage.next.max(number.0.saturating_add(1));
            if copies.0 != segment::first_of(number) {
                copies = (segment::first_of(number), self.copies(number)?);
            }
            let Some((row, whole)) = self.row((number, id), copies.1.get(&number), hash)? else {
                strange += 1;
                continue;
            };
            // An upload of the same pack that was cut off before its end.
            if let Some(other) = numbers.get(&id).copied() {
                if needed.contains(other.0) || !needed.contains(number.0) {
                    continue;
                }
                rows.remove(&other);
                damaged.remove(other.0);
            }
            numbers.insert(id, number);
            if rows.insert(number, PackRow { received, ..row }).is_some() {
                return Err(RebuildError::TwoPacks(number));
            }
            if !whole || self.salvage.damaged.contains(number.0) {
                damaged.insert(number.0);
            }
        }
        Ok((rows, damaged, strange))
    }

    /// Number and id of all files among the packs whose names fit, ascending.
    fn names(&self) -> Result<Vec<(PackNumber, PackId)>, RebuildError> {
        let mut all = Vec::new();
        let folder = key::packs_folder(self.id);
        for shard in self.store.blobs.list(&folder)? {
            let names = self.store.blobs.list(&format!("{folder}/{shard}"))?;
            all.extend(
                names
                    .iter()
                    .filter_map(|name| Some((key::pack_number_of(name)?, key::pack_id_of(name)?))),
            );
        }
        all.sort_unstable();
        Ok(all)
    }

    fn copies(&self, number: PackNumber) -> Result<HashMap<PackNumber, FooterItem>, RebuildError> {
        let first = segment::first_of(number);
        let blob = self.store.blobs.get(&Key::footers(self.id, first))?.unwrap_or_default();
        let (items, _) = segment::decode(self.id, first, blob);
        Ok(items.into_iter().map(|item| (item.number, item)).collect())
    }

    /// The row of a pack, and whether it seems whole; nothing if the file is none.
    fn row(
        &self,
        (number, id): (PackNumber, PackId),
        copy: Option<&FooterItem>,
        hash: bool,
    ) -> Result<Option<(PackRow, bool)>, RebuildError> {
        let key = Key::pack(self.id, number, id);
        let length = self.store.blobs.length(&key)?.unwrap_or(0);
        if let Some(row) = self.salvage.packs.get(&(number, id)) {
            return Ok(Some((*row, row.length == length)));
        }
        if let Some(row) = copy.and_then(|copy| row_of_copy(copy, id)) {
            return Ok(Some((row, row.length == length)));
        }
        let tail = length.saturating_sub(PACK_TRAILER);
        let header = self.store.blobs.get_range(&key, 0..PACK_HEADER)?.unwrap_or_default();
        let trailer = self.store.blobs.get_range(&key, tail..length)?.unwrap_or_default();
        let footer_len = trailer.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let footer_len = u64::from(footer_len);
        let device = device_of(&header);
        let fits = on_ladder(length)
            && footer_size_ok(footer_len)
            && PACK_HEADER + footer_len + PACK_TRAILER <= length;
        let (Some(device), true) = (device, fits) else {
            return Ok(None);
        };
        let pack = Pack { id, device, length, footer_len };
        let (content_hash, good) = if hash {
            let bytes = self.store.blobs.get(&key)?.unwrap_or_default();
            let item = whole(number, &pack, &bytes);
            (item.as_ref().map(|item| item.content_hash), item.is_some())
        } else {
            (None, true)
        };
        let content_hash = content_hash.unwrap_or(Hash::from_bytes([0; 32]));
        let received = self.now;
        let row = PackRow { number, id, content_hash, device, length, footer_len, received };
        Ok(Some((row, good)))
    }
}

/// Whether a record is the next one; if so the state goes on with it.
fn follows(state: &mut Option<State>, record: &Record) -> bool {
    if let Some(state) = state {
        return state.apply(record).is_ok();
    }
    *state = State::begin(record).ok();
    state.is_some()
}

fn row_of_copy(copy: &FooterItem, id: PackId) -> Option<PackRow> {
    let footer_len = u64::try_from(copy.footer.len()).ok()?.checked_sub(PACK_TRAILER)?;
    let device = device_of(&copy.header)?;
    let pack = Pack { id, device, length: copy.length, footer_len };
    let fits = on_ladder(copy.length) && footer_size_ok(footer_len) && is_of(copy, &pack);
    fits.then_some(PackRow {
        number: copy.number,
        id,
        content_hash: copy.content_hash,
        device,
        length: copy.length,
        footer_len,
        received: Timestamp(0),
    })
}

fn device_of(header: &[u8]) -> Option<DeviceId> {
    let device: [u8; 16] = header.get(13..29)?.try_into().ok()?;
    header.starts_with(b"UNSEENP1").then(|| DeviceId::from_bytes(device))
}

impl Salvage {
    fn take(&mut self, bytes: &[u8]) {
        match AccountRow::from_bytes(bytes) {
            Ok(AccountRow::Opened { quota }) => self.quota = quota,
            Ok(
                row @ (AccountRow::Quota { .. }
                | AccountRow::Suspended { .. }
                | AccountRow::Access(_)),
            ) => self.standing.push(row),
            // Counted anew from the blobs.
            Ok(AccountRow::Metadata { .. }) => {}
            Ok(AccountRow::Log(record)) => {
                if let Ok(entry) = record.signed.entry() {
                    self.records.entry(entry.seq).or_insert(record);
                }
            }
            Ok(AccountRow::Pack(row)) => {
                self.next = self.next.max(row.number.0.saturating_add(1));
                self.packs.insert((row.number, row.id), row);
            }
            Ok(AccountRow::Damaged(mark)) => {
                self.damaged.insert(mark.number.0);
            }
            Ok(AccountRow::Healed(mark)) => {
                self.damaged.remove(mark.number.0);
            }
            Ok(AccountRow::Rebuilt(mark)) => self.next = self.next.max(mark.number.0),
            // A frame that is whole and says nothing that is known: written by a newer version.
            Err(_unknown) => {}
        }
    }
}
