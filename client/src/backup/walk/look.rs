//! Looking at entries and directories, and telling what cannot be read. A directory of which
//! something was told is looked at again by the next run.

use super::super::BackupError;
use super::super::events::{Event, Old};
use super::super::plan::Node;
use super::super::seen::{describe, join, meta_of, seen_of};
use super::{Children, Frame, Walker};
use crate::progress::{During, Problem};
use crate::scan::exclude::DirCtx;
use crate::scan::listing::Folder;
use crate::scan::os::{Dir, FileType, ReadTrouble, Stat};
use crate::scan::sorted::{ListError, Room, Sorted};
use crate::tree::entry::{Entry, Kind, Meta, Name};

/// Bytes of memory for the names of all directories that are open: those of a few hundred thousand
/// files.
const NAMES: usize = 32 * 1024 * 1024;
/// A directory gets so many, however many are taken.
const NAMES_LEAST: usize = 256 * 1024;

impl Walker<'_> {
    pub(super) fn special(&mut self, frame: &Frame<'_>, name: Name, stat: &Stat, old: Option<Old>) {
        let kind = match stat.file_type {
            FileType::Symlink => match frame.dir.read_link(&name) {
                Ok(target) => Kind::Symlink { target },
                Err(error) => {
                    self.trouble(frame, (&name, &Node::Whole), &error);
                    self.gone(old.as_ref());
                    return;
                }
            },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharDevice => Kind::CharDevice(stat.rdev),
            FileType::BlockDevice => Kind::BlockDevice(stat.rdev),
            FileType::File | FileType::Directory | FileType::Unknown => {
                self.problem_at(&name, "unknown kind of file".to_owned());
                self.gone(old.as_ref());
                return;
            }
        };
        let mut meta = meta_of(stat, self.context.owners.of(stat.uid, stat.gid));
        match frame.dir.xattrs_of(&name) {
            Ok(xattrs) => meta.xattrs = xattrs,
            Err(error) => self.problem_at(&name, error.to_string()),
        }
        let seen = seen_of(stat, self.context.racy_from, false);
        self.out.push(Event::Ready(Box::new((Entry { name, meta, kind }, seen, old))));
    }

    /// What the directory at the current path is like. Tells whether something was reported.
    pub(super) fn meta_of_dir(
        &self,
        dir: &Dir,
        stat: Result<&Stat, &std::io::Error>,
    ) -> (Meta, bool) {
        let stat = stat.map_err(|error| self.tell(&self.path, describe(error)));
        let mut meta =
            stat.map(|s| meta_of(s, self.context.owners.of(s.uid, s.gid))).unwrap_or_default();
        meta.hard_link = None;
        let xattrs = dir.xattrs().map_err(|error| self.tell(&self.path, error.to_string()));
        let troubled = stat.is_err() || xattrs.is_err();
        meta.xattrs = xattrs.unwrap_or_default();
        (meta, troubled)
    }

    /// The names in the directory at the current path. Tells whether something was reported.
    pub(super) fn listing(
        &mut self,
        dir: &Dir,
        rules: &mut DirCtx,
    ) -> Result<(Sorted, bool), BackupError> {
        let memory = NAMES.saturating_sub(self.names_held).max(NAMES_LEAST);
        let mut troubled = false;
        let names = match dir.sorted(Room { memory, folder: self.context.state.folder() }) {
            Ok(names) => names,
            Err(ListError::Source(error)) => {
                self.tell(&self.path, describe(&error));
                troubled = true;
                Sorted::default()
            }
            Err(ListError::Aside(error)) => return Err(self.context.state.io(error).into()),
        };
        self.names_held += names.held();
        for bad in names.unusable() {
            troubled = true;
            let path = join(&self.path, bad);
            self.tell(&path, "its name is not one that can be saved".to_owned());
        }
        self.context.rules.look(rules, &Folder { dir, names: names.in_memory() });
        Ok((names, troubled))
    }

    /// An entry cannot be read. If it was named on the command line, or is on the way to what was,
    /// that is told of each path that was named.
    pub(super) fn trouble(
        &mut self,
        frame: &Frame<'_>,
        (name, node): (&Name, &Node),
        error: &std::io::Error,
    ) {
        let named = matches!(frame.children, Children::Some(_));
        // Listed a moment ago and gone now: nothing is lost that the user still has.
        if !named && ReadTrouble::of(error) == ReadTrouble::Vanished {
            return;
        }
        for path in node.named(&join(&self.path, name.as_bytes())) {
            self.tell(&path, describe(error));
        }
        self.out.push(Event::Again);
    }

    fn problem_at(&mut self, name: &Name, what: String) {
        self.tell(&join(&self.path, name.as_bytes()), what);
        self.out.push(Event::Again);
    }

    fn tell(&self, path: &[u8], what: String) {
        let problem = Problem { path: path.to_vec(), during: During::Scan, what };
        self.context.monitor.problem(&problem);
    }
}
