//! Walks the trees of a snapshot, makes directories, and decides what becomes of each entry.

mod entries;
mod extra;
mod survey;

use std::iter::Peekable;
use std::sync::Arc;

use roaring::RoaringBitmap;
use rustix::io::Errno;

use super::dirs::DirNode;
use super::error::TargetError;
use super::guard::{Guard, Sides};
use super::near::Near;
use super::options::{Existing, RestoreOptions, Why};
use super::plan::Planner;
use super::policy::Ownership;
use super::run::Run;
use super::select::Pick;
use super::way::{Scope, Step};
use crate::browse::chunks::Chunks;
use crate::browse::error::ReadError;
use crate::browse::ls::MAX_DEPTH;
use crate::crypto::content_id::ChunkId;
use crate::progress::Amount;
use crate::scan::listing::{Folder, Names};
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
    pub(super) ctx: Ctx,
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
    near: Near,
    options: &'r RestoreOptions,
    /// The packs of the snapshot.
    within: Arc<RoaringBitmap>,
    /// What is there and not in the snapshot is removed, but for what this keeps.
    guard: Option<&'r Guard>,
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
    ctx: Ctx,
    there: There,
    /// What is there and not in the snapshot may be removed.
    covered: bool,
    /// No entry of it has come yet.
    blank: bool,
}

/// What was learned on the way down to a directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Ctx {
    pub(super) scope: Scope,
    pub(super) sides: Sides,
    /// The file system that it is on, where that matters to what is in it.
    device: Option<u64>,
    /// It is on another one than the backup knew, and was told to stay on.
    foreign: bool,
}

impl Ctx {
    pub(super) fn new(scope: Scope, sides: Sides) -> Self {
        Self { scope, sides, ..Self::default() }
    }
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

    fn of(names: &Names, wanted: bool) -> Self {
        let list: Vec<_> = if wanted { names.iter().collect() } else { Vec::new() };
        Self { something: !names.is_empty(), names: list.into_iter().peekable() }
    }
}

