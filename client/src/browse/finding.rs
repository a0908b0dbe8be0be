//! Where chunks are, for who wants little: tables of contents are fetched as they are needed.
//!
//! A map of chunks is a hint. Where it names no pack, or the wrong ones, all tables are fetched, and
//! then the index says where a chunk is, or that it is nowhere.

use std::path::Path;
use std::sync::PoisonError;

use roaring::RoaringBitmap;
use unseen_common::id::PackNumber;
use unseen_common::log::entry::Status;

use super::error::{PackFault, ReadError};
use super::packs::Packs;
use super::resolve::{Chosen, Filter, ResolveError, Wanted, resolve};
use super::snapshots::{manifest, rows};
use crate::crypto::content_id::ChunkId;
use crate::index::IndexError;
use crate::repo::{ReaderIndex, ReaderRepo, RepoError};
use crate::tree::manifest::MapRef;

/// Tables that an index may lack and that are fetched without looking for maps.
const FEW: u64 = 64;
/// Packs of a snapshot that no map knows, at most: their tables are fetched at once.
const UNMAPPED: u64 = 1024;

impl Packs<'_> {
    /// A pack that holds the chunk: one of `within` if there is one, else any.
    pub fn lookup(
        &self,
        id: &ChunkId,
        within: &RoaringBitmap,
    ) -> Result<Option<PackNumber>, ReadError> {
        let index = self.index;
        if index.is_whole() {
            return Ok(index.lookup(id, within)?);
        }
        if let Some(found) = index.lookup_within(id, within)? {
            return Ok(Some(found));
        }
        self.learn(id)?;
        if let Some(found) = index.lookup(id, within)? {
            return Ok(Some(found));
        }
        self.learn_all()?;
        Ok(index.lookup(id, within)?)
    }

    /// Packs that hold the chunk: those of `within` first. None only if there are none; all of them
    /// once the index is whole.
    pub fn copies(
        &self,
        id: &ChunkId,
        within: &RoaringBitmap,
    ) -> Result<Vec<PackNumber>, ReadError> {
        let index = self.index;
        if !index.is_whole() {
            self.learn(id)?;
            let found = index.copies(id, within)?;
            if !found.is_empty() {
                return Ok(found);
            }
            self.learn_all()?;
        }
        Ok(index.copies(id, within)?)
    }

    /// Fetches all tables of contents that the index lacks.
    pub fn learn_all(&self) -> Result<(), ReadError> {
        let _one_at_a_time = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        self.complete()
    }

    fn complete(&self) -> Result<(), ReadError> {
        self.wait(self.repo.complete_index(self.index)).map_err(|error| match error {
            RepoError::Vault(error) => ReadError::Vault(error),
            RepoError::Index(error) => ReadError::Index(error),
            RepoError::Io { path, source } => {
                ReadError::Index(IndexError::Io { action: "write", path, source })
            }
            other => {
                ReadError::Vault(unseen_common::vault::VaultError::BadAnswer(other.to_string()))
            }
        })
    }

    /// Fetches the tables of the packs that may hold a chunk.
    fn learn(&self, id: &ChunkId) -> Result<(), ReadError> {
        let _one_at_a_time = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let packs = self.index.may_hold(id);
        if !self.index.is_few(&packs) {
            return self.complete();
        }
        for pack in packs {
            match self.wait(self.repo.fetch_ends(&pack)).map_err(PackFault::from) {
                Ok(ends) => {
                    self.count(ends.0.len().saturating_add(ends.1.len()));
                    self.repo.take_ends(self.index, &pack, ends)?;
                }
                Err(PackFault::Pack(_)) => self.index.pass_over(pack.number),
                Err(PackFault::Vault(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Finds a snapshot, and opens the index for who wants a small part of it: as far as maps say where
/// chunks are, without the tables of contents.
pub async fn open_for_little(
    repo: &ReaderRepo,
    dir: &Path,
    (wanted, filter): (&Wanted, &Filter),
) -> (Result<Chosen, ResolveError>, Result<ReaderIndex, RepoError>) {
    let begun = repo.begin_index(dir);
    let (begun, chosen) = tokio::join!(biased; begun, resolve(repo, wanted, filter));
    let index = match (begun, &chosen) {
        (Ok(index), Ok(chosen)) => learn_for(repo, index, chosen).await,
        (begun, _) => begun,
    };
    (chosen, index)
}

async fn learn_for(
    repo: &ReaderRepo,
    mut index: ReaderIndex,
    chosen: &Chosen,
) -> Result<ReaderIndex, RepoError> {
    let lacking = index.lacking();
    let maps = if lacking.len() <= FEW && !index.is_empty() {
        Vec::new()
    } else {
        newest_maps(repo, chosen).await
    };
    let mut found = Vec::new();
    for at in &maps {
        found.extend(repo.fetch_map(at).await);
    }
    if found.is_empty() {
        repo.complete_index(&index).await?;
        return Ok(index);
    }
    index.set_maps((maps, found));
    // Without the list nothing is known of what no map has.
    let within = repo.vault.packs_of(chosen.snapshot.id).await.map(|packs| packs.0);
    let unmapped = within.map_or_else(|_| lacking.clone(), |within| within & &lacking);
    let unmapped = unmapped - index.mapped();
    if unmapped.len() > UNMAPPED {
        repo.complete_index(&index).await?;
    } else {
        repo.fetch_tables(&index, unmapped).await?;
    }
    Ok(index)
}

/// The maps of the newest snapshot of the same device: they know most of its packs, and where a
/// compaction has put them.
async fn newest_maps(repo: &ReaderRepo, chosen: &Chosen) -> Vec<MapRef> {
    let newest = rows(repo).into_iter().rfind(|row| {
        row.device == chosen.snapshot.device && row.trusted && row.status != Status::Checkpoint
    });
    match newest.filter(|newest| newest.id != chosen.snapshot.id) {
        Some(newest) => manifest(repo, &newest).await.map(|manifest| manifest.maps),
        None => Ok(chosen.manifest.maps.clone()),
    }
    .unwrap_or_else(|_| chosen.manifest.maps.clone())
}

#[cfg(test)]
mod tests;
