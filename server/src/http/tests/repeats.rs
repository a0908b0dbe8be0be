//! Requests that come twice, in another order, or whose answer is lost.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use unseen_common::id::PackNumber;
use unseen_common::log::chain::{Record, SignedEntry};
use unseen_common::log::entry::{Body, Policy};
use unseen_common::log::fold::DEFAULT_POLICY;
use unseen_common::time::Clock;
use unseen_common::vault::Principal;
use unseen_common::wire::body::{CommitBody, EntryBody, RecordBody, TokenAnswer};
use unseen_common::wire::problem::Problem;
use unseen_common::wire::{JSON, OCTET_STREAM};

use super::{Answer, Limits, Running, exchange, session_body, start, start_on};
use crate::testkit::{Head, Owner};
use crate::vault::{Core, Options};

struct Scene {
    running: Running,
    owner: Owner,
    device: String,
    root: String,
}

/// A request: method, path, type and body.
type Ask = (&'static str, String, &'static str, Vec<u8>);

async fn scene() -> Scene {
    scene_of(start(Limits::default()).await).await
}

async fn scene_of(running: Running) -> Scene {
    let owner = running.bench.owner(1).await;
    let mut tokens = Vec::new();
    let device = Principal::Device(owner.machine.id);
    for who in [(device, &owner.machine.login), (Principal::Owner, &owner.login)] {
        let body = session_body(&running, owner.vault, who, "nas.home").await;
        let asked = ("POST", "/v1/auth/session");
        let answer = exchange(&running, asked, None, (JSON, &body)).await;
        tokens.push(serde_json::from_slice::<TokenAnswer>(&answer.body).unwrap().token);
    }
    let root = tokens.pop().unwrap();
    let device = tokens.pop().unwrap();
    Scene { running, owner, device, root }
}

impl Scene {
    fn put(&self, seed: u64) -> Ask {
        let pack = self.owner.machine.small_pack(seed);
        let path = format!("/v1/packs/{}?footer={}", pack.id, pack.footer_len);
        ("PUT", path, OCTET_STREAM, pack.bytes.to_vec())
    }

    fn commit(&self, head: &Head, number: u32, seed: u64) -> Ask {
        let pack = self.owner.machine.small_pack(seed);
        let packs = [(PackNumber(number), pack)];
        let body = CommitBody::from(self.owner.machine.snapshot(head, b"manifest", &packs));
        ("POST", "/v1/snapshots".into(), JSON, serde_json::to_vec(&body).unwrap())
    }

    fn policy(&self, head: &Head, days: u32) -> (SignedEntry, Ask) {
        let body = Body::Policy(Policy { grace_days: days, ..DEFAULT_POLICY });
        let entry = self.owner.sign(head, body);
        let body = serde_json::to_vec(&EntryBody::from(entry.clone())).unwrap();
        (entry, ("POST", "/v1/log".into(), JSON, body))
    }

    async fn head(&self) -> Head {
        let root = self.owner.log_in(&*self.running.bench.service).await.unwrap();
        Head::of(self.owner.vault, &*root).await
    }

    async fn ask(&self, token: &str, (method, path, kind, body): &Ask) -> Answer {
        exchange(&self.running, (method, path), Some(token), (kind, body)).await
    }

