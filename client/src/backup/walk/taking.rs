//! What the walk takes from directory records without looking, because nothing can have changed.

use super::super::BackupError;
use super::super::changes::Visit;
use super::super::events::{Event, Old};
use super::super::plan::Node;
use super::super::replay::{name_of, row_of, tree_of};
use super::super::seen::path_of;
use super::{Children, Frame, Walker};
use crate::crypto::content_id::ChunkId;
use crate::progress::Amount;
use crate::scan::exclude::DirCtx;
use crate::state::records::{DirKey, Header, RecordReader, RulesKey};

/// What the directory above says of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Above {
    /// Nothing: it is only on the way, and has no record.
    Nothing,
    /// It does not know it.
    New,
    /// It had this tree.
    Tree(ChunkId),
}

impl Above {
    /// By the record of the directory above, if it has one.
    pub(super) fn of(frame: &Frame<'_>, old: Option<&Old>) -> Self {
        if matches!(frame.children, Children::Some(_)) {
            return Self::Nothing;
        }
        let row = old.and_then(|old| old.part.row(old.index));
        row.and_then(|row| tree_of(&row)).map_or(Self::New, Self::Tree)
    }
}

impl<'a> Walker<'a> {
    /// The rules that hold in a directory, before a look at what is in it.
    pub(super) fn rules_key(&self, rules: &DirCtx) -> RulesKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.update(&[u8::from(self.context.one_file_system)]);
        hasher.update(&self.context.rules.digest(rules));
        let hash = hasher.finalize();
        RulesKey(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    /// What to do with the directory at the current path. Its record counts only if it was made by
    /// the same rules and is the one that the directory above has in its own; whoever cannot show
    /// that is walked as a whole.
    pub(super) fn choose(
        &self,
        inherited: Visit,
        (rules, above): (RulesKey, Above),
        header: Option<&Header>,
    ) -> Visit {
        let Some(changes) = self.context.changes.filter(|_| !self.context.force) else {
            return Visit::Everything;
        };
        let known = match (above, header) {
            (Above::Nothing, Some(_)) => true,
            (Above::Tree(tree), Some(header)) => header.tree == tree,
            (Above::New, _) | (_, None) => false,
        };
        let Some(header) = header.filter(|header| known && header.rules == rules) else {
            return Visit::Everything;
        };
        if inherited == Visit::Everything {
            return Visit::Everything;
        }
        let summary = &header.summary;
        match changes.visit(path_of(&self.path)) {
            Visit::Skip if !summary.again && self.context.dedup.has_all(&summary.packs) => {
                Visit::Skip
            }
            // What is beneath may be ignored by what stands in a file in here.
            Visit::Skip | Visit::Through
                if summary.again_here || self.context.rules.hang_on_files_above() =>
            {
                Visit::List
            }
            Visit::Skip => Visit::Through,
            visit => visit,
        }
    }

    /// Takes the next entry of a directory from its record. Tells whether a child was entered, and
    /// whether there was an entry at all.
    pub(super) fn recorded(&mut self, frame: &mut Frame<'a>) -> Result<Option<bool>, BackupError> {
        let Some(old) = frame.record.as_mut().and_then(super::Merge::next_old) else {
            return self.listed_after_all(frame);
        };
        let row = row_of(&old)?;
        let (name, is_dir, size) = (name_of(&row)?, row.seen.kind == 1, row.seen.size);
        if let Children::Recorded { last, left } = &mut frame.children {
            *last = Some(name.clone());
            *left = left.saturating_sub(1);
        }
        if is_dir {
            if let Some(record) = self.skippable(frame, &old)? {
                self.out.push(Event::Kept(old, record.header));
                return Ok(Some(false));
            }
        } else if !row.seen.racy && self.has_content(&old) {
            let bytes = if row.seen.kind == 0 { size } else { 0 };
            self.context.monitor.scanned(Amount { files: 1, dirs: 0, bytes });
            self.out.push(Event::Same(old));
            return Ok(Some(false));
        }
        self.look_at(frame, name, Node::Whole, Some(old)).map(Some)
    }

    /// The record of a directory that need not be looked at.
    fn skippable(
        &mut self,
        frame: &Frame<'a>,
        old: &Old,
    ) -> Result<Option<RecordReader<'a>>, BackupError> {
        let Some(row) = old.part.row(old.index) else {
            return Ok(None);
        };
        let length = self.path.len();
        self.path.push(b'/');
        self.path.extend_from_slice(row.name);
        let record = RecordReader::open(self.context.state, DirKey::of(&self.path))?;
        let rules = self.context.rules.enter(&frame.rules, row.name);
        let rules = (self.rules_key(&rules), Above::of(frame, Some(old)));
        let header = record.as_ref().map(|record| &*record.header);
        let visit = self.choose(frame.visit, rules, header);
        self.path.truncate(length);
        Ok(record.filter(|_| visit == Visit::Skip))
    }

    /// The end of a record. If that came before all its entries, part of it is torn, and what is
    /// left is listed.
    fn listed_after_all(&mut self, frame: &mut Frame<'a>) -> Result<Option<bool>, BackupError> {
        let Children::Recorded { last, left } = &mut frame.children else {
            return Ok(None);
        };
        if *left == 0 {
            return Ok(None);
        }
        let last = last.take();
        let (mut names, troubled) = self.listing(&frame.dir, &mut frame.rules)?;
        if troubled {
            self.out.push(Event::Again);
        }
        if let Some(last) = last {
            names.skip_through(&last).map_err(|error| self.context.state.io(error))?;
        }
        self.out.push(Event::Gone);
        frame.children = Children::All(names);
        Ok(Some(false))
    }
}
