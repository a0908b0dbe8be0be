//! Receiving bodies: capped, counted against all bodies in flight, and not too slowly.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Version, header};
use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};
use unseen_common::wire::endpoint::Endpoint;
use unseen_common::wire::problem;

use super::app::{App, Limits};
use super::failure::Failure;
use super::lane::{Owner, Share};
use super::lanes::SHORT;

/// What a body that has fallen behind reserves at a time, in bytes.
const STEP: usize = 256 * 1024;

/// How much of a body that is too long is taken all the same, in bytes, and for how long.
const DRAINED: usize = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A body in memory, and its share of what may be in flight.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Bytes,
    /// Given back when the request has been dealt with.
    _share: Share,
}

/// Reads a body whose length the client states, and whose type is the one given.
pub(super) async fn receive(
    app: &App,
    owner: Owner,
    request: &Parts,
    body: Body,
    (endpoint, kind): (&Endpoint, &str),
) -> Result<Received, Failure> {
    let cap = endpoint.body_cap;
    let length = match stated_length(&request.headers, cap) {
        Ok(length) => length,
        Err(refused) => {
            drain(request.version, body).await;
            return Err(refused);
        }
    };
    if !is_of(&request.headers, kind) {
        discard(app, body, cap).await;
        return Err(Failure::detailed(&problem::WRONG_TYPE, format!("{kind} is accepted here")));
    }
    // Even one of no length costs something.
    let share = app.lanes.for_body(owner, length).take(owner, length.max(1024)).await?;
    let arriving = Arriving {
        length,
        bytes: Vec::with_capacity(length),
        share,
        pace: Pace::start(app.limits, length),
        behind: false,
    };
    arriving.all(body).await
}

/// A body that comes in.
struct Arriving {
    length: usize,
    bytes: Vec<u8>,
    share: Share,
    pace: Pace,
    /// It is slow: only what has arrived is reserved.
    behind: bool,
}

impl Arriving {
    async fn all(mut self, mut body: Body) -> Result<Received, Failure> {
        while let Some(data) = self.next(&mut body).await? {
            let after = self.bytes.len() + data.len();
            if after > self.length {
                return Err(Failure::of(&problem::CUT_OFF));
            }
            if self.behind && after > self.share.held() {
                self.step(after).await?;
            }
            self.bytes.extend_from_slice(&data);
        }
        if self.bytes.len() != self.length {
            return Err(Failure::of(&problem::CUT_OFF));
        }
        Ok(Received { bytes: self.bytes.into(), _share: self.share })
    }

    async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Failure> {
        if !self.behind && self.length > SHORT {
            match timeout_at(self.pace.lead(), self.pace.next(body)).await {
                Ok(next) => return next,
                Err(_elapsed) => self.fall_behind()?,
            }
        }
        self.pace.next(body).await
    }

    fn fall_behind(&mut self) -> Result<(), Failure> {
        self.behind = true;
        self.bytes.shrink_to(0);
        Ok(self.share.fall_behind(self.bytes.len())?)
    }

    /// Reserves what is needed for so many bytes, and some more.
    async fn step(&mut self, needed: usize) -> Result<(), Failure> {
        let wanted = needed.max(self.share.held() + STEP).min(self.length);
        let asked = Instant::now();
        self.share.more(wanted - self.share.held()).await?;
        // Nothing was read meanwhile: the client could not send.
        self.pace.forgive(asked.elapsed());
        self.bytes.reserve_exact(wanted - self.bytes.len());
        Ok(())
    }
}

/// Takes a body and throws it away, so that a client that is still sending can read the answer.
pub(super) async fn discard(app: &App, mut body: Body, cap: usize) {
    let stated = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let mut pace = Pace::start(app.limits, stated.unwrap_or(cap));
    let mut taken = 0;
    while let Ok(Some(data)) = pace.next(&mut body).await {
        taken += data.len();
        if taken > cap {
            return;
        }
    }
}

/// Takes some of a body that is too long and throws it away: over HTTP/2 there are clients that do
/// not read the answer if their stream is reset while they send. Over HTTP/1.1 one may wait for
/// leave to send, and reads the answer.
async fn drain(version: Version, mut body: Body) {
    if version != Version::HTTP_2 {
        return;
    }
    let taken = async {
        let mut taken = 0;
        while taken <= DRAINED {
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => return,
            }
        }
    };
    // Whoever is slower than this is told all the same.
    drop(timeout(DRAIN_TIME, taken).await);
}

/// The length that the client states, in bytes, at most `cap`.
pub(super) fn stated_length(headers: &HeaderMap, cap: usize) -> Result<usize, Failure> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| Failure::of(&problem::LENGTH_REQUIRED))?;
    if length > cap { Err(Failure::too_large(cap)) } else { Ok(length) }
}

/// Whether the body is said to be of this type; parameters such as a charset do not count.
fn is_of(headers: &HeaderMap, kind: &str) -> bool {
    let stated = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = stated.and_then(|text| text.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(kind))
}

struct Pace {
    limits: Limits,
    /// Bytes per second.
    floor: u64,
    start: Instant,
    received: u64,
}

impl Pace {
    fn start(limits: Limits, length: usize) -> Self {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        Self { limits, floor: limits.floor(length), start: Instant::now(), received: 0 }
    }

    /// Until when the next bytes must come for all of it to stay reserved.
    fn lead(&self) -> Instant {
        let earned = self.received.saturating_mul(1000) / self.limits.brisk_rate.max(1);
        self.start + self.limits.head_start + Duration::from_millis(earned)
    }

    /// The client is not to blame for this time.
    fn forgive(&mut self, time: Duration) {
        self.start += time;
    }

    async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
            let frame = match timeout(self.limits.idle, frame).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_broken))) => return Err(Failure::of(&problem::CUT_OFF)),
                Ok(None) => return Ok(None),
                Err(_elapsed) => return Err(Failure::of(&problem::TOO_SLOW)),
            };
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.received =
                self.received.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if self.is_too_slow(self.start.elapsed()) {
                return Err(Failure::of(&problem::TOO_SLOW));
            }
            return Ok(Some(data));
        }
    }

    fn is_too_slow(&self, elapsed: Duration) -> bool {
        let needed = u128::from(self.floor).saturating_mul(elapsed.as_millis()) / 1000;
        elapsed > self.limits.grace && u128::from(self.received) < needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_after_the_grace() {
        let seconds = Duration::from_secs;
        let after = |length, received| Pace { received, ..Pace::start(Limits::default(), length) };
        assert!(!after(1 << 24, 0).is_too_slow(seconds(20)));
        assert!(after(1 << 20, 21 * 8192 - 1).is_too_slow(seconds(21)));
        assert!(!after(1 << 20, 21 * 8192).is_too_slow(seconds(21)));
        // A pack, and the longest body there is: home in half an hour.
        assert!(after(1 << 24, (1 << 24) - 2000).is_too_slow(seconds(1800)));
        assert!(!after(1 << 24, 1 << 24).is_too_slow(seconds(1799)));
        assert!(!after(96 << 20, 96 << 20).is_too_slow(seconds(1799)));
        assert!(after(96 << 20, 90 << 20).is_too_slow(seconds(1799)));
    }
}
