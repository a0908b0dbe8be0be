//! Builds the trees, in the order of the walk, from what the workers read.
//!
//! A directory begins in the hope that nothing changed. The first difference makes it write: what
//! went before is copied from its record, and from there on entries go straight to the new tree,
//! so that a directory of a million entries never stands in memory.

use std::collections::HashMap;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use unseen_common::codec::Canonical;

use super::BackupError;
use super::dedup::Dedup;
use super::events::{Entered, Event, Old};
use super::packer::Packer;
use super::recorder::{Needs, RecordBuilder, Recorder};
use super::replay::{all_found, name_of, needs_of_row, replay};
use super::upload::Flow;

use super::worker::{Done, FileRead};
use crate::crypto::content_id::ChunkId;
use crate::progress::{Change, Item, Monitor};
use crate::state::db::StateDb;
use crate::state::records::{DirKey, Row, Seen};
use crate::tree::codec::total_length;
use crate::tree::entry::{Entry, FileTime, Kind, Meta, Name};
use crate::tree::manifest::Totals;
use crate::tree::writer::{ContentWriter, DirWriter, ObjectSink};

/// How often a wait for a worker looks whether the run has failed.
const LOOK_UP: std::time::Duration = std::time::Duration::from_millis(100);

/// What assembling needs.
#[derive(Debug)]
pub struct Assembler<'a> {
    dedup: &'a Dedup<'a>,
    state: &'a StateDb,
    results: Receiver<Vec<Done>>,
    waiting: HashMap<u64, Option<Box<FileRead>>>,
    sink: TreeSink<'a>,
    recorder: Recorder,
    stack: Vec<Frame>,
    path: Vec<u8>,
    monitor: &'a dyn Monitor,
    flow: &'a Flow,
    /// Whether records are written.
    records: bool,
    /// What is in the snapshot so far.
    pub totals: Totals,
}

/// Stores tree objects through a packer and remembers them for the directory being written.
#[derive(Debug)]
pub struct TreeSink<'a> {
    packer: Packer<'a>,
    objects: Vec<ChunkId>,
}

impl ObjectSink for TreeSink<'_> {
    type Error = BackupError;

    fn store(&mut self, bytes: Vec<u8>) -> Result<ChunkId, BackupError> {
        let (id, _) = self.packer.add(&bytes)?;
        self.objects.push(id);
        Ok(id)
    }
}

#[derive(Debug)]
struct Frame {
    entered: Entered,
    mode: Mode,
    /// Tree objects of this directory alone.
    objects: Vec<ChunkId>,
}

#[derive(Debug)]
enum Mode {
    /// So many entries, all as recorded, needing these packs.
    Matching {
        seen: u64,
        packs: roaring::RoaringBitmap,
        last: Option<*const ()>,
    },
    Writing {
        tree: DirWriter,
        record: Option<RecordBuilder>,
    },
}

impl<'a> Assembler<'a> {
    /// Trees go through `packer`; file contents come from `results`. Without `records` none are
    /// written.
    pub fn new(
        dedup: &'a Dedup<'a>,
        state: &'a StateDb,
        (results, monitor, flow): (Receiver<Vec<Done>>, &'a dyn Monitor, &'a Flow),
        packer: Packer<'a>,
        records: bool,
    ) -> Self {
        Self {
            dedup,
            state,
            results,
            waiting: HashMap::new(),
            sink: TreeSink { packer, objects: Vec::new() },
            recorder: Recorder::default(),
            stack: Vec::new(),
            path: Vec::new(),
            monitor,
            flow,
            records,
            totals: Totals::default(),
        }
    }

    /// Takes the next event; answers the tree of `/` at the end.
    pub fn take(&mut self, event: Event) -> Result<Option<ChunkId>, BackupError> {
        match event {
            Event::Enter(entered) => self.enter(*entered),
            Event::Same(old) => {
                self.count_same(&old);
                self.same(&old)?;
            }
            Event::Gone => self.diverge()?,
            Event::Ready(ready) => {
                let (entry, seen, old) = *ready;
                self.totals.files += 1;
                self.write_entry(&entry, seen, &Needs::default(), (&[], old.as_ref()))?;
            }
            Event::Pending { name, ticket, pieces, old } => {
                self.pending(name, (ticket, pieces), old.as_ref())?;
            }
            Event::Leave => return self.leave(),
        }
        Ok(None)
    }

