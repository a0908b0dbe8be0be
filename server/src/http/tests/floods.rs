//! Who announces much and sends little, or asks for much and takes little, takes nothing from the
//! others. Without sockets, so that the clock can be paused: it moves only when all wait.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Request, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep};
use unseen_common::vault::PackUpload;
use unseen_common::wire::{JSON, OCTET_STREAM};

use super::super::app::App;
use super::super::client_addr::ClientAddr;
use super::super::lane::TURN;
use super::super::lanes::Lanes;
use super::*;
use crate::testkit::answer;

const MIB: usize = 1 << 20;

/// A body that comes in pieces, one a second.
struct Drip {
    rest: Bytes,
    piece: usize,
    next: Pin<Box<Sleep>>,
}

impl HttpBody for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        ready!(self.next.as_mut().poll(cx));
        self.next.as_mut().reset(Instant::now() + Duration::from_secs(1));
        let piece = self.piece.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }
}

fn drip(bytes: Bytes, a_second: usize) -> Body {
    let next = Box::pin(sleep(Duration::from_secs(1)));
    Body::new(Drip { rest: bytes, piece: a_second, next })
}

struct Lab {
    bench: Bench,
    app: App,
    router: Router,
}

fn lab() -> Lab {
    let clock = Arc::new(TestClock::default());
    let options = Options { clock: Arc::<TestClock>::clone(&clock), open_accounts: false };
    let store = memory::store(MemBlobs::default(), MemJournals::default());
    let core = Core::with_store(store, [1; 32], options).unwrap();
    let service: Arc<dyn Service> = Arc::new(core.clone());
    let time = Arc::<TestClock>::clone(&clock);
    let app = App::new(core.clone(), Limits::default(), time, Bytes::new());
    core.metrics().watch_memory(Arc::<Lanes>::clone(&app.lanes));
    let router = routes::router(app.clone(), routes::table());
    Lab { bench: Bench { service, clock, core }, app, router }
}

impl Lab {
    async fn token(&self, owner: &Owner, who: Principal) -> String {
        let key = if who == Principal::Owner { &owner.login } else { &owner.machine.login };
        let request = answer(&self.bench.core, owner.vault, who, (key, "")).await.unwrap();
        let session = self.bench.core.login_at(String::new(), request).await.unwrap();
        self.app.tokens.issue(session).token
    }

    async fn device(&self, owner: &Owner) -> String {
        self.token(owner, Principal::Device(owner.machine.id)).await
    }

    /// Begins a request from the n-th address.
    fn ask(
        &self,
        (from, token): (u8, &str),
        (method, path): (&str, &str),
        (kind, length, body): (&str, usize, Body),
    ) -> JoinHandle<Response> {
        let address: ClientAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, from)).into();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_LENGTH, length)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(body)
            .unwrap();
        request.extensions_mut().insert(address);
        let answer = TowerToHyperService::new(self.router.clone()).call(request);
        tokio::spawn(async move { answer.await.unwrap() })
    }

    fn put(&self, token: &str, pack: &PackUpload, a_second: usize) -> JoinHandle<Response> {
        let path = format!("/v1/packs/{}?footer={}", pack.id, pack.footer_len);
        let body = (OCTET_STREAM, pack.bytes.len(), drip(pack.bytes.clone(), a_second));
        self.ask((1, token), ("PUT", &path), body)
    }

    fn get(&self, token: &str, path: &str) -> JoinHandle<Response> {
        self.ask((1, token), ("GET", path), (JSON, 0, Body::empty()))
    }

    /// Somebody begins to log in; how long that takes.
    async fn challenge(&self, from: u8) -> Duration {
        let before = Instant::now();
        let body = format!(r#"{{"account":"{}","principal":"owner"}}"#, "00".repeat(16));
        let body = (JSON, body.len(), Body::from(body));
        let got = self.ask((from, ""), ("POST", "/v1/auth/challenge"), body).await.unwrap();
        assert_eq!(got.status(), 200);
        before.elapsed()
    }
}

fn zeros(length: usize) -> Bytes {
    vec![b' '; length].into()
}

const SECOND: Duration = Duration::from_secs(1);

/// Whoever has one login announces the longest body there is, and packs, and drips.
#[tokio::test(start_paused = true)]
async fn a_login_that_drips_stops_nobody() {
    let lab = lab();
    let (bad, good) = (lab.bench.owner(1).await, lab.bench.owner(2).await);
    let (theirs, ours) = (lab.device(&bad).await, lab.device(&good).await);
    let began = Instant::now();
    let long = (JSON, 96 * MIB, drip(zeros(96 * MIB), 4200));
    let long = lab.ask((1, &theirs), ("POST", "/v1/snapshots"), long);
    // These keep the pace that is asked for.
    let pack = PackUpload { bytes: zeros(16 * MIB), ..bad.machine.small_pack(1) };
    let packs: Vec<_> = (0..6).map(|_| lab.put(&theirs, &pack, 9500)).collect();
    for seed in 0..10 {
        sleep(SECOND).await;
        assert!(lab.challenge(1).await < SECOND);
        let before = Instant::now();
        let pack = good.machine.pack(seed, MIB, 4096);
        assert_eq!(lab.put(&ours, &pack, MIB).await.unwrap().status(), 200);
        assert!(before.elapsed() <= 2 * SECOND, "{:?}", before.elapsed());
    }
    assert!(!lab.bench.core.metrics().is_starved());
    assert_eq!(long.await.unwrap().status(), 408);
    assert!(began.elapsed() < 25 * SECOND, "{:?}", began.elapsed());
    for pack in packs {
        // It is no pack; all that counts is that it comes to an end.
        assert_ne!(pack.await.unwrap().status(), 200);
    }
    // Half an hour, and what they waited for each other.
    assert!(began.elapsed() < 2500 * SECOND, "{:?}", began.elapsed());
}

