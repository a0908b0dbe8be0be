//! The protocol, implemented on a data folder: who may do what, and in which order bytes become
//! durable.

pub mod account;
pub mod auth;
pub mod copy;
#[cfg(test)]
mod copy_tests;
pub mod core;
mod create;
mod erase;
#[cfg(test)]
mod erase_tests;
mod footers;
mod format;
#[cfg(test)]
mod inventory_tests;
mod ledger;
mod load;
mod log;
mod operator;
#[cfg(test)]
mod operator_tests;
mod packs;
pub mod rebuild;
#[cfg(test)]
mod rebuild_tests;
mod report;
pub mod rounds;
#[cfg(test)]
mod scale_tests;
pub mod scrub;
#[cfg(test)]
mod scrub_tests;
pub mod session;
mod standing;
pub mod survey;
mod table;
#[cfg(test)]
mod tests;

pub use core::{Core, OpenError, Options};
pub use ledger::InviteInfo;
pub use operator::{AccountInfo, Listed};
pub use session::Session;
pub use standing::{Reservation, amount};
