//! The calls that change files and folders. All that the store changes in a data folder goes
//! through here, so that a test can record it and cut the power in between.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

#[cfg(test)]
use super::trace::{self, Op};
use crate::ops::meter::FSYNC;

/// Notes what was done, in tests alone.
macro_rules! noted {
    ($op:expr) => {
        #[cfg(test)]
        trace::note(|| $op);
    };
}

/// Makes a folder for its owner alone; one that is there is an error.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    noted!(Op::Folder(path.to_owned()));
    Ok(())
}

/// Makes an empty file for its owner alone; one that is there is an error.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    noted!(Op::File { path: path.to_owned(), inode: trace::inode(&file) });
    Ok(file)
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, offset)?;
    noted!(Op::Wrote { inode: trace::inode(file), offset, bytes: bytes.to_vec() });
    Ok(())
}

/// Cuts a file to so many bytes.
pub(super) fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    noted!(Op::Cut { inode: trace::inode(file), length });
    Ok(())
}

/// Makes a file durable, but for its name.
pub(super) fn sync(file: &File) -> io::Result<()> {
    FSYNC.of(|| file.sync_all())?;
    noted!(Op::Synced { inode: trace::inode(file) });
    Ok(())
}

/// Makes the content of a file durable, and its length.
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    FSYNC.of(|| file.sync_data())?;
    noted!(Op::Synced { inode: trace::inode(file) });
    Ok(())
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = File::open(path)?;
    FSYNC.of(|| folder.sync_all())?;
    noted!(Op::SyncedFolder(path.to_owned()));
    Ok(())
}

/// Gives a file another name, in place of what had it.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    noted!(Op::Renamed { from: from.to_owned(), to: to.to_owned() });
    Ok(())
}

/// Gives a file a second name; one that is taken is an error.
pub(super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    noted!(Op::Linked { from: from.to_owned(), to: to.to_owned() });
    Ok(())
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    noted!(Op::Removed(path.to_owned()));
    Ok(())
}

/// Removes a folder and all that is in it.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)?;
    noted!(Op::Emptied(path.to_owned()));
    noted!(Op::Removed(path.to_owned()));
    Ok(())
}
