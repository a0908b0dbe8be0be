//! A reverse proxy that ends TLS, as an operator may put one in front of `backup-server
//! --behind-proxy`, and records every byte that goes through it in the clear.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// The proxy. It listens from the start, and ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, PEM.
    pub certificate: PathBuf,
    listener: Option<TcpListener>,
    config: Arc<ServerConfig>,
    record: Arc<Record>,
    runtime: Runtime,
}

/// What went through.
#[derive(Debug, Default)]
struct Record {
    sent: Mutex<Vec<u8>>,
    received: Mutex<Vec<u8>>,
}

impl Proxy {
    /// Makes a certificate in this folder and listens on loopback.
    pub fn new(folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = folder.join("proxy.pem");
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            certificate,
            listener: Some(listener),
            config: Arc::new(config),
            record: Arc::default(),
            runtime,
        }
    }

    /// Passes everything on to this server from now on.
    pub fn forward_to(&mut self, server: SocketAddr) {
        let listener = self.listener.take().expect("it forwards to one server");
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        let record = Arc::clone(&self.record);
        self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, record) = (acceptor.clone(), Arc::clone(&record));
                tokio::spawn(async move {
                    // A client that goes away is not the proxy's business.
                    relay(&acceptor, stream, server, &record).await.ok();
                });
            }
        });
    }

    /// All that clients sent so far: requests with their headers and bodies.
    pub fn sent(&self) -> Vec<u8> {
        self.record.sent.lock().unwrap().clone()
    }

    /// All that the server answered so far.
    pub fn received(&self) -> Vec<u8> {
        self.record.received.lock().unwrap().clone()
    }
}

async fn relay(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    server: SocketAddr,
    record: &Record,
) -> std::io::Result<()> {
    let client = acceptor.accept(stream).await?;
    let server = TcpStream::connect(server).await?;
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = server.into_split();
    let up = pump(from_client, to_server, &record.sent);
    let down = pump(from_server, to_client, &record.received);
    tokio::try_join!(up, down).map(drop)
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    record: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        record.lock().unwrap().extend_from_slice(&buffer[..length]);
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
    }
}
