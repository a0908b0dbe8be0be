//! What is backed up together: a choice of paths under a name.

pub mod name;
