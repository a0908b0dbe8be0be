//! Walks the trees of a snapshot, makes directories, and decides what becomes of each entry.

use std::iter::Peekable;
use std::sync::Arc;

use roaring::RoaringBitmap;
use unseen_common::codec::Canonical;

use super::dirs::DirNode;
use super::existing::same_content;
use super::file::FilePlan;
use super::links::{LinkPlan, Role};
use super::options::{Existing, RestoreOptions};
use super::plan::Planner;
use super::root::FileId;
use super::run::Run;
use super::select::{Pick, SelectCtx};
use super::special::Special;
use crate::browse::chunks::Chunks;
use crate::browse::error::ReadError;
use crate::browse::ls::MAX_DEPTH;
use crate::crypto::content_id::ChunkId;
use crate::progress::{Amount, Change, Item};
use crate::scan::os::{FileType, Stat};
use crate::tree::entry::{Content, Entry, Extent, Kind, Meta, Name};
use crate::tree::reader::{DirReader, for_each_extent};

/// Where a restore begins.
#[derive(Debug, Clone)]
pub(super) enum Start {
    /// What is in a directory goes into the target.
    Dir(ChunkId),
    /// One entry goes into the target.
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
    ctx: SelectCtx,
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
        Self {
            something: false,
            names: Vec::new().into_iter().peekable(),
        }
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

