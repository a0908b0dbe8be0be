//! Watching, and backing up by itself when something has changed.

pub mod changes;
pub mod dirty;
pub mod service;
pub mod signs;
