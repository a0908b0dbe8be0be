//! Scrub: everything that an account has is read again and compared with what it was.
//!
//! A pack that is not what its name says is damaged: it counts as missing until the same pack is
//! uploaded again or its file is whole again. Both ends of a pack have a second copy (a footer
//! segment), log records have one in the journal, manifests, lists of packs and slots have one in a
//! folder of their own; each repairs the other.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use unseen_common::codec::Canonical;
use unseen_common::id::{PackNumber, VaultId};
use unseen_common::packset::PackSet;
use unseen_common::vault::{FooterItem, Result, VaultError};

use super::account::{Account, Tables, storage_error};
use super::footers::Items;
use super::lists::is_manifest;
use super::log::slots_in;
use super::pack_bytes::{cut, is_of, mended, whole};
use super::packs::length_of;
use super::references::Place;
use super::table::Pack;
use crate::store::key::Key;
use crate::store::lock;
use crate::store::second::is_bad_sector;
use crate::store::segment::{self, Segment};

/// Who lets a scrub go on, and remembers how far it came.
pub trait Watch {
    /// So many bytes were read; whether to go on.
    fn read(&mut self, bytes: u64) -> bool;
    /// It has come so far: all before that has been looked at.
    fn passed(&mut self, spot: Spot);
}

/// How far a scrub has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spot {
    /// The first pack that was not looked at.
    pub next: u32,
    /// The first log record that was not checked.
    pub proved: u64,
    /// The first log record whose copy was not looked at.
    pub records: u64,
    /// The snapshots, by the log records that made them: the first.
    pub snapshots: u64,
}

/// What cannot be repaired and is no pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// The manifest of the snapshot that this log record made.
    Manifest(u64),
    /// The list of its packs.
    Packset(u64),
    /// The unlock slots.
    Slots,
}

/// What a scrub of one account has found.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrubReport {
    /// The account.
    pub account: VaultId,
    /// Packs that were read.
    pub packs: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Packs that were found damaged and had not been before.
    pub found: PackSet,
    /// Damaged packs that are whole again.
    pub healed: PackSet,
    /// What was repaired from its other copy.
    pub repaired: u64,
    /// What could have been repaired, or had to be noted, and there was no room on the disk.
    pub no_room: u64,
    /// What is lost besides packs.
    pub broken: Vec<Broken>,
    /// Whether it came to the end.
    pub finished: bool,
}

/// What a look at a pack shows.
enum Seen {
    Whole(FooterItem),
    /// The bytes that it should have, put together from both copies.
    Mendable(Vec<u8>),
    Bad,
}

/// What became of a pack.
enum Outcome {
    Same,
    Found,
    Healed,
    Repaired,
    Gone,
}

/// That, and its footer from wherever it can be had.
struct Scrubbed {
    outcome: Outcome,
    item: Option<FooterItem>,
    /// It could not be repaired, or what was found could not be noted: the disk is full.
    no_room: bool,
}

