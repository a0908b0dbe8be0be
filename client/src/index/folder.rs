//! The folder of an index: who has it, which files belong to it, replacing one durably.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use unseen_common::lock::Lock;

use super::error::{IndexError, Result};
use crate::pins::private_folder;

const LOCK: &str = "LOCK";
const MANIFEST: &str = "MANIFEST";
const MANIFEST_NEW: &str = "MANIFEST.new";
const RUN: &str = "run-";

/// Held as long as the index is open.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: Lock,
}

impl Folder {
    /// Makes the folder if need be and takes it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        private_folder(path).map_err(IndexError::io("make the folder", path))?;
        let file = path.join(LOCK);
        let lock = Lock::take(&file).map_err(IndexError::io("lock", &file))?;
        let lock = lock.ok_or_else(|| IndexError::InUse { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn manifest(&self) -> PathBuf {
        self.path.join(MANIFEST)
    }

    pub(super) fn run(&self, number: u64) -> PathBuf {
        self.path.join(format!("{RUN}{number:016x}"))
    }

    /// Puts `bytes` in the place of the manifest: all of them or none. Files named by them have
    /// to be on disk before.
    pub(super) fn replace_manifest(&self, bytes: &[u8]) -> Result<()> {
        let (new, name) = (self.path.join(MANIFEST_NEW), self.manifest());
        let mut file = create(&new)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&new, &name))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(IndexError::io("write", &name))
    }

    /// Deletes every file but the lock and what `keep` says. A folder without a manifest may be
    /// somebody's by mistake, so nothing but our own files goes there.
    pub(super) fn clean(&self, keep: impl Fn(&Path) -> bool) -> Result<()> {
        let ours = self.manifest().exists();
        let failed = |source| IndexError::io("list", &self.path)(source);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let own = entry.file_name().to_str().is_some_and(is_own);
            let is_folder = entry.file_type().map_err(IndexError::io("look at", &path))?.is_dir();
            if !is_folder && entry.file_name() != LOCK && (own || ours) && !keep(&path) {
                fs::remove_file(&path).map_err(IndexError::io("delete", &path))?;
            }
        }
        Ok(())
    }

    /// Deletes the index: the manifest first, so that whatever is left stands for nothing.
    pub(super) fn wipe(&self) -> Result<()> {
        match fs::remove_file(self.manifest()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(IndexError::io("delete", &self.manifest())(error));
            }
            _ => {}
        }
        self.clean(|_| false)
    }
}

/// Creates or empties a file, to be written and read.
pub(super) fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(IndexError::io("create", path))
}

fn is_own(name: &str) -> bool {
    name == MANIFEST || name == MANIFEST_NEW || name.starts_with(RUN)
}
