//! The protocol over HTTP and TLS.

mod app;
mod body;
mod client_addr;
mod failure;
mod handlers;
mod listen;
mod origin;
mod request_log;
mod routes;
pub mod serve;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod tls_live;
mod tokens;

pub use app::Limits;
pub use client_addr::{AddrBucket, ClientAddr};
pub(crate) use listen::Listener;
pub use listen::{Listen, NoPlace, SocketFile};
pub use serve::{ServeError, Server, ServerOptions};
