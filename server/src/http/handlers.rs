//! One handler a route: takes the request apart, asks the core, puts the answer together.

use std::ops::Range;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use unseen_common::id::{DeviceId, PackId, PackNumber, SnapshotId, VaultId};
use unseen_common::vault::{CommitRequest, CompactRequest, PackUpload, Service, Vault, VaultError};
use unseen_common::wire::base64::Base64;
use unseen_common::wire::body::{
    AccessBody, AccountBody, ChallengeAnswer, ChallengeBody, CommitBody, CompactBody, EntryBody,
    LogBody, LoginBody, PackAnswer, PutSlotsBody, ReceiptBody, RecordBody, SlotsBody,
};
use unseen_common::wire::endpoint::{self, Endpoint};
use unseen_common::wire::host::host_of;
use unseen_common::wire::{DAMAGED_HEADER, OCTET_STREAM, PACK_LENGTH_HEADER, footers as pages};

use super::app::App;
use super::body::{Received, discard, receive, stated_length};
use super::failure::Failure;
use super::request_log::Whose;
use crate::vault::{Reservation, Session};

type Reply = Result<Response, Failure>;

pub(super) async fn describe(State(app): State<App>) -> Reply {
    json(&app.core.describe().await?)
}

pub(super) async fn create_account(State(app): State<App>, request: Request) -> Reply {
    let body: AccountBody = parse(&app, request, &endpoint::CREATE_ACCOUNT).await?;
    app.core.create_account(body.into()).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

pub(super) async fn challenge(State(app): State<App>, request: Request) -> Reply {
    let body: ChallengeBody = parse(&app, request, &endpoint::CHALLENGE).await?;
    let challenge = app.core.challenge(body.account, body.principal).await?;
    json(&ChallengeAnswer::from(challenge))
}

pub(super) async fn session(State(app): State<App>, request: Request) -> Reply {
    let host = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .or_else(|| text_header(request.headers(), &header::HOST).map(str::to_owned))
        .map(|authority| host_of(&authority))
        .unwrap_or_default();
    let body: LoginBody = parse(&app, request, &endpoint::SESSION).await?;
    let session = app.core.login_at(host, body.into()).await?;
    let whose = Whose(session.account());
    let mut response = json(&app.tokens.issue(session))?;
    response.extensions_mut().insert(whose);
    Ok(response)
}

pub(super) async fn slots(State(app): State<App>, headers: HeaderMap) -> Reply {
    let session = caller(&app, &headers)?;
    let slots = session.slots().await?.into_iter().map(Base64).collect();
    of(&session, json(&SlotsBody { slots }))
}

pub(super) async fn put_slots(State(app): State<App>, request: Request) -> Reply {
    let (session, body) = received(&app, request, &endpoint::PUT_SLOTS).await?;
    let body: PutSlotsBody = from_json(&body.bytes)?;
    let slots = body.slots.into_iter().map(|slot| slot.0).collect();
    let record = session.put_slots(slots, body.entry.into()).await?;
    of(&session, json(&RecordBody::from(record)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    after: Option<u64>,
}

pub(super) async fn log(State(app): State<App>, request: Request) -> Reply {
    let session = caller(&app, request.headers())?;
    let query: LogQuery = query(&request)?;
    let page = session.log(query.after).await?;
    of(&session, json(&LogBody::from(page)))
}

pub(super) async fn append(State(app): State<App>, request: Request) -> Reply {
    let (session, body) = received(&app, request, &endpoint::APPEND).await?;
    let entry: EntryBody = from_json(&body.bytes)?;
    let record = session.append(entry.into()).await?;
    of(&session, json(&RecordBody::from(record)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackQuery {
    footer: u32,
}

pub(super) async fn put_pack(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Reply {
    let PackQuery { footer } = query(&request)?;
    let id: PackId = parse_id(&id)?;
    let (parts, body) = request.into_parts();
    let (session, reserved) = match reserve(&app, &parts.headers, id).await {
        Ok(reserved) => reserved,
        Err(failure) => {
            discard(&app, body, endpoint::PUT_PACK.body_cap).await;
            return Err(failure);
        }
    };
    let body = receive(&app, &parts.headers, body, endpoint::PUT_PACK.body_cap).await?;
    let pack = PackUpload { id, footer_len: footer, bytes: body.bytes.clone() };
    let number = session.put_reserved(pack, reserved).await?;
    of(&session, json(&PackAnswer { number }))
}

/// Who sends a pack, and its share of quota and disk, before any of it is taken.
async fn reserve(
    app: &App,
    headers: &HeaderMap,
    id: PackId,
) -> Result<(Session, Option<Reservation>), Failure> {
    let session = caller(app, headers)?;
    let length = stated_length(headers)?;
    if length > endpoint::PUT_PACK.body_cap {
        return Err(Failure::too_large(endpoint::PUT_PACK.body_cap));
    }
    let length = u64::try_from(length).map_err(|_e| Failure::invalid("too long"))?;
    let reserved = session.reserve(id, length).await?;
    Ok((session, reserved))
}

pub(super) async fn get_pack(
    State(app): State<App>,
    Path(number): Path<String>,
    headers: HeaderMap,
) -> Reply {
    let session = caller(&app, &headers)?;
    let number = number
        .parse()
        .map(PackNumber)
        .map_err(|_e: std::num::ParseIntError| Failure::invalid("a pack has a number"))?;
    let range = text_header(&headers, &header::RANGE)
        .map(|text| byte_range(text).ok_or_else(|| Failure::invalid("not a range of bytes")))
        .transpose()?;
    let pack = session.get_pack(number, range.clone()).await?;
    let mut response = octets(pack.bytes);
    let headers = response.headers_mut();
    headers.insert(PACK_LENGTH_HEADER, HeaderValue::from(pack.total));
    if pack.damaged {
        headers.insert(DAMAGED_HEADER, HeaderValue::from(1));
    }
    if let Some(Range { start, end }) = range {
        let text = format!("bytes {start}-{}/{}", end.saturating_sub(1), pack.total);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    of(&session, Ok(response))
}

pub(super) async fn live_packs(State(app): State<App>, headers: HeaderMap) -> Reply {
    let session = caller(&app, &headers)?;
    let live = session.live_packs().await?;
    of(&session, Ok(octets(live.to_bytes().into())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FootersQuery {
    device: Option<DeviceId>,
    after: Option<u32>,
}

pub(super) async fn footers(State(app): State<App>, request: Request) -> Reply {
    let session = caller(&app, request.headers())?;
    let query: FootersQuery = query(&request)?;
    let page = session.footers(query.device, query.after.map(PackNumber)).await?;
    of(&session, Ok(octets(pages::encode(&page).into())))
}

pub(super) async fn commit(State(app): State<App>, request: Request) -> Reply {
    let (session, body) = received(&app, request, &endpoint::COMMIT).await?;
    let body: CommitBody = from_json(&body.bytes)?;
    let request = CommitRequest::try_from(body).map_err(|e| Failure::invalid(e.to_string()))?;
    let record = session.commit(request).await?;
    of(&session, json(&RecordBody::from(record)))
}

pub(super) async fn compact(State(app): State<App>, request: Request) -> Reply {
    let (session, body) = received(&app, request, &endpoint::COMPACT).await?;
    let body: CompactBody = from_json(&body.bytes)?;
    let request = CompactRequest::try_from(body).map_err(|e| Failure::invalid(e.to_string()))?;
    let record = session.compact(request).await?;
    of(&session, json(&RecordBody::from(record)))
}

pub(super) async fn manifest(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Reply {
    let session = caller(&app, &headers)?;
    let id: SnapshotId = parse_id(&id)?;
    let manifest = session.manifest(id).await?;
    of(&session, Ok(octets(manifest)))
}

pub(super) async fn packs_of(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Reply {
    let session = caller(&app, &headers)?;
    let id: SnapshotId = parse_id(&id)?;
    let packs = session.packs_of(id).await?;
    of(&session, Ok(octets(packs.to_bytes().into())))
}

pub(super) async fn privacy(State(app): State<App>, headers: HeaderMap) -> Reply {
    let session = caller(&app, &headers)?;
    let report = session.privacy().await?;
    of(&session, json(&report))
}

pub(super) async fn access(State(app): State<App>, headers: HeaderMap) -> Reply {
    let session = caller(&app, &headers)?;
    let access = session.access().await?;
    of(&session, json(&AccessBody { access }))
}

pub(super) async fn erased(State(app): State<App>, Path(account): Path<String>) -> Reply {
    let account: VaultId = parse_id(&account)?;
    json(&ReceiptBody::from(app.core.erased(account).await?))
}

/// Who is asking.
fn caller(app: &App, headers: &HeaderMap) -> Result<Session, Failure> {
    let token = text_header(headers, &header::AUTHORIZATION)
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or(VaultError::Unauthorized)?;
    Ok(app.tokens.session(token)?)
}

/// Who is asking, and the body. Nothing is kept in memory for who is not logged in.
async fn received(
    app: &App,
    request: Request,
    endpoint: &Endpoint,
) -> Result<(Session, Received), Failure> {
    let (parts, body) = request.into_parts();
    match caller(app, &parts.headers) {
        Ok(session) => {
            let body = receive(app, &parts.headers, body, endpoint.body_cap).await?;
            Ok((session, body))
        }
        Err(failure) => {
            discard(app, body, endpoint.body_cap).await;
            Err(failure)
        }
    }
}

async fn parse<T: DeserializeOwned>(
    app: &App,
    request: Request,
    endpoint: &Endpoint,
) -> Result<T, Failure> {
    let (parts, body) = request.into_parts();
    let received = receive(app, &parts.headers, body, endpoint.body_cap).await?;
    from_json(&received.bytes)
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::invalid(error.to_string()))
}

fn query<T: DeserializeOwned>(request: &Request) -> Result<T, Failure> {
    match Query::try_from_uri(request.uri()) {
        Ok(Query(query)) => Ok(query),
        Err(error) => Err(Failure::invalid(error.body_text())),
    }
}

fn parse_id<T: std::str::FromStr<Err = unseen_common::id::ParseIdError>>(
    text: &str,
) -> Result<T, Failure> {
    text.parse()
        .map_err(|error: unseen_common::id::ParseIdError| Failure::invalid(error.to_string()))
}

fn text_header<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// `bytes=FIRST-LAST`, the only form that clients send.
fn byte_range(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some(first..last.checked_add(1)?)
}

fn json(body: &impl Serialize) -> Reply {
    let text = serde_json::to_vec(body)
        .map_err(|_e| VaultError::Server("an answer cannot be written".to_owned()))?;
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn octets(bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let kind = HeaderValue::from_static(OCTET_STREAM);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn of(session: &Session, reply: Reply) -> Reply {
    reply.map(|mut response| {
        response.extensions_mut().insert(Whose(session.account()));
        response
    })
}
