//! Walks what is to be saved, compares it with the directory records, and hands out the work.
//!
//! Two streams leave here. Events describe the tree, strictly depth first and by name; jobs name
//! the files to be read. Both are bounded, so a slow end holds the walk back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::BackupError;
use super::dedup::Dedup;
use super::events::{Entered, Event, Old};
use super::merge::Merge;
use super::outbox::Outbox;
use super::plan::Node;
use super::replay::inline_packs;
use super::seen::{DirPath, bytes_to_os, describe, join, meta_of, seen_of};
use super::stop::Stop;
use super::upload::Flow;
use super::via;
use super::worker::Job;
use crate::crypto::content_id::ChunkId;
use crate::progress::{Amount, During, Monitor, Problem};
use crate::scan::exclude::{Candidate, Decision, DirCtx, Rules};
use crate::scan::listing::Names;
use crate::scan::names::OwnerNames;
use crate::scan::os::{Dir, FileType, ReadTrouble, Stat};
use crate::state::db::StateDb;
use crate::state::records::{DirKey, RecordReader, Row};
use crate::tree::entry::{Entry, Kind, Meta, Name};

/// What the walk needs.
#[derive(Debug)]
pub struct WalkContext<'a> {
    /// What to leave out.
    pub rules: &'a Rules,
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
    /// Stay on the file systems of the named paths.
    pub one_file_system: bool,
    /// What changed at or after this second is read again next time.
    pub racy_from: i64,
}

/// One walk.
#[derive(Debug)]
pub struct Walker<'a> {
    context: WalkContext<'a>,
    out: Outbox,
    path: Vec<u8>,
    stack: Vec<Frame<'a>>,
    /// Nothing more is looked at: open directories are closed as they are.
    ending: bool,
}

#[derive(Debug)]
struct Frame<'a> {
    dir: Arc<Dir>,
    place: DirPath,
    path_len: usize,
    children: Children,
    rules: DirCtx,
    record: Option<Merge<'a>>,
    device: u64,
}

