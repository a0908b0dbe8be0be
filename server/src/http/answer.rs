//! Sending answers: in slices, so that it shows how fast a client takes them, and with their share
//! of what may be in memory until they are gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::connections::Busy;
use super::lane::Share;

/// Handed to the connection at a time.
const SLICE: usize = 256 * 1024;

/// The share that an answer has of the memory for all; travels beside it.
#[derive(Debug, Clone)]
pub(super) struct Counted(#[expect(dead_code, reason = "held until it is dropped")] Arc<Share>);

impl Counted {
    pub(super) fn new(share: Share) -> Self {
        Self(Arc::new(share))
    }
}

/// A body on its way.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    rest: Bytes,
    busy: Busy,
    _share: Option<Counted>,
}

impl Answer {
    pub(super) fn new(body: Body, busy: Busy, share: Option<Counted>) -> Self {
        busy.answers(body.size_hint().exact().unwrap_or_default());
        Self { body, rest: Bytes::new(), busy, _share: share }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            // All answers are in memory: they cannot break off.
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
        let slice = this.rest.split_to(this.rest.len().min(SLICE));
        this.busy.taken(slice.len());
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        self.body
            .size_hint()
            .exact()
            .map_or_else(SizeHint::default, |more| SizeHint::with_exact(more.saturating_add(rest)))
    }
}
