//! The least that a server must do with a pack: take it, hash it, make a file of it durable.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path as Id, State};
use axum::routing::put;
use axum::serve::Listener;
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use unseen_common::wire::endpoint;
use unseen_server::http::tls;

/// The same TLS as the server's.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            if let Ok((stream, address)) = self.listener.accept().await
                && stream.set_nodelay(true).is_ok()
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub(crate) fn serve(folder: &Path) {
    let (certificate, key) = tls::own(folder).expect("a certificate");
    let config = certificate.config(&key).expect("it can be used");
    let cap = endpoint::PUT_PACK.body_cap;
    let routes = Router::new()
        .route(endpoint::PUT_PACK.path, put(take))
        .layer(DefaultBodyLimit::max(cap))
        .with_state(Arc::new(folder.to_path_buf()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("https://{}", listener.local_addr().expect("an address"));
        let tls = Tls { listener, acceptor: TlsAcceptor::from(config) };
        axum::serve(tls, routes).await.expect("it runs until it is killed");
    });
}

async fn take(State(folder): State<Arc<PathBuf>>, Id(id): Id<String>, body: Bytes) -> String {
    let stored = tokio::task::spawn_blocking(move || store(&folder, &id, &body));
    let hash = stored.await.expect("no panic").expect("the disk takes it");
    format!("{{\"number\":0,\"hash\":\"{hash}\"}}")
}

fn store(folder: &Path, id: &str, body: &[u8]) -> io::Result<blake3::Hash> {
    let hash = blake3::hash(body);
    let mut file = File::create(folder.join(id))?;
    file.write_all(body)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(hash)
}

/// Makes room: only the server's packs are kept to the end.
pub(crate) fn forget(folder: &Path) {
    for entry in folder.read_dir().expect("a folder") {
        let path = entry.expect("it can be listed").path();
        if path.is_file() {
            std::fs::remove_file(path).expect("a file of ours");
        }
    }
}
