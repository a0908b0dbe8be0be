//! Compaction: what is still needed of packs that are mostly unused goes into new ones, and small
//! packs are joined.
//!
//! Needs no lock. The new packs are of no concern to anybody until a root-signed entry names them;
//! that gives them to the snapshots that were looked at, and to no other. Whatever is interrupted
//! before leaves packs that nobody needs, which go once their grace is over.

mod exchange;
mod mend;
mod notes;
mod plan;
mod repack;
mod rewrite;
mod survey;
mod used;

pub(super) use notes::Notes;
pub use plan::{Limits, Plan, Share, Tolerated, Weighed, plan};
pub use rewrite::{CompactError, Done, rewrite};
pub use survey::{Survey, survey};
use used::Used;

#[cfg(test)]
mod tests;
