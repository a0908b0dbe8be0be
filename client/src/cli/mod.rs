//! The command line. One file a command; `output.rs` is the only one that prints.

pub mod config;
pub mod env;
pub mod escape;
pub mod exit;
pub mod interrupt;
pub mod output;
pub mod places;
pub mod secrets;
pub mod units;
