//! What files are, for whoever compares.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Everything about a tree of files that a restore must bring back.
pub(crate) fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut picture = BTreeMap::new();
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_path_buf();
            let kind = meta.file_type();
            let what = if kind.is_dir() {
                todo.push(path.clone());
                "dir".to_owned()
            } else if kind.is_symlink() {
                format!("link to {:?}", fs::read_link(&path).unwrap())
            } else if kind.is_fifo() {
                "pipe".to_owned()
            } else {
                format!("{} {}", meta.len(), blake3::hash(&fs::read(&path).unwrap()))
            };
            let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
            let linked = if meta.nlink() > 1 && !kind.is_dir() {
                first.display().to_string()
            } else {
                String::new()
            };
            let time = (meta.mtime(), meta.mtime_nsec());
            let mode = meta.mode();
            picture.insert(name, format!("{what} {mode:o} {time:?} {linked}"));
        }
    }
    picture
}
