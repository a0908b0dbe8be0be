//! Who is slow, or only there, does not hurt the others.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use unseen_common::vault::Principal;
use unseen_common::wire::body::{PackAnswer, TokenAnswer};
use unseen_common::wire::{JSON, OCTET_STREAM};

use super::super::rate::{Rate, Rates};
use super::super::tls;
use super::{
    Limits, POST_CHALLENGE, Running, exchange, is, refused, send, session_body, start, start_with,
};
use crate::testkit::{Machine, Owner};

/// Sockets of this process: both ends of every connection are here.
fn allow_files(wanted: u64) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = limit.maximum.map_or(Some(wanted), |most| Some(most.min(wanted)));
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

async fn device_token(running: &Running, owner: &Owner, machine: &Machine) -> String {
    let who = (Principal::Device(machine.id), &machine.login);
    let body = session_body(running, owner.vault, who, "nas.home").await;
    let answer = exchange(running, ("POST", "/v1/auth/session"), None, (JSON, &body)).await;
    serde_json::from_slice::<TokenAnswer>(&answer.body).unwrap().token
}

async fn owner_token(running: &Running, owner: &Owner) -> String {
    let (_, body) = super::token(running, owner, "nas.home").await;
    serde_json::from_slice::<TokenAnswer>(&body).unwrap().token
}

/// Uploads a pack on a connection of its own.
async fn upload(running: &Running, owner: &Owner, token: &str, seed: u64) -> u32 {
    let pack = owner.machine.small_pack(seed);
    let path = format!("/v1/packs/{}?footer={}", pack.id, pack.footer_len);
    let body = (OCTET_STREAM, &pack.bytes[..]);
    let answer = exchange(running, ("PUT", &path), Some(token), body).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    serde_json::from_slice::<PackAnswer>(&answer.body).unwrap().number.0
}

/// A thousand connections that send nothing, half a head, or half a body, to a server that has
/// room for a hundred; none of its deadlines passes meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_dripping_connections_take_no_place() {
    allow_files(2500);
    let long = Duration::from_secs(600);
    let limits =
        Limits { connections: 100, head: long, idle: long, grace: long, ..Limits::default() };
    let running = start(limits).await;
    let owner = running.bench.owner(1).await;
    let token = device_token(&running, &owner, &owner.machine).await;
    let body = format!("{POST_CHALLENGE}\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{");
    let halves = ["", "GET /v1/server HTTP/1.1\r\nHo", &body, "\0\0\0"];
    let mut held = Vec::new();
    for round in 0..10 {
        for at in 0..100 {
            let mut stream = TcpStream::connect(running.address).await.unwrap();
            // It may be closed already.
            stream.write_all(halves[at % halves.len()].as_bytes()).await.ok();
            held.push(stream);
        }
        assert_eq!(upload(&running, &owner, &token, round).await, u32::try_from(round).unwrap());
    }
    // The first of them was closed long ago.
    let mut rest = Vec::new();
    held[0].read_to_end(&mut rest).await.ok();
    assert!(rest.is_empty());
}

/// An upload that was let in keeps its place, however many come after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_keeps_its_place() {
    let running = start(Limits { connections: 20, ..Limits::default() }).await;
    let owner = running.bench.owner(1).await;
    let token = device_token(&running, &owner, &owner.machine).await;
    let pack = owner.machine.small_pack(1);
    let head = format!(
        "PUT /v1/packs/{}?footer={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Type: {OCTET_STREAM}\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        pack.id,
        pack.footer_len,
        pack.bytes.len()
    );
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: it has let the request in.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let (first, rest) = pack.bytes.split_at(30_000);
    stream.write_all(first).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(TcpStream::connect(running.address).await.unwrap());
    }
    // Another request is answered, so all of those were seen.
    send(&running, "GET /v1/server HTTP/1.1", b"").await;
    stream.write_all(rest).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn connections_that_rest_are_closed() {
    let head = Duration::from_millis(50);
    let running = start(Limits { head, ..Limits::default() }).await;
    let half = "GET /v1/server HTTP/1.1\r\nHost: x\r\n";
    let whole = format!("{half}\r\n");
    for sent in ["", half, &whole] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Ends by itself: the server closes it.
        stream.read_to_end(&mut answer).await.ok();
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), sent == whole);
    }
}

