//! The Unseen server: stores what it cannot read.
//!
//! [`store`] keeps bytes durable, [`vault`] decides who may do what and implements the protocol.
//! The command line and HTTP are behind the feature `http`; the client embeds the rest as its
//! local vault.

#[cfg(feature = "http")]
pub mod cli;
pub mod clock;
#[cfg(feature = "http")]
pub mod http;
pub mod ops;
pub mod store;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod vault;
