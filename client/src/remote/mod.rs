//! The vault that is elsewhere: on a server or in a folder of this machine, and what makes it
//! bearable: retries, logging in again, limits.

pub mod address;
pub mod http;
pub mod limit;
#[cfg(feature = "local")]
pub mod local;
mod reply;
pub mod retry;
pub mod session;
#[cfg(test)]
mod tests;
pub mod tls;

pub use address::Address;
pub use http::HttpService;
pub use limit::Limited;
pub use retry::{Retrying, RetryingService};
pub use session::{Login, log_in};
