//! A directory record beside a listing of the directory, both by name.

use std::cmp::Ordering;
use std::sync::Arc;

use super::events::Old;
use crate::state::records::{Part, RecordReader};
use crate::tree::entry::Name;

/// A record that is read along with the listing.
#[derive(Debug)]
pub struct Merge<'a> {
    reader: RecordReader<'a>,
    part: Option<Arc<Part>>,
    index: usize,
}

impl<'a> Merge<'a> {
    /// At its first entry.
    pub fn new(reader: RecordReader<'a>) -> Self {
        Self { reader, part: None, index: 0 }
    }

    /// Passes over entries named before `name` and tells whether there were any.
    pub fn skip_before(&mut self, name: &Name) -> bool {
        let mut skipped = false;
        while self.compare(name) == Some(Ordering::Less) {
            self.index += 1;
            skipped = true;
        }
        skipped
    }

    /// The entry of this name, if it is next.
    pub fn take(&mut self, name: &Name) -> Option<Old> {
        if self.compare(name) != Some(Ordering::Equal) {
            return None;
        }
        self.next_old()
    }

    /// The next entry, whatever its name.
    pub fn next_old(&mut self) -> Option<Old> {
        if !self.load() {
            return None;
        }
        let old = self.part.as_ref().map(|part| Old { part: Arc::clone(part), index: self.index });
        self.index += 1;
        old
    }

    /// Whether any entry is left.
    pub fn has_more(&mut self) -> bool {
        self.load()
    }

    fn compare(&mut self, name: &Name) -> Option<Ordering> {
        if !self.load() {
            return None;
        }
        let row = self.part.as_ref().and_then(|part| part.row(self.index));
        row.map(|row| row.name.cmp(name.as_bytes()))
    }

    fn load(&mut self) -> bool {
        loop {
            match &self.part {
                Some(part) if self.index < part.len() => return true,
                _ => {
                    let Some(part) = self.reader.next_part() else {
                        self.part = None;
                        return false;
                    };
                    self.part = Some(part);
                    self.index = 0;
                }
            }
        }
    }
}
