//! The signed log of a vault: the truth about devices, policy and snapshots.
//!
//! [`entry`] says what can be written, [`policy`] what the owner can rule, [`chain`] how entries
//! are hashed and signed, [`fold`] what they add up to ([`state`]). Client and server fold with
//! the same function.

pub mod chain;
pub mod entry;
pub mod fold;
pub mod ids;
pub mod policy;
pub mod silence;
pub mod state;

mod body;
mod canon;
mod effect;
mod error;
pub(crate) mod groups;
mod permit;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