    /// Walks everything; `path` is that of the start's directory in the snapshot.
    pub(super) fn walk(
        mut self,
        start: Start,
        (path, ctx): (Vec<u8>, SelectCtx),
    ) -> Result<(), ReadError> {
        let node = self.run.dirs.target(path);
        let mut here = self.here(node, ctx);
        match start {
            Start::One(entry) => {
                if let Some(frame) = self.entry(&mut here, *entry)? {
                    self.stack.push(frame);
                }
            }
            Start::Dir(tree) => self.stack.push(Frame {
                reader: DirReader::new(tree),
                here,
            }),
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
        let pick = self.options.select.pick(&here.ctx, &entry.name, is_dir);
        let found = self.pass(here, &entry.name);
        if pick == Pick::Leave {
            return Ok(None);
        }
        if let Some(found) = found
            && pick == Pick::Take
            && here.covered
            && (found == FileType::Directory) != is_dir
        {
            self.remove(here, &entry.name, found);
        }
        let Entry { name, meta, kind } = entry;
        match kind {
            Kind::Directory { tree } => Ok(self.directory(here, (name, meta), tree, pick)),
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
        pick: Pick,
    ) -> Option<Frame> {
        let ctx = self.options.select.enter(&here.ctx, &name, pick);
        let node = self.run.dirs.below(&here.node, name, meta);
        self.run.monitor.scanned(Amount {
            dirs: 1,
            ..Amount::default()
        });
        if self.stack.len() >= MAX_DEPTH {
            let what = "its directories are nested too deeply".to_owned();
            self.run.problem(node.path(), what);
            return None;
        }
        if pick == Pick::Take
            && !self.options.dry_run
            && let Err(error) = self.run.dirs.make(&node)
        {
            self.run.trouble(node.path(), error);
            return None;
        }
        Some(Frame {
            reader: DirReader::new(tree),
            here: self.here(node, ctx),
        })
    }

    /// Looks at what is there.
    fn here(&self, node: Arc<DirNode>, ctx: SelectCtx) -> Here {
        let covered = self.options.delete && self.covers(&node.path());
        let names = self.run.dirs.open(&node).and_then(|dir| dir.names());
        let there = match names {
            Ok(names) if !names.is_empty() => There {
                something: true,
                names: if covered {
                    names.iter().collect::<Vec<_>>().into_iter().peekable()
                } else {
                    There::nothing().names
                },
            },
            Ok(_) => There::nothing(),
            Err(_) => There {
                something: true,
                ..There::nothing()
            },
        };
        Here {
            node,
            ctx,
            there,
            covered,
        }
    }

    /// Whether a path is what the backup was told to save, or beneath that.
    fn covers(&self, path: &[u8]) -> bool {
        self.saved.iter().any(|saved| {
            let saved = saved.strip_suffix(b"/").unwrap_or(saved);
            path.strip_prefix(saved)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    /// Passes the names that are there up to this one: those in between are not in the snapshot.
    /// What has this name now.
    fn pass(&mut self, here: &mut Here, name: &Name) -> Option<FileType> {
        while let Some((extra, kind)) = here.there.names.next_if(|(extra, _)| extra < name) {
            self.left_over(here, &extra, kind);
        }
        let found = here.there.names.next_if(|(found, _)| found == name);
        found.map(|(_, kind)| kind)
    }

    fn left_over(&mut self, here: &Here, name: &Name, kind: FileType) {
        let picked = self
            .options
            .select
            .pick(&here.ctx, name, kind == FileType::Directory);
        if here.covered && picked == Pick::Take {
            self.remove(here, name, kind);
        }
    }

    fn remove(&mut self, here: &Here, name: &Name, kind: FileType) {
        let path = here.node.path_of(name);
        if !self.options.dry_run {
            let dir = self.run.dirs.open(&here.node);
            if let Err(error) = dir.and_then(|dir| dir.remove_tree(name)) {
                self.run.trouble(path, error);
                return;
            }
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
        if here.node.meta().is_none() || !here.node.is_made() || stays {
            return Ok(());
        }
        self.planner.leave(here.node)
    }

    /// What has the name at the target now.
    fn found(&self, here: &Here, name: &Name) -> Option<Stat> {
        if !here.there.something {
            return None;
        }
        self.run.dirs.open(&here.node).ok()?.stat(name).ok()
    }

    /// Makes the directory of something that is to be restored; false if that is impossible.
    fn ready(&self, here: &Here) -> bool {
        if self.options.dry_run || here.node.is_made() {
            return true;
        }
        match self.run.dirs.make(&here.node) {
            Ok(_) => true,
            Err(error) => {
                self.run.trouble(here.node.path(), error);
                false
            }
        }
    }

    fn file(
        &mut self,
        here: &Here,
        (name, meta): (Name, Meta),
        content: &Content,
        size: u64,
    ) -> Result<(), ReadError> {
        self.run.monitor.scanned(Amount {
            files: 1,
            dirs: 0,
            bytes: size,
        });
        let found = self.found(here, &name);
        if let Some(stat) = &found
            && keeps(self.options.existing, stat, &meta)
        {
            self.skipped(here, &name, size);
            return Ok(());
        }
        let same = found.is_some_and(|stat| {
            stat.file_type == FileType::File && stat.size == size && stat.mtime == meta.mtime
        });
        let change = if found.is_some() {
            Change::Changed
        } else {
            Change::New
        };
        if !self.ready(here) {
            return Ok(());
        }
        let kind = Kind::File {
            size,
            content: content.clone(),
        };
        let (role, group) = self.role(here, &name, &meta, &kind);
        if role == Role::Further {
            return self.further(here, (name, meta), (true, size), change);
        }
        if let (true, Some(stat)) = (same, &found)
            && self.is_unmodified(here, (&name, &meta), stat, (content, size))?
        {
            if let Some(group) = group {
                let id = FileId::from(stat);
                self.run.links.placed(group, &here.node, &name, id);
            }
            self.run.count(|tally| tally.unmodified += 1);
            self.run.monitor.bytes_read(size);
            let path = here.node.path_of(&name);
            self.run.done(&path, Change::Unmodified, size);
            return Ok(());
        }
        if self.options.dry_run {
            self.run.count(|tally| {
                tally.files += 1;
                tally.bytes += size;
            });
            self.run.done(&here.node.path_of(&name), change, size);
            return Ok(());
        }
        let plan = FilePlan::new((&here.node, name), (meta, size), change, group);
        self.plan(&Arc::new(plan), content)
    }

    /// A file of the recorded size and time is there. Whether it may stay as it is.
    fn is_unmodified(
        &mut self,
        here: &Here,
        (name, meta): (&Name, &Meta),
        stat: &Stat,
        content: (&Content, u64),
    ) -> Result<bool, ReadError> {
        if self.options.existing != Existing::Always {
            return Ok(self.options.existing == Existing::IfChanged);
        }
        // Another name of it may lie outside of the target.
        if stat.nlink > 1 && meta.hard_link.is_none() {
            return Ok(false);
        }
        let Ok(dir) = self.run.dirs.open(&here.node) else {
            return Ok(false);
        };
        let Ok(file) = dir.open_existing_file(name) else {
            return Ok(false);
        };
        let ids = self.run.packs.repo.ids();
        match same_content(&file, content, &mut self.chunks, ids) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            // Restoring it will tell.
            Err(error) if error.is_local() => return Ok(false),
            Err(error) => return Err(error),
        }
        if self.options.dry_run {
            return Ok(true);
        }
        match dir.refresh(name, FileId::from(stat), meta, self.run.dirs.policy()) {
            Ok(notes) => {
                self.run.left_out(|| here.node.path_of(name), &notes);
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// Adds all parts of a file to the plan.
    fn plan(&mut self, plan: &Arc<FilePlan>, content: &Content) -> Result<(), ReadError> {
        let Self {
            run,
            chunks,
            within,
            planner,
            ..
        } = self;
        planner.begin(Arc::clone(plan));
        let mut offset: u64 = 0;
        let planned = for_each_extent(content, plan.size, chunks, |extent, _| {
            let length = match extent {
                Extent::Hole { length } => *length,
                Extent::Data { chunk, length } => {
                    let pack = run.packs.index.lookup(chunk, within)?;
                    let pack = pack.ok_or(ReadError::Lost {
                        id: *chunk,
                        tried: Vec::new(),
                    })?;
                    planner.want((*chunk, *length), offset, pack)?;
                    u64::from(*length)
                }
            };
            offset = offset.saturating_add(length);
            Ok::<(), ReadError>(())
        });
        match planned {
            Err(error) if !error.is_local() => return Err(error),
            Err(error) => plan.lost(run, error),
            Ok(()) => {}
        }
        planner.end()
    }

    fn special(
        &mut self,
        here: &Here,
        (name, meta): (Name, Meta),
        kind: &Kind,
    ) -> Result<(), ReadError> {
        self.run.monitor.scanned(Amount {
            files: 1,
            ..Amount::default()
        });
        let special = match kind {
            Kind::Symlink { target } => Special::Symlink(target),
            Kind::Fifo => Special::Fifo,
            Kind::Socket => Special::Socket,
            Kind::CharDevice(number) => Special::CharDevice(*number),
            Kind::BlockDevice(number) => Special::BlockDevice(*number),
            Kind::File { .. } | Kind::Directory { .. } => return Ok(()),
        };
        let found = self.found(here, &name);
        let stays = found.is_some_and(|stat| {
            keeps(self.options.existing, &stat, &meta)
                || (self.options.existing == Existing::IfChanged
                    && stat.file_type == special_type(&special)
                    && stat.mtime == meta.mtime)
        });
        if stays {
            self.skipped(here, &name, 0);
            return Ok(());
        }
        if !self.ready(here) {
            return Ok(());
        }
        let change = if found.is_some() {
            Change::Changed
        } else {
            Change::New
        };
        let (role, group) = self.role(here, &name, &meta, kind);
        if role == Role::Further {
            return self.further(here, (name, meta), (false, 0), change);
        }
        self.place(here, (&name, &meta), special, (change, group));
        Ok(())
    }

    fn place(
        &mut self,
        here: &Here,
        (name, meta): (&Name, &Meta),
        special: Special<'_>,
        (change, group): (Change, Option<u64>),
    ) {
        let path = here.node.path_of(name);
        if !self.options.dry_run {
            let (dirs, policy) = (self.run.dirs, self.run.dirs.policy());
            let placed = dirs
                .open(&here.node)
                .and_then(|dir| dir.place(name, special, meta, policy));
            let placed = match placed {
                Ok(placed) => placed,
                Err(error) => return self.run.trouble(path, error),
            };
            self.run.left_out(|| path.clone(), &placed.notes);
            match (placed.id, group) {
                (None, _) => {
                    self.run.count(|tally| tally.skipped += 1);
                    return self.run.done(&path, Change::Skipped, 0);
                }
                (Some(id), Some(group)) => self.run.links.placed(group, &here.node, name, id),
                (Some(_), None) => {}
            }
        }
        self.run.count(|tally| tally.others += 1);
        self.run.done(&path, change, 0);
    }

    fn skipped(&self, here: &Here, name: &Name, size: u64) {
        let path = here.node.path_of(name);
        self.run.not_restored(&path);
        self.run.count(|tally| tally.skipped += 1);
        self.run.done(&path, Change::Skipped, size);
    }

    /// What a name of a group is to become.
    fn role(&self, here: &Here, name: &Name, meta: &Meta, kind: &Kind) -> (Role, Option<u64>) {
        let Some(group) = meta.hard_link else {
            return (Role::Alone, None);
        };
        let role = self.run.links.role(group, digest(kind), &here.node, name);
        (role, (role == Role::First).then_some(group))
    }

    fn further(
        &mut self,
        here: &Here,
        (name, meta): (Name, Meta),
        (is_file, size): (bool, u64),
        change: Change,
    ) -> Result<(), ReadError> {
        if self.options.dry_run {
            self.run.count(|tally| tally.files += 1);
            self.run.done(&here.node.path_of(&name), change, size);
            return Ok(());
        }
        let Some(group) = meta.hard_link else {
            return Ok(());
        };
        self.planner.link(LinkPlan {
            group,
            dir: Arc::clone(&here.node),
            name,
            size,
            change,
            is_file,
            meta,
        })
    }
}

/// Whether what is there stays, whatever it is.
fn keeps(existing: Existing, stat: &Stat, meta: &Meta) -> bool {
    match existing {
        Existing::Never => true,
        Existing::IfNewer => meta.mtime <= stat.mtime,
        Existing::Always | Existing::IfChanged => false,
    }
}

/// Tells things apart that cannot be one file: another kind, another content.
fn digest(kind: &Kind) -> u64 {
    let entry = Entry {
        name: Name::new(b"x").expect("a letter is a name"),
        meta: Meta::default(),
        kind: kind.clone(),
    };
    let hash = blake3::hash(&entry.to_bytes());
    let (first, _) = hash
        .as_bytes()
        .split_first_chunk()
        .expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}

fn special_type(special: &Special<'_>) -> FileType {
    match special {
        Special::Symlink(_) => FileType::Symlink,
        Special::Fifo => FileType::Fifo,
        Special::Socket => FileType::Socket,
        Special::CharDevice(_) => FileType::CharDevice,
        Special::BlockDevice(_) => FileType::BlockDevice,
    }
}
