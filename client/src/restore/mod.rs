//! Writing a snapshot back.
//!
//! Everything goes through a [`root::Root`] and directories opened below it one component at a
//! time, so that neither a hostile tree nor a hostile program at the target can lead a write
//! outside; see `docs/THREAT_MODEL.md`.

mod above;
pub mod apply;
mod dirs;
pub mod engine;
pub mod error;
mod existing;
mod file;
mod finish;
mod guard;
mod handle;
mod kept;
mod left;
mod links;
mod near;
pub mod options;
mod plan;
pub mod policy;
mod pool;
pub mod root;
mod run;
pub mod select;
pub mod special;
pub mod temp;
#[cfg(test)]
mod testkit;
mod transfer;
mod unnamed;
mod verify;
mod walk;
mod way;

pub use engine::{Prepared, restore};
pub use kept::Kept;
pub use left::{LeftOut, Why};
pub use options::{Existing, RestoreError, RestoreOptions, RestoreOutcome, Stayed};
pub use select::Select;
