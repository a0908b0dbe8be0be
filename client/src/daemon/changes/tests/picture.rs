//! What is there, by a walk that has nothing to do with watching.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::SENTINEL;
use crate::backup::{Changes, Visit};

/// What is in a directory, and itself under the name `.`.
type Entries = BTreeMap<OsString, [u64; 7]>;

/// Every directory beneath a root, the sentinels aside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture(BTreeMap<PathBuf, Entries>);

impl Picture {
    pub(super) fn of(root: &Path) -> Self {
        let mut all = BTreeMap::new();
        let mut dirs = vec![root.to_path_buf()];
        while let Some(dir) = dirs.pop() {
            let mut entries = Entries::new();
            entries.insert(".".into(), facts(&dir));
            for entry in std::fs::read_dir(&dir).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name() == SENTINEL {
                    continue;
                }
                entries.insert(entry.file_name(), facts(&entry.path()));
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(entry.path());
                }
            }
            all.insert(dir, entries);
        }
        Self(all)
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// The directories that are not as they were.
    pub(super) fn differing(&self, before: &Self) -> Vec<&Path> {
        let differs = |(dir, entries): &(&PathBuf, &Entries)| before.0.get(*dir) != Some(entries);
        self.0.iter().filter(differs).map(|(dir, _)| dir.as_path()).collect()
    }

    /// Every directory that is not as it was must be looked at.
    pub(super) fn must_be_told(&self, before: &Self, told: &Changes) {
        let differing = self.differing(before);
        assert!(!differing.is_empty(), "the test changed nothing");
        let missed: Vec<_> = differing
            .iter()
            .filter(|dir| !matches!(told.visit(dir), Visit::List | Visit::Everything))
            .collect();
        let (missed_count, all) = (missed.len(), differing.len());
        assert!(missed.is_empty(), "{missed_count} of {all} not told, such as {:?}", missed[0]);
    }
}

/// All that a backup looks at. Of a directory its times only where it is listed itself: in its
/// parent's eyes they say nothing that its own entry does not.
fn facts(path: &Path) -> [u64; 7] {
    let meta = std::fs::symlink_metadata(path).unwrap();
    let times = if meta.is_dir() {
        [0; 2]
    } else {
        [
            meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
            meta.ctime() * 1_000_000_000 + meta.ctime_nsec(),
        ]
    };
    let size = if meta.is_dir() { 0 } else { meta.size() };
    let [mtime, ctime] = times.map(i64::cast_unsigned);
    [meta.ino(), u64::from(meta.mode()), u64::from(meta.uid()), meta.rdev(), size, mtime, ctime]
}
