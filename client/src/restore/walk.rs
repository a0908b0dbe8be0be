//! Walks the trees of a snapshot, makes directories, and decides what becomes of each entry.

mod entries;

use std::iter::Peekable;
use std::sync::Arc;

use roaring::RoaringBitmap;
use rustix::io::Errno;

use super::dirs::DirNode;
use super::error::TargetError;
use super::options::{Existing, RestoreOptions};
use super::plan::Planner;
use super::policy::Ownership;
use super::run::Run;
use super::select::Pick;
use super::way::{Scope, Step};
use crate::browse::chunks::Chunks;
use crate::browse::error::ReadError;
use crate::browse::ls::MAX_DEPTH;
use crate::crypto::content_id::ChunkId;
use crate::progress::{Amount, Change, Item};
use crate::scan::os::FileType;
use crate::tree::entry::{Entry, Kind, Meta, Name};
use crate::tree::reader::DirReader;

/// How a restore begins.
#[derive(Debug, Clone)]
pub(super) struct Begin {
    pub(super) start: Start,
    /// What the target stands for: a path of the snapshot, without a slash at its end.
    pub(super) path: Vec<u8>,
    /// What is recorded of that, if the target is to become it.
    pub(super) meta: Option<Box<Meta>>,
    pub(super) scope: Scope,
}

/// What goes into the target.
#[derive(Debug, Clone)]
pub(super) enum Start {
    /// What is in a directory.
    Dir(ChunkId),
    /// One entry.
    One(Box<Entry>),
}

/// One walk.
#[derive(Debug)]
pub(super) struct Walker<'r, 'a> {
    run: &'r Run<'a>,
    chunks: Chunks<'r>,
    options: &'r RestoreOptions,
    /// The packs of the snapshot.
    within: Arc<RoaringBitmap>,
    /// What the backup was told to save.
    saved: &'r [Vec<u8>],
    planner: Planner,
    stack: Vec<Frame>,
}

#[derive(Debug)]
struct Frame {
    reader: DirReader,
    here: Here,
}

/// A directory that is being walked.
#[derive(Debug)]
struct Here {
    node: Arc<DirNode>,
    scope: Scope,
    there: There,
    /// What is there and not in the snapshot may be removed.
    covered: bool,
}

/// What is at the target already.
#[derive(Debug)]
struct There {
    /// Whether there is anything.
    something: bool,
    /// Its names, where they matter: those that the walk has not come to yet.
    names: Peekable<std::vec::IntoIter<(Name, FileType)>>,
}

impl There {
    fn nothing() -> Self {
        Self { something: false, names: Vec::new().into_iter().peekable() }
    }
}

