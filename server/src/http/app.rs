//! What all requests share.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use unseen_common::time::Clock;

use super::client_addr::ClientAddr;
use super::failure::Failure;
use super::rate::{Budget, Meters, Rates};
use super::tokens::Tokens;
use crate::store::random;
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
    /// Answers hold at most so many KiB together until they are taken.
    pub answers_kib: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Of these, connections of one address (of one proxy there is no limit).
    pub per_address: usize,
    /// A connection with no request may rest for so long; handshake and head must come in it.
    pub head: Duration,
    /// How often somebody may ask.
    pub rates: Rates,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_kib: 96 * 1024,
            idle: Duration::from_secs(30),
            grace: Duration::from_secs(20),
            minimum_rate: 4096,
            answers_kib: 128 * 1024,
            connections: 1024,
            per_address: 512,
            head: Duration::from_secs(10),
            rates: Rates::default(),
        }
    }
}

/// Shared by all requests.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) core: Core,
    pub(super) tokens: Arc<Tokens>,
    pub(super) limits: Limits,
    pub(super) log_addresses: bool,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) answers: Arc<Semaphore>,
    pub(super) meters: Arc<Meters>,
    /// Under which addresses are counted.
    key: [u8; 32],
    /// The API document.
    pub(super) api: Bytes,
}

impl App {
    pub(super) fn new(core: Core, limits: Limits, clock: Arc<dyn Clock>, api: Bytes) -> Self {
        Self {
            core,
            tokens: Arc::new(Tokens::new(clock)),
            limits,
            log_addresses: false,
            answers: Arc::new(Semaphore::new(limits.answers_kib)),
            meters: Arc::new(Meters::new(limits.rates, Instant::now())),
            key: random(),
            in_flight: Arc::new(Semaphore::new(limits.in_flight_kib)),
            api,
        }
    }

    /// Counts a request of the client that it comes from.
    pub(super) fn count(&self, parts: &Request, budget: Budget) -> Result<(), Failure> {
        let Some(client) = parts.extensions().get::<ClientAddr>() else {
            return Ok(());
        };
        let bucket = client.bucket(&self.key);
        self.meters.from(&bucket, budget, Instant::now()).map_err(Failure::too_many)
    }
}
