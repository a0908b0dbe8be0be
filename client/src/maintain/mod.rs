//! Looking after a vault: is everything there, and is it whole?

pub mod check;
pub mod forget;
pub mod policy;
pub mod room;
pub mod undelete;
mod data;
mod impact;
pub mod outcome;
pub mod subset;
mod trees;

pub use check::{CheckOptions, check};
pub use outcome::{Affected, CheckError, CheckOutcome, Damage};
pub use subset::{ParseSubsetError, Subset};
