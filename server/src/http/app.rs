//! What all requests share.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use tokio::time::Instant;
use unseen_common::time::Clock;

use super::client_addr::ClientAddr;
use super::failure::Failure;
use super::lane::Owner;
use super::lanes::Lanes;
use super::rate::{Budget, Meters, Rates};
use super::tokens::Tokens;
use crate::store::random;
use crate::vault::Core;

/// How much a client may take, and how slowly.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Packs and what is no longer than one hold at most so many KiB together while they are
    /// received.
    pub in_flight_kib: usize,
    /// A body that stands still for so long is given up.
    pub idle: Duration,
    /// The minimum rate counts only after this.
    pub grace: Duration,
    /// Bytes per second that a body must keep on average, and the taking of an answer.
    pub minimum_rate: u64,
    /// A body or an answer must be through in this time: long ones must be faster.
    pub longest: Duration,
    /// A body for which all its memory is reserved must be so many bytes per second...
    pub brisk_rate: u64,
    /// ...less than this behind.
    pub head_start: Duration,
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
            minimum_rate: 8192,
            longest: Duration::from_secs(1800),
            brisk_rate: 256 * 1024,
            head_start: Duration::from_secs(2),
            answers_kib: 128 * 1024,
            connections: 1024,
            per_address: 512,
            head: Duration::from_secs(10),
            rates: Rates::default(),
        }
    }
}

impl Limits {
    /// Bytes per second for so many bytes, at least one.
    pub(super) fn floor(&self, length: u64) -> u64 {
        self.minimum_rate.max(length.div_ceil(self.longest.as_secs().max(1))).max(1)
    }
}

/// Shared by all requests.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) core: Core,
    pub(super) tokens: Arc<Tokens>,
    pub(super) limits: Limits,
    pub(super) log_addresses: bool,
    pub(super) lanes: Arc<Lanes>,
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
            lanes: Arc::new(Lanes::new(&limits)),
            meters: Arc::new(Meters::new(limits.rates, Instant::now())),
            key: random(),
            api,
        }
    }

    /// Whose memory a request takes before there is a login.
    pub(super) fn stranger(&self, request: &Request) -> Owner {
        let client = request.extensions().get::<ClientAddr>();
        client.map_or(Owner::Nobody, |client| Owner::Address(client.bucket(&self.key)))
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
