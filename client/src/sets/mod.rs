//! What is backed up together: a choice of paths under a name, and how it is done.

pub mod command;
pub mod defaults;
pub mod edit;
pub mod hooks;
pub mod job;
pub mod name;
pub mod named;
pub mod saved;
pub mod there;
pub mod values;
pub mod why;

pub use job::{Here, Job, JobError, JobSource};
pub use named::{Hooks, NamedSet, Schedule, SetSource};
