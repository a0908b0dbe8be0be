//! What the live snapshots need, and how much of each pack that is.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use roaring::RoaringBitmap;
use unseen_common::id::{Hash, PackNumber, SnapshotId};

use super::Used;
use super::plan::Weighed;
use crate::browse::error::{PackFault, ReadError};
use crate::browse::packs::Packs;
use crate::browse::snapshots::{Row, SnapshotError, manifest, packs_hold, rows};
use crate::maintain::check::{Checked, Checking};
use crate::maintain::trees::TreeCheck;
use crate::progress::{During, Monitor, Problem, in_words};

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
    let used = Mutex::new(Used::default());
    let state = &packs.repo.log.state;
    let head = (state.head_seq, state.head);
    let checking = Checking::new(packs, (monitor, interrupt), (0, Some(&used)));
    let mut looking = Looking { checking: &checking, snapshots: Vec::new(), damaged: 0 };
    let protected = looking.look()?;
    let Looking { snapshots, damaged, .. } = looking;
    monitor.scan_done();
    let mut used = used.into_inner().unwrap_or_else(PoisonError::into_inner);
    used.settle();
    let mut needed = RoaringBitmap::new();
    for snapshot in &snapshots {
        needed |= &snapshot.packs;
    }
    let weighed = weigh(packs, &(needed - protected), &used);
    Ok(Survey { head, snapshots, used, packs: weighed, damaged })
}

struct Looking<'a> {
    checking: &'a Checking<'a>,
    snapshots: Vec<Needing>,
    damaged: u64,
}

impl Looking<'_> {
    /// Looks at every snapshot; the packs that must stay as they are.
    fn look(&mut self) -> Result<RoaringBitmap, ReadError> {
        let checking = self.checking;
        let index = checking.packs.index;
        let mut protected = index.quarantined() | index.gone();
        protected.extend(index.damaged().iter().map(|damaged| damaged.number.0));
        let mut trees = TreeCheck::new(checking);
        for row in rows(checking.packs.repo) {
            checking.go_on()?;
            let packs = checking.packs.wait(checking.packs.repo.vault.packs_of(row.id))?.0;
            if self.is_whole(&row, &packs, &mut trees)? {
                self.snapshots.push(Needing { id: row.id, packs });
            } else {
                self.damaged += 1;
                protected |= packs;
            }
        }
        Ok(protected)
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
        let before = checking.findings();
        let (root, totals) = (manifest.root, manifest.totals);
        trees.check(&Checked { row: row.clone(), root, totals, packs: packs.clone() })?;
        Ok(checking.findings() == before)
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
