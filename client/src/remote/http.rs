//! The protocol over HTTP.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RANGE};
use reqwest::{Client, Response};
use serde::Serialize;
use tokio::time::timeout;
use unseen_common::id::{DeviceId, Hash, PackNumber, SnapshotId, VaultId};
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::packset::PackSet;
use unseen_common::privacy::{Access, ObjectPage, Report};
use unseen_common::receipt::SignedReceipt;
use unseen_common::vault::{
    Challenge, CommitRequest, CompactRequest, FooterPage, LogPage, LoginRequest, NewAccount,
    PackBytes, PackSurvey, PackUpload, Principal, Result, ServerInfo, Service, Vault, VaultError,
};
use unseen_common::wire::address::{Pin, ServerAddress, authority};
use unseen_common::wire::base64::Base64;
use unseen_common::wire::body::{
    AccessBody, AccountBody, ChallengeAnswer, ChallengeBody, CommitBody, CompactBody, EntryBody,
    LogBody, LoginBody, PackAnswer, PutSlotsBody, ReceiptBody, RecordBody, SlotsBody, TokenAnswer,
};
use unseen_common::wire::endpoint::{self, Endpoint, Method};
use unseen_common::wire::survey::{SurveyAnswer, SurveyBody, VerifyBody};
use unseen_common::wire::{DAMAGED_HEADER, OCTET_STREAM, PACK_LENGTH_HEADER, footers as pages};

use super::reply::{self, IDLE, unreachable};
use super::tls::{self, Mismatch};

/// Connecting and the handshake must be done in this time.
const CONNECT: Duration = Duration::from_secs(10);
/// Servers close connections that stay idle for 10 s.
const POOL_IDLE: Duration = Duration::from_secs(5);
/// Slowest upload that is not given up, in bytes per second.
const SLOWEST: u64 = 4096;

/// A server, not logged in.
#[derive(Debug, Clone)]
pub struct HttpService(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    client: Client,
    base: String,
    host: String,
    pin: Pin,
    mismatch: Mismatch,
}

impl HttpService {
    /// The server at this address. Nothing is sent yet.
    pub fn new(address: &ServerAddress) -> Result<Self> {
        let mismatch = Mismatch::default();
        let config = tls::config(address.pin.spki, &mismatch)
            .map_err(|error| VaultError::Server(format!("TLS cannot be set up: {error}")))?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(config)
            .https_only(true)
            .http1_only()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(POOL_IDLE)
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&address.host) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| VaultError::Server(format!("HTTP cannot be set up: {error}")))?;
        Ok(Self(Arc::new(Connection {
            client,
            base: format!("https://{}", authority(&address.host, address.port)),
            host: address.host.clone(),
            pin: address.pin,
            mismatch,
        })))
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// One request before it is sent.
struct Ask<'a> {
    endpoint: &'a Endpoint,
    path: String,
    query: String,
    token: Option<&'a HeaderValue>,
    range: Option<HeaderValue>,
    body: Option<(&'static str, Bytes)>,
}

impl<'a> Ask<'a> {
    fn new(endpoint: &'a Endpoint) -> Self {
        Self {
            endpoint,
            path: endpoint.path.to_owned(),
            query: String::new(),
            token: None,
            range: None,
            body: None,
        }
    }

    fn about(endpoint: &'a Endpoint, id: &impl std::fmt::Display) -> Self {
        Self { path: endpoint.path_to(id), ..Self::new(endpoint) }
    }

    /// Adds to the query. Values are identifiers and numbers: nothing in them needs escaping.
    fn with(mut self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        if let Some(value) = value {
            let mark = if self.query.is_empty() { '?' } else { '&' };
            self.query = format!("{}{mark}{name}={value}", self.query);
        }
        self
    }

    fn json(mut self, body: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(body)
            .map_err(|error| VaultError::Invalid(format!("the request: {error}")))?;
        self.body = Some(("application/json", bytes.into()));
        Ok(self)
    }

    /// Longest time until the answer begins.
    fn patience(&self) -> Duration {
        let length = self.body.as_ref().map_or(0, |(_, bytes)| bytes.len());
        let sending = u64::try_from(length).unwrap_or(u64::MAX) / SLOWEST;
        IDLE + CONNECT + Duration::from_secs(sending)
    }
}

impl Connection {
    async fn send(&self, ask: Ask<'_>) -> Result<Response> {
        let patience = ask.patience();
        let url = format!("{}{}{}", self.base, ask.path, ask.query);
        let mut request = match ask.endpoint.method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
            Method::Put => self.client.put(url),
        };
        if let Some(token) = ask.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some(range) = ask.range {
            request = request.header(RANGE, range);
        }
        if let Some((kind, bytes)) = ask.body {
            request = request.header(CONTENT_TYPE, kind).body(bytes);
        }
        match timeout(patience, request.send()).await {
            Err(_elapsed) => Err(unreachable("no answer in time")),
            Ok(Err(_)) if self.mismatch.take() => {
                Err(VaultError::WrongServer("its TLS key is not the pinned one".to_owned()))
            }
            Ok(Err(error)) => Err(reply::transport(&error)),
            Ok(Ok(response)) => reply::check(response).await,
        }
    }
}

