//! Reads back what was restored and compares it with the snapshot.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::dirs::DirNode;
use super::existing::same_content;
use super::options::RestoreOptions;
use super::run::Run;
use super::walk::{Begin, Start};
use super::way::Scope;
use crate::browse::chunks::Chunks;
use crate::browse::error::ReadError;
use crate::browse::ls::MAX_DEPTH;
use crate::progress::in_words;
use crate::tree::entry::{Content, Entry, Kind, Name};
use crate::tree::reader::DirReader;

/// Compares every file that was restored. Those that were not are passed over.
pub(super) fn verify(
    run: &Run<'_>,
    options: &RestoreOptions,
    begin: Begin,
    within: &Arc<RoaringBitmap>,
) -> Result<(), ReadError> {
    let mut chunks = Chunks::new(run.packs, Arc::clone(within));
    let node = run.dirs.target(begin.path, None);
    let here = Here { node, scope: begin.ctx.scope };
    let mut stack = Vec::new();
    match begin.start {
        Start::Dir(tree) => stack.push((DirReader::new(tree), here)),
        Start::One(entry) => stack.extend(visit(run, options, &mut chunks, (&here, *entry))),
    }
    while let Some((reader, here)) = stack.last_mut() {
        if run.stopped() {
            return Err(ReadError::Stopped);
        }
        let Some(entry) = next(reader, &mut chunks)? else {
            stack.pop();
            continue;
        };
        let below = visit(run, options, &mut chunks, (here, entry));
        if stack.len() < MAX_DEPTH {
            stack.extend(below);
        }
    }
    Ok(())
}

/// A directory that is being compared.
struct Here {
    node: Arc<DirNode>,
    scope: Scope,
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
    (here, entry): (&Here, Entry),
) -> Option<(DirReader, Here)> {
    let is_dir = matches!(entry.kind, Kind::Directory { .. });
    let step = here.scope.step(&options.select, &entry.name, is_dir)?;
    match &entry.kind {
        Kind::Directory { tree } => {
            let reader = DirReader::new(*tree);
            let scope = here.scope.enter(&options.select, &entry.name, &step);
            let node = run.dirs.below(&here.node, (entry.name, entry.meta), step.above);
            Some((reader, Here { node, scope }))
        }
        Kind::File { size, content } => {
            compare(run, chunks, (&here.node, &entry.name), (content, *size));
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
    let (file, stat) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            run.problem(path, in_words(&error));
            return;
        }
    };
    match same_content((&file, &stat), content, chunks, run.packs.repo.ids()) {
        Ok(true) => run.count(|tally| tally.verified += 1),
        Ok(false) => run.problem(path, "it reads back otherwise than it was written".to_owned()),
        Err(error) => run.unreadable(path, error),
    }
}