#[derive(Debug)]
enum Children {
    All(Names, usize),
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
            ending: false,
        }
    }

    /// Walks everything in `plan`. What cannot be read is reported and left out.
    pub fn walk(mut self, plan: Node) -> Result<(), BackupError> {
        let root = Dir::open_root(Path::new("/"))
            .map_err(|source| BackupError::Source { path: PathBuf::from("/"), source })?;
        self.enter(None, root, plan, None)?;
        while let Some(mut frame) = self.stack.pop() {
            if self.context.flow.has_failed() {
                return Err(BackupError::Stopped);
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
            let (name, node) = match &mut frame.children {
                Children::All(names, at) => {
                    let Some((name, _)) = names.get(*at) else {
                        return Ok(false);
                    };
                    *at += 1;
                    (name, Node::Whole)
                }
                Children::Some(children) => match children.next() {
                    Some(child) => child,
                    None => return Ok(false),
                },
            };
            if self.child(frame, name, node)? {
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
        let stat =
            if matches!(node, Node::Via(_)) { self.stat_via(&name) } else { frame.dir.stat(&name) };
        let stat = match stat {
            Ok(stat) => stat,
            Err(error) => {
                self.trouble(frame, &name, &error);
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
        self.context.monitor.scanned(Amount { files: 1, dirs: 0, bytes: size });
        if let Some(old) = &old
            && !self.context.force
            && self.is_unchanged(old, &stat)
        {
            self.out.push(Event::Same(old.clone()));
            return Ok(false);
        }
        if stat.file_type == FileType::File {
            self.out.file((&frame.dir, &frame.place), name, stat, old)?;
        } else {
            self.special(frame, name, &stat, old);
        }
        Ok(false)
    }

    fn stat_via(&self, name: &Name) -> std::io::Result<Stat> {
        let mut path = self.path.clone();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        Dir::open_root(Path::new(std::ffi::OsStr::new(&*bytes_to_os(&path))))?.stat_self()
    }

    fn is_unchanged(&self, old: &Old, stat: &Stat) -> bool {
        let Some(row) = old.part.row(old.index) else {
            return false;
        };
        let seen = row.seen;
        seen == seen_of(stat, self.context.racy_from, seen.racy)
            && !seen.racy
            && (self.context.dedup.has_all(&old.part.packs) || self.has_chunks(&row))
            && self.has_lists(row.lists)
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
            let mut path = self.path.clone();
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
            Dir::open_root(Path::new(&*bytes_to_os(&path)))
        } else {
            frame.dir.open_dir(&name)
        };
        let dir = match opened {
            Ok(dir) => dir,
            Err(error) => {
                self.trouble(frame, &name, &error);
                self.gone(old.as_ref());
                return Ok(false);
            }
        };
        let foreign = self.context.one_file_system
            && matches!(frame.children, Children::All(..))
            && stat.dev != frame.device;
        let node = if foreign { Node::Via(std::collections::BTreeMap::new()) } else { node };
        self.out.flush_tasks()?;
        self.path.push(b'/');
        self.path.extend_from_slice(name.as_bytes());
        let above = self.context.rules.enter(&frame.rules, name.as_bytes());
        let place = frame.place.child(&name);
        self.enter(Some((name, above, place)), dir, node, old)?;
        Ok(true)
    }

    fn enter(
        &mut self,
        inside: Option<(Name, DirCtx, DirPath)>,
        dir: Dir,
        node: Node,
        old: Option<Old>,
    ) -> Result<(), BackupError> {
        let path_len = match &inside {
            Some((name, ..)) => self.path.len() - name.as_bytes().len() - 1,
            None => 0,
        };
        let (name, mut rules, place) = match inside {
            Some((name, rules, place)) => (Some(name), rules, place),
            None => {
                (None, self.context.rules.at(Path::new("/")).unwrap_or_default(), DirPath::root())
            }
        };
        self.context.monitor.scanned(Amount { files: 0, dirs: 1, bytes: 0 });
        let (children, key) = match node {
            Node::Via(children) => (Children::Some(children.into_iter()), None),
            Node::Whole => {
                let names = dir.names().unwrap_or_else(|error| {
                    self.problem(&self.path, describe(&error));
                    Names::default()
                });
                for bad in names.unusable() {
                    let path = join(&self.path, bad);
                    self.problem(&path, "its name is not one that can be saved".to_owned());
                }
                self.context.rules.look(&mut rules, &Looker { dir: &dir, names: &names });
                (Children::All(names, 0), Some(DirKey::of(&self.path)))
            }
        };
        let record = match key {
            Some(key) => RecordReader::open(self.context.state, key)?,
            None => None,
        };
        let header = record.as_ref().map(|r| Arc::clone(&r.header));
        let stat = dir.stat_self();
        let mut meta = self.meta_of_dir(&dir, stat.as_ref().ok());
        if let (None, Some(name)) = (&key, &name) {
            let record = !self.context.dry_run;
            meta = via::settled(self.context.state, (&self.path, name), meta, record)?;
        }
        let device = stat.map_or(0, |s| s.dev);
        self.out.push(Event::Enter(Box::new(Entered { name, meta, key, header, old })));
        self.stack.push(Frame {
            dir: Arc::new(dir),
            place,
            path_len,
            children,
            rules,
            record: record.map(Merge::new),
            device,
        });
        Ok(())
    }

    fn leave(&mut self, mut frame: Frame<'a>) -> Result<(), BackupError> {
        self.out.end_of_directory()?;
        if frame.record.as_mut().is_some_and(Merge::has_more) {
            self.out.push(Event::Gone);
        }
        self.out.push(Event::Leave);
        self.path.truncate(frame.path_len);
        Ok(())
    }

    fn special(&mut self, frame: &Frame<'a>, name: Name, stat: &Stat, old: Option<Old>) {
        let kind = match stat.file_type {
            FileType::Symlink => match frame.dir.read_link(&name) {
                Ok(target) => Kind::Symlink { target },
                Err(error) => {
                    self.trouble(frame, &name, &error);
                    self.gone(old.as_ref());
                    return;
                }
            },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharDevice => Kind::CharDevice(stat.rdev),
            FileType::BlockDevice => Kind::BlockDevice(stat.rdev),
            FileType::File | FileType::Directory | FileType::Unknown => {
                self.problem(&join(&self.path, name.as_bytes()), "unknown kind of file".to_owned());
                self.gone(old.as_ref());
                return;
            }
        };
        let mut meta = meta_of(stat, self.context.owners);
        match frame.dir.xattrs_of(&name) {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => self.problem(&join(&self.path, name.as_bytes()), error.to_string()),
        }
        let seen = seen_of(stat, self.context.racy_from, false);
        self.out.push(Event::Ready(Box::new((Entry { name, meta, kind }, seen, old))));
    }

    fn meta_of_dir(&self, dir: &Dir, stat: Option<&Stat>) -> Meta {
        let mut meta = stat.map(|s| meta_of(s, self.context.owners)).unwrap_or_default();
        meta.hard_link = None;
        match dir.xattrs() {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => self.problem(&self.path, error.to_string()),
        }
        meta
    }

    fn gone(&mut self, old: Option<&Old>) {
        if old.is_some() {
            self.out.push(Event::Gone);
        }
    }

    fn trouble(&self, frame: &Frame<'_>, name: &Name, error: &std::io::Error) {
        // Listed a moment ago and gone now: nothing is lost that the user still has. What was
        // named on the command line must be there, though.
        let named = matches!(frame.children, Children::Some(_));
        if named || ReadTrouble::of(error) != ReadTrouble::Vanished {
            self.problem(&join(&self.path, name.as_bytes()), describe(error));
        }
    }

    fn problem(&self, path: &[u8], what: String) {
        let problem = Problem { path: path.to_vec(), during: During::Scan, what };
        self.context.monitor.problem(&problem);
    }
}

struct Looker<'a> {
    dir: &'a Dir,
    names: &'a Names,
}

impl crate::scan::exclude::Listing for Looker<'_> {
    fn has(&self, name: &[u8]) -> bool {
        self.names.contains(name)
    }

    fn head(&self, name: &[u8], limit: usize) -> std::io::Result<Vec<u8>> {
        use std::io::Read;
        let name = Name::new(name).map_err(std::io::Error::other)?;
        let mut head = Vec::new();
        self.dir.open_file(&name)?.take(limit as u64).read_to_end(&mut head)?;
        Ok(head)
    }
}
