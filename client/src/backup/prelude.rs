//! Before a run: the index is made to match what the server holds.

use ed25519_dalek::VerifyingKey;
use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;
use unseen_common::limits::PACK_TRAILER;
use unseen_common::vault::FooterItem;

use super::BackupError;
use crate::crypto::content_id::ChunkId;
use crate::index::{Index, IndexError};
use crate::maintain::room::packs_of;
use crate::progress::{Monitor, Note};
use crate::repo::footers::{Known, Take, fill};
use crate::repo::{RepoError, Repository};
use crate::state::db::StateDb;

/// The index of this device's packs, and those of them that the server still has.
///
/// The server's word on what it has only ever makes the set smaller; a table of contents counts
/// only with this device's seal and signature.
pub async fn open_index(
    repo: &Repository,
    state: &StateDb,
    monitor: &dyn Monitor,
) -> Result<(Index, RoaringBitmap), BackupError> {
    let folder = repo.folders.index();
    let index = match Index::open(&folder, repo.key.vault) {
        Err(IndexError::Damaged { .. }) => {
            Index::wipe(&folder)?;
            Index::open(&folder, repo.key.vault)?
        }
        opened => opened?,
    };
    if index.covered().is_empty() {
        state.set_synced(None)?;
    }
    let compacted = look_behind(repo, state, &index).await?;
    let mut highest = state.synced()?;
    for writer in writers(repo) {
        let account = (repo.key.vault, Some(writer.device));
        let mut names = Names { state, monitor };
        let known = [writer];
        let seen =
            fill(&*repo.vault, account, state.synced()?, &known, (&index, &mut names)).await?;
        highest = highest.max(seen);
    }
    index.flush()?;
    state.flush()?;
    state.set_synced(highest)?;
    state.set_compacted(compacted)?;
    let live = repo.vault.live_packs().await.map_err(RepoError::from)?.0 - &repo.log.removed;
    let covered = index.covered();
    let dead = &covered - &live;
    if !dead.is_empty() {
        index.forget_packs(&dead)?;
    }
    Ok((index, covered & live))
}

/// The owner may write packs of this device anew while it uploads others itself, so that numbers
/// which were passed over name packs of its own now. After a compaction they are among those that
/// its snapshots need; tables of contents are asked for again from the first of them on. Tells the
/// newest compaction.
async fn look_behind(
    repo: &Repository,
    state: &StateDb,
    index: &Index,
) -> Result<u64, BackupError> {
    let (known, line) = (state.compacted()?, repo.log.state.lineage(repo.key.secrets.device));
    let changed: Vec<_> = repo
        .log
        .state
        .snapshots
        .iter()
        .filter(|(_, s)| s.packed != s.seq && s.packed > known && line.contains(&s.device))
        .collect();
    let newest = changed.iter().map(|(_, snapshot)| snapshot.packed).max().unwrap_or(known);
    let Some(synced) = state.synced()? else {
        return Ok(newest);
    };
    let ids = changed.iter().map(|(id, _)| **id);
    let needed = packs_of(&repo.vault, ids).await.map_err(RepoError::from)?;
    if let Some(first) = (needed - index.covered()).min()
        && first <= synced.0
    {
        state.set_synced(first.checked_sub(1).map(PackNumber))?;
    }
    Ok(newest)
}

/// After a run all of whose packs are in the index.
pub fn mark_synced(index: &Index, state: &StateDb) -> Result<(), BackupError> {
    index.flush()?;
    if let Some(highest) = index.covered().max() {
        state.set_synced(state.synced()?.max(Some(PackNumber(highest))))?;
    }
    state.flush()?;
    Ok(())
}

/// This device, and those whose place it took.
fn writers(repo: &Repository) -> Vec<Known> {
    let (own, root) = (&repo.key.secrets, repo.key.root_verify);
    let mut known = vec![Known {
        device: own.device,
        index_key: own.index_key.duplicate(),
        signers: [own.manifest.verifying_key(), root],
    }];
    for (device, index_key) in &repo.key.inherited {
        let Some(added) = repo.log.state.devices.get(device) else {
            continue;
        };
        if let Ok(manifest_key) = VerifyingKey::from_bytes(&added.add.manifest_key) {
            let (device, index_key) = (*device, index_key.duplicate());
            known.push(Known { device, index_key, signers: [manifest_key, root] });
        }
    }
    known
}

/// Of a pack and of its footer, without the trailer.
fn lengths(item: &FooterItem) -> (u64, u64) {
    (item.length, (item.footer.len() as u64).saturating_sub(PACK_TRAILER))
}

struct Names<'a> {
    state: &'a StateDb,
    monitor: &'a dyn Monitor,
}

impl Take for Names<'_> {
    fn take(&mut self, item: &FooterItem, _ids: &[ChunkId]) -> Result<(), RepoError> {
        Ok(self.state.set_pack(item.number, &item.id, lengths(item))?)
    }

    fn covered(&mut self, item: &FooterItem) -> Result<(), RepoError> {
        Ok(self.state.set_pack(item.number, &item.id, lengths(item))?)
    }

    /// What is in that pack is sent again where it is needed; the backup goes on.
    fn damaged(&mut self, error: RepoError) -> Result<(), RepoError> {
        self.monitor.note(&Note::warning(format!("{error}: what is in it is sent again")));
        Ok(())
    }
}
