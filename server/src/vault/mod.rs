//! The protocol, implemented on a data folder: who may do what, and in which order bytes become
//! durable.

pub mod account;
pub mod auth;
pub mod copy;
#[cfg(test)]
mod copy_tests;
pub mod core;
mod create;
mod footers;
mod load;
mod log;
mod packs;
pub mod rebuild;
#[cfg(test)]
mod rebuild_tests;
pub mod rounds;
#[cfg(test)]
mod scale_tests;
pub mod scrub;
#[cfg(test)]
mod scrub_tests;
pub mod session;
mod table;
#[cfg(test)]
mod tests;

pub use core::{Core, OpenError, Options};
pub use session::Session;
