//! What an operator sees of a server that runs.

#[cfg(feature = "http")]
pub mod listener;
#[cfg(feature = "http")]
pub(crate) mod machine;
pub mod meter;
pub mod metrics;
#[cfg(feature = "http")]
mod page;
#[cfg(feature = "http")]
pub mod silence;
