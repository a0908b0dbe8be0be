//! The vault that is elsewhere: in a folder of this machine.

#[cfg(feature = "local")]
pub mod local;
