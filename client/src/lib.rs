//! The Unseen client: everything that happens on the machine that owns the files.

pub mod backup;
pub mod browse;
pub mod chunk;
pub mod cli;
pub mod compress;
pub mod crypto;
pub mod daemon;
pub mod enrol;
pub mod index;
pub mod maintain;
pub mod pack;
pub mod pins;
pub mod progress;
pub mod remote;
pub mod repo;
pub mod restore;
pub mod scan;
pub mod sets;
pub mod state;
#[cfg(test)]
mod testing;
pub mod tree;
#[cfg(test)]
mod vectors;