#[tokio::test]
async fn handshakes_that_stand_still_are_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = tls::own(dir.path()).unwrap();
    let tls = Some(certificate.config(&key).unwrap());
    let limits = Limits { head: Duration::from_millis(50), ..Limits::default() };
    let running = start_with(limits, tls).await;
    // Nothing, and the first bytes of a ClientHello.
    for sent in [&[][..], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert!(answer.is_empty());
    }
}

#[tokio::test]
async fn bodies_that_drip_are_given_up() {
    let limits = Limits { grace: Duration::ZERO, minimum_rate: u64::MAX, ..Limits::default() };
    let running = start(limits).await;
    let head = format!("{POST_CHALLENGE}\r\nHost: x\r\nConnection: close\r\nContent-Length: 100");
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    // As slow as it may be: a first byte, and another after the first was waited for.
    let waited = Duration::from_millis(2);
    for _ in 0..2 {
        tokio::time::sleep(waited).await;
        stream.write_all(b"{").await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

/// A client that does not read its answer loses it, and its share of the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_given_up() {
    let limits = Limits {
        grace: Duration::from_millis(50),
        minimum_rate: u64::MAX,
        answers_kib: 16 * 1024,
        ..Limits::default()
    };
    let running = start(limits).await;
    let owner = running.bench.owner(1).await;
    let device = owner.log_in_device(&*running.bench.service, &owner.machine).await.unwrap();
    device.put_pack(owner.machine.pack(1, 1 << 24, 4096)).await.unwrap();
    let token = owner_token(&running, &owner).await;
    let get = format!("GET /v1/packs/0 HTTP/1.1\r\nAuthorization: Bearer {token}");
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(format!("{get}\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    // Needs the share that the first one holds.
    let part = send(&running, &format!("{get}\r\nRange: bytes=0-131071"), b"").await;
    assert!(part.0.starts_with("HTTP/1.1 206"), "{}", part.0);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    assert!(rest.len() < 1 << 24, "{} bytes came", rest.len());
}

#[tokio::test]
async fn too_many_are_told_when_to_come_again() {
    let hour = Duration::from_secs(3600);
    let rates = Rates {
        logins: Rate { burst: 4, every: hour },
        account: Rate { burst: 2, every: hour },
        accounts: Rate { burst: 1, every: hour },
        ..Rates::default()
    };
    let running = start(Limits { rates, ..Limits::default() }).await;
    let owner = running.bench.owner(1).await;
    let token = device_token(&running, &owner, &owner.machine).await;
    let other = owner_token(&running, &owner).await;
    // Two challenges and two logins so far, all from here.
    let body = format!(r#"{{"account":"{}","principal":"owner"}}"#, owner.vault);
    let challenge = format!("{POST_CHALLENGE}\r\nContent-Length: {}", body.len());
    let (head, _) = send(&running, &challenge, body.as_bytes()).await;
    assert!(head.starts_with("HTTP/1.1 429"), "{head}");
    let wait: u64 =
        head.split_once("retry-after: ").unwrap().1.lines().next().unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    assert_eq!(refused(&running, &challenge, body.as_bytes()).await, is(429, "too-many"));
    // Somebody else behind the same proxy; what clients say of themselves does not count.
    let elsewhere = format!("{challenge}\r\nX-Forwarded-For: 10.9.9.9, 203.0.113.9");
    for left in (0..5).rev() {
        let (head, _) =
            send(&running, &elsewhere.replace("9.9.9", &format!("9.9.{left}")), body.as_bytes())
                .await;
        let wanted = if left == 0 { "HTTP/1.1 429" } else { "HTTP/1.1 200" };
        assert!(head.starts_with(wanted), "{head}");
    }
    // The account, whoever of it asks.
    let get = |token: &str| format!("GET /v1/log HTTP/1.1\r\nAuthorization: Bearer {token}");
    assert!(send(&running, &get(&token), b"").await.0.starts_with("HTTP/1.1 200"));
    assert!(send(&running, &get(&other), b"").await.0.starts_with("HTTP/1.1 200"));
    assert_eq!(refused(&running, &get(&token), b"").await, is(429, "too-many"));
    // New accounts.
    let make = "POST /v1/accounts HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2";
    assert_eq!(refused(&running, make, b"{}").await, is(400, "invalid"));
    assert_eq!(refused(&running, make, b"{}").await, is(429, "too-many"));
}
