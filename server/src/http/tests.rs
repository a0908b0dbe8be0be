//! What the transport refuses, byte by byte: plain HTTP on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use unseen_common::id::VaultId;
use unseen_common::vault::{Principal, Service, login_message};
use unseen_common::wire::base64::Base64N;
use unseen_common::wire::body::{ChallengeAnswer, ChallengeBody, LoginBody, TokenAnswer};
use unseen_common::wire::problem::Problem;

use super::api::Route;
use super::{Limits, ServeError, Server, ServerOptions, routes};
use crate::store::memory::{self, MemBlobs, MemJournals};
use crate::testkit::{Bench, Owner, TestClock};
use crate::vault::{Core, Options};

mod api;
mod floods;
mod http2;
mod matrix;
mod repeats;
mod slow;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

const POST_CHALLENGE: &str = "POST /v1/auth/challenge HTTP/1.1\r\nContent-Type: application/json";

struct Running {
    bench: Bench,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<Result<(), ServeError>>,
}

async fn start(limits: Limits) -> Running {
    start_with(limits, None).await
}

async fn start_with(limits: Limits, tls: Option<Arc<rustls::ServerConfig>>) -> Running {
    let store = memory::store(MemBlobs::default(), MemJournals::default());
    start_on(limits, tls, |options| Core::with_store(store, [1; 32], options).unwrap()).await
}

async fn start_on(
    limits: Limits,
    tls: Option<Arc<rustls::ServerConfig>>,
    open: impl FnOnce(Options) -> Core,
) -> Running {
    let clock = Arc::new(TestClock::default());
    let core = open(Options { clock: Arc::<TestClock>::clone(&clock), open_accounts: false });
    let options = ServerOptions {
        limits,
        clock: Arc::<TestClock>::clone(&clock),
        ..ServerOptions::new(LOOPBACK, tls)
    };
    let server = Server::bind(core.clone(), options).await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let done = tokio::spawn(server.run(async move { drop(stopped.await) }));
    let service: Arc<dyn Service> = Arc::new(core.clone());
    let bench = Bench { service, clock, core };
    Running { bench, address, stop, done }
}

/// Sends a head and a body, and reads the answer to its end: head and body.
async fn send(running: &Running, head: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!("{head}\r\nHost: nas.home:8443\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head, answer[end + 4..].to_vec())
}

async fn refused(running: &Running, head: &str, body: &[u8]) -> (u16, String) {
    let (head, body) = send(running, head, body).await;
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    let status = format!("HTTP/1.1 {}", problem.status);
    assert!(head.starts_with(&status), "{head}");
    assert_eq!(problem.kind, format!("urn:unseen:problem:{}", problem.code));
    (problem.status, problem.code)
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// An answer, taken apart.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
    }

    fn is_problem(&self) -> bool {
        self.header("content-type") == Some("application/problem+json")
            && serde_json::from_slice::<Problem>(&self.body).is_ok_and(|p| p.status == self.status)
    }

    /// All of the head that does not change by itself.
    fn shape(&self) -> String {
        self.head.lines().filter(|line| !line.starts_with("date:")).collect()
    }
}

/// Sends one request on a connection of its own.
async fn exchange(
    running: &Running,
    (method, target): (&str, &str),
    token: Option<&str>,
    (kind, body): (&str, &[u8]),
) -> Answer {
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {}",
        body.len()
    );
    if let Some(token) = token {
        head.push_str("\r\nAuthorization: Bearer ");
        head.push_str(token);
    }
    let (head, body) = send(running, &head, body).await;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body }
}

/// The body of a login: a challenge, answered with this key for this host.
async fn session_body(
    running: &Running,
    account: VaultId,
    (principal, key): (Principal, &SigningKey),
    host: &str,
) -> Vec<u8> {
    let body = serde_json::to_vec(&ChallengeBody { account, principal }).unwrap();
    let asked = ("POST", "/v1/auth/challenge");
    let answer = exchange(running, asked, None, ("application/json", &body)).await;
    let challenge: ChallengeAnswer = serde_json::from_slice(&answer.body).unwrap();
    let identity = running.bench.core.identity();
    let message = login_message(&identity, host, account, principal, &challenge.into());
    let nonce = challenge.nonce;
    let signature = Base64N(key.sign(&message).to_bytes());
    serde_json::to_vec(&LoginBody { account, principal, nonce, signature }).unwrap()
}

