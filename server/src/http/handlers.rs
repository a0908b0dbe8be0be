//! One handler a route: takes the request apart, asks the core, puts the answer together.

use std::ops::Range;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use unseen_common::id::{DeviceId, PackId, PackNumber, SnapshotId, VaultId};
use unseen_common::packset::PackSet;
use unseen_common::vault::{CommitRequest, CompactRequest, PackUpload, Service, Vault, VaultError};
use unseen_common::wire::base64::Base64;
use unseen_common::wire::body::{
    AccessBody, AccountBody, ChallengeAnswer, ChallengeBody, CommitBody, CompactBody, EntryBody,
    LogBody, LoginBody, PackAnswer, PutSlotsBody, ReceiptBody, RecordBody, SlotsBody,
};
use unseen_common::wire::host::host_of;
use unseen_common::wire::survey::{SurveyAnswer, SurveyBody, VerifyBody};
use unseen_common::wire::{
    DAMAGED_HEADER, JSON, OCTET_STREAM, PACK_LENGTH_HEADER, footers as pages,
};

use super::call::{Call, Reply};
use super::failure::Failure;
use super::request_log::{self, Whose};
use crate::vault::Session;

pub(super) async fn describe(call: Call<()>) -> Reply {
    let mut info = call.app.core.describe().await?;
    if call.app.log_addresses {
        info.privacy = request_log::disclose_addresses(info.privacy);
        info.policy.addresses_logged = true;
    }
    json(&info)
}

pub(super) async fn openapi(call: Call<()>) -> Reply {
    Ok(typed(JSON, call.app.api.clone()))
}

