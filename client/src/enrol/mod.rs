//! Making a vault and joining one: the only callers that write slots and devices.

pub mod connect;
pub mod earlier;
pub mod error;
pub mod init;
pub mod kit;
pub mod strength;

pub use error::EnrolError;
