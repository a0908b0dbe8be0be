//! (see docs/ARCHITECTURE.md)

pub mod exclude;