async fn token(running: &Running, owner: &Owner, signed_host: &str) -> (String, Vec<u8>) {
    token_of(running, (owner, Principal::Owner, &owner.login), signed_host).await
}

async fn token_of(
    running: &Running,
    (owner, principal, key): (&Owner, Principal, &SigningKey),
    signed_host: &str,
) -> (String, Vec<u8>) {
    let body = session_body(running, owner.vault, (principal, key), signed_host).await;
    let asked = ("POST", "/v1/auth/session");
    let answer = exchange(running, asked, None, ("application/json", &body)).await;
    (answer.head, answer.body)
}

#[tokio::test]
async fn routes_and_bodies_are_guarded() {
    let running = start(Limits::default()).await;
    let nowhere = refused(&running, "GET /v1/nowhere HTTP/1.1", b"").await;
    assert_eq!(nowhere, is(404, "no-such-route"));
    let wrong = refused(&running, "DELETE /v1/server HTTP/1.1", b"").await;
    assert_eq!(wrong, is(405, "wrong-method"));
    let (head, _) = send(&running, "DELETE /v1/slots HTTP/1.1", b"").await;
    assert!(head.contains("allow: GET,HEAD,PUT"), "{head}");
    for Route { endpoint, .. } in routes::table().into_iter().filter(|route| route.guarded) {
        let method = endpoint.method.as_str();
        let path = endpoint.path_to(&"ab".repeat(32));
        let head = format!("{method} {path}?footer=4096 HTTP/1.1\r\nContent-Length: 0");
        let token = format!("{head}\r\nAuthorization: Bearer none");
        for head in [head, token] {
            assert_eq!(refused(&running, &head, b"").await, is(401, "unauthorized"), "{head}");
        }
    }
    let post = POST_CHALLENGE;
    let large = refused(&running, &format!("{post}\r\nContent-Length: 16385"), b"").await;
    assert_eq!(large, is(413, "too-large"));
    let chunked = format!("{post}\r\nTransfer-Encoding: chunked");
    assert_eq!(refused(&running, &chunked, b"0\r\n\r\n").await, is(411, "length-required"));
    let odd = "POST /v1/auth/challenge HTTP/1.1\r\nContent-Type: text/plain";
    let odd = refused(&running, &format!("{odd}\r\nContent-Length: 2"), b"{}").await;
    assert_eq!(odd, is(415, "wrong-type"));
    let unknown = br#"{"account":"00","principal":"owner"}"#;
    let head = format!("{post}\r\nContent-Length: {}", unknown.len());
    assert_eq!(refused(&running, &head, unknown).await, is(400, "invalid"));
}

