//! The protocol, implemented on a data folder: who may do what, and in which order bytes become
//! durable.

pub mod account;
pub mod alarm;
pub mod auth;
mod census;
#[cfg(test)]
mod census_tests;
mod compact;
pub mod copy;
mod copy_onto;
#[cfg(test)]
mod copy_onto_tests;
#[cfg(test)]
mod copy_tests;
pub mod core;
mod create;
mod damage;
mod erase;
#[cfg(test)]
mod erase_tests;
mod expire;
#[cfg(test)]
mod expire_tests;
#[cfg(test)]
mod fault_tests;
pub mod folder;
mod footers;
mod format;
mod gc;
#[cfg(test)]
mod gc_lab;
#[cfg(test)]
mod gc_model;
#[cfg(test)]
mod gc_scale_tests;
#[cfg(test)]
mod gc_tests;
#[cfg(test)]
mod gc_threads;
#[cfg(test)]
mod gc_walks;
mod guard;
#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod inventory_tests;
#[cfg(test)]
mod known_tests;
mod ledger;
mod lists;
pub mod load;
mod log;
mod making;
mod objects;
mod operator;
#[cfg(test)]
mod operator_tests;
mod pack_bytes;
mod packs;
#[cfg(test)]
mod power_tests;
mod presence;
#[cfg(test)]
mod presence_tests;
mod prove;
pub mod rebuild;
mod rebuild_plan;
#[cfg(test)]
mod rebuild_tests;
mod references;
mod report;
pub mod rounds;
mod salvage;
#[cfg(test)]
mod scale_tests;
pub mod scrub;
#[cfg(test)]
pub(crate) mod scrub_tests;
pub mod session;
#[cfg(test)]
mod slots_tests;
mod standing;
pub mod stats;
mod strays;
pub mod survey;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upkeep_tests;

pub use core::{Core, OpenError, Options};
pub use gc::Collected;
pub use guard::Held;
pub use ledger::InviteInfo;
pub use operator::{AccountInfo, Listed, account_among};
pub use session::Session;
pub use standing::{Reservation, amount};
pub use sweep::Swept;
