//! The file that a set makes of what its command prints: it is at no path of this machine.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};
use unseen_common::id::SnapshotId;

use super::super::context::{Context, Setup};
use super::super::escape::{escape_for_terminal, insert_name};
use super::super::reading::{local_time, machine_time};
use super::super::vault;
use crate::sets::{NamedSet, SetSource};
use crate::state::own_snapshots::OwnSnapshots;
use crate::tree::manifest::Manifest;

/// Snapshots that are looked through for the newest of a set.
const LOOK_BACK: usize = 500;

/// Such a set, and its newest snapshot that this machine knows of.
type Made<'a> = (&'a NamedSet, Option<(SnapshotId, Manifest)>);

/// Tells of the sets that make a file of this name. Whether there are any.
pub(super) fn tell(ctx: &Context<'_>, setup: &Setup, path: &Path) -> bool {
    let sets: Vec<&NamedSet> = setup.sets.iter().filter(|set| makes(set, path)).collect();
    if sets.is_empty() {
        return false;
    }
    let own = OwnSnapshots::open(&vault::folders(&setup.places).own_snapshots());
    let known = own.newest(LOOK_BACK);
    let newest = |set: &NamedSet| {
        let of = |(_, manifest): &&(SnapshotId, Manifest)| manifest.set == set.name;
        known.iter().find(of).cloned()
    };
    let all: Vec<Made<'_>> = sets.into_iter().map(|set| (set, newest(set))).collect();
    if ctx.ui.is_json() {
        ctx.ui.json(&json_of(path, &all));
        return true;
    }
    let shown = escape_for_terminal(path.as_os_str().as_bytes()).into_owned();
    for (set, newest) in all {
        let name = &set.name;
        ctx.ui.line(&format!("{shown} is what the set {name} makes of what its command prints"));
        ctx.ui.line(&match newest {
            Some((id, manifest)) => {
                let when = local_time(manifest.start);
                format!("  the newest is in snapshot {} of {when}", id.short())
            }
            None => "  not saved yet".to_owned(),
        });
    }
    true
}

/// Whether a set makes a file that is called so, as `ls` shows it or without the slash in front.
fn makes(set: &NamedSet, path: &Path) -> bool {
    let SetSource::Command { file, .. } = &set.source else {
        return false;
    };
    let name = path.as_os_str().as_bytes();
    name.strip_prefix(b"/").unwrap_or(name) == file.as_bytes()
}

fn json_of(path: &Path, all: &[Made<'_>]) -> Value {
    let one = |(set, newest): &Made<'_>| {
        let saved = newest.as_ref();
        json!({
            "set": set.name,
            "verdict": "in",
            "excluded_by": null,
            "saved": {
                "state": if saved.is_some() { "printed" } else { "not_yet" },
                "snapshot": saved.map(|(id, _)| id.to_string()),
                "set": set.name,
                "time": saved.map(|(_, manifest)| machine_time(manifest.start)),
            },
        })
    };
    let mut object = serde_json::Map::new();
    insert_name(&mut object, "path", path.as_os_str().as_bytes());
    object.insert("included".into(), true.into());
    object.insert("missing".into(), false.into());
    object.insert("unreadable".into(), Value::Null);
    object.insert("watched".into(), Value::Null);
    object.insert("sets".into(), all.iter().map(one).collect());
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sets::named::source;

    #[test]
    fn a_file_goes_by_its_name_alone() {
        let argv = vec!["pg_dump".to_owned()];
        let made = source("shop", Vec::new(), argv, Some("shop.sql".to_owned())).unwrap();
        let set = NamedSet::new("shop".to_owned(), made);
        for (path, is) in
            [("shop.sql", true), ("/shop.sql", true), ("x/shop.sql", false), ("shop", false)]
        {
            assert_eq!(makes(&set, Path::new(path)), is, "{path}");
        }
        let paths = NamedSet::new("a".to_owned(), SetSource::Paths(Vec::new()));
        assert!(!makes(&paths, Path::new("shop.sql")));
    }
}
