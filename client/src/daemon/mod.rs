//! Watching, and backing up by itself when something has changed.

pub mod alerts;
pub mod book;
pub mod changes;
pub mod config;
pub mod control;
pub mod core;
pub mod dirty;
pub mod filter;
pub mod inbox;
pub mod job;
pub mod live;
pub mod lock;
pub mod marks;
pub mod pause;
pub mod run;
pub mod schedule;
pub mod service;
pub mod signs;

#[cfg(test)]
mod bad_days;
#[cfg(test)]
mod soak;
