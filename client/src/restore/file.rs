//! A file on its way to the target: parts come in any order, from several threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dirs::DirNode;
use super::run::Run;
use super::temp::TempFile;
use crate::browse::error::ReadError;
use crate::progress::Change;
use crate::tree::entry::{FileTime, Meta, Name, Xattr};

/// A file to be written.
#[derive(Debug)]
pub(super) struct FilePlan {
    pub(super) dir: Arc<DirNode>,
    pub(super) name: Name,
    pub(super) size: u64,
    meta: Slim,
    change: Change,
    /// The group of names of which this is the first.
    group: Option<u64>,
    /// Parts that are missing, and one for whoever still adds parts.
    missing: AtomicU64,
    failed: AtomicBool,
    /// How far it was written.
    end: AtomicU64,
    temp: Mutex<Option<Arc<TempFile>>>,
}

impl FilePlan {
    /// A file of which nothing is there; no part is known yet, and more may be added.
    pub(super) fn new(
        (dir, name): (&Arc<DirNode>, Name),
        (meta, size): (Meta, u64),
        change: Change,
        group: Option<u64>,
    ) -> Self {
        Self {
            dir: Arc::clone(dir),
            name,
            size,
            meta: Slim::of(meta),
            change,
            group,
            missing: AtomicU64::new(1),
            failed: AtomicBool::new(false),
            end: AtomicU64::new(0),
            temp: Mutex::new(None),
        }
    }

    pub(super) fn path(&self) -> Vec<u8> {
        self.dir.path_of(&self.name)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// One more part is to come.
    pub(super) fn expect_part(&self) {
        self.missing.fetch_add(1, Ordering::Relaxed);
    }

    /// All parts are known. Whether all of them are done already: then [`Self::part_done`] has to be
    /// called once more.
    pub(super) fn all_expected(&self) -> bool {
        let done = self.missing.fetch_sub(1, Ordering::AcqRel) == 1;
        if done {
            self.missing.store(1, Ordering::Relaxed);
        }
        done
    }

    /// Writes a part that has been verified.
    pub(super) fn write(&self, run: &Run<'_>, offset: u64, bytes: &[u8]) {
        if !self.has_failed() && !is_zero(bytes) {
            let written = self.temp(run).and_then(|temp| temp.write_all_at(bytes, offset));
            if let Err(error) = written {
                self.give_up();
                run.trouble(self.path(), error);
            }
            let end = offset.saturating_add(length_of(bytes));
            self.end.fetch_max(end, Ordering::Relaxed);
        }
        run.monitor.bytes_read(length_of(bytes));
        self.part_done(run);
    }

    /// The file cannot be restored.
    pub(super) fn lost(&self, run: &Run<'_>, error: ReadError) {
        let first = !self.failed.swap(true, Ordering::Relaxed);
        self.give_up();
        if first {
            run.unreadable(self.path(), error);
        }
    }

    /// A part is done, one way or the other. The last one finishes the file.
    pub(super) fn part_done(&self, run: &Run<'_>) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(run);
        }
    }

    fn give_up(&self) {
        self.failed.store(true, Ordering::Relaxed);
        drop(self.lock().take());
    }

    fn finish(&self, run: &Run<'_>) {
        if self.has_failed() || run.stopped() {
            drop(self.lock().take());
            return;
        }
        match self.place(run) {
            Ok(()) => {
                run.count(|tally| {
                    tally.files += 1;
                    tally.bytes += self.size;
                });
                run.done(&self.path(), self.change, self.size);
            }
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                run.trouble(self.path(), error);
            }
        }
    }

    fn place(&self, run: &Run<'_>) -> Result<(), super::error::TargetError> {
        let temp = self.temp(run)?;
        drop(self.lock().take());
        if self.end.load(Ordering::Relaxed) < self.size {
            temp.set_len(self.size)?;
        }
        let id = self.group.map(|_| temp.id()).transpose()?;
        let Ok(temp) = Arc::try_unwrap(temp) else {
            // Whoever wrote a part let go of it before saying that the part is done.
            return Err(super::error::TargetError::Raced { name: self.name.clone() });
        };
        let notes = temp.commit(&self.meta.whole(), run.dirs.policy())?;
        run.left_out(|| self.path(), &notes);
        if let (Some(group), Some(id)) = (self.group, id) {
            // If that fails the restore ends, and tells why.
            run.told(run.links.placed(group, id)).ok();
        }
        Ok(())
    }

    fn temp(&self, run: &Run<'_>) -> Result<Arc<TempFile>, super::error::TargetError> {
        let mut temp = self.lock();
        if let Some(temp) = &*temp {
            return Ok(Arc::clone(temp));
        }
        let made = Arc::new(run.dirs.open(&self.dir)?.create_temp(&self.name)?);
        *temp = Some(Arc::clone(&made));
        Ok(made)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<TempFile>>> {
        self.temp.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Metadata without what most files do not have: there may be a hundred thousand at a time.
#[derive(Debug)]
struct Slim {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: FileTime,
    more: Option<Box<More>>,
}

#[derive(Debug)]
struct More {
    user: Option<Arc<str>>,
    group: Option<Arc<str>>,
    xattrs: Vec<Xattr>,
}

impl Slim {
    fn of(meta: Meta) -> Self {
        let more = More { user: meta.user, group: meta.group, xattrs: meta.xattrs };
        let none = more.user.is_none() && more.group.is_none() && more.xattrs.is_empty();
        Self {
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            more: (!none).then(|| Box::new(more)),
        }
    }

    fn whole(&self) -> Meta {
        let more = self.more.as_deref();
        Meta {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            user: more.and_then(|more| more.user.clone()),
            group: more.and_then(|more| more.group.clone()),
            mtime: self.mtime,
            xattrs: more.map(|more| more.xattrs.clone()).unwrap_or_default(),
            hard_link: None,
        }
    }
}

/// What is all zeros is left as a hole.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