pub(super) async fn create_account(mut call: Call<()>) -> Reply {
    let body: AccountBody = call.json().await?;
    call.app.core.create_account(body.into()).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

pub(super) async fn challenge(mut call: Call<()>) -> Reply {
    let body: ChallengeBody = call.json().await?;
    let challenge = call.app.core.challenge(body.account, body.principal).await?;
    json(&ChallengeAnswer::from(challenge))
}

/// A login is refused after this time, and not before: how long it took to find out that there is no
/// such account, or no such key in it, is nobody's business. A good one is not held up.
pub(super) const REFUSED_AFTER: Duration = Duration::from_millis(50);

pub(super) async fn session(mut call: Call<()>) -> Reply {
    let body: LoginBody = call.json().await?;
    let host = host_of(&call.authority());
    let answer = Instant::now() + REFUSED_AFTER;
    let session = match call.app.core.login_at(host, body.into()).await {
        Ok(session) => session,
        Err(error) => {
            sleep_until(answer).await;
            return Err(error.into());
        }
    };
    let whose = Whose(session.account());
    let mut response = json(&call.app.tokens.issue(session))?;
    response.extensions_mut().insert(whose);
    Ok(response)
}

pub(super) async fn slots(call: Call<Session>) -> Reply {
    let slots = call.who.slots().await?.into_iter().map(Base64).collect();
    json(&SlotsBody { slots })
}

pub(super) async fn put_slots(mut call: Call<Session>) -> Reply {
    let body: PutSlotsBody = call.json().await?;
    let slots = body.slots.into_iter().map(|slot| slot.0).collect();
    json(&RecordBody::from(call.who.put_slots(slots, body.entry.into()).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    after: Option<u64>,
}

pub(super) async fn log(call: Call<Session>) -> Reply {
    let LogQuery { after } = call.query()?;
    json(&LogBody::from(call.who.log(after).await?))
}

pub(super) async fn append(mut call: Call<Session>) -> Reply {
    let entry: EntryBody = call.json().await?;
    json(&RecordBody::from(call.who.append(entry.into()).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackQuery {
    footer: u32,
}

pub(super) async fn put_pack(mut call: Call<Session>) -> Reply {
    let PackQuery { footer } = call.query()?;
    let id: PackId = call.id()?;
    // Quota and disk before a byte of it is taken.
    let reserved = call.who.reserve(id, call.length()?).await?;
    let pack = PackUpload { id, footer_len: footer, bytes: call.bytes().await? };
    json(&PackAnswer { number: call.who.put_reserved(pack, reserved).await? })
}

pub(super) async fn get_pack(call: Call<Session>) -> Reply {
    let number: PackNumber = call.id()?;
    let range = call
        .header(&header::RANGE)
        .map(|text| byte_range(text).ok_or_else(|| Failure::invalid("not a range of bytes")))
        .transpose()?;
    let pack = call.who.get_pack(number, range.clone()).await?;
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
    Ok(response)
}

pub(super) async fn live_packs(call: Call<Session>) -> Reply {
    let live = call.who.live_packs().await?;
    Ok(octets(live.to_bytes().into()))
}

pub(super) async fn damaged_packs(call: Call<Session>) -> Reply {
    let damaged = call.who.damaged_packs().await?;
    Ok(octets(damaged.to_bytes().into()))
}

pub(super) async fn survey(mut call: Call<Session>) -> Reply {
    let SurveyBody { after } = call.json().await?;
    json(&SurveyAnswer::from(call.who.survey_packs(after).await?))
}

pub(super) async fn verify(mut call: Call<Session>) -> Reply {
    let body: VerifyBody = call.json().await?;
    let packs =
        PackSet::from_bytes(&body.packs.0).map_err(|error| Failure::invalid(error.to_string()))?;
    let bad = call.who.verify_packs(packs).await?;
    Ok(octets(bad.to_bytes().into()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FootersQuery {
    device: Option<DeviceId>,
    after: Option<u32>,
}

pub(super) async fn footers(call: Call<Session>) -> Reply {
    let FootersQuery { device, after } = call.query()?;
    let page = call.who.footers(device, after.map(PackNumber)).await?;
    Ok(octets(pages::encode(&page).into()))
}

pub(super) async fn commit(mut call: Call<Session>) -> Reply {
    let body: CommitBody = call.json().await?;
    let request = CommitRequest::try_from(body).map_err(|e| Failure::invalid(e.to_string()))?;
    json(&RecordBody::from(call.who.commit(request).await?))
}

pub(super) async fn compact(mut call: Call<Session>) -> Reply {
    let body: CompactBody = call.json().await?;
    let request = CompactRequest::try_from(body).map_err(|e| Failure::invalid(e.to_string()))?;
    json(&RecordBody::from(call.who.compact(request).await?))
}

pub(super) async fn manifest(call: Call<Session>) -> Reply {
    let id: SnapshotId = call.id()?;
    Ok(octets(call.who.manifest(id).await?))
}

pub(super) async fn packs_of(call: Call<Session>) -> Reply {
    let id: SnapshotId = call.id()?;
    let packs = call.who.packs_of(id).await?;
    Ok(octets(packs.to_bytes().into()))
}

pub(super) async fn privacy(call: Call<Session>) -> Reply {
    json(&call.who.privacy().await?)
}

pub(super) async fn access(call: Call<Session>) -> Reply {
    json(&AccessBody { access: call.who.access().await? })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectsQuery {
    after: Option<String>,
}

pub(super) async fn objects(call: Call<Session>) -> Reply {
    let ObjectsQuery { after } = call.query()?;
    json(&call.who.objects(after).await?)
}

pub(super) async fn erased(call: Call<()>) -> Reply {
    let account: VaultId = call.id()?;
    json(&ReceiptBody::from(call.app.core.erased(account).await?))
}

/// `bytes=FIRST-LAST`, the only form that clients send.
pub(super) fn byte_range(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return None;
    }
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some(first..last.checked_add(1)?)
}

fn json(body: &impl Serialize) -> Reply {
    let text = serde_json::to_vec(body)
        .map_err(|_e| VaultError::Server("an answer cannot be written".to_owned()))?;
    Ok(typed(JSON, text.into()))
}

fn octets(bytes: Bytes) -> Response {
    typed(OCTET_STREAM, bytes)
}

fn typed(kind: &'static str, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
