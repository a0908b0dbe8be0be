//! What this machine remembers of when a path was saved. It needs no secret.

use std::cmp::Reverse;
use std::ffi::OsStr;
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

/// Snapshots that are looked through for one that has a path.
const LOOK_BACK: usize = 500;

/// What is known of a path in the snapshots of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// As it is now, it is in the snapshot.
    AsItIs,
    /// It is in the snapshot, but changed so shortly before that it may have changed after.
    Perhaps,
    /// It has changed since it was saved.
    Changed,
    /// It was read after the snapshot, by a run that made none.
    Read,
    /// A folder: it is in the snapshot, which says nothing about what is in it now.
    Folder,
    /// It is not there; the snapshot has it.
    Gone,
    /// No run has seen it yet.
    NotYet,
}

/// A whole snapshot that this machine made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its set.
    pub set: String,
    /// Its id.
    pub id: SnapshotId,
    /// What it says of itself, unless the cache was deleted.
    pub manifest: Option<Manifest>,
}

/// Whether a set, by its name and what one of its snapshots says of itself, may have a path.
pub type MayHave<'a> = &'a dyn Fn(&str, Option<&Manifest>) -> bool;

/// The snapshots that have what is at a path, the newest first: of whatever set, as long as that
/// `may_have` it.
pub fn of_path(
    state: &StateDb,
    own: &OwnSnapshots,
    (path, may_have): (&Path, MayHave<'_>),
) -> Result<Vec<Made>, StateError> {
    let mut all: Vec<Made> = own
        .newest(LOOK_BACK)
        .into_iter()
        .filter(|(id, _)| !own.is_checkpoint(id))
        .map(|(id, manifest)| Made { set: manifest.set.clone(), id, manifest: Some(manifest) })
        .collect();
    for set in state.sets()? {
        if let Some((_, id)) =
            state.last(&set)?.filter(|(_, id)| all.iter().all(|made| made.id != *id))
        {
            all.push(Made { set, id, manifest: own.get(&id) });
        }
    }
    all.retain(|made| {
        let manifest = made.manifest.as_ref();
        manifest.is_none_or(|manifest| covers(manifest, path)) && may_have(&made.set, manifest)
    });
    all.sort_by_key(|made| Reverse(made.manifest.as_ref().map(|manifest| manifest.start)));
    Ok(all)
}

fn covers(manifest: &Manifest, path: &Path) -> bool {
    let mut sources = manifest.paths.iter();
    sources.any(|source| path.starts_with(Path::new(OsStr::from_bytes(source))))
}

/// What is known of an absolute path, and the newest of these snapshots that has it: they are in
/// order, the newest first. If it has not been saved yet, the newest one of all.
pub fn saved(
    state: &StateDb,
    made: &[Made],
    path: &Path,
) -> Result<(Saved, Option<Made>), StateError> {
    let Some(newest) = made.first() else {
        return Ok((Saved::NotYet, None));
    };
    let nothing = Ok((Saved::NotYet, Some(newest.clone())));
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((Saved::Folder, Some(newest.clone())));
    };
    let Ok(name) = Name::new(name.as_bytes()) else {
        return nothing;
    };
    // One record of a folder serves all sets: it has what the last run saw that came by.
    let known = row(state, above, &name)?;
    let now = Dir::open_root(above).and_then(|dir| dir.stat(&name)).ok();
    for made in made {
        let found = match (&known, &now) {
            (_, Some(stat)) if made.names(path) => Some(by_name(stat, made.manifest.as_ref())),
            // What is named alone was there: else there would be no snapshot.
            (_, None) if made.names(path) && made.names_one() => Some(Saved::Gone),
            (None, _) => None,
            (Some(_), None) => Some(Saved::Gone),
            (Some(known), Some(stat)) => Some(by_record(known, stat, made.manifest.as_ref())),
        };
        if let Some(found) = found {
            return Ok((found, Some(made.clone())));
        }
    }
    nothing
}

impl Made {
    /// Whether its run was told this very path.
    fn names(&self, path: &Path) -> bool {
        let paths = self.manifest.as_ref().map(|manifest| manifest.paths.as_slice());
        paths.is_some_and(|all| all.iter().any(|source| source == path.as_os_str().as_bytes()))
    }

    fn names_one(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.paths.len() == 1)
    }
}

/// By what the last run saw that came by.
fn by_record(known: &Seen, stat: &Stat, manifest: Option<&Manifest>) -> Saved {
    if stat.file_type == FileType::Directory {
        return Saved::Folder;
    }
    if *known != seen_of(stat, i64::MAX, known.racy) {
        return Saved::Changed;
    }
    if known.racy {
        return Saved::Perhaps;
    }
    let Some(manifest) = manifest else {
        return Saved::AsItIs;
    };
    let changed = u64::try_from(known.ctime.seconds).unwrap_or(0);
    if changed < manifest.start.0 {
        Saved::AsItIs
    } else if changed <= manifest.end.0 {
        Saved::Perhaps
    } else {
        Saved::Read
    }
}

/// The folder above a path that was named has no record of it.
fn by_name(stat: &Stat, manifest: Option<&Manifest>) -> Saved {
    if stat.file_type == FileType::Directory { Saved::Folder } else { by_time(stat, manifest) }
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