#[async_trait]
impl Service for HttpService {
    async fn describe(&self) -> Result<ServerInfo> {
        let response = self.0.send(Ask::new(&endpoint::DESCRIBE)).await?;
        let info: ServerInfo = reply::json(response, endpoint::DESCRIBE.answer_cap).await?;
        if info.identity == Hash::from_bytes(self.0.pin.identity) {
            Ok(info)
        } else {
            Err(VaultError::WrongServer("its identity key is not the pinned one".to_owned()))
        }
    }

    async fn create_account(&self, account: NewAccount) -> Result<()> {
        let ask = Ask::new(&endpoint::CREATE_ACCOUNT).json(&AccountBody::from(account))?;
        self.0.send(ask).await.map(drop)
    }

    async fn challenge(&self, account: VaultId, principal: Principal) -> Result<Challenge> {
        let body = ChallengeBody { account, principal };
        let ask = Ask::new(&endpoint::CHALLENGE).json(&body)?;
        let response = self.0.send(ask).await?;
        let answer: ChallengeAnswer = reply::json(response, endpoint::CHALLENGE.answer_cap).await?;
        Ok(answer.into())
    }

    async fn login(&self, request: LoginRequest) -> Result<Arc<dyn Vault>> {
        let ask = Ask::new(&endpoint::SESSION).json(&LoginBody::from(request))?;
        let response = self.0.send(ask).await?;
        let answer: TokenAnswer = reply::json(response, endpoint::SESSION.answer_cap).await?;
        let mut token = HeaderValue::try_from(format!("Bearer {}", answer.token))
            .map_err(|_e| VaultError::BadAnswer("a token that is no text".to_owned()))?;
        token.set_sensitive(true);
        Ok(Arc::new(HttpVault { connection: Arc::clone(&self.0), token }))
    }

    async fn erased(&self, account: VaultId) -> Result<SignedReceipt> {
        let response = self.0.send(Ask::about(&endpoint::ERASED, &account)).await?;
        let body: ReceiptBody = reply::json(response, endpoint::ERASED.answer_cap).await?;
        Ok(body.into())
    }

    fn host(&self) -> String {
        self.0.host.clone()
    }
}

/// A session at a server.
#[derive(Debug)]
struct HttpVault {
    connection: Arc<Connection>,
    token: HeaderValue,
}

impl HttpVault {
    async fn send(&self, ask: Ask<'_>) -> Result<Response> {
        let token = Some(&self.token);
        self.connection.send(Ask { token, ..ask }).await
    }

    async fn record(&self, ask: Ask<'_>) -> Result<Record> {
        let cap = ask.endpoint.answer_cap;
        let body: RecordBody = reply::json(self.send(ask).await?, cap).await?;
        Ok(body.into())
    }

    async fn octets(&self, ask: Ask<'_>) -> Result<Bytes> {
        let cap = ask.endpoint.answer_cap;
        reply::read(self.send(ask).await?, cap).await
    }
}

#[async_trait]
impl Vault for HttpVault {
    async fn slots(&self) -> Result<Vec<Bytes>> {
        let response = self.send(Ask::new(&endpoint::SLOTS)).await?;
        let body: SlotsBody = reply::json(response, endpoint::SLOTS.answer_cap).await?;
        Ok(body.slots.into_iter().map(|slot| slot.0).collect())
    }

    async fn put_slots(&self, slots: Vec<Bytes>, entry: SignedEntry) -> Result<Record> {
        let body =
            PutSlotsBody { slots: slots.into_iter().map(Base64).collect(), entry: entry.into() };
        self.record(Ask::new(&endpoint::PUT_SLOTS).json(&body)?).await
    }

    async fn log(&self, after: Option<u64>) -> Result<LogPage> {
        let ask = Ask::new(&endpoint::LOG).with("after", after);
        let body: LogBody = reply::json(self.send(ask).await?, endpoint::LOG.answer_cap).await?;
        Ok(body.into())
    }

    async fn append(&self, entry: SignedEntry) -> Result<Record> {
        self.record(Ask::new(&endpoint::APPEND).json(&EntryBody::from(entry))?).await
    }

    async fn put_pack(&self, pack: PackUpload) -> Result<PackNumber> {
        let ask = Ask {
            body: Some((OCTET_STREAM, pack.bytes)),
            ..Ask::about(&endpoint::PUT_PACK, &pack.id).with("footer", Some(pack.footer_len))
        };
        let response = self.send(ask).await?;
        let answer: PackAnswer = reply::json(response, endpoint::PUT_PACK.answer_cap).await?;
        Ok(answer.number)
    }

