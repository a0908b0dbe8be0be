//! The protocol, implemented on a data folder: who may do what, and in which order bytes become
//! durable.

pub mod account;
pub mod auth;
mod compact;
pub mod core;
mod create;
mod erase;
#[cfg(test)]
mod erase_tests;
mod expire;
mod footers;
mod gc;
#[cfg(test)]
mod gc_lab;
#[cfg(test)]
mod gc_measure;
#[cfg(test)]
mod gc_model;
#[cfg(test)]
mod gc_tests;
#[cfg(test)]
mod gc_threads;
#[cfg(test)]
mod gc_walks;
#[cfg(test)]
mod inventory_tests;
mod ledger;
mod lists;
mod load;
mod log;
mod operator;
#[cfg(test)]
mod operator_tests;
mod packs;
mod references;
mod report;
pub mod session;
mod standing;
mod strays;
mod sweep;
mod table;
#[cfg(test)]
mod tests;

pub use core::{Core, OpenError, Options};
pub use gc::Collected;
pub use ledger::InviteInfo;
pub use operator::{AccountInfo, Listed};
pub use session::Session;
pub use standing::{Reservation, amount};
pub use sweep::{Held, Swept};