    /// Writes records whose packs have arrived.
    pub fn write_records(&mut self, all: bool) -> Result<(), BackupError> {
        self.recorder.write(self.dedup, self.state, all)
    }

    /// The packer of the trees, when everything has been taken.
    pub fn into_packer(self) -> (Packer<'a>, Recorder) {
        (self.sink.packer, self.recorder)
    }

    /// Seals and sends the trees that are open.
    pub fn flush(&mut self) -> Result<(), BackupError> {
        self.sink.packer.flush()
    }

    /// The tree of `/` as far as it has come, with every open directory closed where it stands.
    pub fn so_far(&mut self) -> Result<Option<ChunkId>, BackupError> {
        let mut child: Option<(Name, Meta, ChunkId)> = None;
        for at in (0..self.stack.len()).rev() {
            let mut tree = self.tree_so_far(at)?;
            if let Some((name, meta, id)) = child.take() {
                let entry = Entry { name, meta, kind: Kind::Directory { tree: id } };
                tree.push(&entry.name, &entry.to_bytes(), &mut self.sink)?;
            }
            let id = tree.finish(&mut self.sink)?;
            let Some(frame) = self.stack.get(at) else {
                break;
            };
            let Some(name) = &frame.entered.name else {
                // They belong to no record: the directories are still open.
                self.sink.objects.clear();
                return Ok(Some(id));
            };
            child = Some((name.clone(), frame.entered.meta.clone(), id));
        }
        Ok(None)
    }

    fn tree_so_far(&mut self, at: usize) -> Result<DirWriter, BackupError> {
        let Some(frame) = self.stack.get(at) else {
            return Err(BackupError::Internal("an open directory is gone"));
        };
        match (&frame.mode, frame.entered.key) {
            (Mode::Writing { tree, .. }, _) => Ok(tree.clone()),
            (Mode::Matching { seen, packs, .. }, Some(key)) => {
                self.dedup.use_packs(packs);
                let mut tree = DirWriter::new();
                let seen = *seen;
                replay(self.state, key, seen, |row, _| {
                    tree.push(&name_of(row)?, row.encoded, &mut self.sink)
                })?;
                Ok(tree)
            }
            (Mode::Matching { .. }, None) => Ok(DirWriter::new()),
        }
    }

    fn enter(&mut self, entered: Entered) {
        self.totals.dirs += u64::from(entered.key.is_some());
        if let Some(name) = &entered.name {
            self.path.push(b'/');
            self.path.extend_from_slice(name.as_bytes());
        }
        let mode = if entered.header.is_some() {
            Mode::Matching { seen: 0, packs: roaring::RoaringBitmap::new(), last: None }
        } else {
            self.writing(entered.key)
        };
        self.stack.push(Frame { entered, mode, objects: Vec::new() });
    }

    fn writing(&self, key: Option<DirKey>) -> Mode {
        let record = key.filter(|_| self.records).map(RecordBuilder::new);
        Mode::Writing { tree: DirWriter::new(), record }
    }

    fn count_same(&mut self, old: &Old) {
        if let Some(row) = old.part.row(old.index) {
            self.totals.files += 1;
            let size = if row.seen.kind == 0 { row.seen.size } else { 0 };
            self.totals.bytes += size;
            self.done(Some(row.name), (false, Change::Unmodified, size));
        }
    }

    fn done(&mut self, name: Option<&[u8]>, (is_dir, change, size): (bool, Change, u64)) {
        let length = self.path.len();
        if let Some(name) = name {
            self.path.push(b'/');
            self.path.extend_from_slice(name);
        }
        self.monitor.done(Item { path: &self.path, is_dir, change, size });
        self.path.truncate(length);
    }

