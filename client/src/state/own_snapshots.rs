//! The manifests of the snapshots that this device made, in clear: a device cannot open what it
//! sealed, and listing its own snapshots shall need no secret. A cache; one small file each. Beside
//! them, in a folder of its own, stands for each set which was the last: whoever asks for that alone
//! need not look through all.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use unseen_common::codec::Canonical;
use unseen_common::id::{Hash, SnapshotId};

use crate::pins::private_folder;
use crate::tree::manifest::Manifest;

/// The folder within that tells the last of each set.
const LAST: &str = "last";
/// Snapshots that are looked through where no program has noted them yet.
const LOOK_BACK: usize = 500;

/// A folder of manifests.
#[derive(Debug, Clone)]
pub struct OwnSnapshots(PathBuf);

impl OwnSnapshots {
    /// The folder; it need not be there.
    pub fn open(folder: &Path) -> Self {
        Self(folder.to_path_buf())
    }

    /// Keeps a manifest, its lists of problems, rules and maps aside, and whether it is of a checkpoint.
    pub fn keep(
        &self,
        id: &SnapshotId,
        manifest: &Manifest,
        is_checkpoint: bool,
    ) -> io::Result<()> {
        private_folder(&self.0)?;
        if is_checkpoint {
            fs::write(self.mark_of(id), [])?;
        }
        let manifest = manifest.clone();
        let short = Manifest { errors: Vec::new(), rules: None, maps: Vec::new(), ..manifest };
        fs::write(self.0.join(id.to_string()), short.to_bytes())
    }

    /// The newest of them, the newest first, at most so many.
    pub fn newest(&self, most: usize) -> Vec<(SnapshotId, Manifest)> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let id: SnapshotId = entry.file_name().to_str()?.parse().ok()?;
                Some((entry.metadata().and_then(|meta| meta.modified()).ok()?, id))
            })
            .collect();
        found.sort_by(|a, b| b.cmp(a));
        let read = found.into_iter().take(most);
        let mut all: Vec<_> = read.filter_map(|(_, id)| Some((id, self.get(&id)?))).collect();
        all.sort_by_key(|(_, manifest)| std::cmp::Reverse(manifest.end));
        all
    }

    /// Notes that a snapshot that is kept is the last of its set.
    pub fn note_last(&self, id: &SnapshotId) -> io::Result<()> {
        let Some(manifest) = self.get(id) else {
            return Ok(());
        };
        let folder = self.0.join(LAST);
        if !folder.exists() {
            // Those of before are not to be missed beside it.
            let fresh = self.0.join("last.new");
            private_folder(&fresh)?;
            for (id, manifest) in self.newest(usize::MAX).iter().rev() {
                self.note_in(&fresh, (id, manifest))?;
            }
            fs::rename(fresh, &folder)?;
        }
        self.note_in(&folder, (id, &manifest))
    }

    fn note_in(&self, folder: &Path, (id, manifest): (&SnapshotId, &Manifest)) -> io::Result<()> {
        let name = last_name(&manifest.set, self.is_checkpoint(id));
        let fresh = folder.join(format!("{name}.new"));
        fs::write(&fresh, id.to_string())?;
        fs::rename(fresh, folder.join(name))
    }

    /// The last snapshot and the last checkpoint of each of these sets, and of others, at most so
    /// many: the newest first. It costs the same however many there were before.
    pub fn last_of_each<'a>(
        &self,
        sets: impl Iterator<Item = &'a str>,
        others: usize,
    ) -> Vec<(SnapshotId, Manifest)> {
        let folder = self.0.join(LAST);
        let Ok(entries) = fs::read_dir(&folder) else {
            return self.newest(LOOK_BACK);
        };
        let mut found: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_none_or(|end| end != "new"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        found.sort_by(|a, b| b.cmp(a));
        let named =
            sets.flat_map(|set| [false, true].map(|part| folder.join(last_name(set, part))));
        let paths = named.chain(found.into_iter().take(others).map(|(_, path)| path));
        let ids: BTreeSet<SnapshotId> =
            paths.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).collect();
        let read = ids.into_iter().filter_map(|id| Some((id, self.get(&id)?)));
        let mut all: Vec<_> = read.collect();
        all.sort_by_key(|(_, manifest)| std::cmp::Reverse(manifest.end));
        all
    }

    /// Whether it is known to be of a part alone.
    pub fn is_checkpoint(&self, id: &SnapshotId) -> bool {
        self.mark_of(id).exists()
    }

    fn mark_of(&self, id: &SnapshotId) -> PathBuf {
        self.0.join(format!("{id}.checkpoint"))
    }

    /// The manifest of a snapshot, if this device made it and still knows.
    pub fn get(&self, id: &SnapshotId) -> Option<Manifest> {
        let bytes = fs::read(self.0.join(id.to_string())).ok()?;
        Manifest::from_bytes(&bytes).ok()
    }
}

/// The file that tells the last one of a set. A set may be called after its paths.
fn last_name(set: &str, is_checkpoint: bool) -> String {
    let hash = Hash::of(set.as_bytes());
    format!("{hash}{}", if is_checkpoint { ".checkpoint" } else { "" })
}

#[cfg(test)]
mod tests {
    use unseen_common::time::Timestamp;

    use super::*;
    use crate::tree::manifest::tests::sample;

    fn keep(own: &OwnSnapshots, (set, n): (&str, u16), is_checkpoint: bool) -> SnapshotId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_le_bytes());
        let id = SnapshotId::from_bytes(bytes);
        let end = Timestamp(2_000_000_000 + u64::from(n));
        let manifest = Manifest { set: set.to_owned(), end, ..sample() };
        own.keep(&id, &manifest, is_checkpoint).unwrap();
        id
    }

    #[test]
    fn a_busy_set_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let own = OwnSnapshots::open(&dir.path().join("snapshots"));
        // As an earlier program left them.
        let quiet = keep(&own, ("quiet", 1), false);
        let first = keep(&own, ("busy", 2), false);
        let ids = |sets: &[&str], others| -> Vec<SnapshotId> {
            let all = own.last_of_each(sets.iter().copied(), others);
            all.into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(ids(&[], 0), [first, quiet], "nobody has noted them");
        let part = keep(&own, ("quiet", 3), true);
        own.note_last(&part).unwrap();
        assert_eq!(ids(&["quiet"], 0), [part, quiet]);
        for n in 4..600 {
            own.note_last(&keep(&own, ("busy", n), false)).unwrap();
        }
        let busy = keep(&own, ("busy", 600), false);
        own.note_last(&busy).unwrap();
        // This one the server has not taken.
        keep(&own, ("busy", 601), false);
        assert_eq!(ids(&["quiet"], 0), [part, quiet]);
        assert_eq!(ids(&["quiet", "busy", "none"], 0), [busy, part, quiet]);
        assert_eq!(ids(&[], 9), [busy, part, quiet]);
        assert_eq!(ids(&[], 1).len(), 1);
        fs::write(own.0.join(LAST).join(last_name("busy", false)), b"").unwrap();
        assert_eq!(ids(&["busy"], 0), [], "torn");
    }
}
