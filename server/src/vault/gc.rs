//! Deleting packs that nothing needs any more.
//!
//! What is needed is what the lists of packs name, of live snapshots and of those whose grace is
//! not over. A pack that none of them names goes once its grace is over too, counted from when it
//! was last sent. No locks and no leases: the decision is prepared beside everything else, and made
//! again, for what has changed since, while nobody can commit. First the rows go, in one record of
//! the journal; from then on a commit that names such a pack is told that it is missing. Then the
//! blobs; what a crash leaves of them belongs to numbers that no row has, and goes later.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;
use unseen_common::id::{PackId, PackNumber, SnapshotId};
use unseen_common::packset::PackSet;
use unseen_common::time::{SECONDS_A_DAY, Timestamp};
use unseen_common::vault::Result;

use super::account::{Account, Tables};
use super::references::Place;
use crate::store::key::Key;
use crate::store::row::AccountRow;
use crate::store::{lock, segment};

/// Most blocks of 65536 packs that go at once, and most lists.
const MOST: usize = 256;

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Snapshots of which nothing is left but the log.
    pub snapshots: u64,
    /// Files that nothing names, left by a crash or an upload that was cut off, and slots that were
    /// replaced.
    pub strays: u64,
}

/// What may go, as of a moment at which others could still commit.
#[derive(Debug)]
pub(super) struct Plan {
    now: Timestamp,
    /// The lists that were counted.
    counted: BTreeSet<Place>,
    /// The packs that they name.
    pub(super) needed: RoaringBitmap,
    candidates: RoaringBitmap,
}

/// What went and has files yet.
#[derive(Debug, Default)]
pub(super) struct Gone {
    packs: Vec<(PackNumber, PackId)>,
    lists: Vec<Place>,
    manifests: Vec<SnapshotId>,
    bytes: u64,
}

/// When to look again, kept so that an idle account costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looked {
    at: Timestamp,
    until: Timestamp,
}

/// Packs whose rows are about to go. Uploads of them wait.
struct Leaving<'a>(&'a Account);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        lock(&self.0.tables).leaving.clear();
        self.0.uploaded.notify_all();
    }
}

impl Account {
    /// Deletes what nothing needs at `now`. Blocks.
    pub(super) fn collect(&self, now: Timestamp, force: bool) -> Result<Collected> {
        let mut looked = lock(&self.collecting);
        if !force && looked.at <= now && now < looked.until {
            return Ok(Collected::default());
        }
        // They go although a list cannot be read: no list has to do with them.
        let slots = self.remove_old_slots(now);
        let mut collected = Collected::default();
        // First of all: where a list cannot be read, nothing is deleted.
        let plan = self.plan_collection(now)?;
        // An upload that fails meanwhile sets it again.
        if std::mem::take(&mut lock(&self.tables).strays) {
            let removed = self.remove_strays(&plan.needed);
            collected.strays = removed.inspect_err(|_told| lock(&self.tables).strays = true)?;
        }
        let gone = self.remove_rows(&plan)?;
        collected.packs = u64::try_from(gone.packs.len()).unwrap_or(u64::MAX);
        collected.bytes = gone.bytes;
        collected.snapshots = u64::try_from(gone.manifests.len()).unwrap_or(u64::MAX);
        self.delete_blobs(&gone);
        collected.strays += slots?;
        *looked = Looked { at: now, until: self.next_look(&plan) };
        Ok(collected)
    }

    /// What may go. Nothing is locked while the lists are read.
    pub(super) fn plan_collection(&self, now: Timestamp) -> Result<Plan> {
        let (lists, mut candidates) = {
            let tables = lock(&self.tables);
            (tables.references.needed(&tables.state, now), tables.packs.there().clone())
        };
        let mut counted = BTreeSet::new();
        let mut needed = RoaringBitmap::new();
        for place in lists {
            needed |= self.list(&place)?.0;
            counted.insert(place);
        }
        candidates -= &needed;
        Ok(Plan { now, counted, needed, candidates })
    }

    /// Removes the rows of what may go still.
    pub(super) fn remove_rows(&self, plan: &Plan) -> Result<Gone> {
        let _writer = self.writer()?;
        let now = plan.now;
        let mut packs = plan.candidates.clone();
        let since = {
            let tables = lock(&self.tables);
            tables.references.needed(&tables.state, now)
        };
        for place in since.into_iter().filter(|place| !plan.counted.contains(place)) {
            packs -= self.list(&place)?.0;
        }
        self.remove_exactly(&packs, now)
    }

