//! What a directory and everything beneath it adds up to, while it is assembled.

use super::recorder::Needs;
use crate::state::records::Seen;
use crate::state::summary::{Contents, Summary};

/// A directory with all that is beneath it, as far as it has come.
#[derive(Debug, Clone, Default)]
pub struct Subtree {
    /// As in [`Summary`].
    pub again_here: bool,
    /// As in [`Summary`].
    pub again: bool,
    /// What is in it.
    pub contents: Contents,
    /// The packs of its trees and of all that is beneath it; those of its own files are added at
    /// its end.
    pub needs: Needs,
}

impl Subtree {
    /// The next run must look at this directory again.
    pub fn look_again(&mut self) {
        (self.again_here, self.again) = (true, true);
    }

    /// Counts an entry that is no directory.
    pub fn file(&mut self, name: &[u8], size: u64, seen: &Seen) {
        self.contents.file(name, size);
        if seen.racy || seen.linked {
            self.look_again();
        }
    }

    /// Takes in a directory that is directly in this one.
    pub fn add(&mut self, child: &Self) {
        self.again |= child.again;
        self.contents.add(&child.contents);
        self.needs.merge(&child.needs);
    }

    /// Takes in a directory that is directly in this one, as it was recorded.
    pub fn add_recorded(&mut self, child: &Summary) {
        self.again |= child.again;
        self.contents.add(&child.contents);
        self.needs.add_packs(&child.packs);
    }

    /// Whether a record says the same.
    pub fn is(&self, recorded: &Summary) -> bool {
        self.again_here == recorded.again_here
            && self.again == recorded.again
            && self.contents == recorded.contents
            && self.needs.are(&recorded.packs)
    }

    /// What a record says of it, the packs aside.
    pub fn summary(&self) -> Summary {
        let Self { again_here, again, contents, .. } = *self;
        Summary { again_here, again, contents, ..Summary::default() }
    }
}
