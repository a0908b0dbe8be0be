//! How much room snapshots give back that go.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tokio::task::JoinSet;
use unseen_common::id::{PackNumber, SnapshotId};
use unseen_common::time::Timestamp;
use unseen_common::vault::{Vault, VaultError};

use crate::repo::{ReaderIndex, ReaderRepo};

/// Lists of packs that are asked for at the same time.
const AT_ONCE: usize = 16;

/// What becomes free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What becomes free at `until`, when the grace of `leaving` is over: packs that no other snapshot
/// needs, neither a live one nor one that can still be brought back by then.
pub async fn freed_by(
    repo: &ReaderRepo,
    index: &ReaderIndex,
    leaving: &BTreeSet<SnapshotId>,
    until: Timestamp,
) -> Result<Room, VaultError> {
    let state = &repo.log.state;
    let live = state.snapshots.keys().filter(|id| !leaving.contains(id));
    let gone = state.gone.iter().filter(|(_, gone)| gone.until > until).map(|(id, _)| id);
    let going = packs_of(&repo.vault, leaving.iter().copied()).await?;
    let staying = packs_of(&repo.vault, live.chain(gone).copied()).await?;
    let mut room = Room::default();
    for number in going - staying {
        // One whose table of contents cannot be read has no known length.
        if let Some(pack) = index.pack(PackNumber(number)) {
            room.packs += 1;
            room.bytes = room.bytes.saturating_add(pack.length);
        }
    }
    Ok(room)
}

/// All packs that these snapshots need.
pub async fn packs_of(
    vault: &Arc<dyn Vault>,
    snapshots: impl IntoIterator<Item = SnapshotId>,
) -> Result<RoaringBitmap, VaultError> {
    let mut left = snapshots.into_iter();
    let mut asked = JoinSet::new();
    let mut all = RoaringBitmap::new();
    loop {
        while asked.len() < AT_ONCE
            && let Some(id) = left.next()
        {
            let vault = Arc::clone(vault);
            asked.spawn(async move { vault.packs_of(id).await });
        }
        match asked.join_next().await {
            None => return Ok(all),
            Some(Ok(answer)) => all |= answer?.0,
            Some(Err(error)) => return Err(VaultError::BadAnswer(error.to_string())),
        }
    }
}
