//! The protocol over HTTP and TLS.

mod app;
mod body;
mod client_addr;
mod failure;
mod handlers;
mod request_log;
mod routes;
pub mod serve;
#[cfg(test)]
mod tests;
pub mod tls;
mod tokens;

pub use app::Limits;
pub use client_addr::{AddrBucket, ClientAddr};
pub use serve::{ServeError, Server, ServerOptions};
