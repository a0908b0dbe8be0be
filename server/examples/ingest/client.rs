//! One connection that asks and waits, as plain as can be: what is measured is at the other end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::Signer;
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unseen_common::packset::PackSet;
use unseen_common::time::Clock;
use unseen_common::vault::{PackUpload, Principal, login_message};
use unseen_common::wire::address;
use unseen_common::wire::base64::Base64N;
use unseen_common::wire::body::{
    AccountBody, ChallengeAnswer, ChallengeBody, LoginBody, TokenAnswer,
};
use unseen_common::wire::endpoint::{self, Endpoint, Takes};
use unseen_server::clock::SystemClock;
use unseen_server::testkit::Owner;

use crate::process;

/// Where to connect, and by which certificate.
pub(crate) struct Target {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, certificate: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
        roots.add(certificate).expect("it can be trusted");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has it")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { address, config: Arc::new(config) }
    }

    /// Connects from the n-th address of this machine: requests are counted by address.
    pub(crate) fn connect(&self, n: u64) -> Client {
        let last = u8::try_from(n % 200).expect("it is below 200");
        let stream = connect_from(Ipv4Addr::new(127, 0, 1, last + 1), self.address);
        stream.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from("backup-server.invalid").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.config), name).expect("a session");
        Client { stream: StreamOwned::new(connection, stream), host: self.address.to_string() }
    }
}

fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let stream = runtime.expect("a runtime").block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        socket.connect(address).await?.into_std()
    });
    let stream = stream.expect("the server is there");
    stream.set_nonblocking(false).expect("a socket");
    stream
}

/// Who sends.
pub(crate) struct Account {
    owner: Owner,
    token: String,
}

impl Account {
    /// For a server that asks nobody.
    pub(crate) fn nobody() -> Self {
        Self { owner: Owner::new(0), token: "none".to_owned() }
    }

    /// Makes an account and logs its machine in.
    pub(crate) fn make(target: &Target, program: &Path, data: &Path, n: u64) -> Self {
        let invite = process::invite(program, data);
        let address::Target::Invite(secret) = &invite.target else {
            unreachable!("invitations invite")
        };
        let (owner, identity) = (Owner::new(n), invite.pin.identity);
        let mut client = target.connect(n);
        let body = AccountBody::from(owner.account_at(SystemClock.now(), identity, secret));
        let (status, answer) = client.ask(&endpoint::CREATE_ACCOUNT, ("", ""), &json(&body));
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        let (account, principal) = (owner.vault, Principal::Device(owner.machine.id));
        let challenge: ChallengeAnswer =
            client.json(&endpoint::CHALLENGE, &ChallengeBody { account, principal });
        let nonce = challenge.nonce;
        let message = login_message(&identity, "127.0.0.1", account, principal, &challenge.into());
        let signature = Base64N(owner.machine.login.sign(&message).to_bytes());
        let login = LoginBody { account, principal, nonce, signature };
        let token: TokenAnswer = client.json(&endpoint::SESSION, &login);
        Self { owner, token: token.token }
    }
}

/// A connection.
pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    host: String,
}

impl Client {
    /// Sends a pack until it is taken; how often it was asked to wait.
    pub(crate) fn upload(&mut self, account: &Account, pack: &PackUpload) -> u32 {
        let id = format!("{}?footer={}", pack.id, pack.footer_len);
        let mut waits = 0;
        loop {
            match self.ask(&endpoint::PUT_PACK, (&id, &account.token), &pack.bytes) {
                (200, _) => return waits,
                (429 | 503, _) => waits += 1,
                (status, said) => {
                    unreachable!("{status} for a pack: {}", String::from_utf8_lossy(&said))
                }
            }
            pause();
        }
    }

    /// How many packs of an account are there.
    pub(crate) fn live(&mut self, account: &Account) -> u64 {
        let (status, bytes) = self.ask(&endpoint::LIVE_PACKS, ("", &account.token), &[]);
        assert_eq!(status, 200, "account {}", account.owner.vault);
        PackSet::from_bytes(&bytes).expect("a set of packs").0.len()
    }

    fn json<T: DeserializeOwned>(&mut self, endpoint: &Endpoint, body: &impl Serialize) -> T {
        let (_, answer) = self.ask(endpoint, ("", ""), &json(body));
        let said = || String::from_utf8_lossy(&answer).into_owned();
        serde_json::from_slice(&answer).unwrap_or_else(|_e| unreachable!("{}", said()))
    }

    fn ask(
        &mut self,
        endpoint: &Endpoint,
        (id, token): (&str, &str),
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let (method, path) = (endpoint.method.as_str(), endpoint.path_to(&id));
        let kind = match endpoint.takes {
            Takes::Octets => "application/octet-stream",
            Takes::Json | Takes::Nothing => "application/json",
        };
        let bearer = if token.is_empty() {
            String::new()
        } else {
            format!("Authorization: Bearer {token}\r\n")
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{bearer}Content-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.stream.write_all(head.as_bytes()).expect("sent");
        self.stream.write_all(body).expect("sent");
        self.stream.flush().expect("sent");
        self.answer()
    }

    fn answer(&mut self) -> (u16, Vec<u8>) {
        let mut said = Vec::new();
        let mut piece = [0; 4096];
        let end = loop {
            let read = self.stream.read(&mut piece).expect("an answer");
            assert!(read > 0, "the connection was closed");
            said.extend_from_slice(&piece[..read]);
            if let Some(at) = said.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let body = said.split_off(end);
        let head = String::from_utf8(said).expect("text").to_ascii_lowercase();
        let status = head.get(9..12).and_then(|text| text.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
        let mut rest = vec![0; length - body.len()];
        self.stream.read_exact(&mut rest).expect("the answer is whole");
        (status, [body, rest].concat())
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("it can be written")
}

/// As a client does that is told to wait.
fn pause() {
    std::thread::park_timeout(Duration::from_secs(1));
}
