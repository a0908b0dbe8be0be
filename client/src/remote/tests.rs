//! The suite of the server's core, over HTTP and TLS on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::Signer as _;
use unseen_common::id::Hash;
use unseen_common::vault::{Principal, Service, VaultError};
use unseen_common::wire::address::{Pin, ServerAddress, Target};
use unseen_server::http::{Limits, Rate, Rates, Server, ServerOptions, tls};
use unseen_server::testkit::{Bench, Owner, TestClock, conformance};
use unseen_server::vault::{Core, Options};

use super::http::HttpService;
use super::session::{Login, log_in};

struct Running {
    bench: Bench,
    address: ServerAddress,
    server: tokio::task::JoinHandle<()>,
}

async fn start(dir: &Path) -> Running {
    let clock = Arc::new(TestClock::default());
    let options = Options { clock: Arc::<TestClock>::clone(&clock), open_accounts: false };
    let core = Core::open(dir, options).unwrap();
    serve(dir, core, clock, Limits::default()).await
}

async fn serve(dir: &Path, core: Core, clock: Arc<TestClock>, limits: Limits) -> Running {
    let (certificate, key) = tls::own(dir).unwrap();
    let config = certificate.config(&key).unwrap();
    let options = ServerOptions {
        limits,
        clock: Arc::<TestClock>::clone(&clock),
        ..ServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)), Some(config))
    };
    let server = Server::bind(core.clone(), options).await.unwrap();
    let address = ServerAddress {
        host: "127.0.0.1".into(),
        port: server.address().port(),
        target: Target::Invite(vec![0; 18]),
        pin: Pin { spki: certificate.spki, identity: core.identity() },
    };
    let service: Arc<dyn Service> = Arc::new(HttpService::new(&address).unwrap());
    let server = tokio::spawn(async move {
        server.run(std::future::pending()).await.unwrap();
    });
    let bench = Bench { service, clock, core };
    Running { bench, address, server }
}

fn device_login(owner: &Owner, running: &Running) -> Login {
    let key = owner.machine.login.clone();
    Login {
        account: owner.vault,
        principal: Principal::Device(owner.machine.id),
        identity: running.bench.core.identity(),
        signer: Arc::new(move |message| key.sign(message).to_bytes()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::all(&start(dir.path()).await.bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_keys_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let mut other_tls = running.address.clone();
    other_tls.pin.spki = Hash::from_bytes([1; 32]);
    let service = HttpService::new(&other_tls).unwrap();
    let refused = service.describe().await;
    assert!(matches!(refused, Err(VaultError::WrongServer(_))), "{refused:?}");

    let mut other_identity = running.address.clone();
    other_identity.pin.identity = [1; 32];
    let service = HttpService::new(&other_identity).unwrap();
    let refused = service.describe().await;
    assert!(matches!(refused, Err(VaultError::WrongServer(_))), "{refused:?}");

    let owner = running.bench.owner(50).await;
    let mut login = device_login(&owner, &running);
    login.identity = [1; 32];
    let refused = log_in(Arc::clone(&running.bench.service), login).await;
    assert!(matches!(refused, Err(VaultError::Forbidden(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = start(dir.path()).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    running.address.port = free.local_addr().unwrap().port();
    drop(free);
    let service = HttpService::new(&running.address).unwrap();
    let error = service.describe().await.unwrap_err();
    assert!(matches!(error, VaultError::Unreachable(_)), "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_last() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let owner = running.bench.owner(51).await;
    let login = device_login(&owner, &running);
    let plain = login.answer(&*running.bench.service).await.unwrap();
    let lasting = log_in(Arc::clone(&running.bench.service), login).await.unwrap();
    running.bench.clock.advance(3601);
    let pack = owner.machine.pack(1, 1 << 20, 4096);
    // The answer comes although the whole pack was being sent.
    let ended = plain.put_pack(pack.clone()).await;
    assert!(matches!(ended, Err(VaultError::Unauthorized)), "{ended:?}");
    let number = lasting.put_pack(pack).await.unwrap();
    assert!(lasting.live_packs().await.unwrap().0.contains(number.0));
    running.server.abort();
}

/// What the server asks for is what the client waits, and then it gets in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::default());
    let options = Options { clock: Arc::<TestClock>::clone(&clock), open_accounts: false };
    let core = Core::open(dir.path(), options).unwrap();
    // One login is two requests; the third has to wait for a second.
    let logins = Rate { burst: 2, every: Duration::from_millis(600) };
    let limits = Limits { rates: Rates { logins, ..Rates::default() }, ..Limits::default() };
    let running = serve(dir.path(), core, clock, limits).await;
    let owner = running.bench.owner(52).await;
    let service = Arc::clone(&running.bench.service);
    log_in(Arc::clone(&service), device_login(&owner, &running)).await.unwrap();
    let told = service.challenge(owner.vault, Principal::Owner).await;
    assert!(matches!(told, Err(VaultError::Busy(1))), "{told:?}");
    let again = log_in(service, device_login(&owner, &running)).await.unwrap();
    assert!(again.live_packs().await.unwrap().0.is_empty());
    running.server.abort();
}