/// What is refused before there is a request: nothing to answer with but a status.
#[tokio::test]
async fn heads_have_a_form_and_a_size() {
    let running = start(Limits::default()).await;
    let many = "X-Y: z\r\n".repeat(100);
    let long = "z".repeat(200_000);
    for (head, wanted) in [
        (format!("GET /v1/server HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431),
        (format!("GET /v1/server HTTP/1.1\r\nHost: x\r\nX-Y: {long}\r\n\r\n"), 431),
        (format!("GET /v1/packs/{} HTTP/1.1\r\nHost: x\r\n\r\n", "1".repeat(70_000)), 414),
        ("GET /v1/packs/\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("GET /v1/log HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), 400),
        ("GET /v1/log HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut begun = [0; 12];
        stream.read_exact(&mut begun).await.unwrap();
        let shown = head.chars().take(60).collect::<String>();
        assert_eq!(begun, format!("HTTP/1.1 {wanted}").as_bytes(), "{shown}");
    }
    // A body hidden behind two lengths is a request of its own to no one.
    let both = format!("{POST_CHALLENGE}\r\nTransfer-Encoding: chunked\r\nContent-Length: 4");
    let (head, _) = send(&running, &both, b"0\r\n\r\nGET /v1/server HTTP/1.1\r\n\r\n").await;
    assert_eq!(head.matches("HTTP/1.1").count(), 1, "{head}");
    assert!(head.starts_with("HTTP/1.1 4"), "{head}");
}

#[tokio::test]
async fn bodies_that_stand_still_are_given_up() {
    let limits = Limits { idle: Duration::ZERO, ..Limits::default() };
    let running = start(limits).await;
    let head = format!("{POST_CHALLENGE}\r\nContent-Length: 100");
    let slow = refused(&running, &head, b"").await;
    assert_eq!(slow, is(408, "too-slow"));
}

#[tokio::test]
async fn the_host_is_signed_and_tokens_open_routes() {
    let running = start(Limits::default()).await;
    let owner = running.bench.owner(1).await;
    let (head, _) = token(&running, &owner, "evil.example").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let (head, body) = token(&running, &owner, "nas.home").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let TokenAnswer { token, seconds } = serde_json::from_slice(&body).unwrap();
    assert_eq!((token.len(), seconds), (43, 3600));
    let get = format!("GET /v1/log?after=0 HTTP/1.1\r\nAuthorization: Bearer {token}");
    let (head, body) = send(&running, &get, b"").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.starts_with(br#"{"records":[{"entry":"#));
    let odd = get.replace("?after=0", "?after=0&surprise=1");
    assert_eq!(refused(&running, &odd, b"").await, is(400, "invalid"));
    let odd = get.replace("/v1/log?after=0", "/v1/packs/..%2f");
    assert_eq!(refused(&running, &odd, b"").await, is(400, "invalid"));
}

/// The length alone decides: not one byte of the pack was sent.
#[tokio::test]
async fn a_pack_over_the_quota_is_refused_by_its_length() {
    let running = start(Limits::default()).await;
    let owner = running.bench.owner(1).await;
    let name = owner.vault.short();
    running.bench.core.account_quota(&name, Some(65535)).unwrap();
    let who = (&owner, Principal::Device(owner.machine.id), &owner.machine.login);
    let (_, body) = token_of(&running, who, "nas.home").await;
    let TokenAnswer { token, .. } = serde_json::from_slice(&body).unwrap();
    let pack = owner.machine.small_pack(1);
    let put = |length: u64| {
        format!(
            "PUT /v1/packs/{}?footer=4096 HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {length}",
            pack.id
        )
    };
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!("{}\r\nHost: nas.home\r\nConnection: close\r\n\r\n", put(65536));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 507"), "{answer}");
    assert!(answer.contains(r#""code":"quota""#), "{answer}");
    assert!(answer.contains("0 B of 63.9 KiB are in use, and 64 KiB more do not fit"), "{answer}");
    assert_eq!(refused(&running, &put(1 << 25), b"").await, is(413, "too-large"));

    // A body that is cut off gives its share back.
    running.bench.core.account_quota(&name, Some(65536)).unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let (head, _) = send(&running, &put(65536), &pack.bytes).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    running.bench.core.account_suspend(&name).unwrap();
    assert_eq!(refused(&running, &put(65536), &pack.bytes).await, is(403, "suspended"));
    let get = format!("GET /v1/access HTTP/1.1\r\nAuthorization: Bearer {token}");
    let (_, body) = send(&running, &get, b"").await;
    let kinds = String::from_utf8(body).unwrap();
    assert!(kinds.contains(r#""what":"quota""#) && kinds.contains(r#""what":"suspend""#));
}

#[tokio::test]
async fn running_requests_finish_when_told_to_end() {
    let running = start(Limits::default()).await;
    let body = format!(r#"{{"account":"{}","principal":"owner"}}"#, "00".repeat(16));
    let head = format!("{POST_CHALLENGE}\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (first, rest) = body.as_bytes().split_at(10);
    stream.write_all(first).await.unwrap();
    // Another request on another connection: by its answer, the first was accepted too.
    send(&running, "GET /v1/server HTTP/1.1", b"").await;
    running.stop.send(()).unwrap();
    stream.write_all(rest).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    running.done.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn plain_http_stays_on_the_machine() {
    let store = memory::store(MemBlobs::default(), MemJournals::default());
    let core = Core::with_store(store, [1; 32], Options::default()).unwrap();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = Server::bind(core, ServerOptions::new(everywhere, None)).await;
    assert!(matches!(refused, Err(ServeError::NotLoopback(_))));
}
