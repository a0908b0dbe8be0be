//! Reads back what was restored and compares it with the snapshot.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::dirs::DirNode;
use super::existing::same_content;
use super::options::RestoreOptions;
use super::run::Run;
use super::select::{Pick, SelectCtx};
use super::walk::Start;
use crate::browse::chunks::Chunks;
use crate::browse::error::ReadError;
use crate::browse::ls::MAX_DEPTH;
use crate::crypto::content_id::ChunkId;
use crate::progress::in_words;
use crate::tree::entry::{Content, Entry, Kind, Name};
use crate::tree::reader::DirReader;

/// Compares every file that was restored. Those that were not are passed over.
pub(super) fn verify(
    run: &Run<'_>,
    options: &RestoreOptions,
    start: Start,
    (path, ctx): (Vec<u8>, SelectCtx),
    within: &Arc<RoaringBitmap>,
) -> Result<(), ReadError> {
    let mut chunks = Chunks::new(run.packs, Arc::clone(within));
    let root = run.dirs.target(path);
    let mut stack: Vec<(DirReader, Arc<DirNode>, SelectCtx)> = Vec::new();
    match start {
        Start::Dir(tree) => stack.push((DirReader::new(tree), root, ctx)),
        Start::One(entry) => match entry.kind {
            Kind::File { size, content } => {
                compare(run, &mut chunks, (&root, &entry.name), (&content, size));
            }
            Kind::Directory { tree } => {
                let ctx = options.select.enter(&ctx, &entry.name, Pick::Take);
                let node = run.dirs.below(&root, entry.name, entry.meta);
                stack.push((DirReader::new(tree), node, ctx));
            }
            _ => {}
        },
    }
    while let Some((reader, node, ctx)) = stack.last_mut() {
        if run.stopped() {
            return Err(ReadError::Stopped);
        }
        let Some(entry) = next(reader, &mut chunks)? else {
            stack.pop();
            continue;
        };
        if let Some((tree, pick, entry)) = visit(run, options, &mut chunks, (node, ctx), entry) {
            let ctx = options.select.enter(ctx, &entry.name, pick);
            let node = run.dirs.below(node, entry.name, entry.meta);
            if stack.len() < MAX_DEPTH {
                stack.push((DirReader::new(tree), node, ctx));
            }
        }
    }
    Ok(())
}

/// The next entry that can be read: the restore has told of those that cannot.
fn next(reader: &mut DirReader, chunks: &mut Chunks<'_>) -> Result<Option<Entry>, ReadError> {
    loop {
        match reader.next(chunks) {
            Err(ReadError::Lost { .. }) => {}
            Err(error) if error.is_local() => return Ok(None),
            other => return other,
        }
    }
}

/// Compares a file; gives a directory back.
fn visit(
    run: &Run<'_>,
    options: &RestoreOptions,
    chunks: &mut Chunks<'_>,
    (node, ctx): (&Arc<DirNode>, &SelectCtx),
    entry: Entry,
) -> Option<(ChunkId, Pick, Entry)> {
    let is_dir = matches!(entry.kind, Kind::Directory { .. });
    let pick = options.select.pick(ctx, &entry.name, is_dir);
    match &entry.kind {
        _ if pick == Pick::Leave => None,
        Kind::Directory { tree } => Some((*tree, pick, entry)),
        Kind::File { size, content } => {
            compare(run, chunks, (node, &entry.name), (content, *size));
            None
        }
        _ => None,
    }
}

fn compare(
    run: &Run<'_>,
    chunks: &mut Chunks<'_>,
    (node, name): (&Arc<DirNode>, &Name),
    content: (&Content, u64),
) {
    let path = node.path_of(name);
    if !run.is_restored(&path) {
        return;
    }
    let opened = run.dirs.open(node).and_then(|dir| dir.open_existing_file(name));
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            run.problem(path, in_words(&error));
            return;
        }
    };
    match same_content(&file, content, chunks, run.packs.repo.ids()) {
        Ok(true) => run.count(|tally| tally.verified += 1),
        Ok(false) => run.problem(path, "it reads back otherwise than it was written".to_owned()),
        Err(error) => run.unreadable(path, error),
    }
}
