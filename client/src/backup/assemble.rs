//! Builds the trees, in the order of the walk, from what the workers read.
//!
//! A directory begins in the hope that nothing changed. The first difference makes it write: what
//! went before is copied from its record, and from there on entries go straight to the new tree,
//! so that a directory of a million entries never stands in memory.

mod recorded;

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use unseen_common::codec::Canonical;

use super::BackupError;
use super::dedup::Dedup;
use super::events::{Entered, Event, Old};
use super::few::Few;
use super::packer::Packer;
use super::recorder::{Beside, NOTHING, Needed, Needs, RecordBuilder, Recorder};
use super::replay::{name_of, places, replay, row_of};
use super::subtree::Subtree;
use super::upload::Flow;

use super::worker::{Done, MaybeRead};
use crate::crypto::content_id::ChunkId;
use crate::progress::{Change, Item, Monitor};
use crate::state::db::StateDb;
use crate::state::records::{DirKey, Part, Row, Seen};
use crate::state::summary::Contents;
use crate::tree::codec::total_length;
use crate::tree::entry::{Entry, Extent, FileTime, Kind, Meta, Name};
use crate::tree::writer::{ContentWriter, DirWriter, ObjectSink};

/// How often a wait for a worker looks whether the run has failed.
const LOOK_UP: std::time::Duration = std::time::Duration::from_millis(100);

/// What assembling needs.
#[derive(Debug)]
pub struct Assembler<'a> {
    dedup: &'a Dedup<'a>,
    state: &'a StateDb,
    results: Receiver<Done>,
    /// Results of jobs that it is not yet the turn of, by their first ticket.
    waiting: HashMap<u64, Vec<MaybeRead>>,
    /// What is left of the job whose turn it is.
    current: std::vec::IntoIter<MaybeRead>,
    sink: TreeSink<'a>,
    recorder: Recorder,
    stack: Vec<Frame>,
    path: Vec<u8>,
    /// The bytes of an entry: a new place for each would take a while.
    encoded: Vec<u8>,
    monitor: &'a dyn Monitor,
    flow: &'a Flow,
    /// Whether records are written.
    records: bool,
    /// What is in the snapshot, once all of it has been taken.
    whole: Contents,
    /// Files that were too long for this pass.
    pub left_out: u64,
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
    /// It and what is beneath it, as far as it has come.
    subtree: Subtree,
}

#[derive(Debug)]
enum Mode {
    /// So many entries, all as recorded, needing these packs.
    Matching {
        seen: u64,
        packs: roaring::RoaringBitmap,
        /// The part that the last one was in.
        last: Option<Arc<Part>>,
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
        (results, monitor, flow): (Receiver<Done>, &'a dyn Monitor, &'a Flow),
        packer: Packer<'a>,
        records: bool,
    ) -> Self {
        Self {
            dedup,
            state,
            results,
            waiting: HashMap::new(),
            current: Vec::new().into_iter(),
            sink: TreeSink { packer, objects: Vec::new() },
            recorder: Recorder::new(state),
            stack: Vec::new(),
            path: Vec::new(),
            encoded: Vec::new(),
            monitor,
            flow,
            records,
            whole: Contents::default(),
            left_out: 0,
        }
    }

    /// Takes the next event; answers the tree of `/` at the end.
    pub fn take(&mut self, event: Event) -> Result<Option<ChunkId>, BackupError> {
        match event {
            Event::Enter(entered) => self.enter(*entered),
            Event::Same(old) => {
                self.count_same(&old)?;
                self.same(&old)?;
            }
            Event::Kept(old, header) => {
                self.unvisited(&header, header.summary.contents.totals.dirs);
                self.same(&old)?;
            }
            Event::Taken(entered) => self.taken(*entered)?,
            Event::Again => self.subtree()?.look_again(),
            Event::LeftOut => {
                self.left_out += 1;
                self.subtree()?.look_again();
            }
            Event::Gone => self.diverge()?,
            Event::Ready(ready) => {
                let (entry, seen, old) = *ready;
                self.count(entry.name.as_bytes(), 0, &seen)?;
                self.write_entry(&entry, seen, NOTHING, (&[], old.as_ref()))?;
            }
            Event::Pending { ticket, pieces, old } => {
                self.pending((ticket, pieces), old.as_ref())?;
            }
            Event::Leave => return self.leave(),
        }
        Ok(None)
    }

