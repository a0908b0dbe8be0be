//! Walks what is to be saved, compares it with the directory records, and hands out the work.
//!
//! Two streams leave here. Events describe the tree, strictly depth first and by name; jobs name
//! the files to be read. Both are bounded, so a slow end holds the walk back.

mod look;
mod taking;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::BackupError;
use super::allowance::{Allowance, Weights};
use super::changes::{Changes, Visit};
use super::dedup::Dedup;
use super::events::{Entered, Event, Old};
use super::merge::Merge;
use super::outbox::Outbox;
use super::plan::Node;
use super::replay::inline_packs;
use super::seen::{DirPath, join, path_of, seen_of};
use super::stop::Stop;
use super::upload::Flow;
use super::via;
use super::worker::Job;
use crate::crypto::content_id::ChunkId;
use crate::progress::{Amount, Monitor};
use crate::scan::exclude::{Candidate, Decision, DirCtx, Rules};
use crate::scan::names::OwnerNames;
use crate::scan::os::{Dir, FileType, Stat};
use crate::scan::sorted::Sorted;
use crate::state::db::StateDb;
use crate::state::records::{DirKey, Part, RecordReader, Row};
use crate::tree::entry::Name;
use taking::Above;

/// What the walk needs.
#[derive(Debug)]
pub struct WalkContext<'a> {
    /// What to leave out.
    pub rules: &'a Rules,
    /// Nothing else is looked at; without, everything.
    pub changes: Option<&'a Changes>,
    /// Directory records.
    pub state: &'a StateDb,
    /// Tells which packs are still there.
    pub dedup: &'a Dedup<'a>,
    /// Names of owners.
    pub owners: &'a OwnerNames,
    /// Hears of progress.
    pub monitor: &'a dyn Monitor,
    /// How the run is going.
    pub flow: &'a Flow,
    /// The user wants to stop.
    pub stop: &'a Stop<'a>,
    /// Read everything again.
    pub force: bool,
    /// Leave no trace in the state.
    pub dry_run: bool,
    /// Which files are left to another pass, unless they are as they were.
    pub limit: Limit<'a>,
    /// Stay on the file systems of the named paths.
    pub one_file_system: bool,
    /// What changed at or after this second is read again next time.
    pub racy_from: i64,
}

/// Which files are read.
#[derive(Debug)]
pub enum Limit<'a> {
    /// All.
    None,
    /// Those of at most so many bytes.
    Each(u64),
    /// None: what was recorded is taken as it is, also if it was recorded too soon after a change.
    Known,
    /// As many as this allows.
    InAll(Allowance),
    /// None: they are weighed.
    Weigh(&'a mut Weights),
    /// None: the bytes of those that are longer than this are added up.
    Longer(u64, &'a mut u64),
}

impl Limit<'_> {
    fn takes(&mut self, stat: &Stat) -> bool {
        match self {
            Self::None => true,
            Self::Each(most) => stat.size <= *most,
            Self::Known => false,
            Self::InAll(allowance) => allowance.take(stat.size, stat.mtime.seconds),
            Self::Weigh(weights) => {
                weights.add(stat.size, stat.mtime.seconds);
                false
            }
            Self::Longer(than, bytes) => {
                if stat.size > *than {
                    **bytes = bytes.saturating_add(stat.size);
                }
                false
            }
        }
    }
}

/// One walk.
#[derive(Debug)]
pub struct Walker<'a> {
    context: WalkContext<'a>,
    out: Outbox,
    path: Vec<u8>,
    stack: Vec<Frame<'a>>,
    /// The last part of a record whose packs were all there. Packs only come while a run goes on.
    there: Option<Arc<Part>>,
    /// Nothing more is looked at: open directories are closed as they are.
    ending: bool,
    /// Bytes of memory that hold names of open directories.
    names_held: usize,
}

#[derive(Debug)]
struct Frame<'a> {
    dir: Arc<Dir>,
    place: DirPath,
    path_len: usize,
    children: Children,
    rules: DirCtx,
    record: Option<Merge<'a>>,
    /// Anything but [`Visit::Skip`].
    visit: Visit,
    device: u64,
}

