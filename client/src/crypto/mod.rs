//! The only room with secrets: keys, unlock slots, sealing and signing.
//!
//! Bytes and reasons are in `docs/FORMAT.md`. Every key is derived by `derive` under a context
//! that is used for nothing else, and every random value that protects data comes from
//! [`rng::Hedged`].

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

pub mod content_id;
mod derive;
pub mod device;
pub mod device_file;
pub mod envelope;
mod hpke_box;
pub mod introduction;
pub mod kdf;
mod layout;
pub mod locked;
pub mod recovery;
pub mod rng;
pub mod rotate;
pub mod schedule;
pub mod seal;
pub mod secret;
pub mod sign;
pub mod slot;
pub mod slot_set;
pub mod vault_key;

#[cfg(test)]
mod device_file_tests;
#[cfg(test)]
mod envelope_tests;
#[cfg(test)]
mod slot_tests;
#[cfg(test)]
mod vectors;