impl ScrubReport {
    /// Counts a repair. That the disk is full is no reason not to read on.
    fn repairs(&mut self, done: Result<()>) -> Result<()> {
        match done {
            Ok(()) => self.repaired += 1,
            Err(VaultError::DiskFull) => self.no_room += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Account {
    /// Looks at everything that comes after `spot`. Stops when `watch` says so, and tells it where.
    pub fn scrub(&self, mut spot: Spot, watch: &mut dyn Watch) -> Result<ScrubReport> {
        self.writable()?;
        let mut report = ScrubReport {
            account: self.id,
            packs: 0,
            bytes: 0,
            found: PackSet::default(),
            healed: PackSet::default(),
            repaired: 0,
            no_room: 0,
            broken: Vec::new(),
            finished: false,
        };
        report.finished = self.scrub_packs(&mut spot, watch, &mut report)?
            // Before its copies are made what it is.
            && (spot.records > 0 || self.prove_log(&mut spot, watch)?)
            && self.scrub_log(&mut spot, watch, &mut report)?
            && self.scrub_snapshots(&mut spot, watch, &mut report)?
            && self.scrub_slots(&mut report)?;
        if !report.finished {
            watch.passed(spot);
        }
        Ok(report)
    }

    fn scrub_packs(
        &self,
        spot: &mut Spot,
        watch: &mut dyn Watch,
        report: &mut ScrubReport,
    ) -> Result<bool> {
        while let Some(first) = self.next_range(PackNumber(spot.next)) {
            if !self.scrub_range(first, spot, watch, report)? {
                return Ok(false);
            }
            spot.next = segment::last_of(first).0.saturating_add(1);
            watch.passed(*spot);
        }
        Ok(true)
    }

    /// The first range from `number` on that has a pack.
    fn next_range(&self, number: PackNumber) -> Option<PackNumber> {
        let after = number.0.checked_sub(1).map(PackNumber);
        let found = lock(&self.tables).packs.after(after, None, 1);
        found.first().map(|(number, _)| segment::first_of(*number))
    }

    fn scrub_range(
        &self,
        first: PackNumber,
        spot: &mut Spot,
        watch: &mut dyn Watch,
        report: &mut ScrubReport,
    ) -> Result<bool> {
        let (copies, whole) = self.segment(first)?;
        let (mut made, mut kept) = (Segment::new(self.id, first), true);
        let mut keep = |item: Option<FooterItem>| {
            if let Some(item) = item {
                kept &= copies.get(&item.number) == Some(&item);
                made.push(&item);
            }
        };
        for (number, pack) in self.packs_in(first) {
            if number.0 < spot.next {
                keep(self.seen_before(number, &pack, &copies)?);
                continue;
            }
            let Scrubbed { outcome, item, no_room } = self.scrub_pack(number, &pack, &copies)?;
            keep(item);
            report.no_room += u64::from(no_room);
            report.packs += 1;
            report.bytes += pack.length;
            match outcome {
                Outcome::Found => {
                    report.found.0.insert(number.0);
                }
                Outcome::Healed => {
                    report.healed.0.insert(number.0);
                }
                Outcome::Repaired => report.repaired += 1,
                Outcome::Same | Outcome::Gone => {}
            }
            spot.next = number.0.saturating_add(1);
            if !watch.read(pack.length) {
                return Ok(false);
            }
        }
        if self.is_closed(first) && !(whole && kept) {
            report.repairs(self.write_segment(first, made))?;
        }
        Ok(true)
    }

    /// The footer of a pack that an earlier part of this scrub looked at.
    fn seen_before(
        &self,
        number: PackNumber,
        pack: &Pack,
        copies: &Items,
    ) -> Result<Option<FooterItem>> {
        match copies.get(&number).filter(|copy| is_of(copy, pack)) {
            Some(copy) => Ok(Some(copy.clone())),
            None => Ok(self.footer(number, pack)?.filter(|item| is_of(item, pack))),
        }
    }

    /// Looks at one pack as a scrub does; whether it is whole.
    pub(super) fn verify_pack(
        &self,
        number: PackNumber,
        pack: &Pack,
        copies: &Items,
    ) -> Result<bool> {
        if self.read_only.is_some() {
            let copy = copies.get(&number).filter(|copy| is_of(copy, pack));
            return Ok(matches!(self.look(number, pack, copy)?, Seen::Whole(_)));
        }
        let scrubbed = self.scrub_pack(number, pack, copies)?;
        match scrubbed.outcome {
            Outcome::Found => return Ok(false),
            _ if scrubbed.no_room => return Err(VaultError::DiskFull),
            _ => {}
        }
        let tables = lock(&self.tables);
        let same = tables.packs.get(number).is_some_and(|there| there.id == pack.id);
        Ok(same && !tables.packs.is_damaged(number))
    }

    /// Looks at one pack; gives its footer too, from wherever it can be had.
    fn scrub_pack(&self, number: PackNumber, pack: &Pack, copies: &Items) -> Result<Scrubbed> {
        let copy = copies.get(&number).filter(|copy| is_of(copy, pack));
        let damaged = lock(&self.tables).packs.is_damaged(number);
        let done = |outcome, item| Ok(Scrubbed { outcome, item, no_room: false });
        if !damaged && let Seen::Whole(item) = self.look(number, pack, copy)? {
            return done(Outcome::Same, Some(item));
        }
        // Nobody may write it between the second look and what follows from it.
        let Some(_claim) = self.claim_known(number, pack.id) else {
            return done(Outcome::Gone, None);
        };
        let damaged = lock(&self.tables).packs.is_damaged(number);
        let (outcome, item) = match self.look(number, pack, copy)? {
            Seen::Whole(item) => {
                (if damaged { Outcome::Healed } else { Outcome::Same }, Some(item))
            }
            Seen::Mendable(bytes) => {
                let key = Key::pack(self.id, number, pack.id);
                let put = self.store.blobs.put(&key, &[&bytes]);
                match put.map_err(|error| storage_error(&error)) {
                    Ok(()) if damaged => (Outcome::Healed, copy.cloned()),
                    Ok(()) => (Outcome::Repaired, copy.cloned()),
                    Err(VaultError::DiskFull) => {
                        let (outcome, item) = (Outcome::Same, copy.cloned());
                        return Ok(Scrubbed { outcome, item, no_room: true });
                    }
                    Err(error) => return Err(error),
                }
            }
            Seen::Bad if damaged => (Outcome::Same, copy.cloned()),
            Seen::Bad => {
                tracing::error!(account = self.id.short(), %number, "a pack is damaged");
                (Outcome::Found, copy.cloned())
            }
        };
        let marked = match outcome {
            Outcome::Found => self.mark(&[number], true),
            Outcome::Healed => self.mark(&[number], false),
            _ => Ok(()),
        };
        match marked {
            Ok(()) => done(outcome, item),
            // It is told all the same; the next scrub notes it.
            Err(VaultError::DiskFull) => Ok(Scrubbed { outcome, item, no_room: true }),
            Err(error) => Err(error),
        }
    }

    fn look(&self, number: PackNumber, pack: &Pack, copy: Option<&FooterItem>) -> Result<Seen> {
        let Some(bytes) = self.blob_bytes(&Key::pack(self.id, number, pack.id))? else {
            return Ok(Seen::Bad);
        };
        if let Some(item) = whole(number, pack, &bytes) {
            return Ok(Seen::Whole(item));
        }
        if let Some(bytes) = cut(number, pack, &bytes) {
            return Ok(Seen::Mendable(bytes));
        }
        let mended = copy.and_then(|copy| mended(pack, &bytes, copy));
        Ok(mended.map_or(Seen::Bad, Seen::Mendable))
    }

    /// The copies of log records are as the journal has them.
    fn scrub_log(
        &self,
        spot: &mut Spot,
        watch: &mut dyn Watch,
        report: &mut ScrubReport,
    ) -> Result<bool> {
        let head = self.with_state(|state| state.head_seq);
        for seq in spot.records..=head {
            let Some(record) = self.record(seq)? else {
                return Err(self.words.journal(&format_args!("log record {seq} is gone")));
            };
            let wanted = record.to_bytes();
            let key = Key::log(self.id, seq);
            if self.blob_bytes(&key)?.is_none_or(|found| found != wanted) {
                let _writer = self.writer()?;
                let put = self.store.blobs.put(&key, &[&wanted]);
                report.repairs(put.map_err(|error| storage_error(&error)))?;
            }
            report.bytes += length_of(&wanted);
            spot.records = seq.saturating_add(1);
            if !watch.read(length_of(&wanted)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Manifests and packsets are those that were stored, of snapshots that can come back too.
    fn scrub_snapshots(
        &self,
        spot: &mut Spot,
        watch: &mut dyn Watch,
        report: &mut ScrubReport,
    ) -> Result<bool> {
        let mut last = None;
        let mut places = self.lists_in_use().into_iter().peekable();
        while let Some((seq, place)) = places.next() {
            if seq < spot.snapshots {
                continue;
            }
            // The lists of one snapshot are looked at together.
            let more = places.peek().is_some_and(|(next, _)| *next == seq);
            let id = place.snapshot;
            // It may have gone meanwhile.
            let in_use = |tables: &Tables| tables.references.counts(&tables.state, &place);
            let proves = |bytes: &Bytes| self.proved(&place, bytes).is_ok();
            let mut bytes = report.bytes;
            if !self.scrub_both(&place.key(self.id), proves, in_use, report)? {
                report.broken.push(Broken::Packset(seq));
            }
            if last != Some(id) {
                let same = |bytes: &Bytes| is_manifest(id, bytes);
                if !self.scrub_both(&Key::manifest(self.id, id), same, in_use, report)? {
                    report.broken.push(Broken::Manifest(seq));
                }
                last = Some(id);
            }
            bytes = report.bytes.saturating_sub(bytes);
            spot.snapshots = if more { seq } else { seq.saturating_add(1) };
            if !watch.read(bytes) {
                return Ok(false);
            }
        }
        report.broken.sort_unstable();
        report.broken.dedup();
        Ok(true)
    }

    fn scrub_slots(&self, report: &mut ScrubReport) -> Result<bool> {
        let hash = self.with_state(|state| state.slots.hash);
        let same = |blob: &Bytes| slots_in(blob, hash).is_some();
        let in_use = |tables: &Tables| tables.state.slots.hash == hash;
        if !self.scrub_both(&Key::slots(self.id, hash), same, in_use, report)? {
            report.broken.push(Broken::Slots);
        }
        Ok(true)
    }

    /// Both copies of something are as they were, or made so from the other; whether there is one,
    /// or nobody needs it any more.
    fn scrub_both(
        &self,
        key: &Key,
        same: impl Fn(&Bytes) -> bool,
        in_use: impl Fn(&Tables) -> bool,
        report: &mut ScrubReport,
    ) -> Result<bool> {
        let keys = [key.clone(), key.second()];
        let [mut first, mut second] = [self.blob_bytes(&keys[0])?, self.blob_bytes(&keys[1])?];
        for found in [&mut first, &mut second] {
            report.bytes += found.as_ref().map_or(0, |bytes| length_of(bytes));
            found.take_if(|bytes| !same(bytes));
        }
        let (good, bad) = match (first, second) {
            (Some(_), Some(_)) => return Ok(true),
            (Some(good), None) => (good, &keys[1]),
            (None, Some(good)) => (good, &keys[0]),
            (None, None) => return Ok(!in_use(&lock(&self.tables))),
        };
        // Whoever deletes it holds this before, and its files go after that.
        let _writer = self.writer()?;
        if in_use(&lock(&self.tables)) {
            report.repairs(self.put_blob(bad, &good))?;
        }
        Ok(true)
    }

    /// The lists that deletion goes by, and the records that made their snapshots.
    fn lists_in_use(&self) -> BTreeSet<(u64, Place)> {
        let now = self.stamp();
        let tables = lock(&self.tables);
        let gone: HashMap<_, _> = tables.gone.iter().map(|((_, id), seq)| (*id, *seq)).collect();
        let live = &tables.state.snapshots;
        let made = |id| live.get(&id).map(|s| s.seq).or_else(|| gone.get(&id).copied());
        let lists = tables.references.needed(&tables.state, now).into_iter();
        lists.map(|place| (made(place.snapshot).unwrap_or(0), place)).collect()
    }

    /// A blob; one that the disk cannot read is as good as none.
    fn blob_bytes(&self, key: &Key) -> Result<Option<Bytes>> {
        match self.store.blobs.get(key) {
            Err(error) if is_bad_sector(&error) => {
                tracing::error!("the disk cannot read a file");
                Ok(None)
            }
            read => read.map_err(|error| storage_error(&error)),
        }
    }
}
