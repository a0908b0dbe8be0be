//! The manifests of the snapshots that this device made, in clear: a device cannot open what it
//! sealed, and listing its own snapshots shall need no secret. A cache; one small file each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use unseen_common::codec::Canonical;
use unseen_common::id::SnapshotId;

use crate::pins::private_folder;
use crate::tree::manifest::Manifest;

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
