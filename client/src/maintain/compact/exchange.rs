//! Gives snapshots new packs in the place of old ones, by entries of the log.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use unseen_common::id::{Hash, PackId, PackNumber, SnapshotId};
use unseen_common::limits::MAX_COMPACT_SNAPSHOTS;
use unseen_common::log::entry::{Body, Compact};
use unseen_common::pack_map::PackMap;
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::vault::{CompactRequest, VaultError};

use super::rewrite::CompactError;
use super::survey::{Needing, Survey};
use crate::browse::packs::Packs;
use crate::repo::{OwnerRepo, RepoError};

/// Attempts to win the race for the head of the log.
const ATTEMPTS: u32 = 64;
/// Bytes of the lists that go with one entry.
const LISTS: usize = 32 * 1024 * 1024;

/// The packs that the snapshots need at the moment.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    packs: &'a Packs<'a>,
    snapshots: Vec<Needing>,
    /// The record at which this is planned: whoever has changed since keeps what it has.
    head: (u64, Hash),
    /// Packs of earlier steps.
    new: BTreeMap<PackNumber, PackId>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(packs: &'a Packs<'a>, survey: &Survey) -> Self {
        let (snapshots, head) = (survey.snapshots.clone(), survey.head);
        Self { packs, snapshots, head, new: BTreeMap::new() }
    }

    /// Exchanges packs in all snapshots that need one of the old ones; how many there are.
    pub(super) fn exchange(
        &mut self,
        owner: &mut OwnerRepo,
        map: &PackMap,
        new: &BTreeMap<PackNumber, (PackId, u64)>,
    ) -> Result<u64, CompactError> {
        self.new.extend(new.iter().map(|(number, (id, _))| (*number, *id)));
        let removed = map.removed();
        let concerned = self.snapshots.iter().filter(|s| !s.packs.is_disjoint(&removed.0));
        let mut left: Vec<(SnapshotId, PackSet)> =
            concerned.map(|s| (s.id, exchanged(&s.packs, map))).collect();
        left.sort_by_key(|(id, _)| *id);
        let mut count = 0;
        let mut planned = self.head;
        while !left.is_empty() {
            let later = left.split_off(batch(&left));
            if let Some((head, named)) = self.send(owner, map, &left)? {
                count += u64::try_from(named.len()).unwrap_or(0);
                planned = head;
                self.took(named);
            }
            left = later;
        }
        self.head = planned;
        Ok(count)
    }

    /// Sends one entry, again when the head has moved. The snapshots that it names are those that
    /// are as they were; none if there are none left.
    #[expect(clippy::type_complexity, reason = "the record, and what it did")]
    fn send(
        &self,
        owner: &mut OwnerRepo,
        map: &PackMap,
        wanted: &[(SnapshotId, PackSet)],
    ) -> Result<Option<((u64, Hash), Vec<(SnapshotId, PackSet)>)>, CompactError> {
        let removed = map.removed();
        owner.clocks.check().map_err(RepoError::from)?;
        for _ in 0..ATTEMPTS {
            let live = &owner.log.state.snapshots;
            let unchanged =
                |id: &SnapshotId| live.get(id).is_some_and(|one| one.packed <= self.head.0);
            let named: Vec<(SnapshotId, PackSet)> =
                wanted.iter().filter(|(id, _)| unchanged(id)).cloned().collect();
            if named.is_empty() {
                return Ok(None);
            }
            let hashes: Result<Vec<_>, CompactError> =
                named.iter().map(|(id, packs)| Ok((*id, self.hash(&packs.0)?))).collect();
            let body = Body::Compact(Compact {
                planned_at: self.head.0,
                planned_head: self.head.1,
                removed_hash: self.hash(&removed.0)?,
                removed: removed.clone(),
                map_hash: map.hash(),
                snapshots: hashes?,
            });
            let packs = named.iter().map(|(_, packs)| packs.clone()).collect();
            let request = CompactRequest { map: map.clone(), packs, entry: owner.sign(body) };
            let vault = std::sync::Arc::clone(&owner.vault);
            match self.packs.wait(vault.compact(request)) {
                Ok(record) => {
                    self.packs.wait(owner.log.update(&*vault))?;
                    let entry = record.signed.entry();
                    let entry = entry.map_err(|e| VaultError::BadAnswer(e.to_string()))?;
                    return Ok(Some(((entry.seq, record.hash()), named)));
                }
                Err(VaultError::Conflict(_)) => self.packs.wait(owner.log.update(&*vault))?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(VaultError::Busy(60).into())
    }

    fn took(&mut self, named: Vec<(SnapshotId, PackSet)>) {
        let mut named: BTreeMap<SnapshotId, PackSet> = named.into_iter().collect();
        for snapshot in &mut self.snapshots {
            if let Some(packs) = named.remove(&snapshot.id) {
                snapshot.packs = packs.0;
            }
        }
    }

    fn hash(&self, packs: &RoaringBitmap) -> Result<Hash, CompactError> {
        let mut hasher = PackSetHasher::default();
        for number in packs.iter().map(PackNumber) {
            let old = || self.packs.index.pack(number).map(|info| info.id);
            let id = self.new.get(&number).copied().or_else(old);
            let id = id.ok_or(CompactError::Internal("a pack has a number and no name"))?;
            hasher.add(number, &id);
        }
        Ok(hasher.finish())
    }
}

/// What a snapshot needs after the exchange.
fn exchanged(packs: &RoaringBitmap, map: &PackMap) -> PackSet {
    let mut new = packs.clone();
    for (old, places) in &map.0 {
        if new.remove(old.0) {
            new |= &places.0;
        }
    }
    PackSet(new)
}

/// How many of the first fit one entry.
fn batch(wanted: &[(SnapshotId, PackSet)]) -> usize {
    let mut bytes: usize = 0;
    let fits = |(_, packs): &&(SnapshotId, PackSet)| {
        bytes = bytes.saturating_add(packs.0.serialized_size());
        bytes <= LISTS
    };
    wanted.iter().take(MAX_COMPACT_SNAPSHOTS).take_while(fits).count().max(1)
}
