//! What a new journal of an account is to say, from its blobs and what is left of the old one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use roaring::RoaringBitmap;
use unseen_common::codec::Canonical;
use unseen_common::id::{DeviceId, Hash, PackId, PackNumber, SnapshotId, VaultId};
use unseen_common::limits::{PACK_HEADER, PACK_TRAILER, footer_size_ok, on_ladder};
use unseen_common::log::chain::Record;
use unseen_common::log::entry::Body;
use unseen_common::log::fold::State;
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::time::Timestamp;
use unseen_common::vault::FooterItem;

use super::pack_bytes::{is_of, whole};
use super::rebuild::{RebuildError, Rebuilt};
use super::references::{self, Place, References};
use super::salvage::Salvage;
use super::table::Pack;
use crate::store::key::{self, Key};
use crate::store::row::{AccountRow, PackMark, PackRow};
use crate::store::second::either;
use crate::store::{Store, segment};

/// Numbers that are left out behind the highest that was seen.
const SKIPPED: u32 = 1 << 16;

/// What a new journal is to say.
pub(super) struct Plan {
    pub(super) items: Vec<Vec<u8>>,
    pub(super) rebuilt: Rebuilt,
}

type Rows = BTreeMap<PackNumber, PackRow>;

/// The copies of a list of packs that counts, as far as they differ, and the BLAKE3 of their bytes.
type Lists = BTreeMap<Place, Vec<(PackSet, Hash)>>;

pub(super) struct Planner<'s> {
    store: &'s Store,
    id: VaultId,
    now: Timestamp,
    salvage: Salvage,
    references: References,
}

impl<'s> Planner<'s> {
    pub(super) fn new(store: &'s Store, id: VaultId, now: Timestamp) -> Result<Self, RebuildError> {
        let salvage = Salvage::read(&*store.journals, id)?;
        Ok(Self { store, id, now, salvage, references: References::default() })
    }

