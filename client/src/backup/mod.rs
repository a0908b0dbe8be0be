//! Backing up: scan, chunk, deduplicate, segment, seal, pack, upload, commit.

pub mod allowance;
pub mod assemble;
pub mod changes;
pub mod commit;
pub mod dedup;
pub mod engine;
pub mod error;
pub mod events;
pub mod few;
pub mod listener;
pub mod long_file;
pub mod maps;
pub mod merge;
pub mod open_packs;
pub mod outbox;
pub mod packer;
pub mod plan;
pub mod prelude;
pub mod reading;
pub mod recorder;
pub mod replay;
pub mod seen;
pub mod spool;
pub mod stop;
pub mod subtree;
pub mod tail;
pub mod threads;
pub mod two_passes;
pub mod upload;
pub mod via;
pub mod walk;
pub mod worker;

pub use changes::{Changes, Depth, Visit};
pub use engine::{Outcome, RunOptions, SmallFirst, Source, StreamSource, run};
pub use error::BackupError;
