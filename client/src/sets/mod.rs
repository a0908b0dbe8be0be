//! What is backed up together: a choice of paths under a name, and how it is done.

pub mod name;
pub mod named;
pub mod values;

pub use named::{Hooks, NamedSet, Schedule, SetSource};
