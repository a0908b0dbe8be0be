//! The routes of the operator's listener, over loopback.

use std::os::unix::net::UnixStream;

use super::*;
use crate::http::SocketFile;
use crate::store::key::Key;
use crate::store::memory::{self, MemBlobs, MemJournals};
use crate::store::space::DiskLimits;
use crate::testkit::faults::SmallDisk;
use crate::vault::Options;
use crate::vault::scrub_tests::{Scene, manifest_id};
use std::io::{Read, Write};
use unseen_common::limits::MIN_PACK;

fn core() -> Core {
    let store = memory::store(MemBlobs::default(), MemJournals::default());
    Core::with_store(store, [1; 32], Options::default()).unwrap()
}

fn rounds(core: Core) -> Arc<Rounds> {
    Arc::new(Rounds::new(core, None))
}

/// Asks by a socket of the file system: which port is free need not be known.
async fn asked(path: &Path, ask: &str) -> String {
    let (path, ask) = (path.to_owned(), format!("{ask}\r\nConnection: close\r\n\r\n"));
    spawn_blocking(move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(ask.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ops");
    let file = SocketFile { path: path.clone(), mode: 0o600, owner: (None, None) };
    let watched = Watched::new(rounds(core()), dir.path());
    let serving = listen(&Listen::Unix(file), watched.clone()).await.unwrap();
    let serving = tokio::spawn(serving);

    let alive = asked(&path, "GET /healthz HTTP/1.1\r\nHost: localhost").await;
    assert!(alive.starts_with("HTTP/1.1 200") && alive.ends_with("alive\n"), "{alive}");
    let ready = asked(&path, "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:9180").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("ready\n"), "{ready}");
    let metrics = asked(&path, "GET /metrics HTTP/1.1\r\nHost: [::1]:9180").await;
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    for line in ["unseen_ready 1", "unseen_accounts 0", "unseen_stored_bytes 0"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    let page = asked(&path, "GET / HTTP/1.1\r\nHost: localhost:9180").await;
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    assert!(page.contains("<h1>Unseen server</h1>"), "{page}");

    // A name of somebody else's that points here.
    for route in ["/", "/metrics", "/readyz", "/nowhere"] {
        let ask = format!("GET {route} HTTP/1.1\r\nHost: evil.example");
        let refused = asked(&path, &ask).await;
        assert!(refused.starts_with("HTTP/1.1 421"), "{refused}");
    }
    watched.ends();
    let ending = asked(&path, "GET /readyz HTTP/1.1\r\nHost: localhost").await;
    assert!(ending.starts_with("HTTP/1.1 503"), "{ending}");
    assert!(ending.ends_with("the server is ending\n"), "{ending}");
    serving.abort();
}

/// A server that is forgotten about is looked at by a program: damage must show there.
#[tokio::test]
async fn damage_shows_in_metrics_and_outlives_a_restart() {
    let scene = Scene::new(3).await;
    let dir = tempfile::tempdir().unwrap();
    let watched = || {
        let rounds = Arc::new(Rounds::new(scene.core.clone(), Some(dir.path())));
        (Watched::new(Arc::clone(&rounds), dir.path()), rounds)
    };
    let shows = |what: &str, count: u64| {
        let text = watched().0.metrics();
        let line = format!("unseen_damaged{{what=\"{what}\"}} {count}");
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    };
    let (vault, id) = (scene.owner.vault, manifest_id());
    let (_, rounds) = watched();
    assert_eq!(rounds.all_finished(), None);
    rounds.scrub(vault, &mut |_| true).unwrap();
    assert!(rounds.all_finished().is_some());
    shows("packs", 0);
    shows("metadata", 0);
    scene.rot(&scene.pack_key(1), 30_000);
    for key in [Key::manifest(vault, id), Key::packset(vault, id)] {
        scene.rot(&key, 1);
        scene.rot(&key.second(), 1);
    }
    let (_, rounds) = watched();
    // It breaks off at every step once, so that each is begun where the one before ended.
    while !rounds.scrub(vault, &mut |_| false).unwrap().finished {}
    shows("packs", 1);
    shows("metadata", 2);
    shows("journals", 0);
    assert!(watched().0.page().contains("<h2>Damage</h2>"));
    // A new scrub has not come so far yet.
    watched().1.scrub(vault, &mut |_| false).unwrap();
    shows("metadata", 2);
    for key in [Key::manifest(vault, id), Key::packset(vault, id)] {
        scene.rot(&key.second(), 1);
    }
    while !rounds.scrub(vault, &mut |_| true).unwrap().finished {}
    shows("metadata", 0);
}

/// No label of any metric can name an account, a device or an address.
#[test]
fn labels_are_routes_states_and_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let core = core();
    core.metrics().request("/v1/packs/{id}", 201, std::time::Duration::ZERO);
    let text = Watched::new(rounds(core), dir.path()).metrics();
    let mut labels = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap();
        let within = name.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
        labels.extend(within.split("\",").filter_map(|label| Some(label.split_once('=')?.0)));
    }
    let allowed = ["job", "le", "route", "status", "version", "what"];
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), allowed);
}

/// What is kept free is the operator's to say: readiness goes by the same measure as uploads.
#[test]
fn a_full_disk_is_not_ready() {
    const MIB: u64 = 1024 * 1024;
    let core = core();
    let small = SmallDisk::new(1600 * MIB);
    let limits = DiskLimits { keep_free: Some(300 * MIB), reserve: 0 };
    core.disk().watch(Box::new(Arc::clone(&small)), limits);
    let watched = Watched::new(rounds(core), Path::new("/nowhere"));
    let room = Some(Disk { free: 1, size: 1 });
    assert_eq!(watched.troubles(room), [""; 0]);
    small.use_up(1300 * MIB - MIN_PACK);
    assert_eq!(watched.troubles(room), [""; 0]);
    small.use_up(1);
    assert_eq!(watched.troubles(room), ["the disk is full: packs are refused"]);
    assert_eq!(watched.troubles(None).len(), 2);
}

#[derive(Debug)]
struct Starved(bool);

impl crate::ops::metrics::Starving for Starved {
    fn is_starved(&self) -> bool {
        self.0
    }
}

#[test]
fn requests_that_get_no_memory_make_it_not_ready() {
    let core = core();
    let watched = Watched::new(rounds(core.clone()), Path::new("/nowhere"));
    let room = Some(Disk { free: 1, size: 1 });
    core.metrics().watch_memory(Arc::new(Starved(false)));
    assert_eq!(watched.troubles(room), [""; 0]);
    core.metrics().watch_memory(Arc::new(Starved(true)));
    assert_eq!(watched.troubles(room), ["requests wait for memory longer than they should"]);
}
