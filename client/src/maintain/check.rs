//! Checks a vault: log, index, snapshots, trees, and what the packs hold.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use roaring::RoaringBitmap;
use tokio::runtime::Handle;
use unseen_common::id::PackNumber;

use super::compact::Notes;
use super::data::{Bad, read_packs};
use super::heal::{self, Healing};
use super::impact::impact;
use super::losses::Losses;
use super::outcome::{CheckError, CheckOutcome, Damage};
use super::subset::Subset;
use super::trees::TreeCheck;
use crate::browse::error::{PackFault, ReadError};
use crate::browse::packs::Packs;
use crate::browse::snapshots::{Row, SnapshotError, manifest, packs_hold, rows};
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::index::IndexError;
use crate::progress::{During, Monitor, Note, Problem, in_words};
use crate::repo::{ReaderIndex, ReaderRepo};
use crate::tree::manifest::{Manifest, Totals};

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Read these packs whole, and verify everything in them.
    pub read_data: Option<Subset>,
    /// Packs that a survey of the vault found to be gone or torn.
    pub absent: RoaringBitmap,
    /// Paths that are kept of one snapshot; the others are counted.
    pub paths: usize,
    /// Threads that read packs; the number of cores, at most four, with 0.
    pub workers: usize,
}

/// Findings that are kept; the others are counted.
const FINDINGS: usize = 1000;

/// One check under way.
#[derive(Debug)]
pub(super) struct Checking<'a> {
    pub(super) packs: &'a Packs<'a>,
    pub(super) monitor: &'a dyn Monitor,
    interrupt: &'a AtomicBool,
    outcome: Mutex<CheckOutcome>,
    /// Where to note which chunks are used, for a compaction.
    notes: Option<&'a Notes>,
    losses: Mutex<Losses>,
}

/// A snapshot that can be walked.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) row: Row,
    pub(super) root: ChunkId,
    /// What its manifest says is in it.
    pub(super) totals: Totals,
    /// Where its chunks may be: its packs, or all of them where its list cannot be had or names one
    /// whose contents are not known.
    pub(super) packs: RoaringBitmap,
}

/// Checks what the log names: manifests, lists of packs, trees, and that every chunk is in a pack
/// of its snapshot. Reads the packs that the vault knows to be damaged, and with `read_data` others
/// too, verifies every chunk in them, and tells which files suffer. What it finds the vault is
/// asked to look at. Blocks; requests run on `runtime`.
///
/// The log itself was checked when `repo` was opened, and the tables of contents when `index` was.
pub fn check(
    (repo, index): (&ReaderRepo, &ReaderIndex),
    options: &CheckOptions,
    (monitor, interrupt): (&dyn Monitor, &AtomicBool),
    runtime: &Handle,
) -> Result<CheckOutcome, CheckError> {
    let packs = Packs::new(repo, index, monitor, runtime);
    let checking = Checking::new(&packs, (monitor, interrupt), (options.paths, None));
    match checking.run(options) {
        Ok(()) | Err(ReadError::Stopped) => {}
        Err(error) => return Err(error.into()),
    }
    let losses = checking.losses.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outcome = checking.outcome.into_inner();
    let mut outcome = outcome.unwrap_or_else(PoisonError::into_inner);
    outcome.affected = losses.into_affected();
    outcome.packs = index.live().len();
    outcome.fetched = packs.fetched();
    outcome.interrupted = interrupt.load(Ordering::Relaxed);
    Ok(outcome)
}

/// The list of packs of a snapshot.
#[derive(Debug)]
struct List {
    names: RoaringBitmap,
    /// Whether the table of contents of each of them is at hand.
    contents_known: bool,
}

