//! Which files of a snapshot suffer from bad packs.

use std::collections::BTreeMap;
use std::sync::Arc;

use unseen_common::id::PackNumber;

use super::check::{Checked, Checking};
use super::data::Bad;
use super::trees::TreeCheck;
use crate::browse::chunks::Chunks;
use crate::browse::error::ReadError;
use crate::browse::ls::MAX_DEPTH;
use crate::crypto::content_id::ChunkId;
use crate::progress::in_words;
use crate::tree::entry::{Content, Extent, Kind};
use crate::tree::reader::{DirReader, for_each_extent};

/// Walks what may suffer of a snapshot, and tells what does.
pub(super) fn impact(
    checking: &Checking<'_>,
    trees: &mut TreeCheck<'_>,
    snapshot: &Checked,
    bad: &BTreeMap<PackNumber, Bad>,
) -> Result<(), ReadError> {
    let lost = |path: &[u8], what: String| checking.lost(&snapshot.row, path, what);
    let mut chunks = Chunks::new(checking.packs, Arc::new(snapshot.packs.clone()));
    let mut path = Vec::new();
    let mut stack = vec![(DirReader::new(snapshot.root), 0)];
    if is_spared(trees, &snapshot.root, bad) {
        return Ok(());
    }
    while let Some((reader, length)) = stack.last_mut() {
        checking.go_on()?;
        path.truncate(*length);
        let entry = match reader.next(&mut chunks) {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                stack.pop();
                continue;
            }
            Err(error @ ReadError::Lost { .. }) => {
                lost(&path, in_words(&error));
                continue;
            }
            Err(error) if error.is_local() => {
                stack.pop();
                continue;
            }
            Err(error) => return Err(error),
        };
        path.push(b'/');
        path.extend_from_slice(entry.name.as_bytes());
        match &entry.kind {
            Kind::Directory { tree } if !is_spared(trees, tree, bad) && stack.len() < MAX_DEPTH => {
                stack.push((DirReader::new(*tree), path.len()));
            }
            Kind::File { size, content }
                if suffers(checking, &mut chunks, (content, *size), bad)? =>
            {
                lost(&path, "some of it is in no pack that is whole".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a tree, with all beneath it, is known to need no bad pack.
fn is_spared(trees: &TreeCheck<'_>, tree: &ChunkId, bad: &BTreeMap<PackNumber, Bad>) -> bool {
    trees
        .needs(tree)
        .is_some_and(|needs| needs.iter().all(|pack| !bad.contains_key(&PackNumber(*pack))))
}

fn suffers(
    checking: &Checking<'_>,
    chunks: &mut Chunks<'_>,
    (content, size): (&Content, u64),
    bad: &BTreeMap<PackNumber, Bad>,
) -> Result<bool, ReadError> {
    let index = checking.packs.index;
    let mut lost = false;
    let none = roaring::RoaringBitmap::new();
    let read = for_each_extent(content, size, chunks, |extent, _| {
        if let Extent::Data { chunk, .. } = extent
            && !lost
        {
            let copies = index.copies(chunk, &none)?;
            lost = copies.iter().all(|pack| bad.get(pack).is_some_and(|bad| bad.lacks(chunk)));
        }
        Ok::<(), ReadError>(())
    });
    match read {
        Ok(()) => Ok(lost),
        Err(ReadError::Lost { .. }) => Ok(true),
        Err(error) if error.is_local() => Ok(lost),
        Err(error) => Err(error),
    }
}
