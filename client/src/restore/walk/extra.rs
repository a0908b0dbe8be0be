//! What is at the target and not in the snapshot: removed, but for what the backup left out.

use crate::browse::ls::MAX_DEPTH;
use crate::progress::{Change, Item};
use crate::restore::error::TargetError;
use crate::restore::options::Why;
use crate::restore::root::{TargetDir, is_temp_name};
use crate::scan::exclude::Candidate;
use crate::scan::listing::Folder;
use crate::scan::os::{FileType, Stat};
use crate::tree::entry::{Meta, Name};

use super::{Ctx, Here, There, Walker};

/// What becomes of an entry.
enum Fate {
    /// It is gone by now, or nobody asked for it.
    Nothing,
    Stays(Why),
    /// A directory, to be emptied first.
    Enter(Box<Here>),
    Goes,
}

/// A directory that is being emptied.
struct Inside {
    name: Name,
    here: Box<Here>,
    /// Something in it stays, and so does it.
    stays: bool,
}

impl Walker<'_, '_> {
    /// An entry that the snapshot does not have.
    pub(super) fn left_over(&mut self, here: &Here, name: &Name, kind: FileType) {
        // A restore that goes on removes these by itself, whatever it was told.
        let own = self.options.dry_run && kind != FileType::Directory && is_temp_name(name);
        if here.covered && !own {
            self.remove(here, name);
        }
    }

    /// Removes an entry with all in it that need not stay.
    pub(super) fn remove(&mut self, here: &Here, name: &Name) {
        let mut stack: Vec<Inside> = Vec::new();
        let mut next = Some(name.clone());
        while !self.run.stopped() {
            let at = stack.last().map_or(here, |inside| &*inside.here);
            let stays = match next.take() {
                None => false,
                Some(name) => match self.fate(at, &name, stack.len()) {
                    Ok(Fate::Enter(here)) => {
                        stack.push(Inside { name, here, stays: false });
                        false
                    }
                    Ok(Fate::Goes) => !self.unlink(at, &name, false),
                    Ok(Fate::Nothing) => self.is_there(at, &name),
                    Ok(Fate::Stays(why)) => {
                        self.stays(at, &name, why);
                        true
                    }
                    Err(error) => {
                        self.run.trouble(at.node.path_of(&name), error);
                        true
                    }
                },
            };
            let Some(inside) = stack.last_mut() else {
                return;
            };
            inside.stays |= stays;
            if let Some((name, _)) = inside.here.there.names.next() {
                next = Some(name);
                continue;
            }
            let Some(Inside { name, stays, .. }) = stack.pop() else {
                return;
            };
            let above = stack.last().map_or(here, |inside| &*inside.here);
            let stays = stays || !self.unlink(above, &name, true);
            match stack.last_mut() {
                Some(above) => above.stays |= stays,
                None => return,
            }
        }
    }

    fn fate(&self, here: &Here, name: &Name, depth: usize) -> Result<Fate, TargetError> {
        let Some(guard) = self.guard else {
            return Ok(Fate::Nothing);
        };
        let dir = self.run.dirs.look(&here.node)?;
        let Ok(stat) = dir.stat(name) else {
            return Ok(Fate::Nothing);
        };
        let is_dir = stat.file_type == FileType::Directory;
        if !here.ctx.scope.takes(&self.options.select, name, is_dir) {
            return Ok(Fate::Nothing);
        }
        if self.options.kept.has(&stat) {
            return Ok(Fate::Stays(Why::Own));
        }
        if here.ctx.foreign || (is_dir && is_elsewhere(&dir, &stat)?) {
            return Ok(Fate::Stays(Why::Elsewhere));
        }
        let size = if stat.file_type == FileType::File { stat.size } else { 0 };
        let candidate = Candidate { name: name.as_bytes(), is_dir, size };
        let path = here.node.path_of(name);
        if let Some(why) = guard.keeps(&here.ctx.sides, &path, candidate) {
            return Ok(Fate::Stays(why));
        }
        if !is_dir {
            return Ok(Fate::Goes);
        }
        if depth >= MAX_DEPTH {
            return Err(TargetError::TooDeep { name: name.clone() });
        }
        self.inside(here, name).map(|inside| Fate::Enter(Box::new(inside)))
    }

    /// Opens a directory that is to be emptied.
    fn inside(&self, here: &Here, name: &Name) -> Result<Here, TargetError> {
        let node = self.run.dirs.below(&here.node, (name.clone(), Meta::default()), false);
        let dir = if self.options.dry_run {
            self.run.dirs.look(&node)?
        } else {
            self.run.dirs.enter(&node)?
        };
        let (reader, names) = dir.listed()?;
        let mut ctx =
            Ctx { scope: here.ctx.scope.beneath(&self.options.select, name), ..Ctx::default() };
        if let Some(guard) = self.guard {
            ctx.sides = guard.enter(&here.ctx.sides, name);
            guard.look_here(&mut ctx.sides, &Folder { dir: &reader, names: Some(&names) });
        }
        Ok(Here { node, ctx, there: There::of(&names, true), covered: true, blank: true })
    }

    /// Whether something that is left alone still has its name.
    fn is_there(&self, here: &Here, name: &Name) -> bool {
        self.run.dirs.look(&here.node).is_ok_and(|dir| dir.stat(name).is_ok())
    }

    /// Removes a file, or an empty directory; false if that fails.
    fn unlink(&self, here: &Here, name: &Name, is_dir: bool) -> bool {
        let path = here.node.path_of(name);
        let dir = self.run.dirs.look(&here.node);
        let size =
            dir.as_ref().ok().and_then(|dir| dir.stat(name).ok()).map_or(0, |stat| stat.size);
        let removed = dir.and_then(|dir| match (self.options.dry_run, is_dir) {
            (true, _) => Ok(()),
            (false, true) => dir.remove_empty(name),
            (false, false) => dir.remove(name),
        });
        if let Err(error) = removed {
            self.run.trouble(path, error);
            return false;
        }
        self.run.count(|tally| tally.deleted += 1);
        let size = if is_dir { 0 } else { size };
        self.run.monitor.done(Item { path: &path, is_dir, change: Change::Deleted, size });
        true
    }

    pub(super) fn stays(&self, here: &Here, name: &Name, why: Why) {
        self.run.count(|tally| tally.stayed.add(why));
        let stat = self.run.dirs.look(&here.node).and_then(|dir| dir.stat(name));
        let is_dir = stat.is_ok_and(|stat| stat.file_type == FileType::Directory);
        let path = here.node.path_of(name);
        self.run.monitor.done(Item { path: &path, is_dir, change: Change::Skipped, size: 0 });
    }
}

/// Whether a directory is where another file system is mounted.
fn is_elsewhere(dir: &TargetDir, stat: &Stat) -> Result<bool, TargetError> {
    let here = dir.stat_self()?;
    Ok(here.dev != stat.dev || here.mount_id != stat.mount_id)
}
