//! Looking at what a vault holds: which snapshots, which files, their bytes.
//!
//! Shared by everything that reads: listing, restore, check.

pub mod chunks;
pub mod dump;
pub mod error;
pub mod finding;
mod lanes;
pub(crate) mod lru;
pub mod ls;
pub mod packs;
pub mod pieces;
pub mod resolve;
pub mod snapshots;
#[cfg(test)]
mod tests;
