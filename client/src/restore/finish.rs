//! What comes after the files of a window: other copies of what was damaged, further names,
//! the metadata of directories.

use std::io::Read;
use std::sync::{Arc, PoisonError};

use crossbeam_channel::Receiver;
use roaring::RoaringBitmap;

use super::apply::apply_dir_meta;
use super::dirs::DirNode;
use super::error::TargetError;
use super::links::LinkPlan;
use super::plan::After;
use super::pool::Part;
use super::root::{FileId, TargetDir};
use super::run::Run;
use super::special::LinkSource;
use super::transfer::{Finish, Retry, deliver};
use crate::browse::chunks::Chunks;
use crate::browse::error::{PackTrouble, ReadError};
use crate::crypto::content_id::{ChunkId, ChunkKind};
use crate::progress::Change;
use crate::tree::entry::Name;

/// Bytes that are copied at a time.
const COPY: usize = 256 * 1024;

/// Finishes windows, in order, until there are no more.
pub(super) fn finish(run: &Run<'_>, finishes: &Receiver<Finish>, within: &Arc<RoaringBitmap>) {
    for Finish { after, retry, done } in finishes {
        // Nothing is ever received: it ends when the last task of the window is gone.
        done.recv().ok();
        if run.stopped() {
            continue;
        }
        let parts = std::mem::take(&mut *retry.lock().unwrap_or_else(PoisonError::into_inner));
        if !parts.is_empty() {
            try_elsewhere(run, parts, within);
        }
        wrap_up(run, after);
    }
}

/// Loads parts from other packs, one by one.
fn try_elsewhere(run: &Run<'_>, mut parts: Vec<Retry>, within: &Arc<RoaringBitmap>) {
    parts.sort_by_key(|retry| retry.part.id);
    let mut chunks = Chunks::new(run.packs, Arc::clone(within));
    let mut last: Option<(ChunkId, Vec<u8>)> = None;
    for retry in parts {
        let Part { file, id, .. } = &retry.part;
        if run.stopped() {
            return;
        }
        if file.has_failed() {
            file.part_done(run);
            continue;
        }
        if last.as_ref().is_none_or(|(known, _)| known != id) {
            match chunks.load(ChunkKind::Data, id, &[retry.number]) {
                Ok(bytes) => last = Some((*id, bytes)),
                Err(error) => {
                    file.lost(run, with_first(error, &retry));
                    file.part_done(run);
                    continue;
                }
            }
        }
        if let Some((_, bytes)) = &last {
            deliver(run, &retry.part, bytes);
        }
    }
}

/// The pack that was tried first is among those that are told.
fn with_first(error: ReadError, retry: &Retry) -> ReadError {
    match error {
        ReadError::Lost { id, mut tried } => {
            let trouble = PackTrouble::Told(Arc::clone(&retry.trouble));
            tried.insert(0, (retry.number, trouble));
            ReadError::Lost { id, tried }
        }
        other => other,
    }
}

fn wrap_up(run: &Run<'_>, after: After) {
    for link in after.links {
        if run.stopped() {
            return;
        }
        let Ok(first) = run.told(run.links.first(link.group)) else {
            return;
        };
        let path = link.dir.path_of(&link.name);
        let Some(first) = first else {
            let what = "the file that this is another name of was not restored";
            run.problem(path, what.to_owned());
            continue;
        };
        match place_link(run, &link, first) {
            Ok(change) => {
                run.count(|tally| match change {
                    Change::Unmodified => tally.unmodified += 1,
                    _ => tally.files += 1,
                });
                run.done(&path, change, link.size);
            }
            Err(error) => run.trouble(path, error),
        }
    }
    for dir in after.leaves {
        if run.stopped() {
            return;
        }
        let Some(meta) = dir.to_finish() else {
            continue;
        };
        let open = run.dirs.open(&dir);
        match open.and_then(|open| apply_dir_meta(&open, meta, run.dirs.policy())) {
            Ok(notes) => run.left_out(|| dir.path(), &notes),
            Err(error) => run.trouble(dir.path(), error),
        }
        run.dir_done(&dir);
    }
}

/// Makes a further name, unless it is there.
fn place_link(
    run: &Run<'_>,
    link: &LinkPlan,
    (first_dir, first_name, id): (Arc<DirNode>, Name, FileId),
) -> Result<Change, TargetError> {
    let dir = run.dirs.open(&link.dir)?;
    let first_dir = run.dirs.open(&first_dir)?;
    if dir.stat(&link.name).is_ok_and(|stat| FileId::from(&stat) == id) {
        return Ok(Change::Unmodified);
    }
    let source = LinkSource { dir: &first_dir, name: &first_name, id };
    let policy = run.dirs.policy();
    match dir.hard_link(&link.name, &source, policy) {
        Ok(()) => Ok(link.change),
        Err(TargetError::Io { .. }) if link.is_file => {
            copy(&dir, &link.name, &source)?.commit(&link.meta, policy)?;
            Ok(link.change)
        }
        Err(error) => Err(error),
    }
}

/// A file with the content of another one, where the system makes no further names.
fn copy(
    dir: &TargetDir,
    name: &Name,
    source: &LinkSource<'_>,
) -> Result<super::temp::TempFile, TargetError> {
    let (mut from, _) = source.dir.open_existing_file(source.name)?;
    let temp = dir.create_temp(name)?;
    let mut buffer = vec![0; COPY];
    let mut at: u64 = 0;
    loop {
        let read = from
            .read(&mut buffer)
            .map_err(|error| TargetError::io("read", Some(source.name), &error))?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(temp);
        }
        temp.write_all_at(bytes, at)?;
        at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}
