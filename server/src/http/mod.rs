//! The protocol over HTTP and TLS.

mod answer;
mod api;
mod app;
mod body;
mod call;
mod client_addr;
mod connections;
mod failure;
mod forwarded;
mod handlers;
mod lane;
mod lanes;
mod listen;
mod rate;
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
pub use rate::{Rate, Rates};
pub use serve::{ServeError, Server, ServerOptions};