    /// Sends all of a request and goes away without reading the answer.
    async fn send_and_leave(&self, token: &str, (method, path, kind, body): &Ask) {
        let mut stream = TcpStream::connect(self.running.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
    }

    /// Begins a request, and sends half of its body once the server takes it.
    async fn begin(&self, token: &str, (method, path, kind, body): &Ask) -> TcpStream {
        let mut stream = TcpStream::connect(self.running.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut said = [0; 25];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(&body[..body.len() / 2]).await.unwrap();
        stream
    }

    /// Sent once in vain, twice at a time, and once more: four times the same answer.
    async fn always(&self, token: &str, ask: &Ask) -> Answer {
        self.send_and_leave(token, ask).await;
        let (one, two) = tokio::join!(self.ask(token, ask), self.ask(token, ask));
        let three = self.ask(token, ask).await;
        assert_eq!(one.status, 200, "{}", one.head);
        assert_eq!((one.status, &one.body), (two.status, &two.body));
        assert_eq!((one.status, &one.body), (three.status, &three.body));
        three
    }
}

fn code(answer: &Answer) -> String {
    serde_json::from_slice::<Problem>(&answer.body).unwrap().code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_again_is_answered_the_same() {
    let scene = scene().await;
    for seed in 0..3 {
        let answer = scene.always(&scene.device, &scene.put(seed)).await;
        assert_eq!(answer.body, format!(r#"{{"number":{seed}}}"#).as_bytes());
    }
    let head = scene.head().await;
    let commit = scene.commit(&head, 1, 1);
    let committed = scene.always(&scene.device, &commit).await;
    let next = scene.head().await;
    assert_eq!(next.seq, head.seq + 1, "one record");
    let (_, policy) = scene.policy(&next, 40);
    let appended = scene.always(&scene.root, &policy).await;
    assert_eq!(scene.head().await.seq, next.seq + 1, "one record");
    // Long after: still the same.
    scene.running.bench.clock.advance(600);
    assert_eq!(scene.ask(&scene.device, &commit).await.body, committed.body);
    assert_eq!(scene.ask(&scene.root, &policy).await.body, appended.body);
    let root = scene.owner.log_in(&*scene.running.bench.service).await.unwrap();
    assert_eq!(root.live_packs().await.unwrap().0.len(), 3, "each pack is there once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_order_is_refused_until_it_is_the_right_one() {
    let scene = scene().await;
    let head = scene.head().await;
    let commit = scene.commit(&head, 0, 7);
    let early = scene.ask(&scene.device, &commit).await;
    assert_eq!((early.status, code(&early).as_str()), (409, "missing-packs"));
    assert_eq!(scene.ask(&scene.device, &scene.put(7)).await.status, 200);
    let answer = scene.ask(&scene.device, &commit).await;
    let record: RecordBody = serde_json::from_slice(&answer.body).unwrap();

    let head = Head::after(scene.owner.vault, &Record::from(record));
    let (first, ask_first) = scene.policy(&head, 40);
    let received = scene.running.bench.clock.now();
    let guess = Record { signed: first, received };
    let (_, ask_second) = scene.policy(&Head::after(scene.owner.vault, &guess), 50);
    let early = scene.ask(&scene.root, &ask_second).await;
    assert_eq!((early.status, code(&early).as_str()), (409, "conflict"));
    assert_eq!(scene.ask(&scene.root, &ask_first).await.status, 200);
    assert_eq!(scene.ask(&scene.root, &ask_second).await.status, 200);
    // The first again, late: it is there, and nothing is undone.
    assert_eq!(scene.ask(&scene.root, &ask_first).await.status, 200);
    assert_eq!(scene.head().await.seq, head.seq + 2);
}

/// How an upload ends that another one of the same pack has overtaken.
#[derive(Debug, Clone, Copy)]
enum Late {
    /// The connection is gone.
    Gone,
    /// The client stops in the middle.
    CutOff,
    /// What comes is not the pack.
    OtherBytes,
    /// It comes to its end.
    Whole,
}

/// Stall one upload, finish a second one of the same pack, then break the first: the attack S6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_upload_that_breaks_off_takes_nothing_from_the_one_that_was_finished() {
    for late in [Late::Gone, Late::CutOff, Late::OtherBytes, Late::Whole] {
        let dir = tempfile::tempdir().unwrap();
        let open = |options| Core::open(dir.path(), options).unwrap();
        let scene = scene_of(start_on(Limits::default(), None, open).await).await;
        let put = scene.put(7);
        let mut first = scene.begin(&scene.device, &put).await;
        let second = scene.ask(&scene.device, &put).await;
        assert_eq!((second.status, &second.body[..]), (200, &br#"{"number":0}"#[..]));
        let head = scene.head().await;
        let commit = scene.commit(&head, 0, 7);
        assert_eq!(scene.ask(&scene.device, &commit).await.status, 200);

        let rest = &put.3[put.3.len() / 2..];
        match late {
            Late::Gone => {}
            Late::CutOff => first.shutdown().await.unwrap(),
            Late::OtherBytes => first.write_all(&vec![0; rest.len()]).await.unwrap(),
            Late::Whole => first.write_all(rest).await.unwrap(),
        }
        if !matches!(late, Late::Gone) {
            let mut answer = String::new();
            first.read_to_string(&mut answer).await.unwrap();
            let status = if matches!(late, Late::Whole) { "200" } else { "400" };
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{late:?}: {answer}");
            assert_eq!(status == "200", answer.ends_with(r#"{"number":0}"#), "{answer}");
        }
        drop(first);
        let again = scene.ask(&scene.device, &put).await;
        assert_eq!(again.body, second.body, "{late:?}");
        // It ends when the last request has.
        let Scene { running, owner, .. } = scene;
        running.stop.send(()).unwrap();
        running.done.await.unwrap().unwrap();
        drop(running.bench);
        let core = open(Options::default());
        let root = owner.log_in(&core).await.unwrap();
        let read = root.get_pack(PackNumber(0), None).await.unwrap();
        assert!(read.bytes == put.3 && !read.damaged);
        assert_eq!(files(&dir.path().join("accounts"), "packs"), 1, "{late:?}");
    }
}

/// Files, unfinished ones too, below folders of this name.
fn files(folder: &Path, within: &str) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: std::path::PathBuf| {
        if path.is_dir() {
            return files(&path, within);
        }
        usize::from(path.components().any(|part| part.as_os_str() == within))
    };
    entries.map(count).sum()
}