/// A directory that is about to be entered, as it is known from above.
struct Inside {
    /// None for `/`.
    name: Option<Name>,
    rules: DirCtx,
    place: DirPath,
    above: Above,
    inherited: Visit,
    old: Option<Old>,
}

#[derive(Debug)]
enum Children {
    /// What was listed.
    All(Sorted),
    /// What was recorded: nothing in the directory itself has changed.
    Recorded {
        /// The last one taken.
        last: Option<Name>,
        /// So many follow.
        left: u64,
    },
    /// What is on the way to what was named.
    Some(std::collections::btree_map::IntoIter<Name, Node>),
}

impl<'a> Walker<'a> {
    /// A walker that sends to these channels.
    pub fn new(context: WalkContext<'a>, events: Sender<Vec<Event>>, jobs: Sender<Job>) -> Self {
        Self {
            context,
            out: Outbox::new(events, jobs),
            path: Vec::new(),
            stack: Vec::new(),
            there: None,
            ending: false,
            names_held: 0,
        }
    }

    /// Walks everything in `plan`. What cannot be read is reported and left out.
    pub fn walk(mut self, plan: Node) -> Result<(), BackupError> {
        let root = Dir::open_root(Path::new("/"))
            .map_err(|source| BackupError::Source { path: PathBuf::from("/"), source })?;
        let above = Inside {
            name: None,
            rules: self.context.rules.at(Path::new("/")).unwrap_or_default(),
            place: DirPath::root(),
            above: Above::Nothing,
            inherited: Visit::List,
            old: None,
        };
        self.enter(above, root, plan)?;
        while let Some(mut frame) = self.stack.pop() {
            if self.context.flow.has_failed() {
                return Err(BackupError::Stopped);
            }
            // Directories alone make events, too, those that hold nothing.
            if self.out.is_full() {
                self.out.send()?;
            }
            self.ending = self.ending || self.context.stop.is_wanted();
            let descended = !self.ending && self.advance(&mut frame)?;
            if descended {
                // The child was pushed first; put it on top of its parent.
                let child = self.stack.pop();
                self.stack.push(frame);
                self.stack.extend(child);
            } else {
                self.leave(frame)?;
            }
        }
        self.out.send()?;
        self.context.monitor.scan_done();
        Ok(())
    }

    /// Goes on in a directory until it is done (false) or a child has been entered (true).
    fn advance(&mut self, frame: &mut Frame<'a>) -> Result<bool, BackupError> {
        loop {
            let entered = match &mut frame.children {
                Children::Recorded { .. } => match self.recorded(frame)? {
                    Some(entered) => entered,
                    None => return Ok(false),
                },
                Children::All(names) => {
                    match names.take_next().map_err(|error| self.context.state.io(error))? {
                        Some((name, _)) => self.child(frame, name, Node::Whole)?,
                        None => return Ok(false),
                    }
                }
                Children::Some(children) => match children.next() {
                    Some((name, node)) => self.child(frame, name, node)?,
                    None => return Ok(false),
                },
            };
            if entered {
                return Ok(true);
            }
            if self.out.is_full() {
                self.out.send()?;
            }
            if self.context.stop.is_wanted() || self.context.flow.has_failed() {
                self.ending = true;
                return Ok(false);
            }
        }
    }

    fn child(
        &mut self,
        frame: &mut Frame<'a>,
        name: Name,
        node: Node,
    ) -> Result<bool, BackupError> {
        let old = match &mut frame.record {
            Some(record) => {
                if record.skip_before(&name) {
                    self.out.push(Event::Gone);
                }
                record.take(&name)
            }
            None => None,
        };
        self.look_at(frame, name, node, old)
    }