    async fn get_pack(&self, number: PackNumber, range: Option<Range<u64>>) -> Result<PackBytes> {
        let header = range.clone().map(|range| byte_range(&range)).transpose()?;
        let ask = Ask { range: header, ..Ask::about(&endpoint::GET_PACK, &number) };
        let response = self.send(ask).await?;
        let damaged = response.headers().contains_key(DAMAGED_HEADER);
        let total = response
            .headers()
            .get(PACK_LENGTH_HEADER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .ok_or_else(|| VaultError::BadAnswer("a pack without its length".to_owned()))?;
        let bytes = reply::read(response, endpoint::GET_PACK.answer_cap).await?;
        let Range { start, end } = range.unwrap_or(0..total);
        let wanted = end.saturating_sub(start);
        if !damaged && u64::try_from(bytes.len()) != Ok(wanted) {
            return Err(VaultError::BadAnswer("other bytes than asked for".to_owned()));
        }
        Ok(PackBytes { bytes, total, damaged })
    }

    async fn live_packs(&self) -> Result<PackSet> {
        let bytes = self.octets(Ask::new(&endpoint::LIVE_PACKS)).await?;
        packset(&bytes)
    }

    async fn damaged_packs(&self) -> Result<PackSet> {
        let bytes = self.octets(Ask::new(&endpoint::DAMAGED_PACKS)).await?;
        packset(&bytes)
    }

    async fn footers(
        &self,
        device: Option<DeviceId>,
        after: Option<PackNumber>,
    ) -> Result<FooterPage> {
        let ask = Ask::new(&endpoint::FOOTERS).with("device", device).with("after", after);
        let page = pages::decode(self.octets(ask).await?)
            .map_err(|error| VaultError::BadAnswer(error.to_string()))?;
        if page.more && page.items.is_empty() {
            return Err(VaultError::BadAnswer("an empty page with more".to_owned()));
        }
        Ok(page)
    }

    async fn survey_packs(&self, after: Option<PackNumber>) -> Result<PackSurvey> {
        let ask = Ask::new(&endpoint::SURVEY).json(&SurveyBody { after })?;
        let cap = endpoint::SURVEY.answer_cap;
        let answer: SurveyAnswer = reply::json(self.send(ask).await?, cap).await?;
        let survey = PackSurvey::try_from(answer)
            .map_err(|error| VaultError::BadAnswer(error.to_string()))?;
        // Whoever goes on from there must come to an end.
        if survey.next.is_some() && survey.next <= after {
            return Err(VaultError::BadAnswer("a survey that does not go on".to_owned()));
        }
        Ok(survey)
    }

    async fn verify_packs(&self, packs: PackSet) -> Result<PackSet> {
        let body = VerifyBody { packs: packs.to_bytes().into() };
        packset(&self.octets(Ask::new(&endpoint::VERIFY).json(&body)?).await?)
    }

    async fn commit(&self, request: CommitRequest) -> Result<Record> {
        self.record(Ask::new(&endpoint::COMMIT).json(&CommitBody::from(request))?).await
    }

    async fn compact(&self, request: CompactRequest) -> Result<Record> {
        self.record(Ask::new(&endpoint::COMPACT).json(&CompactBody::from(request))?).await
    }

    async fn manifest(&self, snapshot: SnapshotId) -> Result<Bytes> {
        self.octets(Ask::about(&endpoint::MANIFEST_OF, &snapshot)).await
    }

    async fn packs_of(&self, snapshot: SnapshotId) -> Result<PackSet> {
        let ask = Ask::about(&endpoint::PACKS_OF, &snapshot);
        packset(&self.octets(ask).await?)
    }

    async fn privacy(&self) -> Result<Report> {
        let response = self.send(Ask::new(&endpoint::PRIVACY)).await?;
        reply::json(response, endpoint::PRIVACY.answer_cap).await
    }

    async fn access(&self) -> Result<Vec<Access>> {
        let response = self.send(Ask::new(&endpoint::ACCESS)).await?;
        let body: AccessBody = reply::json(response, endpoint::ACCESS.answer_cap).await?;
        Ok(body.access)
    }

    async fn objects(&self, after: Option<String>) -> Result<ObjectPage> {
        let ask = Ask::new(&endpoint::OBJECTS).with("after", after);
        let page: ObjectPage =
            reply::json(self.send(ask).await?, endpoint::OBJECTS.answer_cap).await?;
        if page.more && page.objects.is_empty() {
            return Err(VaultError::BadAnswer("an empty page with more".to_owned()));
        }
        Ok(page)
    }
}

fn packset(bytes: &[u8]) -> Result<PackSet> {
    PackSet::from_bytes(bytes).map_err(|error| VaultError::BadAnswer(error.to_string()))
}

/// The header for a range. HTTP has no form for an empty one.
fn byte_range(range: &Range<u64>) -> Result<HeaderValue> {
    let last = range
        .end
        .checked_sub(1)
        .filter(|last| *last >= range.start)
        .ok_or_else(|| VaultError::Invalid("an empty range".to_owned()))?;
    HeaderValue::try_from(format!("bytes={}-{last}", range.start))
        .map_err(|_e| VaultError::Invalid("a range that cannot be sent".to_owned()))
}
