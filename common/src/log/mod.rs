//! The signed log of a vault: the truth about devices, policy and snapshots.
//!
//! [`entry`] says what can be written, [`chain`] how entries are hashed and signed, [`fold`] what
//! they add up to. Client and server fold with the same function.

pub mod chain;
pub mod entry;
pub mod fold;
