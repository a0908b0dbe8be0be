//! What a restore would replace: asked before it begins.

use super::{Here, Walker};
use crate::browse::error::ReadError;
use crate::restore::special::Special;
use crate::scan::os::{FileType, Stat};
use crate::tree::entry::{Entry, FileTime, Kind, Meta};

/// Some file systems keep times in steps of two seconds.
const STEP: i64 = 2;

impl Walker<'_, '_> {
    /// Counts what has the entry's place and is not the same. True for a directory in which there
    /// is more to look at.
    pub(super) fn is_to_be_entered(&self, here: &Here, entry: &Entry) -> Result<bool, ReadError> {
        let Some(stat) = self.found(here, &entry.name) else {
            return Ok(false);
        };
        let is_dir = stat.file_type == FileType::Directory;
        let same = match &entry.kind {
            Kind::Directory { .. } if is_dir => return Ok(true),
            // It is in the way, and stays.
            _ if is_dir => return Ok(false),
            Kind::Directory { .. } => false,
            Kind::File { size, .. } => {
                stat.file_type == FileType::File
                    && stat.size == *size
                    && near(stat.mtime, entry.meta.mtime)
            }
            other => self.is_same_special(here, entry, other, &stat)?,
        };
        if !same {
            self.run.count(|tally| tally.replaced += 1);
        }
        Ok(false)
    }

    fn is_same_special(
        &self,
        here: &Here,
        entry: &Entry,
        kind: &Kind,
        stat: &Stat,
    ) -> Result<bool, ReadError> {
        let Some(special) = Special::of(kind) else {
            return Ok(false);
        };
        if special.left_out(self.run.dirs.policy()).is_some() {
            return Ok(true);
        }
        let meta = Meta { mtime: stat.mtime, ..entry.meta.clone() };
        self.keeps_special(here, (&entry.name, &meta), special, entry.meta.hard_link)
    }
}

fn near(a: FileTime, b: FileTime) -> bool {
    a.seconds.abs_diff(b.seconds) <= STEP.unsigned_abs()
}