    /// What is in the snapshot so far: the open directories have counted what has been taken.
    pub fn contents(&self) -> Contents {
        let mut contents = self.whole;
        self.stack.iter().for_each(|frame| contents.add(&frame.subtree.contents));
        contents
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
                replay(self.state, key, seen, |old| {
                    let row = row_of(old)?;
                    tree.push(&name_of(&row)?, row.encoded, &mut self.sink)
                })?;
                Ok(tree)
            }
            (Mode::Matching { .. }, None) => Ok(DirWriter::new()),
        }
    }

    fn enter(&mut self, entered: Entered) {
        let mut subtree = Subtree::default();
        subtree.contents.totals.dirs = u64::from(entered.key.is_some());
        if let Some(name) = &entered.name {
            self.path.push(b'/');
            self.path.extend_from_slice(name.as_bytes());
        }
        let mode = if entered.header.is_some() {
            Mode::Matching { seen: 0, packs: roaring::RoaringBitmap::new(), last: None }
        } else {
            self.writing(entered.key)
        };
        self.stack.push(Frame { entered, mode, objects: Vec::new(), subtree });
    }

    fn writing(&self, key: Option<DirKey>) -> Mode {
        let record = key.filter(|_| self.records).map(RecordBuilder::new);
        Mode::Writing { tree: DirWriter::new(), record }
    }

    fn subtree(&mut self) -> Result<&mut Subtree, BackupError> {
        let frame = self.stack.last_mut();
        Ok(&mut frame.ok_or(BackupError::Internal("an entry outside any directory"))?.subtree)
    }

    fn count(&mut self, name: &[u8], size: u64, seen: &Seen) -> Result<(), BackupError> {
        self.subtree()?.file(name, size, seen);
        Ok(())
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

    /// Adds an entry to the tree that is being written, and to the record, if there is one.
    fn push(
        &mut self,
        name: &Name,
        encoded: &[u8],
        record_it: impl FnOnce(&mut RecordBuilder, Beside<'_>) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let Some(frame) = self.stack.last_mut() else {
            return Err(BackupError::Internal("no directory is open"));
        };
        let Mode::Writing { tree, record } = &mut frame.mode else {
            return Err(BackupError::Internal("a directory is not being written"));
        };
        tree.push(name, encoded, &mut self.sink)?;
        frame.objects.append(&mut self.sink.objects);
        match record {
            Some(record) => record_it(record, (self.state, self.dedup)),
            None => Ok(()),
        }
    }

    fn write_entry(
        &mut self,
        entry: &Entry,
        seen: Seen,
        needs: Needed<'_>,
        (lists, old): (&[ChunkId], Option<&Old>),
    ) -> Result<(), BackupError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        entry.append_to(&mut encoded);
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
        let row = Row { seen, name, encoded: &encoded, lists: &lists };
        self.push(&entry.name, &encoded, |record, beside| record.push(&row, needs, beside))?;
        self.encoded = encoded;
        Ok(())
    }

    fn pending(
        &mut self,
        (ticket, pieces): (u64, u64),
        old: Option<&Old>,
    ) -> Result<(), BackupError> {
        let mut content = ContentWriter::default();
        let (mut needs, mut places) = (Needs::default(), Few::None);
        let mut size: u64 = 0;
        let mut first: Option<(Name, Meta, Seen)> = None;
        let (mut whole, mut troubled) = (true, false);
        for piece in 0..pieces {
            let Some((name, read)) = self.await_result(ticket + piece)? else {
                whole = false;
                continue;
            };
            let length = total_length(read.out.extents.as_slice()).unwrap_or(0);
            let gap = read.from.saturating_sub(size);
            if gap > 0 && length > 0 {
                // The file was shorter while the piece before was read: what follows stays where
                // it was.
                content.push(Extent::Hole { length: gap }, &mut self.sink)?;
                size += gap;
            }
            size = size.saturating_add(length);
            // Of one piece they are few.
            if pieces == 1 {
                places = read.out.refs;
            } else {
                read.out.refs.as_slice().iter().for_each(|place| needs.add(*place));
            }
            troubled |= read.troubled;
            for extent in read.out.extents.as_slice() {
                content.push(*extent, &mut self.sink)?;
            }
            let seen = read.seen;
            let (.., kept) = first.get_or_insert((name, read.meta, seen));
            kept.racy |= seen.racy || seen.ctime != kept.ctime;
        }
        let (content, lists) = content.finish(&mut self.sink)?;
        self.sink.objects.clear();
        if troubled || !whole {
            self.subtree()?.look_again();
        }
        let Some((name, meta, seen)) = first.filter(|_| whole) else {
            // Reported where it happened.
            return self.diverge();
        };
        self.count(name.as_bytes(), size, &seen)?;
        let entry = Entry { name, meta, kind: Kind::File { size, content } };
        self.write_entry(&entry, seen, (Some(&needs), places.as_slice()), (&lists, old))
    }

    /// The result of the next ticket: they are asked for one after the other, without a gap.
    fn await_result(&mut self, ticket: u64) -> Result<MaybeRead, BackupError> {
        loop {
            if let Some(read) = self.current.next() {
                return Ok(read);
            }
            if let Some(files) = self.waiting.remove(&ticket) {
                self.current = files.into_iter();
                continue;
            }
            match self.results.recv_timeout(LOOK_UP) {
                Ok(done) => drop(self.waiting.insert(done.ticket, done.files)),
                // The worker that had this ticket may have failed while the others wait for work.
                Err(RecvTimeoutError::Timeout) if !self.flow.has_failed() => {}
                Err(_) => return Err(BackupError::Stopped),
            }
        }
    }

    fn leave(&mut self) -> Result<Option<ChunkId>, BackupError> {
        let found = self.unchanged()?;
        if found.is_none() {
            self.diverge()?;
        }
        let Some(frame) = self.stack.pop() else {
            return Err(BackupError::Internal("no directory is open"));
        };
        let Frame { entered, mode, mut objects, mut subtree } = frame;
        let (tree, unchanged) = match (mode, &entered.header, found) {
            (Mode::Matching { packs, .. }, Some(header), Some(found)) => {
                self.dedup.use_packs(&packs);
                subtree.needs.add_packs(&packs);
                subtree.needs.merge(&found);
                self.renew(&entered, header, &found, &subtree)?;
                (header.tree, true)
            }
            (Mode::Writing { tree, record }, ..) => {
                let id = tree.finish(&mut self.sink)?;
                objects.append(&mut self.sink.objects);
                if let Some(record) = record {
                    let tree = (id, objects, entered.rules);
                    let to = (&mut self.recorder, self.state, self.dedup);
                    subtree = record.finish(tree, subtree, to)?;
                } else if let Some(found) = places(&id, &objects, self.dedup)? {
                    subtree.needs.merge(&found);
                }
                (id, entered.header.as_ref().is_some_and(|h| h.tree == id))
            }
            (Mode::Matching { .. }, ..) => {
                return Err(BackupError::Internal("a directory matches no record"));
            }
        };
        match self.stack.last_mut() {
            Some(above) => above.subtree.add(&subtree),
            None => self.whole = subtree.contents,
        }
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
            linked: false,
            ino: 0,
            size: 0,
            mtime: entry.meta.mtime,
            ctime: FileTime::default(),
        };
        let row = Row { seen, name: entry.name.as_bytes(), encoded: &encoded, lists: &[] };
        self.push(&entry.name, &encoded, |record, beside| record.push(&row, NOTHING, beside))
    }
}