/// The same without a login, from one address.
#[tokio::test(start_paused = true)]
async fn an_address_that_drips_stops_nobody() {
    let lab = lab();
    let good = lab.bench.owner(1).await;
    let token = lab.device(&good).await;
    let began = Instant::now();
    let make = |from, a_second| {
        let body = (JSON, 2 * MIB, drip(zeros(2 * MIB), a_second));
        lab.ask((from, ""), ("POST", "/v1/accounts"), body)
    };
    let crowd: Vec<_> = (0..50).map(|_| make(9, 4200)).collect();
    for seed in 0..5 {
        sleep(SECOND).await;
        assert!(lab.challenge(9).await < SECOND);
        assert!(lab.challenge(1).await < SECOND);
        let pack = good.machine.pack(seed, MIB, 4096);
        let before = Instant::now();
        assert_eq!(lab.put(&token, &pack, MIB).await.unwrap().status(), 200);
        assert!(before.elapsed() <= 2 * SECOND);
    }
    let before = Instant::now();
    assert_eq!(make(1, MIB).await.unwrap().status(), 400, "somebody else's is read");
    assert!(before.elapsed() < 4 * SECOND);
    for one in crowd {
        let status = one.await.unwrap().status();
        assert!(status == 408 || status == 503, "{status}");
    }
    assert!(began.elapsed() < 90 * SECOND, "{:?}", began.elapsed());
    assert!(!lab.bench.core.metrics().is_starved(), "it was one address alone");
}

/// 256 kbit/s for three packs at once, while somebody else is quick: half an hour.
#[tokio::test(start_paused = true)]
async fn slow_and_honest_uplinks_get_through() {
    let lab = lab();
    let (slow, quick) = (lab.bench.owner(1).await, lab.bench.owner(2).await);
    let (first, second) = (lab.device(&slow).await, lab.device(&quick).await);
    let began = Instant::now();
    let packs = (0..3).map(|seed| slow.machine.pack(seed, 16 * MIB, 4096));
    let packs: Vec<_> = packs.map(|pack| lab.put(&first, &pack, 32_000 / 3)).collect();
    for seed in 0..20 {
        sleep(60 * SECOND).await;
        let pack = quick.machine.pack(seed, MIB, 4096);
        let before = Instant::now();
        assert_eq!(lab.put(&second, &pack, MIB).await.unwrap().status(), 200);
        assert!(before.elapsed() <= 2 * SECOND);
    }
    for pack in packs {
        assert_eq!(pack.await.unwrap().status(), 200);
    }
    assert!(began.elapsed() > 1500 * SECOND, "{:?}", began.elapsed());
}

/// An account whose reader takes nothing waits for itself alone; that it is suspended is no help.
#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_stops_nobody() {
    let lab = lab();
    let (bad, good) = (lab.bench.owner(1).await, lab.bench.owner(2).await);
    let mut tokens = Vec::new();
    for owner in [&bad, &good] {
        let device = owner.log_in_device(&*lab.bench.service, &owner.machine).await.unwrap();
        device.put_pack(owner.machine.pack(1, 16 * MIB, 4096)).await.unwrap();
        tokens.push(lab.token(owner, Principal::Owner).await);
    }
    lab.bench.core.account_suspend(&bad.vault.short()).unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(lab.get(&tokens[0], "/v1/packs/0").await.unwrap());
    }
    assert!(held.iter().all(|answer| answer.status() == 200));
    assert_eq!(lab.app.lanes.answers.used(), 48 * MIB);
    let before = Instant::now();
    let fourth = lab.get(&tokens[0], "/v1/packs/0");
    for _ in 0..10 {
        sleep(SECOND).await;
        let before = Instant::now();
        assert_eq!(lab.get(&tokens[1], "/v1/packs/0").await.unwrap().status(), 200);
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
    let fourth = fourth.await.unwrap();
    assert_eq!((fourth.status().as_u16(), before.elapsed()), (503, 30 * SECOND));
    assert!(fourth.headers().contains_key(header::RETRY_AFTER));
    assert!(!lab.bench.core.metrics().is_starved());
    held.pop();
    assert_eq!(lab.get(&tokens[0], "/v1/packs/0").await.unwrap().status(), 200);
    assert_eq!(lab.app.lanes.answers.used(), 32 * MIB);
}

/// Accounts that work together fill what the slow ones may hold; those who are quick go on.
#[tokio::test(start_paused = true)]
async fn accounts_together_leave_room_for_who_is_quick() {
    let lab = lab();
    let good = lab.bench.owner(100).await;
    let token = lab.device(&good).await;
    let mut packs = Vec::new();
    for n in 1..6 {
        let bad = lab.bench.owner(n).await;
        let theirs = lab.device(&bad).await;
        let pack = PackUpload { bytes: zeros(16 * MIB), ..bad.machine.small_pack(1) };
        // Not quick enough, but far above the floor.
        packs.extend((0..3).map(|_| lab.put(&theirs, &pack, 200_000)));
    }
    for seed in 0..30 {
        sleep(SECOND).await;
        let pack = good.machine.pack(seed, MIB, 4096);
        let before = Instant::now();
        assert_eq!(lab.put(&token, &pack, MIB).await.unwrap().status(), 200);
        assert!(before.elapsed() < TURN, "{:?}", before.elapsed());
    }
    for pack in packs {
        assert_ne!(pack.await.unwrap().status(), 200);
    }
}
