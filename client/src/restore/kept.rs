//! What a restore never removes, whatever the snapshot lacks.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::scan::os::Stat;

/// Directories that stay, and all above them, known by device and inode: by whatever path a
/// restore comes to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept(BTreeSet<(u64, u64)>);

impl Kept {
    /// Keeps these. What is not there needs no keeping.
    pub fn new(paths: &[PathBuf]) -> Self {
        let mut kept = BTreeSet::new();
        for path in paths.iter().filter_map(|path| path.canonicalize().ok()) {
            for above in path.ancestors() {
                if let Ok(meta) = above.symlink_metadata() {
                    kept.insert((meta.dev(), meta.ino()));
                }
            }
        }
        Self(kept)
    }

    /// Whether this is one of them, or has one in it.
    pub(super) fn has(&self, stat: &Stat) -> bool {
        self.0.contains(&(stat.dev, stat.ino))
    }
}
