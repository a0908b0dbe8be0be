//! The protocol, implemented on a data folder: who may do what, and in which order bytes become
//! durable.

pub mod account;
pub mod auth;
pub mod core;
mod create;
mod footers;
mod format;
mod load;
mod log;
mod packs;
pub mod session;
pub mod survey;
mod table;
#[cfg(test)]
mod tests;

pub use core::{Core, OpenError, Options};
pub use session::Session;