    /// Looks at an entry, which the record has as `old`. Tells whether it was entered.
    fn look_at(
        &mut self,
        frame: &mut Frame<'a>,
        name: Name,
        node: Node,
        old: Option<Old>,
    ) -> Result<bool, BackupError> {
        let stat =
            if matches!(node, Node::Via(_)) { self.stat_via(&name) } else { frame.dir.stat(&name) };
        let stat = match stat {
            Ok(stat) => stat,
            Err(error) => {
                self.trouble(frame, (&name, &node), &error);
                self.gone(old.as_ref());
                return Ok(false);
            }
        };
        let is_dir = stat.file_type == FileType::Directory;
        let size = if stat.file_type == FileType::File { stat.size } else { 0 };
        let candidate = Candidate { name: name.as_bytes(), is_dir, size };
        let on_the_way = matches!(node, Node::Via(_));
        if !on_the_way
            && let Decision::Exclude(_) = self.context.rules.decide(&frame.rules, candidate)
        {
            self.gone(old.as_ref());
            return Ok(false);
        }
        if is_dir {
            return self.directory(frame, name, (stat, node), old);
        }
        self.file(frame, name, &stat, old)?;
        Ok(false)
    }

    /// Takes something that is no directory as it was, or has it read.
    fn file(
        &mut self,
        frame: &Frame<'a>,
        name: Name,
        stat: &Stat,
        old: Option<Old>,
    ) -> Result<(), BackupError> {
        let is_file = stat.file_type == FileType::File;
        let same = match &old {
            Some(old) if !self.context.force && self.is_unchanged(old, stat) => {
                self.has_content(old).then_some(old)
            }
            _ => None,
        };
        let bytes = if is_file { stat.size } else { 0 };
        if same.is_none() && is_file && !self.context.limit.takes(stat) {
            self.context.monitor.put_off(Amount { files: 1, dirs: 0, bytes });
            self.gone(old.as_ref());
            self.out.push(Event::LeftOut);
            return Ok(());
        }
        self.context.monitor.scanned(Amount { files: 1, dirs: 0, bytes });
        if let Some(old) = same {
            self.out.push(Event::Same(old.clone()));
        } else if is_file {
            self.out.file((&frame.dir, &frame.place), name, *stat, old)?;
        } else {
            self.special(frame, name, stat, old);
        }
        Ok(())
    }

    fn stat_via(&self, name: &Name) -> std::io::Result<Stat> {
        Dir::open_root(path_of(&join(&self.path, name.as_bytes())))?.stat_self()
    }

    fn is_unchanged(&self, old: &Old, stat: &Stat) -> bool {
        let Some(row) = old.part.row(old.index) else {
            return false;
        };
        let seen = row.seen;
        let sure = !seen.racy || matches!(self.context.limit, Limit::Known);
        seen == seen_of(stat, self.context.racy_from, seen.racy) && sure
    }

    /// Whether all that a file needs is still on the server.
    fn has_content(&mut self, old: &Old) -> bool {
        let Some(row) = old.part.row(old.index) else {
            return false;
        };
        (self.has_packs(&old.part) || self.has_chunks(&row)) && self.has_lists(row.lists)
    }

    /// Whether all packs of a part of a record are still on the server.
    fn has_packs(&mut self, part: &Arc<Part>) -> bool {
        if self.there.as_ref().is_some_and(|there| Arc::ptr_eq(there, part)) {
            return true;
        }
        let all = self.context.dedup.has_all(&part.packs);
        if all {
            self.there = Some(Arc::clone(part));
        }
        all
    }

    /// Whether each chunk of a short file is still on the server. After a compaction most are, in
    /// other packs. Of a long one only the file itself tells which they are.
    fn has_chunks(&self, row: &Row<'_>) -> bool {
        matches!(inline_packs(row, self.context.dedup), Ok(Some(_)))
    }

    /// Whether the content lists of a long file are still on the server. Counts their packs as
    /// needed: those of the part are of its data alone.
    fn has_lists(&self, lists: &[u8]) -> bool {
        let (ids, _) = lists.as_chunks::<32>();
        ids.iter().all(|id| matches!(self.context.dedup.find(&ChunkId(*id)), Ok(Some(_))))
    }

