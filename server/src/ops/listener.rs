//! The second listener, for the operator on this machine: metrics, health, the status page.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use tokio::task::spawn_blocking;
use unseen_common::time::{Clock, Timestamp};
use unseen_common::wire::host::host_of;

use super::machine::{self, Disk};
use super::meter::Text;
use super::page;
use crate::clock::SystemClock;
use crate::http::{Listen, Listener, ServeError};
use crate::vault::Core;
use crate::vault::rounds::Rounds;
use crate::vault::survey::{AccountSurvey, Survey};

/// What the operator may look at.
#[derive(Debug, Clone)]
pub struct Watched {
    core: Core,
    rounds: Arc<Rounds>,
    data: PathBuf,
    ending: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
}

/// All that is shown, as of one moment.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) now: Timestamp,
    pub(super) survey: Option<Survey>,
    pub(super) disk: Option<Disk>,
    /// Why the server should not be used now; nothing if it may.
    pub(super) troubles: Vec<&'static str>,
}

impl Watched {
    /// Of a server whose accounts are scrubbed by these rounds, and with this data folder.
    pub fn new(rounds: Arc<Rounds>, data: &Path) -> Self {
        let (core, data) = (rounds.core().clone(), data.to_owned());
        Self { core, rounds, data, ending: Arc::default(), clock: Arc::new(SystemClock) }
    }

    /// From now on it is not ready: it was told to end.
    pub fn ends(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Why it should not be used now. Blocks.
    fn troubles(&self, disk: Option<Disk>) -> Vec<&'static str> {
        let found = [
            (self.core.has_failed(), "a journal could not be made durable"),
            (disk.is_none(), "the data folder cannot be looked at"),
            (self.core.disk().is_full(), "the disk is full: packs are refused"),
            (self.core.metrics().is_starved(), "requests wait for memory longer than they should"),
            (self.ending.load(Ordering::Relaxed), "the server is ending"),
        ];
        found.into_iter().filter(|(there, _)| *there).map(|(_, why)| why).collect()
    }

    fn look(&self) -> Sight {
        let disk = Disk::of(&self.data);
        let survey = self.rounds.survey().inspect_err(|error| {
            tracing::error!(kind = ?error.kind(), "accounts cannot be listed");
        });
        let troubles = self.troubles(disk);
        Sight { now: self.clock.now(), survey: survey.ok(), disk, troubles }
    }

    fn metrics(&self) -> String {
        let sight = self.look();
        let mut text = Text::default();
        let name = "unseen_build_info";
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        text.begin(name, "gauge", "The version that runs.").value(name, &version, 1);
        let ready = u8::from(sight.troubles.is_empty());
        text.single("unseen_ready", "gauge", "Whether the server can be used.", ready);
        if let Some(survey) = &sight.survey {
            write_survey(&mut text, survey, sight.now);
        }
        if let Some(Disk { free, size }) = sight.disk {
            text.single("unseen_disk_free_bytes", "gauge", "Room for more.", free);
            text.single("unseen_disk_size_bytes", "gauge", "The whole disk.", size);
        }
        if let Some(bytes) = machine::resident() {
            let what = "Memory of this process.";
            text.single("process_resident_memory_bytes", "gauge", what, bytes);
        }
        self.core.metrics().write(&mut text);
        text.finish()
    }

    fn page(&self) -> String {
        page::render(&self.look(), self.core.metrics())
    }
}

fn write_survey(text: &mut Text, survey: &Survey, now: Timestamp) {
    let accounts = &survey.accounts;
    let sum = |of: fn(&AccountSurvey) -> u64| -> u64 {
        accounts.iter().map(of).fold(0, u64::saturating_add)
    };
    text.single("unseen_accounts", "gauge", "Accounts that are open.", accounts.len());
    let what = "Accounts that are being opened, or are damaged.";
    text.single("unseen_accounts_closed", "gauge", what, survey.closed);
    let what = "Packs that are stored.";
    text.single("unseen_packs", "gauge", what, sum(|account| account.packs));
    let what = "Bytes of packs that are stored.";
    text.single("unseen_stored_bytes", "gauge", what, sum(|account| account.bytes));
    let what = "Records of all logs.";
    text.single("unseen_log_records", "gauge", what, sum(|account| account.records));
    let what = "Snapshots that are not forgotten.";
    text.single("unseen_snapshots", "gauge", what, sum(|account| account.snapshots));
    let damaged = [
        ("packs", sum(|account| account.damage.packs)),
        ("metadata", sum(|account| account.damage.lost)),
        ("journals", sum(|account| u64::from(account.damage.journal))),
    ];
    let name = "unseen_damaged";
    text.begin(name, "gauge", "What is known to be damaged beyond repair from a second copy.");
    for (what, count) in damaged {
        text.value(name, &[("what", what)], count);
    }
    let silent = accounts.iter().flat_map(|account| account.silent(now)).count();
    let what = "Devices whose newest backup is older than their owner allows.";
    text.single("unseen_devices_silent", "gauge", what, silent);
    if let Some(newest) = accounts.iter().filter_map(AccountSurvey::newest).max() {
        let name = "unseen_newest_snapshot_timestamp_seconds";
        text.single(name, "gauge", "When the newest snapshot of all arrived.", newest.0);
    }
}

/// Listens, and gives what is to be polled for as long as the server runs.
pub async fn listen(
    place: &Listen,
    watched: Watched,
) -> Result<impl Future<Output = ()> + Send + use<>, ServeError> {
    let bound = Listener::bind(place).await;
    let (listener, place) =
        bound.map_err(|source| ServeError::Listen { place: place.clone(), source })?;
    tracing::info!(%place, "metrics, health and status page");
    let router = router(watched);
    Ok(async move {
        let served = match listener {
            Listener::Tcp(listener) => axum::serve(listener, router).await,
            Listener::Unix { listener, _file } => axum::serve(listener, router).await,
        };
        if let Err(error) = served {
            tracing::error!(kind = ?error.kind(), "metrics are not served any more");
        }
    })
}

fn router(watched: Watched) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || text(StatusCode::OK, "alive\n".to_owned())))
        .route("/readyz", get(ready))
        .layer(middleware::from_fn(guard))
        .with_state(watched)
}

/// A web page elsewhere that has its name point at this machine is not to read along.
async fn guard(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.map(host_of).unwrap_or_default();
    let here = host.is_empty()
        || host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if !here {
        return text(StatusCode::MISDIRECTED_REQUEST, "ask by a loopback address\n".to_owned());
    }
    let mut response = next.run(request).await;
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn metrics(State(watched): State<Watched>) -> Response {
    match spawn_blocking(move || watched.metrics()).await {
        Ok(metrics) => typed("text/plain; version=0.0.4; charset=utf-8", metrics),
        Err(_broken) => broken(),
    }
}

async fn status_page(State(watched): State<Watched>) -> Response {
    match spawn_blocking(move || watched.page()).await {
        Ok(page) => typed("text/html; charset=utf-8", page),
        Err(_broken) => broken(),
    }
}

async fn ready(State(watched): State<Watched>) -> Response {
    let troubles = spawn_blocking(move || watched.troubles(Disk::of(&watched.data))).await;
    match troubles.as_deref() {
        Ok([]) => text(StatusCode::OK, "ready\n".to_owned()),
        Ok(troubles) => text(StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n"),
        Err(_broken) => broken(),
    }
}

fn broken() -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, "the request broke off\n".to_owned())
}

fn text(status: StatusCode, text: String) -> Response {
    let mut response = typed("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    response
}

fn typed(kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
