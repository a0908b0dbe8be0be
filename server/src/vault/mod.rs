//! The protocol, implemented on a data folder: who may do what, and in which order bytes become
//! durable.

pub mod account;
pub mod auth;
pub mod core;
mod create;
mod erase;
#[cfg(test)]
mod erase_tests;
mod footers;
#[cfg(test)]
mod inventory_tests;
mod ledger;
mod load;
mod log;
mod operator;
#[cfg(test)]
mod operator_tests;
mod packs;
mod report;
pub mod session;
mod standing;
mod table;
#[cfg(test)]
mod tests;

pub use core::{Core, OpenError, Options};
pub use ledger::InviteInfo;
pub use operator::{AccountInfo, Listed};
pub use session::Session;
pub use standing::{Reservation, amount};
