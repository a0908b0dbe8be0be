//! The accept loop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use unseen_common::time::Clock;

use super::app::{App, Limits};
use super::listen::{Listen, Listener, Stream};
use super::origin::Named;
use super::routes::router;
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

/// TLS handshakes and request heads must be done in this time.
const HEAD: Duration = Duration::from_secs(10);

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
        let app = App { log_addresses, ..App::new(self.core.clone(), limits, clock) };
        let proxied = tls.is_none();
        let connections = Arc::new(Semaphore::new(limits.connections));
        let router = router(app);
        let acceptor = tls.map(TlsAcceptor::from);
        let graceful = GracefulShutdown::new();
        let mut stop = pin!(stop);
        let mut failed = pin!(self.core.failed());
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&connections).acquire_owned() => permit,
                () = &mut stop => break,
                () = &mut failed => return Err(ServeError::Journal),
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
                () = &mut failed => return Err(ServeError::Journal),
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(kind = ?error.kind(), "accepting a connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (acceptor, service) = (acceptor.clone(), Named::new(&stream, proxied, &router));
            let watcher = graceful.watcher();
            let metrics = Arc::clone(self.core.metrics());
            tokio::spawn(async move {
                let _counted = metrics.connections.hold();
                connection(stream, acceptor, service, watcher).await;
                drop(permit);
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

async fn connection(
    stream: Stream,
    acceptor: Option<TlsAcceptor>,
    service: Named,
    watcher: Watcher,
) {
    let stream = match stream {
        Stream::Tcp(stream, _) => stream,
        Stream::Unix(stream) => return http(stream, service, watcher).await,
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(kind = ?error.kind(), "TCP_NODELAY");
    }
    match acceptor {
        None => http(stream, service, watcher).await,
        Some(acceptor) => match timeout(HEAD, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, service, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
            Err(_elapsed) => tracing::debug!("TLS handshake took too long"),
        },
    }
}

async fn http<S>(stream: S, service: Named, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .max_frame_size(256 * 1024)
        .max_concurrent_streams(32)
        .max_header_list_size(16 * 1024)
        .keep_alive_interval(Duration::from_secs(20));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(%error, "connection");
    }
}
