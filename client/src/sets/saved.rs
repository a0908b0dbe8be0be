//! What this machine remembers of when a path was saved. It needs no secret.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use unseen_common::id::SnapshotId;

use crate::backup::seen::seen_of;
use crate::scan::os::{Dir, FileType, Stat};
use crate::state::db::{StateDb, StateError};
use crate::state::own_snapshots::OwnSnapshots;
use crate::state::records::{DirKey, RecordReader, Seen};
use crate::tree::entry::Name;
use crate::tree::manifest::Manifest;

/// What is known of a path in the snapshots of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// As it is now, it is in the last snapshot.
    AsItIs,
    /// It is in the last snapshot, but changed so shortly before that it may have changed after.
    Perhaps,
    /// It has changed since it was saved.
    Changed,
    /// It was read after the last snapshot, by a run that made none.
    Read,
    /// A folder: it is in the last snapshot, which says nothing about what is in it now.
    Folder,
    /// It is not there; the last snapshot has it.
    Gone,
    /// No run has seen it yet.
    NotYet,
}

/// The last snapshot of a set that this machine made.
#[derive(Debug, Clone)]
pub struct Last {
    /// Its id.
    pub id: SnapshotId,
    /// What it says of itself, unless the cache was deleted.
    pub manifest: Option<Manifest>,
}

/// The last snapshot of a set.
pub fn last(state: &StateDb, own: &OwnSnapshots, set: &str) -> Result<Option<Last>, StateError> {
    let found = state.last(set)?;
    Ok(found.map(|(_, id)| Last { id, manifest: own.get(&id) }))
}

/// What is known of an absolute path, given the last snapshot of its set.
pub fn saved(state: &StateDb, last: Option<&Last>, path: &Path) -> Result<Saved, StateError> {
    let Some(last) = last else {
        return Ok(Saved::NotYet);
    };
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Saved::Folder);
    };
    let Ok(name) = Name::new(name.as_bytes()) else {
        return Ok(Saved::NotYet);
    };
    let known = row(state, above, &name)?;
    let now = Dir::open_root(above).and_then(|dir| dir.stat(&name)).ok();
    let source = last.manifest.as_ref().is_some_and(|manifest| {
        manifest.paths.iter().any(|source| source == path.as_os_str().as_bytes())
    });
    let is_dir = now.as_ref().is_some_and(|stat| stat.file_type == FileType::Directory);
    Ok(match (known, now) {
        // The folder above a path that was named has no record.
        (None, Some(_)) if source && is_dir => Saved::Folder,
        (None, Some(stat)) if source => by_time(&stat, last.manifest.as_ref()),
        (None, _) => Saved::NotYet,
        (Some(_), None) => Saved::Gone,
        (Some(_), Some(_)) if is_dir => Saved::Folder,
        (Some(known), Some(stat)) if known != seen_of(&stat, i64::MAX, known.racy) => {
            Saved::Changed
        }
        (Some(known), Some(_)) if known.racy => Saved::Perhaps,
        (Some(known), Some(_)) => {
            let start = last.manifest.as_ref().map_or(u64::MAX, |manifest| manifest.start.0);
            let before = u64::try_from(known.ctime.seconds).is_ok_and(|changed| changed >= start);
            if before { Saved::Read } else { Saved::AsItIs }
        }
    })
}

/// Of a file that was named by itself only the times are known.
fn by_time(stat: &Stat, manifest: Option<&Manifest>) -> Saved {
    let changed = u64::try_from(stat.ctime.seconds).unwrap_or(0);
    match manifest {
        // A file system may round its times to two seconds.
        Some(manifest) if changed + 2 < manifest.start.0 => Saved::AsItIs,
        Some(manifest) if changed > manifest.end.0 => Saved::Changed,
        _ => Saved::Perhaps,
    }
}

/// What the record of a folder says of an entry.
fn row(state: &StateDb, above: &Path, name: &Name) -> Result<Option<Seen>, StateError> {
    // The record of `/` goes by the path that a walk has there: none.
    let path = above.as_os_str().as_bytes();
    let key = DirKey::of(if path == b"/" { b"" } else { path });
    let Some(mut record) = RecordReader::open(state, key)? else {
        return Ok(None);
    };
    while let Some(part) = record.next_part() {
        for index in 0..part.len() {
            if let Some(row) = part.row(index)
                && row.name == name.as_bytes()
            {
                return Ok(Some(row.seen));
            }
        }
    }
    Ok(None)
}