    /// Removes the rows of those of `packs` whose grace is over, and the lists whose grace is.
    pub(super) fn remove_exactly(&self, packs: &RoaringBitmap, now: Timestamp) -> Result<Gone> {
        let (over, rows, leaving) = {
            let mut tables = lock(&self.tables);
            let over = tables.references.over(&tables.state, now);
            let over: Vec<_> = over.into_iter().take(MOST).collect();
            let packs = tables.old_enough(packs, now);
            let mut rows: Vec<AccountRow> = over.iter().map(dropped).collect();
            rows.extend(blocks(&packs).map(|packs| AccountRow::Removed { packs, at: now }));
            tables.leaving = packs;
            (over, rows, Leaving(self))
        };
        if rows.is_empty() {
            return Ok(Gone::default());
        }
        self.journal_append(&rows)?;
        let mut gone = Gone::default();
        let mut tables = lock(&self.tables);
        let (_, before) = tables.packs.totals();
        for row in &rows {
            tables.references.take(row);
            tables.standing.take(row);
            if let AccountRow::Removed { packs, .. } = row {
                gone.packs.extend(tables.packs.remove(packs));
            }
        }
        gone.bytes = before.saturating_sub(tables.packs.totals().1);
        drop(tables);
        drop(leaving);
        self.store.index.remove(self.id, gone.packs.iter().map(|(number, _)| *number));
        gone.lists = over.iter().map(|(place, _)| *place).collect();
        let whole = over.iter().filter(|(_, whole)| *whole).map(|(place, _)| place.snapshot);
        gone.manifests = whole.collect::<BTreeSet<_>>().into_iter().collect();
        Ok(gone)
    }

    /// Removes the files of what has no row any more.
    pub(super) fn delete_blobs(&self, gone: &Gone) {
        let packs = gone.packs.iter().map(|(number, id)| Key::pack(self.id, *number, *id));
        let lists = gone.lists.iter().map(|place| place.key(self.id));
        let manifests = gone.manifests.iter().map(|id| Key::manifest(self.id, *id));
        let mut left = 0_u64;
        let twice = lists.chain(manifests).flat_map(|key| [key.second(), key]);
        for key in packs.chain(twice) {
            if let Err(error) = self.store.blobs.delete(&key) {
                tracing::warn!(kind = ?error.kind(), "a file that is not needed stays for now");
                left += 1;
            }
        }
        let ranges: BTreeSet<_> =
            gone.packs.iter().map(|(number, _)| segment::first_of(*number)).collect();
        for first in ranges {
            if let Err(error) = self.drop_segment(first) {
                tracing::warn!(%error, "a second copy of footers that is not needed stays for now");
                left += 1;
            }
        }
        if left > 0 {
            lock(&self.tables).strays = true;
        }
    }

    /// The moment before which nothing can become due, a day from now at most: every grace is
    /// longer than that.
    fn next_look(&self, plan: &Plan) -> Timestamp {
        let tables = lock(&self.tables);
        let now = plan.now;
        let mut next = now.plus_days(1);
        next = tables.references.next_end(now).map_or(next, |end| next.min(end));
        if now < tables.slots_end() {
            next = next.min(tables.slots_end());
        }
        for pending in &tables.state.pending {
            next = next.min(pending.effective.max(now));
        }
        let grace = tables.grace(now);
        for number in (&plan.candidates & tables.packs.there()).iter().map(PackNumber) {
            if let Some(stamp) = tables.packs.stamp(number) {
                next = next.min(Timestamp(stamp.0.saturating_add(grace)).max(now));
            }
        }
        next
    }
}

impl Tables {
    /// Grace in seconds, as the rules in force at `now` have it.
    fn grace(&self, now: Timestamp) -> u64 {
        u64::from(self.state.policy_at(now).grace_days).saturating_mul(SECONDS_A_DAY)
    }

    /// Those that are there, that nobody writes, and whose last upload lies a whole grace back.
    fn old_enough(&self, packs: &RoaringBitmap, now: Timestamp) -> RoaringBitmap {
        let grace = self.grace(now);
        let busy: BTreeSet<PackNumber> = self.storing.values().copied().collect();
        let old = |number: &u32| {
            let number = PackNumber(*number);
            let stamp = self.packs.stamp(number);
            stamp.is_some_and(|stamp| stamp.0.saturating_add(grace) <= now.0)
                && !busy.contains(&number)
        };
        (packs & self.packs.there()).iter().filter(old).collect()
    }
}

fn dropped((place, whole): &(Place, bool)) -> AccountRow {
    let Place { snapshot, compacted } = *place;
    AccountRow::Dropped { snapshot, compacted, whole: *whole }
}

/// Parts of a set, each within one block of 65536 numbers: its row is short.
fn blocks(packs: &RoaringBitmap) -> impl Iterator<Item = PackSet> {
    let firsts: BTreeSet<u32> = packs.iter().map(|number| number >> 16).collect();
    firsts.into_iter().take(MOST).map(|block| {
        let first = block << 16;
        let part: RoaringBitmap = packs.range(first..=first | 0xffff).collect();
        PackSet(part)
    })
}
