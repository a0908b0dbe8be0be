//! (see docs/ARCHITECTURE.md)

pub mod kit;
pub mod strength;
pub mod words;