impl<'a> Checking<'a> {
    pub(super) fn new(
        packs: &'a Packs<'a>,
        (monitor, interrupt): (&'a dyn Monitor, &'a AtomicBool),
        (paths, notes): (usize, Option<&'a Notes>),
    ) -> Self {
        let losses = Mutex::new(Losses::new(paths));
        Self { packs, monitor, interrupt, outcome: Mutex::default(), notes, losses }
    }

    /// The pack of `within` that a chunk of this length is taken from.
    pub(super) fn pack_of(
        &self,
        (kind, id, length): (ChunkKind, &ChunkId, u32),
        within: &RoaringBitmap,
    ) -> Result<Option<PackNumber>, IndexError> {
        let Some(notes) = self.notes else {
            return self.packs.index.lookup_within(id, within);
        };
        let index = self.packs.index;
        let copies = index.copies(id, within)?;
        let first = copies.first().copied().filter(|number| within.contains(number.0));
        let Some(first) = first else {
            return Ok(None);
        };
        // The one may be damaged without anybody knowing, so no other copy is given up for it.
        let writer = |number| index.pack(number).map(|pack| pack.device);
        let is_within = |number: &PackNumber| within.contains(number.0);
        let keep = |number: &PackNumber| is_within(number) || writer(*number) == writer(first);
        notes.used(copies.iter().copied().filter(keep), (id, length));
        notes.needed(copies.iter().copied().filter(is_within), (kind, id));
        Ok(Some(first))
    }

    /// Whether trees that need these packs may be passed over when they are met again.
    pub(super) fn may_pass(&self, packs: &[u32]) -> bool {
        self.notes.is_none_or(|notes| notes.may_pass(packs))
    }

    /// How many findings there are, and files that are lost.
    pub(super) fn findings(&self) -> u64 {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.damage_count + self.losses().count()
    }

    fn run(&self, options: &CheckOptions) -> Result<(), ReadError> {
        for (device, error) in self.packs.repo.strangers() {
            self.found(Damage::Device { device: *device, what: error.to_string() });
        }
        let (snapshots, named) = self.snapshots()?;
        let mut trees = TreeCheck::new(self);
        for snapshot in &snapshots {
            trees.check(snapshot)?;
        }
        trees.no_more_snapshots();
        self.monitor.scan_done();
        let index = self.packs.index;
        let length = |n| index.pack(PackNumber(n)).map_or(0, |pack| pack.length);
        let chosen = options.read_data.map(|subset| subset.choose(index.live(), length));
        // What the vault knows to be damaged is read in any case, to learn what is lost; but for
        // what no snapshot names, which is on its way out.
        let known = index.quarantined() | &options.absent;
        let idle = &known - named;
        let chosen = (chosen.unwrap_or_default() | &known) - &idle;
        let known = known - &idle;
        let mut bad = self.without_table();
        bad.retain(|number, _| !idle.contains(number.0));
        if !chosen.is_empty() {
            bad.extend(read_packs(self, &chosen, options.workers)?);
        }
        let (known, as_sent) = self.report(&mut bad, (&chosen, &known), options)?;
        if bad.values().any(Bad::loses) {
            for snapshot in &snapshots {
                impact(self, &mut trees, snapshot, &bad)?;
            }
        }
        self.settle(&bad, &known, &as_sent);
        Ok(())
    }

    /// Packs of which not even the table of contents can be had.
    fn without_table(&self) -> BTreeMap<PackNumber, Bad> {
        let index = self.packs.index;
        let gone = index.gone().into_iter().map(|number| {
            let what = "the vault lists it and does not have it".to_owned();
            (PackNumber(number), Bad::Whole(what))
        });
        let damaged = index.damaged().into_iter();
        let damaged = damaged.map(|one| (one.number, Bad::Whole(in_words(&one.error))));
        gone.chain(damaged).collect()
    }

    /// Has the vault look at what was found, so that it counts as damaged there, too, and is sent
    /// again; what the vault could mend is read once more. Gives what it knows to be damaged, and
    /// what it finds to be as it was sent.
    fn report(
        &self,
        bad: &mut BTreeMap<PackNumber, Bad>,
        (read, known): (&RoaringBitmap, &RoaringBitmap),
        options: &CheckOptions,
    ) -> Result<(RoaringBitmap, RoaringBitmap), ReadError> {
        let found: RoaringBitmap = bad.keys().map(|number| number.0).collect();
        let news = &found - known;
        // One that is whole after all may have been put back.
        let whole = (known & read) - &found;
        let asked = &news | &whole;
        let answer = self.packs.wait(heal::verify(&*self.packs.repo.vault, &asked));
        let (asked, confirmed) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let text = format!("the vault could not be told of it: {}", in_words(&error));
                self.monitor.note(&Note::warning(text));
                return Ok((known.clone(), RoaringBitmap::new()));
            }
        };
        let mut as_sent = (&asked & &news) - &confirmed;
        let again = read_packs(self, &as_sent, options.workers)?;
        for number in as_sent.clone().iter().map(PackNumber) {
            // Without a table of contents there was nothing to read.
            if again.contains_key(&number) || self.packs.index.pack(number).is_none() {
                continue;
            }
            bad.remove(&number);
            as_sent.remove(number.0);
            self.count(|outcome| outcome.mended += 1);
        }
        for number in (&confirmed - &found).iter().map(PackNumber) {
            let what = "its file is not what it was, though all chunks are whole".to_owned();
            bad.insert(number, Bad::Chunks(HashSet::new(), what));
        }
        Ok(((known - &whole) | confirmed, as_sent))
    }

    /// What the packs that are bad come to, in the end.
    fn settle(
        &self,
        bad: &BTreeMap<PackNumber, Bad>,
        known: &RoaringBitmap,
        as_sent: &RoaringBitmap,
    ) {
        let quarantined = self.packs.index.quarantined();
        let lossless = self.losses().is_empty();
        let mut marked = RoaringBitmap::new();
        for (number, bad) in bad {
            if lossless && quarantined.contains(number.0) {
                self.count(|outcome| outcome.spare += 1);
                continue;
            }
            self.found(Damage::Pack { number: *number, what: bad.what().to_owned() });
            if known.contains(number.0) {
                marked.insert(number.0);
            } else if as_sent.contains(number.0) {
                self.count(|outcome| outcome.as_sent += 1);
            }
        }
        let healing = Healing::of((self.packs.repo, self.packs.index), &marked);
        self.count(|outcome| outcome.healing = healing);
    }

    /// Opens every manifest and every list of packs; those that can be walked, oldest first, and
    /// all packs that these name or, where a list cannot be had, may name.
    fn snapshots(&self) -> Result<(Vec<Checked>, RoaringBitmap), ReadError> {
        let (mut checked, mut named) = (Vec::new(), RoaringBitmap::new());
        for row in rows(self.packs.repo) {
            self.go_on()?;
            self.count(|outcome| outcome.snapshots += 1);
            let damaged = |what: String| {
                self.found(Damage::Snapshot { snapshot: row.id, what });
            };
            let manifest = match self.packs.wait(manifest(self.packs.repo, &row)) {
                Ok(manifest) => manifest,
                Err(SnapshotError::Vault(error)) => {
                    match PackFault::from(error) {
                        PackFault::Vault(error) => return Err(error.into()),
                        PackFault::Pack(trouble) => damaged(format!("its manifest: {trouble}")),
                    }
                    continue;
                }
                Err(error) => {
                    damaged(in_words(&error));
                    continue;
                }
            };
            let live = self.packs.index.live();
            let packs = match self.list_of(&row)? {
                Ok(List { names, contents_known }) => {
                    named |= &names;
                    // Of a pack without a table of contents, which is told as such, it is not
                    // known what is in it. What else has its chunks is as good.
                    if contents_known { names } else { live.clone() }
                }
                Err(what) => {
                    damaged(what);
                    named |= live;
                    live.clone()
                }
            };
            let Manifest { root, totals, .. } = manifest;
            checked.push(Checked { row, root, totals, packs });
        }
        Ok((checked, named))
    }

    /// The packs of a snapshot, or what is wrong with its list.
    fn list_of(&self, row: &Row) -> Result<Result<List, String>, ReadError> {
        let packs = self.packs;
        let listed = match packs.wait(packs.repo.vault.packs_of(row.id)) {
            Ok(listed) => listed.0,
            Err(error) => {
                return match PackFault::from(error) {
                    PackFault::Vault(error) => Err(error.into()),
                    PackFault::Pack(trouble) => Ok(Err(format!("its list of packs: {trouble}"))),
                };
            }
        };
        let index = packs.index;
        if let Some(number) = (&listed - index.live()).min() {
            return Ok(Err(format!("it needs pack {number}, which is gone")));
        }
        if listed.iter().any(|number| index.pack(PackNumber(number)).is_none()) {
            return Ok(Ok(List { names: listed, contents_known: false }));
        }
        Ok(if packs_hold(packs.repo, index, row, &listed) {
            Ok(List { names: listed, contents_known: true })
        } else {
            Err("its list of packs is not the one that its device signed".to_owned())
        })
    }

    /// Whether to go on.
    pub(super) fn go_on(&self) -> Result<(), ReadError> {
        if self.interrupt.load(Ordering::Relaxed) { Err(ReadError::Stopped) } else { Ok(()) }
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut CheckOutcome)) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut outcome);
    }

    /// A file or directory of a snapshot cannot be read.
    pub(super) fn lost(&self, snapshot: &Row, path: &[u8], what: String) {
        self.losses().add(snapshot, path, what);
    }

    fn losses(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn found(&self, damage: Damage) {
        let (path, what) = match &damage {
            Damage::Pack { number, what } => (format!("pack {number}").into_bytes(), what),
            Damage::Device { device, what } => {
                (format!("device {}", device.short()).into_bytes(), what)
            }
            Damage::Snapshot { snapshot, what } => {
                (format!("snapshot {}", snapshot.short()).into_bytes(), what)
            }
        };
        self.monitor.problem(&Problem { path, during: During::Check, what: what.clone() });
        self.count(|outcome| {
            outcome.damage_count += 1;
            if outcome.damage.len() < FINDINGS {
                outcome.damage.push(damage);
            }
        });
    }
}

#[cfg(test)]
mod tests;
