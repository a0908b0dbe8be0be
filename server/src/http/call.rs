//! What comes before every handler, the same for all routes: who asks, how often, with which body.

use std::str::FromStr;
use std::sync::{Arc, Mutex};

use axum::RequestExt;
use axum::body::{Body, HttpBody};
use axum::extract::{Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use unseen_common::wire::endpoint::{self, Endpoint, Takes};
use unseen_common::wire::problem;
use unseen_common::wire::{JSON, OCTET_STREAM};

use super::answer::Counted;
use super::app::App;
use super::body::{Received, discard, receive, stated_length};
use super::connections::Ticket;
use super::failure::Failure;
use super::handlers::byte_range;
use super::lane::Owner;
use super::lanes::{PACK, SHORT};
use super::rate::Budget;
use super::request_log::Whose;
use crate::store::lock;
use crate::vault::Session;

/// An answer, or why there is none.
pub(super) type Reply = Result<Response, Failure>;

/// A request that was let in. `W` says who asks: a [`Session`], or nobody in particular.
#[derive(Debug)]
pub(super) struct Call<W> {
    pub(super) app: App,
    pub(super) who: W,
    endpoint: &'static Endpoint,
    parts: Parts,
    id: String,
    waiting: Waiting,
    /// Its share of what may be in flight is given back with the call.
    body: Option<Received>,
}

/// A body that was not read yet. What a handler leaves of it is thrown away after it.
#[derive(Debug, Clone)]
struct Waiting(Arc<Mutex<Option<Body>>>);

impl Waiting {
    fn take(&self) -> Option<Body> {
        lock(&self.0).take()
    }
}

/// Lets anybody in, within a budget.
pub(super) async fn open<F, Fut>(
    app: App,
    (endpoint, budget): (&'static Endpoint, Budget),
    mut request: Request,
    handler: F,
) -> Response
where
    F: FnOnce(Call<()>) -> Fut + Send,
    Fut: Future<Output = Reply> + Send,
{
    if let Err(failure) = app.count(&request, budget) {
        return refuse(&app, endpoint, request.into_body(), failure).await;
    }
    let owner = app.stranger(&request);
    request.extensions_mut().insert(owner);
    answer(app, endpoint, request, ((), handler)).await.unwrap_or_else(IntoResponse::into_response)
}

/// Lets in who has a token. Nothing is kept in memory for who has none.
pub(super) async fn guarded<F, Fut>(
    app: App,
    (endpoint, budget): (&'static Endpoint, Budget),
    mut request: Request,
    handler: F,
) -> Response
where
    F: FnOnce(Call<Session>) -> Fut + Send,
    Fut: Future<Output = Reply> + Send,
{
    let session = match caller(&app, budget, &request) {
        Ok(session) => session,
        Err(failure) => return refuse(&app, endpoint, request.into_body(), failure).await,
    };
    admit(request.extensions().get());
    let whose = Whose(session.account());
    request.extensions_mut().insert(Owner::Account(session.account()));
    let mut response = match shared(app, endpoint, request, (session, handler)).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    };
    response.extensions_mut().insert(whose);
    response
}

/// Deals with a request, with a share of the memory for answers if its answer may be long.
async fn shared<F, Fut>(
    app: App,
    endpoint: &'static Endpoint,
    request: Request,
    (session, handler): (Session, F),
) -> Reply
where
    F: FnOnce(Call<Session>) -> Fut + Send,
    Fut: Future<Output = Reply> + Send,
{
    let owner = Owner::Account(session.account());
    let lanes = Arc::clone(&app.lanes);
    let share = match longest(endpoint, request.headers()) {
        ..=SHORT => None,
        most => Some(lanes.answers.take(owner, most.min(lanes.answers.longest())).await?),
    };
    let answered = answer(app, endpoint, request, (session, handler)).await;
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    let length = response.body().size_hint().exact().unwrap_or_default();
    let length = usize::try_from(length).unwrap_or(PACK).min(PACK);
    if length > SHORT {
        let share = match share {
            Some(share) => share,
            // Records that a writer missed, for one: nobody knew that it would be long.
            None => lanes.answers.take(owner, length).await?,
        };
        response.extensions_mut().insert(Counted::new(share.of(length)));
    }
    Ok(response)
}

/// The longest answer that there may be, in bytes, until it is known how long it is; a pack at most.
/// Nothing for a request that brings something: its answer is short, or long as an exception.
fn longest(endpoint: &Endpoint, headers: &HeaderMap) -> usize {
    if endpoint.takes != Takes::Nothing {
        return 0;
    }
    let most = endpoint.answer_cap.min(PACK);
    let range = text_header(headers, &header::RANGE).and_then(byte_range);
    let range = range.filter(|_| *endpoint == endpoint::GET_PACK);
    let length = range.and_then(|range| usize::try_from(range.end.checked_sub(range.start)?).ok());
    length.map_or(most, |length| length.min(most))
}

/// Calls the handler, and reads what it left of the body.
async fn answer<W, F, Fut>(
    app: App,
    endpoint: &'static Endpoint,
    mut request: Request,
    (who, handler): (W, F),
) -> Reply
where
    F: FnOnce(Call<W>) -> Fut + Send,
    Fut: Future<Output = Reply> + Send,
{
    let id = match request.extract_parts::<RawPathParams>().await {
        Ok(params) => params.iter().next().map(|(_, id)| id.to_owned()).unwrap_or_default(),
        Err(_not_text) => return Err(Failure::invalid("the path is no text")),
    };
    let (parts, body) = request.into_parts();
    let body = (endpoint.takes != Takes::Nothing).then_some(body);
    let waiting = Waiting(Arc::new(Mutex::new(body)));
    let left = waiting.clone();
    let draining = app.clone();
    let reply = handler(Call { app, who, endpoint, parts, id, waiting, body: None }).await;
    if let Some(body) = left.take() {
        discard(&draining, body, endpoint.body_cap).await;
    }
    reply
}

fn admit(ticket: Option<&Ticket>) {
    if let Some(ticket) = ticket {
        ticket.admit();
    }
}

/// Reads what is still being sent, so that the answer can be read.
async fn refuse(app: &App, endpoint: &Endpoint, body: Body, failure: Failure) -> Response {
    discard(app, body, endpoint.body_cap).await;
    failure.into_response()
}

/// Who is asking.
fn caller(app: &App, budget: Budget, request: &Request) -> Result<Session, Failure> {
    app.count(request, Budget::Plain)?;
    let token = text_header(request.headers(), &header::AUTHORIZATION)
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Failure::of(&problem::UNAUTHORIZED))?;
    let session = app.tokens.session(token)?;
    app.meters.of(&session.account(), budget, Instant::now()).map_err(Failure::too_many)?;
    Ok(session)
}

impl<W> Call<W> {
    /// The identifier in the path.
    pub(super) fn id<T: FromStr<Err: std::fmt::Display>>(&self) -> Result<T, Failure> {
        self.id.parse().map_err(|error: T::Err| Failure::invalid(error.to_string()))
    }

    /// The query; names that the route does not know are refused.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        match Query::try_from_uri(&self.parts.uri) {
            Ok(Query(query)) => Ok(query),
            Err(error) => Err(Failure::invalid(error.body_text())),
        }
    }

    /// The length of the body as the client states it, in bytes; at most what the route takes.
    pub(super) fn length(&self) -> Result<u64, Failure> {
        let length = stated_length(&self.parts.headers, self.endpoint.body_cap);
        if length.is_err() {
            // It is not waited for: it may never end.
            drop(self.waiting.take());
        }
        u64::try_from(length?).map_err(|_e| Failure::too_large(self.endpoint.body_cap))
    }

    /// The body; empty if it was read before.
    pub(super) async fn bytes(&mut self) -> Result<Bytes, Failure> {
        let kind = if self.endpoint.takes == Takes::Octets { OCTET_STREAM } else { JSON };
        let Some(body) = self.waiting.take() else {
            return Ok(Bytes::new());
        };
        let owner = self.parts.extensions.get().copied().unwrap_or(Owner::Nobody);
        let received = receive(&self.app, owner, &self.parts, body, (self.endpoint, kind)).await?;
        admit(self.parts.extensions.get());
        let bytes = received.bytes.clone();
        self.body = Some(received);
        Ok(bytes)
    }

    /// The body, read as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::invalid(error.to_string()))
    }

    /// A header that is text.
    pub(super) fn header(&self, name: &header::HeaderName) -> Option<&str> {
        text_header(&self.parts.headers, name)
    }

    /// The host and port that the client connects to, as HTTP states it.
    pub(super) fn authority(&self) -> String {
        let stated = self.parts.uri.authority().map(ToString::to_string);
        stated.or_else(|| self.header(&header::HOST).map(str::to_owned)).unwrap_or_default()
    }
}

fn text_header<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
