//! The accept loop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use unseen_common::time::Clock;

use super::answer::{Answer, Counted};
use super::app::{App, Limits};
use super::client_addr::ClientAddr;
use super::connections::{Connections, Place};
use super::lanes::Lanes;
use super::listen::{Listen, Listener, Stream};
use super::{api, forwarded, routes};
use crate::clock::SystemClock;
use crate::vault::Core;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {place}")]
    Listen {
        /// Where.
        place: Listen,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Plain HTTP is for a proxy on this machine alone.
    #[error("{0} is not a loopback address; plain HTTP is for a proxy on this machine")]
    NotLoopback(SocketAddr),
    /// A journal could not be made durable.
    #[error("a journal could not be made durable; nothing more is accepted")]
    Journal,
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: Listen,
    /// TLS, or plain HTTP with `None`, on loopback or a Unix socket, for a proxy.
    pub tls: Option<Arc<ServerConfig>>,
    /// How long requests may go on after the server was told to end.
    pub finish: Duration,
    /// Log the addresses of clients, and disclose that.
    pub log_addresses: bool,
    /// How much clients may take.
    pub limits: Limits,
    /// When tokens expire.
    pub clock: Arc<dyn Clock>,
}

impl ServerOptions {
    /// With the usual limits.
    pub fn new(listen: impl Into<Listen>, tls: Option<Arc<ServerConfig>>) -> Self {
        Self {
            listen: listen.into(),
            tls,
            finish: Duration::from_secs(60),
            log_addresses: false,
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    place: Listen,
    core: Core,
    options: ServerOptions,
}

/// Longest head of a request over HTTP/1.1, in bytes, and most lines in it.
const MAX_HEAD: usize = 128 * 1024;
const MAX_HEADERS: usize = 64;

impl Server {
    /// Begins to listen.
    pub async fn bind(core: Core, options: ServerOptions) -> Result<Self, ServeError> {
        let place = &options.listen;
        if let (None, false, Listen::Tcp(address)) = (&options.tls, place.is_local(), place) {
            return Err(ServeError::NotLoopback(*address));
        }
        let wrap = |source| ServeError::Listen { place: place.clone(), source };
        let (listener, place) = Listener::bind(place).await.map_err(wrap)?;
        Ok(Self { listener, place, core, options })
    }

    /// Where it listens, with the real port.
    pub const fn place(&self) -> &Listen {
        &self.place
    }

    /// The address that it listens on; none of any use if that is a Unix socket.
    pub const fn address(&self) -> SocketAddr {
        match self.place {
            Listen::Tcp(address) => address,
            Listen::Unix(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        }
    }

    /// Serves until `stop` ends, then lets running requests finish.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let ServerOptions { tls, limits, clock, finish, log_addresses, .. } = self.options;
        let routes = routes::table();
        // Behind a proxy all connections are the proxy's.
        let proxied = tls.is_none();
        let per_address = if proxied { usize::MAX } else { limits.per_address };
        let connections = Arc::new(Connections::new(Limits { per_address, ..limits }));
        let document = api::document(&routes);
        let mut app = App::new(self.core.clone(), limits, clock, document);
        app.log_addresses = log_addresses;
        self.core.metrics().watch_memory(Arc::<Lanes>::clone(&app.lanes));
        let router = routes::router(app, routes);
        let acceptor = tls.map(TlsAcceptor::from);
        let serving = Serving { acceptor, router, head: limits.head, proxied };
        let graceful = GracefulShutdown::new();
        let mut stop = pin!(stop);
        let mut failed = pin!(self.core.failed());
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
                () = &mut failed => return Err(ServeError::Journal),
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(kind = ?error.kind(), "accepting a connection");
                    // Out of file descriptors, most likely.
                    connections.make_room();
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(place) = connections.admit(stream.peer().into()) else {
                tracing::debug!("no room for a connection");
                continue;
            };
            let serving = serving.clone();
            let watcher = graceful.watcher();
            let metrics = Arc::clone(self.core.metrics());
            tokio::spawn(async move {
                let _counted = metrics.connections.hold();
                tokio::select! {
                    () = place.pulse.expired() => tracing::debug!("a connection was closed"),
                    () = serving.connection(stream, &place, watcher) => {}
                }
            });
        }
        drop(self.listener);
        tokio::select! {
            done = timeout(finish, graceful.shutdown()) => {
                if done.is_err() {
                    tracing::warn!(seconds = finish.as_secs(), "requests did not finish in time");
                }
                Ok(())
            }
            () = &mut failed => Err(ServeError::Journal),
        }
    }
}

/// What connections are served with.
#[derive(Clone)]
struct Serving {
    acceptor: Option<TlsAcceptor>,
    router: Router,
    head: Duration,
    /// The peer is a proxy, which names the client.
    proxied: bool,
}

impl Serving {
    async fn connection(self, stream: Stream, place: &Place, watcher: Watcher) {
        let peer = stream.peer().into();
        let stream = match stream {
            Stream::Tcp(stream, _) => stream,
            Stream::Unix(stream) => return self.http(stream, (peer, place), watcher).await,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(kind = ?error.kind(), "TCP_NODELAY");
        }
        match &self.acceptor {
            None => self.http(stream, (peer, place), watcher).await,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => self.http(stream, (peer, place), watcher).await,
                Err(error) => tracing::debug!(%error, "TLS handshake"),
            },
        }
    }

    async fn http<S>(&self, stream: S, (peer, place): (ClientAddr, &Place), watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            // What is not read yet is counted by nobody.
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_frame_size(256 * 1024)
            .max_concurrent_streams(32)
            .max_header_list_size(16 * 1024)
            .keep_alive_interval(Duration::from_secs(20));
        let routes = TowerToHyperService::new(self.router.clone());
        let (proxied, pulse) = (self.proxied, Arc::clone(&place.pulse));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let named = proxied.then(|| forwarded::client(request.headers())).flatten();
            let busy = pulse.begin();
            request.extensions_mut().insert(named.unwrap_or(peer));
            request.extensions_mut().insert(busy.ticket());
            let answer = routes.call(request);
            async move {
                answer.await.map(|mut response| {
                    let share = response.extensions_mut().remove::<Counted>();
                    response.map(|body| Answer::new(body, busy, share))
                })
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection.into_owned()).await {
            tracing::debug!(%error, "connection");
        }
    }
}
