//! What the live snapshots need, and how much of each pack that is.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use roaring::RoaringBitmap;
use unseen_common::id::{Hash, PackNumber, SnapshotId};

use super::Used;
use super::notes::{Needs, Notes};
use super::plan::Weighed;
use crate::browse::error::{PackFault, ReadError};
use crate::browse::packs::Packs;
use crate::browse::snapshots::{Row, SnapshotError, manifest, packs_hold, rows};
use crate::maintain::check::{Checked, Checking};
use crate::maintain::trees::TreeCheck;
use crate::progress::{During, Monitor, Problem, in_words};
use crate::tree::manifest::Manifest;

/// A snapshot whose packs may be exchanged.
#[derive(Debug, Clone)]
pub(super) struct Needing {
    pub(super) id: SnapshotId,
    /// The packs that it needs.
    pub(super) packs: RoaringBitmap,
}

/// What was found.
#[derive(Debug)]
pub struct Survey {
    /// The head of the log that it is about.
    pub(super) head: (u64, Hash),
    /// The snapshots that could be read to their end.
    pub(super) snapshots: Vec<Needing>,
    pub(super) used: Used,
    /// What is needed of packs that are damaged.
    pub(super) stranded: BTreeMap<PackNumber, Needs>,
    /// Damaged packs that snapshots may be taken off: all that name one could be walked.
    pub mendable: Vec<PackNumber>,
    /// Packs that may be written anew.
    pub packs: Vec<Weighed>,
    /// Snapshots in which something is damaged. Their packs stay as they are.
    pub damaged: u64,
}

/// Walks the trees of all live snapshots. Blocks.
pub fn survey(
    packs: &Packs<'_>,
    (monitor, interrupt): (&dyn Monitor, &AtomicBool),
) -> Result<Survey, ReadError> {
    let notes = Notes::new(packs.index.quarantined().clone());
    let state = &packs.repo.log.state;
    let head = (state.head_seq, state.head);
    let checking = Checking::new(packs, (monitor, interrupt), (0, Some(&notes)));
    let mut looking =
        Looking { checking: &checking, notes: &notes, snapshots: Vec::new(), damaged: 0 };
    let kept = looking.look()?;
    let Looking { snapshots, damaged, .. } = looking;
    monitor.scan_done();
    let (used, stranded) = notes.settled();
    let mut needed = RoaringBitmap::new();
    for snapshot in &snapshots {
        needed |= &snapshot.packs;
    }
    needed -= kept;
    let index = packs.index;
    let unsound = index.damaged().into_iter().map(|damaged| damaged.number.0);
    let unsound = index.quarantined() | index.gone() | unsound.collect::<RoaringBitmap>();
    // Their names are known, or no list that has them would be the one that was signed for.
    let mendable = (&needed & index.quarantined()).iter().map(PackNumber).collect();
    let weighed = weigh(packs, &(needed - unsound), &used);
    Ok(Survey { head, snapshots, used, stranded, mendable, packs: weighed, damaged })
}

impl Survey {
    /// How many snapshots need a damaged pack that they may be taken off.
    pub fn to_mend(&self) -> u64 {
        let mendable: RoaringBitmap = self.mendable.iter().map(|number| number.0).collect();
        let concerned = self.snapshots.iter().filter(|one| !one.packs.is_disjoint(&mendable));
        u64::try_from(concerned.count()).unwrap_or(u64::MAX)
    }
}

struct Looking<'a> {
    checking: &'a Checking<'a>,
    notes: &'a Notes,
    snapshots: Vec<Needing>,
    damaged: u64,
}

impl Looking<'_> {
    /// Looks at every snapshot; the packs of those that cannot be walked to their end.
    fn look(&mut self) -> Result<RoaringBitmap, ReadError> {
        let checking = self.checking;
        let mut kept = RoaringBitmap::new();
        let mut trees = TreeCheck::new(checking);
        for row in rows(checking.packs.repo) {
            checking.go_on()?;
            let packs = checking.packs.wait(checking.packs.repo.vault.packs_of(row.id))?.0;
            if self.is_whole(&row, &packs, &mut trees)? {
                self.snapshots.push(Needing { id: row.id, packs });
            } else {
                self.damaged += 1;
                kept |= packs;
            }
        }
        Ok(kept)
    }

    fn is_whole(
        &self,
        row: &Row,
        packs: &RoaringBitmap,
        trees: &mut TreeCheck<'_>,
    ) -> Result<bool, ReadError> {
        let (checking, repo) = (self.checking, self.checking.packs.repo);
        if !packs_hold(repo, checking.packs.index, row, packs) {
            self.damaged(row, "its packs are not those that were signed for, or cannot be opened");
            return Ok(false);
        }
        let manifest = match checking.packs.wait(manifest(repo, row)) {
            Ok(manifest) => manifest,
            Err(SnapshotError::Vault(error)) => match PackFault::from(error) {
                PackFault::Vault(error) => return Err(error.into()),
                PackFault::Pack(trouble) => {
                    self.damaged(row, &format!("its manifest: {trouble}"));
                    return Ok(false);
                }
            },
            Err(error) => {
                self.damaged(row, &in_words(&error));
                return Ok(false);
            }
        };
        self.note_maps(&manifest);
        let before = checking.findings();
        let (root, totals) = (manifest.root, manifest.totals);
        trees.check(&Checked { row: row.clone(), root, totals, packs: packs.clone() })?;
        Ok(checking.findings() == before)
    }

    /// Maps of chunks are needed where they are: nobody would find them in another pack.
    fn note_maps(&self, manifest: &Manifest) {
        for map in &manifest.maps {
            let pack = self.checking.packs.index.pack(map.number);
            if let Some(pack) = pack.filter(|pack| pack.id == map.pack) {
                self.notes.used([map.number].into_iter(), (&map.chunk, pack.raw));
            }
        }
    }

    fn damaged(&self, row: &Row, what: &str) {
        let path = format!("snapshot {}", row.id.short()).into_bytes();
        let what = what.to_owned();
        self.checking.monitor.problem(&Problem { path, during: During::Check, what });
    }
}

fn weigh(packs: &Packs<'_>, numbers: &RoaringBitmap, used: &Used) -> Vec<Weighed> {
    let known = numbers.iter().filter_map(|number| packs.index.pack(PackNumber(number)));
    known
        .map(|info| {
            let (body, raw) = (u64::from(info.body), u64::from(info.raw).max(1));
            // Compressed alike, as far as anybody knows.
            let live = body.saturating_mul(used.raw(info.number)).div_ceil(raw).min(body);
            let (number, device, length) = (info.number, info.device, info.length);
            Weighed { number, device, length, body, live }
        })
        .collect()
}