    /// Takes an entry as it was recorded.
    fn same(&mut self, old: &Old) -> Result<(), BackupError> {
        let Some(frame) = self.stack.last_mut() else {
            return Err(BackupError::Internal("an entry outside any directory"));
        };
        if let Mode::Matching { seen, packs, last } = &mut frame.mode {
            let part = std::sync::Arc::as_ptr(&old.part).cast::<()>();
            if *last == Some(part) {
                *seen += 1;
                return Ok(());
            }
            if self.dedup.has_all(&old.part.packs) {
                *seen += 1;
                *last = Some(part);
                *packs |= &old.part.packs;
                return Ok(());
            }
            // The entry is the same, and its chunks lie elsewhere: the record is made anew.
            self.diverge()?;
        }
        self.copy(old)
    }

    fn copy(&mut self, old: &Old) -> Result<(), BackupError> {
        let Some(row) = old.part.row(old.index) else {
            return Err(BackupError::Internal("a record has fewer rows than it says"));
        };
        let needs = needs_of_row(&row, &old.part.packs, self.dedup)?;
        self.push(&name_of(&row)?, &row, &needs)
    }

    /// From here on the directory is written anew.
    fn diverge(&mut self) -> Result<(), BackupError> {
        let Some(frame) = self.stack.last() else {
            return Err(BackupError::Internal("no directory is open"));
        };
        let (Mode::Matching { seen, .. }, Some(key)) = (&frame.mode, frame.entered.key) else {
            return Ok(());
        };
        let seen = *seen;
        let mode = self.writing(Some(key));
        if let Some(frame) = self.stack.last_mut() {
            frame.mode = mode;
        }
        let state = self.state;
        replay(state, key, seen, |row, packs| {
            let needs = needs_of_row(row, packs, self.dedup)?;
            self.push(&name_of(row)?, row, &needs)
        })
    }

    fn push(&mut self, name: &Name, row: &Row<'_>, needs: &Needs) -> Result<(), BackupError> {
        let Some(frame) = self.stack.last_mut() else {
            return Err(BackupError::Internal("no directory is open"));
        };
        let Mode::Writing { tree, record } = &mut frame.mode else {
            return Err(BackupError::Internal("a directory is not being written"));
        };
        tree.push(name, row.encoded, &mut self.sink)?;
        frame.objects.append(&mut self.sink.objects);
        if let Some(record) = record {
            record.push(row, needs, self.state)?;
        }
        Ok(())
    }

    fn write_entry(
        &mut self,
        entry: &Entry,
        seen: Seen,
        needs: &Needs,
        (lists, old): (&[ChunkId], Option<&Old>),
    ) -> Result<(), BackupError> {
        let encoded = entry.to_bytes();
        let before = old.and_then(|o| o.part.row(o.index));
        let change = match &before {
            None => Change::New,
            Some(row) if row.encoded == encoded => Change::Unmodified,
            Some(_) => Change::Changed,
        };
        let size = if let Kind::File { size, .. } = entry.kind { size } else { 0 };
        self.done(Some(entry.name.as_bytes()), (false, change, size));
        self.diverge()?;
        let lists: Vec<u8> = lists.iter().flat_map(|id| id.0).collect();
        let name = entry.name.as_bytes();
        self.push(&entry.name, &Row { seen, name, encoded: &encoded, lists: &lists }, needs)
    }

    fn pending(
        &mut self,
        name: Name,
        (ticket, pieces): (u64, u64),
        old: Option<&Old>,
    ) -> Result<(), BackupError> {
        let mut content = ContentWriter::default();
        let mut needs = Needs::default();
        let mut size: u64 = 0;
        let mut first: Option<(Meta, Seen)> = None;
        let mut whole = true;
        for piece in 0..pieces {
            let Some(read) = self.await_result(ticket + piece)? else {
                whole = false;
                continue;
            };
            size += total_length(&read.out.extents).unwrap_or(0);
            for place in &read.out.refs {
                needs.add(*place);
            }
            for extent in read.out.extents {
                content.push(extent, &mut self.sink)?;
            }
            let seen = read.seen;
            let (_, kept) = first.get_or_insert((read.meta, seen));
            kept.racy |= seen.racy || seen.ctime != kept.ctime;
        }
        let (content, lists) = content.finish(&mut self.sink)?;
        self.sink.objects.clear();
        let Some((meta, seen)) = first.filter(|_| whole) else {
            // Reported where it happened.
            return self.diverge();
        };
        self.totals.files += 1;
        self.totals.bytes += size;
        let entry = Entry { name, meta, kind: Kind::File { size, content } };
        self.write_entry(&entry, Seen { size: seen.size, ..seen }, &needs, (&lists, old))
    }

