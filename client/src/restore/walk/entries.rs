//! What becomes of a file, a link or a device.

use std::sync::Arc;

use unseen_common::codec::Canonical;

use super::{Here, Walker};
use crate::browse::error::ReadError;
use crate::progress::{Amount, Change};
use crate::restore::apply::foreseen;
use crate::restore::existing::same_content;
use crate::restore::file::FilePlan;
use crate::restore::links::{LinkPlan, Role};
use crate::restore::options::Existing;
use crate::restore::root::FileId;
use crate::restore::special::{Placed, Special};
use crate::scan::os::{FileType, Stat};
use crate::tree::entry::{Content, Entry, Extent, Kind, Meta, Name};
use crate::tree::reader::for_each_extent;

impl Walker<'_, '_> {
    /// What has the name at the target now.
    pub(super) fn found(&self, here: &Here, name: &Name) -> Option<Stat> {
        if !here.there.something {
            return None;
        }
        self.run.dirs.look(&here.node).ok()?.stat(name).ok()
    }

    /// Makes the directory of something that is to be restored; false if that is impossible.
    fn ready(&self, here: &Here, name: &Name) -> bool {
        if here.node.is_made() {
            return true;
        }
        match self.make(&here.node) {
            Ok(()) => true,
            Err(error) => {
                self.run.not_restored(&here.node.path_of(name));
                self.run.trouble(here.node.path(), error);
                false
            }
        }
    }

    pub(super) fn file(
        &mut self,
        here: &Here,
        (name, meta): (Name, Meta),
        kind: &Kind,
        (content, size): (&Content, u64),
    ) -> Result<(), ReadError> {
        self.run.monitor.scanned(Amount { files: 1, dirs: 0, bytes: size });
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
        let change = if found.is_some() { Change::Changed } else { Change::New };
        if !self.ready(here, &name) {
            return Ok(());
        }
        let (role, group) = self.role(here, &name, &meta, kind);
        if role == Role::Further {
            return self.further(here, (name, meta), (true, size), change);
        }
        if let (true, Some(stat)) = (same, &found)
            && group.is_none_or(|group| self.run.links.may_stay(group, FileId::from(stat)))
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
            self.foresee(here, &name, &meta);
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

    /// A dry run tells what would be left out.
    pub(super) fn foresee(&self, here: &Here, name: &Name, meta: &Meta) {
        let notes = foreseen(meta, self.run.dirs.policy());
        self.run.left_out(|| here.node.path_of(name), &notes);
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
        let Ok(dir) = self.run.dirs.look(&here.node) else {
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
        let Self { run, chunks, near, within, planner, .. } = self;
        planner.begin(Arc::clone(plan));
        let mut offset: u64 = 0;
        let planned = for_each_extent(content, plan.size, chunks, |extent, _| {
            let length = match extent {
                Extent::Hole { length } => *length,
                Extent::Data { chunk, length } => {
                    let pack = near.pack_of(run.packs, chunk, within)?;
                    let pack = pack.ok_or(ReadError::Lost { id: *chunk, tried: Vec::new() })?;
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

    pub(super) fn special(
        &mut self,
        here: &Here,
        (name, meta): (Name, Meta),
        kind: &Kind,
    ) -> Result<(), ReadError> {
        self.run.monitor.scanned(Amount { files: 1, ..Amount::default() });
        let Some(special) = Special::of(kind) else {
            return Ok(());
        };
        let found = self.found(here, &name);
        let stays = found.as_ref().is_some_and(|stat| {
            keeps(self.options.existing, stat, &meta)
                || (self.options.existing == Existing::IfChanged
                    && stat.file_type == special_type(&special)
                    && stat.mtime == meta.mtime)
        });
        if stays {
            self.skipped(here, &name, 0);
            return Ok(());
        }
        if !self.ready(here, &name) {
            return Ok(());
        }
        let change = if found.is_some() { Change::Changed } else { Change::New };
        let (role, group) = self.role(here, &name, &meta, kind);
        if role == Role::Further {
            return self.further(here, (name, meta), (false, 0), change);
        }
        if let Some(stat) = &found
            && group.is_none_or(|group| self.run.links.may_stay(group, FileId::from(stat)))
            && self.keeps_special(here, (&name, &meta), special, group)
        {
            self.run.count(|tally| tally.unmodified += 1);
            self.run.done(&here.node.path_of(&name), Change::Unmodified, 0);
            return Ok(());
        }
        self.place(here, (&name, &meta), special, (change, group));
        Ok(())
    }

    /// Whether an equal link, pipe or device is there; it then has the metadata.
    pub(super) fn keeps_special(
        &self,
        here: &Here,
        (name, meta): (&Name, &Meta),
        special: Special<'_>,
        group: Option<u64>,
    ) -> bool {
        let how = (self.run.dirs.policy(), self.options.dry_run);
        let dir = self.run.dirs.look(&here.node).ok();
        let kept = dir.and_then(|dir| dir.keep(name, (special, group.is_some()), meta, how));
        let Some(Placed { id, notes }) = kept else {
            return false;
        };
        self.run.left_out(|| here.node.path_of(name), &notes);
        if let (Some(group), Some(id)) = (group, id) {
            self.run.links.placed(group, &here.node, name, id);
        }
        true
    }

    fn place(
        &mut self,
        here: &Here,
        (name, meta): (&Name, &Meta),
        special: Special<'_>,
        (change, group): (Change, Option<u64>),
    ) {
        let path = here.node.path_of(name);
        let (dirs, policy) = (self.run.dirs, self.run.dirs.policy());
        if let Some(note) = special.left_out(policy) {
            self.run.left_out(|| path.clone(), &[note]);
            return self.run.done(&path, Change::Skipped, 0);
        }
        if self.options.dry_run {
            self.foresee(here, name, meta);
        } else {
            let placed =
                dirs.look(&here.node).and_then(|dir| dir.place(name, special, meta, policy));
            let placed = match placed {
                Ok(placed) => placed,
                Err(error) => return self.run.trouble(path, error),
            };
            self.run.left_out(|| path.clone(), &placed.notes);
            match (placed.id, group) {
                (None, _) => return self.run.done(&path, Change::Skipped, 0),
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
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
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
