//! Brings snapshots back that went.

use unseen_common::id::{PackNumber, SnapshotId};
use unseen_common::log::entry::{RestoreForgotten, SnapshotIds};
use unseen_common::packset::{PackSet, PackSetHasher};
use unseen_common::vault::VaultError;

use crate::browse::snapshots::{GoneRow, packs_hold};
use crate::repo::{ReaderIndex, ReaderRepo};

/// Why snapshots do not come back.
#[derive(Debug, thiserror::Error)]
pub enum UndeleteError {
    /// The vault refused, or cannot be reached.
    #[error("the packs of snapshot {} cannot be listed", .0.short())]
    Vault(SnapshotId, #[source] VaultError),
    /// Some of its packs are gone already.
    #[error("{missing} of the packs of snapshot {} are gone already", .snapshot.short())]
    Missing {
        /// The snapshot.
        snapshot: SnapshotId,
        /// How many.
        missing: u64,
    },
    /// The server lists other packs for it than its device signed for.
    #[error("the list of packs of snapshot {} is not the one that was signed", .0.short())]
    OtherPacks(SnapshotId),
}

/// What is to be signed to bring these back: one entry for every 1024 of them.
pub async fn restoring(
    repo: &ReaderRepo,
    index: &ReaderIndex,
    gone: &[GoneRow],
) -> Result<Vec<RestoreForgotten>, UndeleteError> {
    let mut entries = Vec::new();
    for snapshots in SnapshotIds::batches(gone.iter().map(|gone| gone.row.id)) {
        let mut packs = PackSet::default();
        for one in gone.iter().filter(|one| snapshots.as_slice().contains(&one.row.id)) {
            packs.0 |= packs_of(repo, index, one).await?.0;
        }
        let mut hasher = PackSetHasher::default();
        for pack in packs.0.iter().filter_map(|number| index.pack(PackNumber(number))) {
            hasher.add(pack.number, &pack.id);
        }
        entries.push(RestoreForgotten { snapshots, packs_hash: hasher.finish() });
    }
    Ok(entries)
}

/// The packs of one snapshot: all of them are there, and they are those that were signed.
async fn packs_of(
    repo: &ReaderRepo,
    index: &ReaderIndex,
    gone: &GoneRow,
) -> Result<PackSet, UndeleteError> {
    let snapshot = gone.row.id;
    let answer = repo.vault.packs_of(snapshot).await;
    let packs = answer.map_err(|error| UndeleteError::Vault(snapshot, error))?;
    let missing = (&packs.0 - index.live()).len();
    if missing > 0 {
        return Err(UndeleteError::Missing { snapshot, missing });
    }
    if !packs_hold(repo, index, &gone.row, &packs.0) {
        return Err(UndeleteError::OtherPacks(snapshot));
    }
    Ok(packs)
}
