//! What the walk finds, in the order in which trees are built.

use std::sync::Arc;

use crate::state::records::{DirKey, Header, Part, RulesKey, Seen};
use crate::tree::entry::{Entry, Meta, Name};

/// An entry of a directory record.
#[derive(Debug, Clone)]
pub struct Old {
    /// The part that it is in.
    pub part: Arc<Part>,
    /// Its place there.
    pub index: usize,
}

/// What the walk found, in order.
#[derive(Debug)]
pub enum Event {
    /// A directory begins. Its children follow, then [`Event::Leave`].
    Enter(Box<Entered>),
    /// As it was.
    Same(Old),
    /// A directory as it was recorded; nobody looked at it or beneath it.
    Kept(Old, Arc<Header>),
    /// A directory that was looked at, but not what is in it: that is as its record has it.
    Taken(Box<Entered>),
    /// The next run must look at the open directory again, whatever is said to have changed.
    Again,
    /// A file that is too long for this pass. The next run must look at the directory again.
    LeftOut,
    /// Something recorded, or several things, are no longer there.
    Gone,
    /// Something that is no file and no directory.
    Ready(Box<(Entry, Seen, Option<Old>)>),
    /// A file whose content comes from the workers, in so many pieces.
    Pending {
        /// The ticket of the first piece; the others follow.
        ticket: u64,
        /// Number of pieces.
        pieces: u64,
        /// How it was recorded.
        old: Option<Old>,
    },
    /// The directory is complete.
    Leave,
}

/// A directory that begins.
#[derive(Debug)]
pub struct Entered {
    /// Its name; none for the root.
    pub name: Option<Name>,
    /// Its own metadata.
    pub meta: Meta,
    /// The rules that hold in it.
    pub rules: RulesKey,
    /// Names its record; none for a directory that is only on the way to what was named.
    pub key: Option<DirKey>,
    /// Its record.
    pub header: Option<Arc<Header>>,
    /// How its parent recorded it.
    pub old: Option<Old>,
}