impl<'r, 'a> Walker<'r, 'a> {
    pub(super) fn new(
        run: &'r Run<'a>,
        options: &'r RestoreOptions,
        (within, guard): (Arc<RoaringBitmap>, Option<&'r Guard>),
        planner: Planner,
    ) -> Self {
        Self {
            chunks: Chunks::new(run.packs, Arc::clone(&within)),
            near: Near::default(),
            run,
            options,
            within,
            guard,
            planner,
            stack: Vec::new(),
        }
    }

    /// Walks everything.
    pub(super) fn walk(mut self, begin: Begin) -> Result<(), ReadError> {
        let Begin { start, path, meta, ctx } = begin;
        let node = self.run.dirs.target(path, meta);
        if ctx.scope.is_inside(&self.options.select)
            && let Err(error) = self.make(&node)
        {
            self.run.trouble(node.path(), error);
            return Ok(());
        }
        match start {
            Start::One(entry) => {
                // What else is beside it is no business of this restore.
                let mut here = self.here(node, ctx, None)?;
                if let Some(frame) = self.entry(&mut here, *entry)? {
                    self.stack.push(frame);
                }
            }
            Start::Dir(tree) => {
                let here = self.here(node, ctx, Some(tree))?;
                self.stack.push(Frame { reader: DirReader::new(tree), here });
            }
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
        let step = here.ctx.scope.step(&self.options.select, &entry.name, is_dir);
        let found = self.pass(here, &entry.name);
        here.blank = false;
        let Some(step) = step else {
            return Ok(None);
        };
        if let Some(found) = found
            && step.pick == Pick::Take
            && !step.above
            && (found == FileType::Directory) != is_dir
            && self.may_remove(here, &entry.name)
        {
            self.remove(here, &entry.name);
        }
        if self.options.survey && !self.is_to_be_entered(here, &entry) {
            return Ok(None);
        }
        let Entry { name, mut meta, kind } = entry;
        if !matches!(self.run.dirs.policy().ownership, Ownership::ByName(_)) {
            // Nobody asks for them, and they would be kept for every file.
            (meta.user, meta.group) = (None, None);
        }
        match kind {
            Kind::Directory { tree } => self.directory(here, (name, meta), tree, &step),
            Kind::File { size, ref content } => {
                self.file(here, (name, meta), &kind, (content, size))?;
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
    ) -> Result<Option<Frame>, ReadError> {
        if self.options.dry_run && !step.above && !self.has_modes(here, &name, &meta) {
            self.foresee(here, &name, &meta);
        }
        let ctx = Ctx {
            scope: here.ctx.scope.enter(&self.options.select, &name, step),
            sides: self.guard.map(|guard| guard.enter(&here.ctx.sides, &name)).unwrap_or_default(),
            ..here.ctx
        };
        let node = self.run.dirs.below(&here.node, (name, meta), step.above);
        if !step.above {
            self.run.monitor.scanned(Amount { dirs: 1, ..Amount::default() });
        }
        if self.stack.len() >= MAX_DEPTH {
            let what = "its directories are nested too deeply".to_owned();
            self.run.problem(node.path(), what);
            return Ok(None);
        }
        if step.pick == Pick::Take
            && !step.above
            && let Err(error) = self.make(&node)
        {
            self.run.trouble(node.path(), error);
            return Ok(None);
        }
        let here = self.here(node, ctx, Some(tree))?;
        Ok(Some(Frame { reader: DirReader::new(tree), here }))
    }

    /// Makes a directory and those above it, or takes them for made.
    fn make(&self, node: &DirNode) -> Result<(), TargetError> {
        if self.options.dry_run {
            self.run.dirs.foresee(node);
            return Ok(());
        }
        self.run.dirs.make(node).map(drop)
    }

    /// Looks at what is there. With the directory's tree, what is not in that is removed.
    fn here(
        &mut self,
        node: Arc<DirNode>,
        mut ctx: Ctx,
        tree: Option<ChunkId>,
    ) -> Result<Here, ReadError> {
        let above = ctx.device.take();
        let path = node.path();
        if ctx.scope.is_above() {
            self.look_above(&mut ctx, &path, tree)?;
        }
        let listed = self.run.dirs.look(&node).and_then(|dir| {
            // It may be there to pass through, and not to be listed.
            let listed = if ctx.scope.is_above() { None } else { Some(dir.listed()?) };
            Ok(listed.map(|(reader, names)| (dir, reader, names)))
        });
        let (dir, reader, names) = match listed {
            Ok(Some(listed)) => listed,
            unlisted => {
                let there = match unlisted {
                    Err(error) if error.errno() == Some(Errno::NOENT) => There::nothing(),
                    _ => There { something: true, ..There::nothing() },
                };
                return Ok(Here { node, ctx, there, covered: false, blank: true });
            }
        };
        let covering = self.guard.filter(|guard| guard.covers(&path) && !names.is_empty());
        let Some((guard, tree)) = covering.zip(tree) else {
            let there = There::of(&names, false);
            return Ok(Here { node, ctx, there, covered: false, blank: true });
        };
        guard.look_recorded(&mut ctx.sides, &mut self.chunks, tree)?;
        guard.look_here(&mut ctx.sides, &Folder { dir: &reader, names: &names });
        if guard.one_file_system {
            let device = dir.stat_self().ok().map(|stat| stat.dev);
            let crossed = above.is_some() && above != device && !guard.names(&path);
            ctx.foreign |= crossed;
            ctx.device = device;
        }
        let there = There::of(&names, true);
        Ok(Here { node, ctx, there, covered: true, blank: true })
    }

    /// What is above what is restored is nobody's to delete; but its rules hold beneath it.
    fn look_above(
        &mut self,
        ctx: &mut Ctx,
        path: &[u8],
        tree: Option<ChunkId>,
    ) -> Result<(), ReadError> {
        let covering = self.guard.filter(|guard| guard.covers(path));
        if let Some((guard, tree)) = covering.zip(tree) {
            guard.look_recorded(&mut ctx.sides, &mut self.chunks, tree)?;
            ctx.sides.set_here();
        }
        Ok(())
    }

    /// Whether a directory is there that is setgid already, or need not be.
    fn has_modes(&self, here: &Here, name: &Name, meta: &Meta) -> bool {
        let found = self.found(here, name).filter(|stat| stat.file_type == FileType::Directory);
        found.is_some_and(|stat| {
            stat.mode & 0o6000 == meta.mode & 0o6000 && (stat.uid, stat.gid) == (meta.uid, meta.gid)
        })
    }

    /// Whether `--delete` may remove what has the name of something that is restored.
    fn may_remove(&self, here: &Here, name: &Name) -> bool {
        let chosen = here.ctx.scope.is_above();
        let covered = || self.guard.is_some_and(|guard| guard.covers(&here.node.path_of(name)));
        here.covered || (chosen && covered())
    }

    /// Passes the names that are there up to this one: those in between are not in the snapshot.
    /// What has this name now.
    fn pass(&mut self, here: &mut Here, name: &Name) -> Option<FileType> {
        if here.ctx.scope.is_above() {
            return self.found(here, name).map(|stat| stat.file_type);
        }
        while let Some((extra, kind)) = here.there.names.next_if(|(extra, _)| extra < name) {
            self.left_over(here, &extra, kind);
        }
        let found = here.there.names.next_if(|(found, _)| found == name);
        found.map(|(_, kind)| kind)
    }

    fn leave(&mut self, mut here: Here) -> Result<(), ReadError> {
        // A run that stays on its file systems saves of others only the directory.
        let mounted = here.blank
            && self
                .guard
                .is_some_and(|guard| guard.one_file_system && !guard.names(&here.node.path()));
        while let Some((extra, kind)) = here.there.names.next() {
            if mounted && here.covered {
                self.stays(&here, &extra, Why::Elsewhere);
            } else {
                self.left_over(&here, &extra, kind);
            }
        }
        let stays = self.options.existing == Existing::Never && here.there.something;
        if here.node.to_finish().is_none() || stays {
            return Ok(());
        }
        if self.options.dry_run {
            self.run.dir_done(&here.node);
            return Ok(());
        }
        self.planner.leave(here.node)
    }
}
