//! What all requests share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use unseen_common::time::Clock;

use super::tokens::Tokens;
use crate::vault::Core;

/// How much a client may take, and how slowly.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bodies that are being received hold at most so many KiB together.
    pub in_flight_kib: usize,
    /// A body that stands still for so long is given up.
    pub idle: Duration,
    /// The minimum rate counts only after this.
    pub grace: Duration,
    /// Bytes per second that a body must keep on average.
    pub minimum_rate: u64,
    /// Connections at a time.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_kib: 256 * 1024,
            idle: Duration::from_secs(30),
            grace: Duration::from_secs(20),
            minimum_rate: 4096,
            connections: 1024,
        }
    }
}

/// Shared by all requests.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) core: Core,
    pub(super) tokens: Arc<Tokens>,
    pub(super) limits: Limits,
    pub(super) in_flight: Arc<Semaphore>,
    /// The API document.
    pub(super) api: Bytes,
}

impl App {
    pub(super) fn new(core: Core, limits: Limits, clock: Arc<dyn Clock>, api: Bytes) -> Self {
        Self {
            core,
            tokens: Arc::new(Tokens::new(clock)),
            limits,
            in_flight: Arc::new(Semaphore::new(limits.in_flight_kib)),
            api,
        }
    }
}
