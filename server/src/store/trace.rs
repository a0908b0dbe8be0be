//! What a thread changes in files, call by call.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// One call that changed something.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Folder(PathBuf),
    File {
        path: PathBuf,
        inode: u64,
    },
    Wrote {
        inode: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
    Cut {
        inode: u64,
        length: u64,
    },
    Synced {
        inode: u64,
    },
    SyncedFolder(PathBuf),
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Linked {
        from: PathBuf,
        to: PathBuf,
    },
    Removed(PathBuf),
    /// Everything in it is removed.
    Emptied(PathBuf),
    /// The disk itself has changed what was durable.
    Rotted {
        path: PathBuf,
        bytes: Vec<u8>,
    },
}

thread_local! {
    static RECORD: RefCell<Option<Vec<Op>>> = const { RefCell::new(None) };
}

/// Notes a call, if this thread records.
pub(crate) fn note(op: impl FnOnce() -> Op) {
    RECORD.with_borrow_mut(|record| {
        if let Some(record) = record {
            record.push(op());
        }
    });
}

/// Does some work and tells what it changed.
pub(crate) fn record<T>(work: impl FnOnce() -> T) -> (T, Vec<Op>) {
    RECORD.set(Some(Vec::new()));
    let done = work();
    (done, RECORD.take().unwrap_or_default())
}

/// What names an open file, whatever happens to its path.
pub(crate) fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}
