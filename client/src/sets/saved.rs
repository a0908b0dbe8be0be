//! What this machine remembers of when a path was saved. It needs no secret.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use unseen_common::id::SnapshotId;
use unseen_common::log::fold::State;
use unseen_common::time::Timestamp;

use crate::backup::seen::seen_of;
use crate::scan::os::{Dir, FileType, Stat};
use crate::state::db::{StateDb, StateError};
use crate::state::own_snapshots::OwnSnapshots;
use crate::state::records::{DirKey, RecordReader, Seen};
use crate::tree::entry::Name;
use crate::tree::manifest::Manifest;

/// Snapshots that are looked through for one that has a path, the newest first.
const LOOK_BACK: usize = 10_000;

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

/// A snapshot that this machine made.
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

/// The snapshots of this machine that may have what is at a path, checkpoints among them, the newest
/// first: of whatever set, as long as that `may_have` it. With a copy of the log those alone that it
/// has: others were not taken by the server, or have expired.
pub fn that_cover(
    own: &OwnSnapshots,
    log: Option<&State>,
    (path, may_have): (&Path, MayHave<'_>),
) -> Vec<Made> {
    let known = match log {
        Some(log) => {
            let mut live: Vec<_> = log.snapshots.iter().map(|(id, one)| (one.seq, *id)).collect();
            live.sort_unstable_by(|a, b| b.cmp(a));
            let ids = live.into_iter().take(LOOK_BACK).map(|(_, id)| id);
            ids.filter_map(|id| Some((id, own.get(&id)?))).collect()
        }
        None => own.newest(LOOK_BACK),
    };
    let made = known
        .into_iter()
        .filter(|(_, manifest)| covers(manifest, path) && may_have(&manifest.set, Some(manifest)))
        .map(|(id, manifest)| Made { set: manifest.set.clone(), id, manifest: Some(manifest) });
    let mut all: Vec<Made> = made.collect();
    all.sort_by_key(Made::age);
    all
}

/// The whole ones among these, and the last of each set, whose manifest may be lost.
pub fn whole(
    state: &StateDb,
    own: &OwnSnapshots,
    (covering, may_have): (&[Made], MayHave<'_>),
) -> Result<Vec<Made>, StateError> {
    let whole = covering.iter().filter(|made| !own.is_checkpoint(&made.id));
    let mut all: Vec<Made> = whole.cloned().collect();
    for set in state.sets()? {
        // One whose manifest is there was looked at.
        let lost = state.last(&set)?.filter(|(_, id)| own.get(id).is_none());
        if let Some((_, id)) = lost.filter(|_| may_have(&set, None)) {
            all.push(Made { set, id, manifest: None });
        }
    }
    all.sort_by_key(Made::age);
    Ok(all)
}

fn covers(manifest: &Manifest, path: &Path) -> bool {
    let mut sources = manifest.paths.iter();
    sources.any(|source| path.starts_with(Path::new(OsStr::from_bytes(source))))
}

/// What is known of an absolute path, and the newest of these snapshots that has it: they are in
/// order, the newest first. If that has not been saved yet, the newest one of all, if it is known to
/// lack it.
pub fn saved(
    state: &StateDb,
    made: &[Made],
    path: &Path,
) -> Result<(Saved, Option<Made>), StateError> {
    let Some(newest) = made.first() else {
        return Ok((Saved::NotYet, None));
    };
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((Saved::Folder, Some(newest.clone())));
    };
    let Ok(name) = Name::new(name.as_bytes()) else {
        return Ok((Saved::NotYet, None));
    };
    // One record of a folder serves all sets: it has what the last run saw that came by.
    let known = row(state, above, &name)?;
    let now = Dir::open_root(above).and_then(|dir| dir.stat(&name)).ok();
    // A folder that is gone has left its record behind.
    let mut ways: BTreeMap<&Path, Way> = BTreeMap::new();
    for made in made {
        let way = match made.source_of(path) {
            Some(source) => match ways.get(source) {
                Some(way) => *way,
                None => *ways.entry(source).or_insert(way(state, source, above)?),
            },
            None => Way::Unknown,
        };
        let known = known.as_ref().filter(|_| way != Way::Gone);
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
    let source = newest.source_of(path);
    let lacks = match source {
        Some(source) if source != path => way(state, source, above)? != Way::Unknown,
        _ => false,
    };
    Ok((Saved::NotYet, lacks.then(|| newest.clone())))
}

/// What the records say of the folders between a source and a folder within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All of them were there at the last run, and there is a record of the last one.
    Open,
    /// One of them was not.
    Gone,
    /// There is no record of one.
    Unknown,
}

fn way(state: &StateDb, source: &Path, folder: &Path) -> Result<Way, StateError> {
    let mut down: Vec<&Path> = folder.ancestors().take_while(|at| at.starts_with(source)).collect();
    down.reverse();
    for (at, next) in down.iter().zip(down.iter().skip(1)) {
        if RecordReader::open(state, key_of(at))?.is_none() {
            return Ok(Way::Unknown);
        }
        let name = next.file_name().and_then(|name| Name::new(name.as_bytes()).ok());
        let Some(name) = name else { return Ok(Way::Unknown) };
        if row(state, at, &name)?.is_none() {
            return Ok(Way::Gone);
        }
    }
    let is_known = RecordReader::open(state, key_of(folder))?.is_some();
    Ok(if is_known { Way::Open } else { Way::Unknown })
}

impl Made {
    /// Orders them, the newest first.
    fn age(&self) -> Reverse<Option<Timestamp>> {
        Reverse(self.manifest.as_ref().map(|manifest| manifest.start))
    }

    /// What its run was told of, if a path is in that.
    fn source_of<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let paths = &self.manifest.as_ref()?.paths;
        path.ancestors().find(|at| paths.iter().any(|source| source == at.as_os_str().as_bytes()))
    }

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

fn key_of(folder: &Path) -> DirKey {
    // The record of `/` goes by the path that a walk has there: none.
    let path = folder.as_os_str().as_bytes();
    DirKey::of(if path == b"/" { b"" } else { path })
}

/// What the record of a folder says of an entry.
fn row(state: &StateDb, above: &Path, name: &Name) -> Result<Option<Seen>, StateError> {
    let Some(mut record) = RecordReader::open(state, key_of(above))? else {
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
