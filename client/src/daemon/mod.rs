//! Watching, and backing up by itself when something has changed.

pub mod changes;
pub mod schedule;
