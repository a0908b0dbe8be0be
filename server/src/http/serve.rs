//! The accept loop.

use std::io;
use std::net::SocketAddr;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use unseen_common::time::Clock;

use super::answer::{Answer, Share};
use super::app::{App, Limits};
use super::client_addr::ClientAddr;
use super::connections::{Connections, Pulse};
use super::{api, routes};
use crate::clock::SystemClock;
use crate::vault::Core;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
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
    pub listen: SocketAddr,
    /// TLS, or plain HTTP on loopback with `None`.
    pub tls: Option<Arc<ServerConfig>>,
    /// How much clients may take.
    pub limits: Limits,
    /// When tokens expire.
    pub clock: Arc<dyn Clock>,
}

impl ServerOptions {
    /// With the usual limits.
    pub fn new(listen: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        Self { listen, tls, limits: Limits::default(), clock: Arc::new(SystemClock) }
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    core: Core,
    options: ServerOptions,
}

/// Longest head of a request over HTTP/1.1, in bytes, and most lines in it.
const MAX_HEAD: usize = 128 * 1024;
const MAX_HEADERS: usize = 64;
/// How long requests may go on after the server was told to end.
const FINISH: Duration = Duration::from_secs(60);

impl Server {
    /// Begins to listen.
    pub async fn bind(core: Core, options: ServerOptions) -> Result<Self, ServeError> {
        let address = options.listen;
        if options.tls.is_none() && !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let wrap = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(wrap)?;
        let address = listener.local_addr().map_err(wrap)?;
        Ok(Self { listener, address, core, options })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` ends, then lets running requests finish.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let ServerOptions { tls, limits, clock, .. } = self.options;
        let routes = routes::table();
        // Behind a proxy all connections are the proxy's.
        let behind_proxy = tls.is_none();
        let per_address = if behind_proxy { usize::MAX } else { limits.per_address };
        let connections = Arc::new(Connections::new(Limits { per_address, ..limits }));
        let document = api::document(&routes);
        let app = App::new(self.core.clone(), (limits, behind_proxy), clock, document);
        let router = routes::router(app, routes);
        let acceptor = tls.map(TlsAcceptor::from);
        let graceful = GracefulShutdown::new();
        let mut stop = pin!(stop);
        let mut failed = pin!(self.core.failed());
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
                () = &mut failed => return Err(ServeError::Journal),
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, ClientAddr::from(peer)),
                Err(error) => {
                    tracing::warn!(kind = ?error.kind(), "accepting a connection");
                    // Out of file descriptors, most likely.
                    connections.make_room();
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(place) = connections.admit(peer) else {
                tracing::debug!("no room for a connection");
                continue;
            };
            let serving = Serving {
                acceptor: acceptor.clone(),
                router: router.clone(),
                head: limits.head,
                peer,
                pulse: Arc::clone(&place.pulse),
            };
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                tokio::select! {
                    () = place.pulse.expired() => tracing::debug!("a connection was closed"),
                    () = serving.connection(stream, watcher) => {}
                }
            });
        }
        drop(self.listener);
        tokio::select! {
            done = timeout(FINISH, graceful.shutdown()) => {
                if done.is_err() {
                    tracing::warn!("some requests did not finish in time");
                }
                Ok(())
            }
            () = &mut failed => Err(ServeError::Journal),
        }
    }
}

/// One connection, and what it is served with.
struct Serving {
    acceptor: Option<TlsAcceptor>,
    router: Router,
    head: Duration,
    peer: ClientAddr,
    pulse: Arc<Pulse>,
}

impl Serving {
    async fn connection(mut self, stream: TcpStream, watcher: Watcher) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(kind = ?error.kind(), "TCP_NODELAY");
        }
        match self.acceptor.take() {
            None => self.http(stream, watcher).await,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => self.http(stream, watcher).await,
                Err(error) => tracing::debug!(%error, "TLS handshake"),
            },
        }
    }

    async fn http<S>(self, stream: S, watcher: Watcher)
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
            .initial_stream_window_size(4 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .max_frame_size(256 * 1024)
            .max_concurrent_streams(32)
            .max_header_list_size(16 * 1024)
            .keep_alive_interval(Duration::from_secs(20));
        let routes = TowerToHyperService::new(self.router);
        let (peer, pulse) = (self.peer, self.pulse);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let busy = pulse.begin();
            request.extensions_mut().insert(busy.ticket());
            let answer = routes.call(request);
            async move {
                answer.await.map(|mut response| {
                    let share = response.extensions_mut().remove::<Share>();
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
