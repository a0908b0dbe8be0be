//! Checks a vault: log, index, snapshots, trees, and what the packs hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use roaring::RoaringBitmap;
use tokio::runtime::Handle;
use unseen_common::id::PackNumber;

use super::compact::Used;
use super::data::{Bad, read_packs};
use super::impact::impact;
use super::outcome::{CheckError, CheckOutcome, Damage};
use super::subset::Subset;
use super::trees::TreeCheck;
use crate::browse::error::{PackFault, ReadError};
use crate::browse::packs::Packs;
use crate::browse::snapshots::{Row, SnapshotError, manifest, packs_hold, rows};
use crate::crypto::content_id::ChunkId;
use crate::index::IndexError;
use crate::progress::{During, Monitor, Problem, in_words};
use crate::repo::{ReaderIndex, ReaderRepo};
use crate::tree::manifest::{Manifest, Totals};

/// What to check.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// Read these packs whole, and verify everything in them.
    pub read_data: Option<Subset>,
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
    used: Option<&'a Mutex<Used>>,
}

/// A snapshot that can be walked.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) row: Row,
    pub(super) root: ChunkId,
    /// What its manifest says is in it.
    pub(super) totals: Totals,
    /// Its packs, or all of them where its list cannot be had.
    pub(super) packs: RoaringBitmap,
}

/// Checks what the log names: manifests, lists of packs, trees, and that every chunk is in a pack
/// of its snapshot. Reads the packs that the server has found damaged, and with `read_data` others
/// too, verifies every chunk in them, and tells which files suffer from what is damaged. Blocks; requests run on `runtime`.
///
/// The log itself was checked when `repo` was opened, and the tables of contents when `index` was.
pub fn check(
    (repo, index): (&ReaderRepo, &ReaderIndex),
    options: CheckOptions,
    (monitor, interrupt): (&dyn Monitor, &AtomicBool),
    runtime: &Handle,
) -> Result<CheckOutcome, CheckError> {
    let packs = Packs::new(repo, index, monitor, runtime);
    let checking = Checking::new(&packs, (monitor, interrupt), None);
    match checking.run(options) {
        Ok(()) | Err(ReadError::Stopped) => {}
        Err(error) => return Err(error.into()),
    }
    let outcome = checking.outcome.into_inner();
    let mut outcome = outcome.unwrap_or_else(PoisonError::into_inner);
    outcome.packs = index.live().len();
    outcome.fetched = packs.fetched();
    outcome.interrupted = interrupt.load(Ordering::Relaxed);
    Ok(outcome)
}

impl<'a> Checking<'a> {
    pub(super) fn new(
        packs: &'a Packs<'a>,
        (monitor, interrupt): (&'a dyn Monitor, &'a AtomicBool),
        used: Option<&'a Mutex<Used>>,
    ) -> Self {
        Self { packs, monitor, interrupt, outcome: Mutex::default(), used }
    }

    /// The pack of `within` that a chunk of this length is taken from.
    pub(super) fn pack_of(
        &self,
        id: &ChunkId,
        length: u32,
        within: &RoaringBitmap,
    ) -> Result<Option<PackNumber>, IndexError> {
        let Some(used) = self.used else {
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
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        for number in copies {
            if within.contains(number.0) || writer(number) == writer(first) {
                used.add(number, id, length);
            }
        }
        Ok(Some(first))
    }

    /// How many findings there are.
    pub(super) fn findings(&self) -> u64 {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).damage_count
    }

    fn run(&self, options: CheckOptions) -> Result<(), ReadError> {
        self.known_damage();
        let snapshots = self.snapshots()?;
        let mut trees = TreeCheck::new(self);
        for snapshot in &snapshots {
            trees.check(snapshot)?;
        }
        self.monitor.scan_done();
        let index = self.packs.index;
        let length = |n| index.pack(PackNumber(n)).map_or(0, |pack| pack.length);
        let chosen = options.read_data.map(|subset| subset.choose(index.live(), length));
        // What the server has found damaged is read in any case, to learn what is lost.
        let chosen = chosen.unwrap_or_default() | index.quarantined();
        if chosen.is_empty() {
            return Ok(());
        }
        let bad = read_packs(self, &chosen, options.workers)?;
        for (number, bad) in &bad {
            self.found(Damage::Pack { number: *number, what: bad.what().to_owned() });
        }
        if bad.values().any(Bad::loses) {
            for snapshot in &snapshots {
                let affected = impact(self, &mut trees, snapshot, &bad)?;
                if affected.count > 0 {
                    self.count(|outcome| outcome.affected.push(affected));
                }
            }
        }
        Ok(())
    }

    /// What opening the vault and the index has shown.
    fn known_damage(&self) {
        for (device, error) in self.packs.repo.strangers() {
            self.found(Damage::Device { device: *device, what: error.to_string() });
        }
        let index = self.packs.index;
        for damaged in index.damaged() {
            self.found(Damage::Pack { number: damaged.number, what: in_words(&damaged.error) });
        }
        for number in index.gone() {
            self.found(Damage::Pack {
                number: PackNumber(number),
                what: "the server lists it and does not have it".to_owned(),
            });
        }
    }

    /// Opens every manifest and every list of packs; those that can be walked, oldest first.
    fn snapshots(&self) -> Result<Vec<Checked>, ReadError> {
        let mut checked = Vec::new();
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
            let packs = match self.list_of(&row)? {
                Ok(packs) => packs,
                Err(what) => {
                    damaged(what);
                    self.packs.index.live().clone()
                }
            };
            let Manifest { root, totals, .. } = manifest;
            checked.push(Checked { row, root, totals, packs });
        }
        Ok(checked)
    }

    /// The packs of a snapshot, or what is wrong with its list.
    fn list_of(&self, row: &Row) -> Result<Result<RoaringBitmap, String>, ReadError> {
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
        let unknown = listed.iter().find(|number| index.pack(PackNumber(*number)).is_none());
        Ok(match unknown {
            Some(number) => Err(format!("it needs pack {number}, which is damaged")),
            None if packs_hold(packs.repo, index, row, &listed) => Ok(listed),
            None => Err("its list of packs is not the one that its device signed".to_owned()),
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

    pub(super) fn found(&self, damage: Damage) {
        let (path, what) = match &damage {
            Damage::Pack { number, what } => (format!("pack {number}").into_bytes(), what),
            Damage::Device { device, what } => {
                (format!("device {}", device.short()).into_bytes(), what)
            }
            Damage::Snapshot { snapshot, what } => {
                (format!("snapshot {}", snapshot.short()).into_bytes(), what)
            }
            Damage::Path { path, what, .. } => (path.clone(), what),
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
