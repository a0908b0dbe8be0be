//! Copies from directory records what has not changed.

use std::sync::Arc;

use roaring::RoaringBitmap;
use unseen_common::codec::Canonical;

use super::BackupError;
use super::dedup::{Dedup, PackRef};
use super::events::Old;
use super::recorder::Needs;
use crate::crypto::content_id::ChunkId;
use crate::state::db::StateDb;
use crate::state::records::{DirKey, RecordReader, Row};
use crate::tree::entry::{Content, Entry, Extent, Kind, Name};

/// The packs of a directory's tree, object by object; `None` if one is no longer on the server.
pub fn places(
    tree: &ChunkId,
    objects: &[ChunkId],
    dedup: &Dedup<'_>,
) -> Result<Option<Needs>, BackupError> {
    let mut needs = Needs::default();
    for id in std::iter::once(tree).chain(objects) {
        match dedup.find(id)? {
            Some(place) => needs.add(place),
            None => return Ok(None),
        }
    }
    Ok(Some(needs))
}

/// Calls `each` for the first `count` rows of a record.
pub fn replay(
    state: &StateDb,
    key: DirKey,
    count: u64,
    mut each: impl FnMut(&Old) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let Some(mut reader) = RecordReader::open(state, key)? else {
        return Ok(());
    };
    let mut left = count;
    while left > 0 {
        let Some(part) = reader.next_part() else {
            return Err(BackupError::Internal("a directory record changed during the run"));
        };
        for index in 0..part.len() {
            if left == 0 {
                break;
            }
            each(&Old { part: Arc::clone(&part), index })?;
            left -= 1;
        }
    }
    Ok(())
}

/// The packs of an unchanged file: looked up chunk by chunk, so that a pack which only its former
/// neighbours needed is not kept alive.
pub fn needs_of_row(
    row: &Row<'_>,
    part_packs: &RoaringBitmap,
    dedup: &Dedup<'_>,
) -> Result<Needs, BackupError> {
    let mut needs = Needs::default();
    if let Some(places) = inline_packs(row, dedup)? {
        for place in places {
            needs.add(place);
        }
    } else {
        dedup.use_packs(part_packs);
        needs.add_packs(part_packs);
    }
    Ok(needs)
}

/// The tree that a directory had when its parent recorded it; `None` if it was no directory.
pub fn tree_of(row: &Row<'_>) -> Option<ChunkId> {
    match Entry::from_bytes(row.encoded).ok()?.kind {
        Kind::Directory { tree } => Some(tree),
        _ => None,
    }
}

/// Where each chunk of a row is; none if one is nowhere, or if the row does not name them all, as
/// that of a long file.
pub fn inline_packs(row: &Row<'_>, dedup: &Dedup<'_>) -> Result<Option<Vec<PackRef>>, BackupError> {
    let mut places = Vec::new();
    if row.seen.kind != 0 {
        return Ok(Some(places));
    }
    let extents = match Entry::from_bytes(row.encoded)?.kind {
        Kind::File { content: Content::List { .. }, .. } => return Ok(None),
        Kind::File { content: Content::Inline(extents), .. } => extents,
        _ => return Ok(Some(places)),
    };
    for extent in &extents {
        if let Extent::Data { chunk, .. } = extent {
            match dedup.find(chunk)? {
                Some(place) => places.push(place),
                None => return Ok(None),
            }
        }
    }
    Ok(Some(places))
}

/// The row of an entry.
pub fn row_of(old: &Old) -> Result<Row<'_>, BackupError> {
    let row = old.part.row(old.index);
    row.ok_or(BackupError::Internal("a record has fewer rows than it says"))
}

/// The name of a row.
pub fn name_of(row: &Row<'_>) -> Result<Name, BackupError> {
    Name::new(row.name)
        .map_err(|_e| BackupError::Internal("a directory record holds something that is no name"))
}
