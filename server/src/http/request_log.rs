//! One line a request: route, status, bytes, time, account. No address, no name, no path.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use unseen_common::id::VaultId;

/// Put into an answer to say whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose(pub(super) VaultId);

pub(super) async fn record(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let received = length(request.headers());
    let response = next.run(request).await;
    let account = response.extensions().get::<Whose>().map(|w| w.0.short());
    tracing::info!(
        route = route.as_ref().map_or("none", MatchedPath::as_str),
        status = response.status().as_u16(),
        received,
        sent = length(response.headers()),
        ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        account,
        "request"
    );
    response
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}
