//! One line a request: route, status, bytes, time, account. No name, no path, and no address unless
//! the operator asked for it. The same is counted, without the account.

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use unseen_common::id::VaultId;
use unseen_common::wire::endpoint;

use super::app::App;
use super::client_addr::ClientAddr;

/// Put into an answer to say whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose(pub(super) VaultId);

pub(super) async fn record(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let client = request.extensions().get::<ClientAddr>().filter(|_| app.log_addresses);
    let client = client.map(ClientAddr::disclosed);
    let received = length(request.headers());
    let metrics = app.core.metrics();
    let upload = (route == endpoint::PUT_PACK.path).then(|| metrics.uploads.hold());
    let response = next.run(request).await;
    drop(upload);
    let account = response.extensions().get::<Whose>().map(|w| w.0.short());
    let (status, sent) = (response.status().as_u16(), response.body().size_hint().exact());
    let took = start.elapsed();
    metrics.request(route, status, took);
    metrics.received.add(received.unwrap_or(0));
    metrics.sent.add(sent.unwrap_or(0));
    tracing::info!(
        route,
        status,
        received,
        sent,
        ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        account,
        client,
        "request"
    );
    response
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// What the server says of itself when its operator logs addresses.
pub(super) fn disclose_addresses(privacy: Vec<String>) -> Vec<String> {
    let denied = |line: &String| line.contains("network addresses");
    let logged =
        "Logged: the network address that each request comes from, by choice of the operator.";
    privacy.into_iter().filter(|line| !denied(line)).chain([logged.to_owned()]).collect()
}
