//! Receiving bodies: capped, counted against all bodies in flight, and not too slowly.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use unseen_common::vault::VaultError;

use super::app::{App, Limits};
use super::failure::Failure;

/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(30);

/// A body in memory, and its share of what may be in flight.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Bytes,
    /// Given back when the request has been dealt with.
    _share: OwnedSemaphorePermit,
}

/// Reads a body whose length the client states.
pub(super) async fn receive(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    cap: usize,
) -> Result<Received, Failure> {
    let length = stated_length(headers)?;
    if length > cap {
        return Err(Failure::too_large(cap));
    }
    let kib = u32::try_from(length.div_ceil(1024)).map_err(|_e| Failure::too_large(cap))?;
    let turn = timeout(TURN, Arc::clone(&app.in_flight).acquire_many_owned(kib)).await;
    let Ok(Ok(share)) = turn else {
        return Err(VaultError::Busy(5).into());
    };
    let mut bytes = BytesMut::with_capacity(length);
    let mut pace = Pace::start(app.limits);
    let mut body = body;
    while let Some(data) = pace.next(&mut body).await? {
        if bytes.len() + data.len() > length {
            return Err(Failure::cut_off());
        }
        bytes.extend_from_slice(&data);
    }
    if bytes.len() != length {
        return Err(Failure::cut_off());
    }
    Ok(Received { bytes: bytes.freeze(), _share: share })
}

/// Takes a body and throws it away, so that a client that is still sending can read the answer.
pub(super) async fn discard(app: &App, mut body: Body, cap: usize) {
    let mut pace = Pace::start(app.limits);
    let mut taken = 0;
    while let Ok(Some(data)) = pace.next(&mut body).await {
        taken += data.len();
        if taken > cap {
            return;
        }
    }
}

pub(super) fn stated_length(headers: &HeaderMap) -> Result<usize, Failure> {
    headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| {
            Failure::transport(
                StatusCode::LENGTH_REQUIRED,
                "length-required",
                "Content-Length is required",
            )
        })
}

struct Pace {
    limits: Limits,
    start: Instant,
    received: u64,
}

impl Pace {
    fn start(limits: Limits) -> Self {
        Self { limits, start: Instant::now(), received: 0 }
    }

    async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
            let frame = match timeout(self.limits.idle, frame).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_broken))) => return Err(Failure::cut_off()),
                Ok(None) => return Ok(None),
                Err(_elapsed) => return Err(Failure::too_slow()),
            };
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.received =
                self.received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if too_slow(&self.limits, self.start.elapsed(), self.received) {
                return Err(Failure::too_slow());
            }
            return Ok(Some(data));
        }
    }
}

fn too_slow(limits: &Limits, elapsed: Duration, received: u64) -> bool {
    let needed = limits.minimum_rate.saturating_mul(elapsed.as_secs());
    elapsed > limits.grace && received < needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_after_the_grace() {
        let limits = Limits::default();
        let seconds = Duration::from_secs;
        assert!(!too_slow(&limits, seconds(20), 0));
        assert!(too_slow(&limits, seconds(21), 21 * 4096 - 1));
        assert!(!too_slow(&limits, seconds(21), 21 * 4096));
    }
}
