//! Writing a snapshot back.
//!
//! Everything goes through a [`root::Root`] and directories opened below it one component at a
//! time, so that neither a hostile tree nor a hostile program at the target can lead a write
//! outside; see `docs/THREAT_MODEL.md`.

pub mod apply;
pub mod error;
mod handle;
pub mod policy;
mod remove;
pub mod root;
pub mod special;
pub mod temp;
#[cfg(test)]
mod testkit;