    fn directory(
        &mut self,
        frame: &mut Frame<'a>,
        name: Name,
        (stat, node): (Stat, Node),
        old: Option<Old>,
    ) -> Result<bool, BackupError> {
        let opened = if matches!(node, Node::Via(_)) {
            Dir::open_root(path_of(&join(&self.path, name.as_bytes())))
        } else {
            frame.dir.open_dir(&name)
        };
        let dir = match opened {
            Ok(dir) => dir,
            Err(error) => {
                self.trouble(frame, (&name, &node), &error);
                self.gone(old.as_ref());
                return Ok(false);
            }
        };
        let foreign = self.context.one_file_system
            && !matches!(frame.children, Children::Some(_))
            && stat.dev != frame.device;
        let node = if foreign { Node::Via(std::collections::BTreeMap::new()) } else { node };
        self.out.between_directories()?;
        self.path.push(b'/');
        self.path.extend_from_slice(name.as_bytes());
        let inside = Inside {
            above: Above::of(frame, old.as_ref()),
            inherited: frame.visit,
            rules: self.context.rules.enter(&frame.rules, name.as_bytes()),
            place: frame.place.child(&name),
            name: Some(name),
            old,
        };
        self.enter(inside, dir, node)
    }

    /// Enters the directory at the current path, unless it is taken as it was. Tells which.
    fn enter(&mut self, inside: Inside, dir: Dir, node: Node) -> Result<bool, BackupError> {
        let Inside { name, mut rules, place, above, inherited, old } = inside;
        let path_len = name.as_ref().map_or(0, |n| self.path.len() - n.as_bytes().len() - 1);
        let key = matches!(node, Node::Whole).then(|| DirKey::of(&self.path));
        let record = match key {
            Some(key) => RecordReader::open(self.context.state, key)?,
            None => None,
        };
        let header = record.as_ref().map(|r| Arc::clone(&r.header));
        let rules_key = self.rules_key(&rules);
        let visit = match key {
            None => Visit::List,
            Some(_) => match self.choose(inherited, (rules_key, above), header.as_deref()) {
                // `/` itself is no entry of anything.
                Visit::Skip if name.is_none() => Visit::Through,
                visit => visit,
            },
        };
        let stat = dir.stat_self();
        let (mut meta, mut troubled) = self.meta_of_dir(&dir, stat.as_ref());
        if let (None, Some(name)) = (&key, &name) {
            let record = !self.context.dry_run;
            meta = via::settled(self.context.state, (&self.path, name), meta, record)?;
        }
        let entries = header.as_ref().map_or(0, |header| header.entries);
        let entered = Box::new(Entered { name, meta, rules: rules_key, key, header, old });
        if visit == Visit::Skip {
            if troubled {
                self.out.push(Event::Again);
            }
            self.out.push(Event::Taken(entered));
            self.path.truncate(path_len);
            return Ok(false);
        }
        self.context.monitor.scanned(Amount { files: 0, dirs: 1, bytes: 0 });
        let children = match node {
            Node::Via(children) => Children::Some(children.into_iter()),
            Node::Whole if visit == Visit::Through => {
                Children::Recorded { last: None, left: entries }
            }
            Node::Whole => {
                let (names, told) = self.listing(&dir, &mut rules)?;
                troubled |= told;
                Children::All(names)
            }
        };
        self.out.push(Event::Enter(entered));
        if troubled {
            self.out.push(Event::Again);
        }
        let (dir, record) = (Arc::new(dir), record.map(Merge::new));
        let device = stat.map_or(0, |s| s.dev);
        self.stack.push(Frame { dir, place, path_len, children, rules, record, visit, device });
        Ok(true)
    }

    fn leave(&mut self, mut frame: Frame<'a>) -> Result<(), BackupError> {
        self.out.between_directories()?;
        if frame.record.as_mut().is_some_and(Merge::has_more) {
            self.out.push(Event::Gone);
        }
        if self.ending {
            // What follows in it was not looked at.
            self.out.push(Event::Again);
        }
        self.out.push(Event::Leave);
        self.path.truncate(frame.path_len);
        if let Children::All(names) = &frame.children {
            self.names_held = self.names_held.saturating_sub(names.held());
        }
        Ok(())
    }

    fn gone(&mut self, old: Option<&Old>) {
        if old.is_some() {
            self.out.push(Event::Gone);
        }
    }
}

#[cfg(test)]
mod tests;
