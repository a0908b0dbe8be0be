//! Looking after a vault: is everything there, and is it whole?

pub mod check;
pub mod compact;
mod data;
pub mod forget;
pub mod heal;
mod impact;
mod losses;
pub mod outcome;
pub mod policy;
pub mod presence;
pub mod quota;
pub mod room;
pub mod subset;
mod trees;
pub mod undelete;

pub use check::{CheckOptions, check};
pub use heal::Healing;
pub use outcome::{Affected, CheckError, CheckOutcome, Damage, Lost};
pub use subset::{ParseSubsetError, Subset};
