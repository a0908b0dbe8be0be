//! What is taken from directory records, as long as nothing changed.

use std::sync::Arc;

use super::super::BackupError;
use super::super::events::{Entered, Old};
use super::super::recorder::Needs;
use super::super::replay::{name_of, places, replay, row_of};
use super::super::subtree::Subtree;
use super::{Assembler, Mode};
use crate::progress::{Amount, Change};
use crate::state::records::Header;
use crate::tree::entry::{Entry, Kind};

impl Assembler<'_> {
    pub(super) fn count_same(&mut self, old: &Old) -> Result<(), BackupError> {
        if let Some(row) = old.part.row(old.index) {
            let size = if row.seen.kind == 0 { row.seen.size } else { 0 };
            self.count(row.name, size, &row.seen)?;
            self.done(Some(row.name), (false, Change::Unmodified, size));
        }
        Ok(())
    }

    /// Counts a directory and what is beneath it as recorded; nothing in it has changed.
    pub(super) fn unvisited(&mut self, header: &Header, dirs: u64) {
        let summary = &header.summary;
        self.dedup.use_packs(&summary.packs);
        if let Some(frame) = self.stack.last_mut() {
            frame.subtree.add_recorded(summary);
        }
        let totals = summary.contents.totals;
        self.monitor.unvisited(Amount { files: totals.files, dirs, bytes: totals.bytes });
    }

    pub(super) fn taken(&mut self, entered: Entered) -> Result<(), BackupError> {
        let (Some(name), Some(header)) = (entered.name, entered.header) else {
            return Err(BackupError::Internal("a directory without a record was taken from it"));
        };
        self.unvisited(&header, header.summary.contents.totals.dirs.saturating_sub(1));
        self.path.push(b'/');
        self.path.extend_from_slice(name.as_bytes());
        let kind = Kind::Directory { tree: header.tree };
        let entry = Entry { name, meta: entered.meta, kind };
        self.add_directory(&entry, Some(Change::Unmodified), entered.old.as_ref())
    }

    /// Takes an entry as it was recorded.
    pub(super) fn same(&mut self, old: &Old) -> Result<(), BackupError> {
        let Some(frame) = self.stack.last_mut() else {
            return Err(BackupError::Internal("an entry outside any directory"));
        };
        if let Mode::Matching { seen, packs, last } = &mut frame.mode {
            if last.as_ref().is_some_and(|last| Arc::ptr_eq(last, &old.part)) {
                *seen += 1;
                return Ok(());
            }
            if self.dedup.has_all(&old.part.packs) {
                *seen += 1;
                *last = Some(Arc::clone(&old.part));
                *packs |= &old.part.packs;
                return Ok(());
            }
            // The entry is the same, and its chunks lie elsewhere: the record is made anew.
            self.diverge()?;
        }
        self.copy(old)
    }

    fn copy(&mut self, old: &Old) -> Result<(), BackupError> {
        let row = row_of(old)?;
        self.push(&name_of(&row)?, row.encoded, |record, beside| record.keep(old, beside))
    }

    /// From here on the directory is written anew.
    pub(super) fn diverge(&mut self) -> Result<(), BackupError> {
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
        replay(state, key, seen, |old| self.copy(old))
    }

    /// Where the tree of the open directory is, if the directory is as recorded.
    pub(super) fn unchanged(&self) -> Result<Option<Needs>, BackupError> {
        let Some(frame) = self.stack.last() else {
            return Ok(None);
        };
        let (Mode::Matching { seen, .. }, Some(header)) = (&frame.mode, &frame.entered.header)
        else {
            return Ok(None);
        };
        if *seen != header.entries {
            return Ok(None);
        }
        if self.dedup.has_all(&header.own) {
            self.dedup.use_packs(&header.own);
            return Ok(Some(Needs::of_packs(&header.own)));
        }
        places(&header.tree, &header.objects, self.dedup)
    }

    /// Corrects what the record of an unchanged directory says of it as a whole. `own` is where
    /// its tree is.
    pub(super) fn renew(
        &mut self,
        entered: &Entered,
        header: &Header,
        own: &Needs,
        subtree: &Subtree,
    ) -> Result<(), BackupError> {
        let same =
            header.rules == entered.rules && own.are(&header.own) && subtree.is(&header.summary);
        if let Some(key) = entered.key.filter(|_| self.records && !same) {
            self.recorder.renew((key, header), entered.rules, own, subtree)?;
        }
        Ok(())
    }
}