    fn await_result(&mut self, ticket: u64) -> Result<Option<Box<FileRead>>, BackupError> {
        loop {
            if let Some(read) = self.waiting.remove(&ticket) {
                return Ok(read);
            }
            match self.results.recv_timeout(LOOK_UP) {
                Ok(done) => self.waiting.extend(done),
                // The worker that had this ticket may have failed while the others wait for work.
                Err(RecvTimeoutError::Timeout) if !self.flow.has_failed() => {}
                Err(_) => return Err(BackupError::Stopped),
            }
        }
    }

    fn leave(&mut self) -> Result<Option<ChunkId>, BackupError> {
        if !self.is_unchanged()? {
            self.diverge()?;
        }
        let Some(frame) = self.stack.pop() else {
            return Err(BackupError::Internal("no directory is open"));
        };
        let Frame { entered, mode, mut objects } = frame;
        let (tree, unchanged) = match (mode, &entered.header) {
            (Mode::Matching { packs, .. }, Some(header)) => {
                self.dedup.use_packs(&packs);
                (header.tree, true)
            }
            (Mode::Writing { tree, record }, _) => {
                let id = tree.finish(&mut self.sink)?;
                objects.append(&mut self.sink.objects);
                if let Some(record) = record {
                    record.finish(id, objects, (&mut self.recorder, self.state))?;
                }
                (id, entered.header.as_ref().is_some_and(|h| h.tree == id))
            }
            (Mode::Matching { .. }, None) => {
                return Err(BackupError::Internal("a directory matches no record"));
            }
        };
        self.recorder.write(self.dedup, self.state, false)?;
        let Some(name) = entered.name else {
            return Ok(Some(tree));
        };
        let change = match (&entered.key, &entered.header) {
            (None, _) => None,
            (_, None) => Some(Change::New),
            (_, Some(_)) if unchanged => Some(Change::Unmodified),
            (_, Some(_)) => Some(Change::Changed),
        };
        let entry = Entry { name, meta: entered.meta, kind: Kind::Directory { tree } };
        self.add_directory(&entry, change, entered.old.as_ref())?;
        Ok(None)
    }

    /// Adds a directory that is complete to the one around it. `change` is how its own content
    /// compares with its record; none for a directory that is only on the way.
    fn add_directory(
        &mut self,
        entry: &Entry,
        change: Option<Change>,
        old: Option<&Old>,
    ) -> Result<(), BackupError> {
        let encoded = entry.to_bytes();
        let same = old.filter(|o| o.part.row(o.index).is_some_and(|row| row.encoded == encoded));
        match change {
            Some(Change::Unmodified) if same.is_none() && old.is_some() => {
                self.done(None, (true, Change::Changed, 0));
            }
            Some(change) => self.done(None, (true, change, 0)),
            None => {}
        }
        self.path.truncate(self.path.len() - entry.name.as_bytes().len() - 1);
        if let Some(old) = same {
            return self.same(old);
        }
        self.diverge()?;
        let seen = Seen {
            kind: 1,
            racy: false,
            ino: 0,
            size: 0,
            mtime: entry.meta.mtime,
            ctime: FileTime::default(),
        };
        let row = Row { seen, name: entry.name.as_bytes(), encoded: &encoded, lists: &[] };
        self.push(&entry.name, &row, &Needs::default())
    }

    /// Whether the open directory is as recorded, and its tree is still on the server.
    fn is_unchanged(&self) -> Result<bool, BackupError> {
        let Some(frame) = self.stack.last() else {
            return Ok(false);
        };
        let (Mode::Matching { seen, .. }, Some(header)) = (&frame.mode, &frame.entered.header)
        else {
            return Ok(false);
        };
        if *seen != header.entries {
            return Ok(false);
        }
        all_found(header, self.dedup)
    }
}