impl<'r, 'a> Walker<'r, 'a> {
    pub(super) fn new(
        run: &'r Run<'a>,
        options: &'r RestoreOptions,
        (within, saved): (Arc<RoaringBitmap>, &'r [Vec<u8>]),
        planner: Planner,
    ) -> Self {
        Self {
            chunks: Chunks::new(run.packs, Arc::clone(&within)),
            run,
            options,
            within,
            saved,
            planner,
            stack: Vec::new(),
        }
    }

    /// Walks everything.
    pub(super) fn walk(mut self, begin: Begin) -> Result<(), ReadError> {
        let Begin { start, path, meta, scope } = begin;
        let node = self.run.dirs.target(path, meta);
        if scope.is_inside(&self.options.select)
            && !self.options.dry_run
            && let Err(error) = self.run.dirs.make(&node)
        {
            self.run.trouble(node.path(), error);
            return Ok(());
        }
        let mut here = self.here(node, scope);
        match start {
            Start::One(entry) => {
                if let Some(frame) = self.entry(&mut here, *entry)? {
                    self.stack.push(frame);
                }
            }
            Start::Dir(tree) => self.stack.push(Frame { reader: DirReader::new(tree), here }),
        }
        while let Some(mut frame) = self.stack.pop() {
            if self.run.stopped() {
                return Err(ReadError::Stopped);
            }
            if let Some(child) = self.advance(&mut frame)? {
                self.stack.push(frame);
                self.stack.push(child);
            } else {
                self.leave(frame.here)?;
            }
        }
        self.run.monitor.scan_done();
        self.planner.send()
    }

    /// Goes on in a directory until it is done, or a child is entered.
    fn advance(&mut self, frame: &mut Frame) -> Result<Option<Frame>, ReadError> {
        loop {
            match frame.reader.next(&mut self.chunks) {
                Ok(None) => return Ok(None),
                Ok(Some(entry)) => {
                    if let Some(child) = self.entry(&mut frame.here, entry)? {
                        return Ok(Some(child));
                    }
                }
                // A part of a big directory: the other parts may be whole.
                Err(error @ ReadError::Lost { .. }) => {
                    // What is in it is not known, so nothing may be taken for left over.
                    frame.here.covered = false;
                    self.run.unreadable(frame.here.node.path(), error);
                }
                Err(error) if error.is_local() => {
                    frame.here.covered = false;
                    self.run.unreadable(frame.here.node.path(), error);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn entry(&mut self, here: &mut Here, entry: Entry) -> Result<Option<Frame>, ReadError> {
        let is_dir = matches!(entry.kind, Kind::Directory { .. });
        let step = here.scope.step(&self.options.select, &entry.name, is_dir);
        let found = self.pass(here, &entry.name);
        let Some(step) = step else {
            return Ok(None);
        };
        if let Some(found) = found
            && step.pick == Pick::Take
            && !step.above
            && (found == FileType::Directory) != is_dir
            && self.may_remove(here, &entry.name)
        {
            self.remove(here, &entry.name, found);
        }
        let Entry { name, mut meta, kind } = entry;
        if !matches!(self.run.dirs.policy().ownership, Ownership::ByName(_)) {
            // Nobody asks for them, and they would be kept for every file.
            (meta.user, meta.group) = (None, None);
        }
        match kind {
            Kind::Directory { tree } => Ok(self.directory(here, (name, meta), tree, &step)),
            Kind::File { size, content } => {
                self.file(here, (name, meta), &content, size)?;
                Ok(None)
            }
            other => {
                self.special(here, (name, meta), &other)?;
                Ok(None)
            }
        }
    }

    fn directory(
        &mut self,
        here: &Here,
        (name, meta): (Name, Meta),
        tree: ChunkId,
        step: &Step,
    ) -> Option<Frame> {
        let scope = here.scope.enter(&self.options.select, &name, step);
        if self.options.dry_run && !step.above && !self.has_modes(here, &name, &meta) {
            self.foresee(here, &name, &meta);
        }
        let node = self.run.dirs.below(&here.node, (name, meta), step.above);
        if !step.above {
            self.run.monitor.scanned(Amount { dirs: 1, ..Amount::default() });
        }
        if self.stack.len() >= MAX_DEPTH {
            let what = "its directories are nested too deeply".to_owned();
            self.run.problem(node.path(), what);
            return None;
        }
        if step.pick == Pick::Take
            && !step.above
            && !self.options.dry_run
            && let Err(error) = self.run.dirs.make(&node)
        {
            self.run.trouble(node.path(), error);
            return None;
        }
        Some(Frame { reader: DirReader::new(tree), here: self.here(node, scope) })
    }

    /// Looks at what is there.
    fn here(&self, node: Arc<DirNode>, scope: Scope) -> Here {
        // Above what is restored nothing is anybody's to delete.
        let covered = self.options.delete && !scope.is_above() && self.covers(&node.path());
        let names = self.run.dirs.look(&node).and_then(|dir| {
            // It may be there to pass through, and not to be listed.
            if scope.is_above() { Ok(None) } else { dir.names().map(Some) }
        });
        let there = match names {
            Ok(Some(names)) if names.is_empty() => There::nothing(),
            Ok(Some(names)) if covered => There {
                something: true,
                names: names.iter().collect::<Vec<_>>().into_iter().peekable(),
            },
            Err(error) if error.errno() == Some(Errno::NOENT) => There::nothing(),
            Ok(_) | Err(_) => There { something: true, ..There::nothing() },
        };
        Here { node, scope, there, covered }
    }

    /// Whether a directory is there that is setgid already, or need not be.
    fn has_modes(&self, here: &Here, name: &Name, meta: &Meta) -> bool {
        let found = self.found(here, name).filter(|stat| stat.file_type == FileType::Directory);
        found.is_some_and(|stat| {
            stat.mode & 0o6000 == meta.mode & 0o6000 && (stat.uid, stat.gid) == (meta.uid, meta.gid)
        })
    }

    /// Whether `--delete` may remove what has this name.
    fn may_remove(&self, here: &Here, name: &Name) -> bool {
        let beneath_above = || self.options.delete && here.scope.is_above();
        here.covered || (beneath_above() && self.covers(&here.node.path_of(name)))
    }

    /// Whether a path is what the backup was told to save, or beneath that.
    fn covers(&self, path: &[u8]) -> bool {
        self.saved.iter().any(|saved| {
            let saved = saved.strip_suffix(b"/").unwrap_or(saved);
            path.strip_prefix(saved).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    /// Passes the names that are there up to this one: those in between are not in the snapshot.
    /// What has this name now.
    fn pass(&mut self, here: &mut Here, name: &Name) -> Option<FileType> {
        if here.scope.is_above() {
            return self.found(here, name).map(|stat| stat.file_type);
        }
        while let Some((extra, kind)) = here.there.names.next_if(|(extra, _)| extra < name) {
            self.left_over(here, &extra, kind);
        }
        let found = here.there.names.next_if(|(found, _)| found == name);
        found.map(|(_, kind)| kind)
    }

    fn left_over(&mut self, here: &Here, name: &Name, kind: FileType) {
        let taken = here.scope.takes(&self.options.select, name, kind == FileType::Directory);
        if here.covered && taken && !self.is_kept(here, name) {
            self.remove(here, name, kind);
        }
    }

    fn is_kept(&self, here: &Here, name: &Name) -> bool {
        let stat = self.run.dirs.look(&here.node).and_then(|dir| dir.stat(name));
        stat.is_ok_and(|stat| self.options.kept.has(&stat))
    }

    fn remove(&mut self, here: &Here, name: &Name, kind: FileType) {
        let path = here.node.path_of(name);
        let removed = if self.is_kept(here, name) {
            Err(TargetError::Kept { name: name.clone() })
        } else if self.options.dry_run {
            Ok(())
        } else {
            self.run.dirs.look(&here.node).and_then(|dir| dir.remove_tree(name))
        };
        if let Err(error) = removed {
            self.run.trouble(path, error);
            return;
        }
        self.run.count(|tally| tally.deleted += 1);
        self.run.monitor.done(Item {
            path: &path,
            is_dir: kind == FileType::Directory,
            change: Change::Deleted,
            size: 0,
        });
    }

    fn leave(&mut self, mut here: Here) -> Result<(), ReadError> {
        while let Some((extra, kind)) = here.there.names.next() {
            self.left_over(&here, &extra, kind);
        }
        let stays = self.options.existing == Existing::Never && here.there.something;
        if here.node.to_finish().is_none() || stays {
            return Ok(());
        }
        self.planner.leave(here.node)
    }
}