    /// With `hash`, packs of which no hash is known are read whole; else it stays unknown.
    pub(super) fn plan(mut self, hash: bool) -> Result<(Plan, State), RebuildError> {
        let (records, state) = self.log()?;
        let received = self.now.max(state.head_received);
        let dropped = self.dropped()?;
        let lists = self.lists(&state, received)?;
        let all = lists.values().flatten();
        let needed = all.fold(RoaringBitmap::new(), |all, (packs, _)| all | &packs.0);
        self.salvage.next = self.salvage.next.max(self.above_packsets()?);
        let (rows, damaged, strange) = self.packs((hash, received), &needed)?;
        let there: RoaringBitmap = rows.keys().map(|number| number.0).collect();
        let highest = needed.max().max(there.max()).map_or(0, |number| number.saturating_add(1));
        let next = highest.max(self.salvage.next).saturating_add(SKIPPED);
        let mark = |number| PackMark { number: PackNumber(number), at: received };
        let rebuilt = Rebuilt {
            records: state.head_seq + 1,
            packs: there.len(),
            damaged: damaged.len(),
            missing: (&needed - &there).len(),
            strange,
            same_identity: true,
        };
        let first = [AccountRow::Opened { quota: self.salvage.quota }];
        let metadata = self.metadata(&state)?;
        let sums = self.checksums((&state, &named(&records)), &lists, &rows);
        let items = first
            .into_iter()
            .chain([AccountRow::Rebuilt(mark(next))])
            .chain(self.salvage.operator)
            .chain(records.into_iter().map(AccountRow::Log))
            .chain(sums)
            .chain(metadata)
            .chain(dropped)
            .chain(rows.into_values().map(AccountRow::Pack))
            .chain(damaged.iter().map(|number| AccountRow::Damaged(mark(number))))
            .map(|row| row.to_bytes())
            .collect();
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
                .find(|record| follows(&mut state, &mut self.references, record));
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

    /// Lists that went and whose files are not there either.
    fn dropped(&mut self) -> Result<Vec<AccountRow>, RebuildError> {
        let mut rows = Vec::new();
        for (place, whole) in &self.salvage.dropped {
            let Place { snapshot, compacted } = *place;
            let there = self.store.blobs.length(&place.key(self.id))?.is_some();
            if !there && self.references.is_released(place) {
                let row = AccountRow::Dropped { snapshot, compacted, whole: *whole };
                self.references.take(&row);
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The lists of packs that count, those that can be read.
    fn lists(&self, state: &State, now: Timestamp) -> Result<Lists, RebuildError> {
        let mut lists = Lists::new();
        for place in self.references.needed(state, now) {
            let mut found: Vec<(PackSet, Hash)> = Vec::new();
            either(&*self.store.blobs, &place.key(self.id), |bytes| {
                found.extend(PackSet::from_bytes(bytes).ok().map(|packs| (packs, Hash::of(bytes))));
                None::<()>
            })?;
            found.dedup();
            lists.insert(place, found);
        }
        Ok(lists)
    }

    /// The checksums of lists: as the old journal had them, else of those that the log proves. A
    /// list of which packs are missing cannot be proved, and is believed: its snapshot is to be
    /// restored as far as it goes.
    fn checksums(
        &self,
        (state, named): (&State, &HashMap<SnapshotId, Hash>),
        lists: &Lists,
        rows: &Rows,
    ) -> Vec<AccountRow> {
        let mut out = Vec::new();
        for place in self.references.needed(state, Timestamp(0)) {
            let Place { snapshot, compacted } = place;
            let mut checksum = self.salvage.checksums.get(&place).copied();
            if let (None, Some(found)) = (checksum, lists.get(&place)) {
                let wanted = compacted.or_else(|| named.get(&snapshot).copied());
                let hash = |packs| packset_hash(packs, rows);
                let proved = found.iter().find(|(packs, _)| wanted == hash(packs));
                let believed = || found.iter().find(|(packs, _)| hash(packs).is_none());
                checksum = proved.or_else(believed).map(|(_, sum)| *sum);
            }
            out.extend(checksum.map(|checksum| AccountRow::Packset {
                snapshot,
                compacted,
                checksum,
            }));
        }
        out
    }

    /// What manifests and lists take, for the quota.
    fn metadata(&self, state: &State) -> Result<Vec<AccountRow>, RebuildError> {
        let length = |key: Key| {
            let first = self.store.blobs.length(&key)?;
            let found =
                first.map_or_else(|| self.store.blobs.length(&key.second()), |l| Ok(Some(l)));
            Ok::<_, RebuildError>(found?.unwrap_or(0))
        };
        let mut bytes: BTreeMap<SnapshotId, u64> = BTreeMap::new();
        // Of a live snapshot the list that counts comes first.
        for place in self.references.needed(state, Timestamp(0)) {
            let id = place.snapshot;
            if let Entry::Vacant(free) = bytes.entry(id) {
                let manifest = length(Key::manifest(self.id, id))?;
                free.insert(manifest.saturating_add(length(place.key(self.id))?));
            }
        }
        let rows = bytes.into_iter();
        Ok(rows.map(|(snapshot, bytes)| AccountRow::Metadata { snapshot, bytes }).collect())
    }

    /// A number above all that any list of packs names, of snapshots that are gone too.
    fn above_packsets(&self) -> Result<u32, RebuildError> {
        let mut above = 0;
        for name in self.store.blobs.list(&key::packset_folder(self.id))? {
            let Some((snapshot, compacted)) = key::packset_of(&name) else {
                continue;
            };
            let key = Place { snapshot, compacted }.key(self.id);
            let read = |bytes: &Bytes| PackSet::from_bytes(bytes).ok();
            let highest = either(&*self.store.blobs, &key, read)?.and_then(|packs| packs.0.max());
            above = above.max(highest.map_or(0, |highest| highest.saturating_add(1)));
        }
        Ok(above)
    }

    /// Rows of all packs that are there, which of them are damaged, and how many files are no packs.
    fn packs(
        &mut self,
        (hash, received): (bool, Timestamp),
        needed: &RoaringBitmap,
    ) -> Result<(Rows, RoaringBitmap, u64), RebuildError> {
        let mut rows = Rows::new();
        let (mut damaged, mut strange) = (RoaringBitmap::new(), 0);
        let mut numbers: HashMap<PackId, PackNumber> = HashMap::new();
        let mut copies = (PackNumber(u32::MAX), HashMap::new());
        for (number, id) in self.names()? {
            self.salvage.next = self.salvage.next.max(number.0.saturating_add(1));
            if self.salvage.removed.contains(number.0) && !needed.contains(number.0) {
                continue;
            }
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
            all.extend(names.iter().filter_map(|name| key::pack_of(name)));
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
fn follows(state: &mut Option<State>, references: &mut References, record: &Record) -> bool {
    if let Some(state) = state {
        return references::fold(state, references, record, None).is_ok();
    }
    *state = State::begin(record).ok();
    state.is_some()
}

/// The packset hashes that snapshots were made with.
fn named(records: &[Record]) -> HashMap<SnapshotId, Hash> {
    let entries = records.iter().filter_map(|record| record.signed.entry().ok());
    entries
        .filter_map(|entry| match entry.body {
            Body::Snapshot(snapshot) => Some((snapshot.manifest, snapshot.packset_hash)),
            _ => None,
        })
        .collect()
}

/// Binds numbers to the packs that they name; nothing if one is not there.
fn packset_hash(packs: &PackSet, rows: &Rows) -> Option<Hash> {
    let mut hasher = PackSetHasher::default();
    for number in packs.numbers() {
        hasher.add(number, &rows.get(&number)?.id);
    }
    Some(hasher.finish())
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
