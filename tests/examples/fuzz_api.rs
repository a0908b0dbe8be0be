//! Runs schemathesis against a real server, once for each kind of login.
//!
//!     cargo run -p unseen-tests --example fuzz_api -- ST BACKUP-SERVER [OPTION ...]
//!
//! ST is the program of schemathesis; the options go to its `run`. The server listens on loopback
//! and holds one account with a pack and a snapshot, so that there is something to ask for.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};

use ed25519_dalek::{Signer, SigningKey};
use serde_json::Value;
use unseen_common::id::{Hash, PackNumber};
use unseen_common::log::chain::Record;
use unseen_common::time::Clock;
use unseen_common::vault::{Principal, login_message};
use unseen_common::wire::address::{ServerAddress, Target};
use unseen_common::wire::base64::Base64N;
use unseen_common::wire::body::{
    AccountBody, ChallengeAnswer, ChallengeBody, CommitBody, LogBody, LoginBody, TokenAnswer,
};
use unseen_common::wire::endpoint::{self, Endpoint};
use unseen_server::clock::SystemClock;
use unseen_server::testkit::{Head, Owner};
use unseen_tests::proxy::Proxy;
use unseen_tests::{Programs, World};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let (Some(st), Some(server)) = (words.next(), words.next()) else {
        eprintln!("usage: fuzz_api ST BACKUP-SERVER [OPTION ...]");
        return ExitCode::from(2);
    };
    let options: Vec<OsString> = words.collect();
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let programs =
        Programs { backup: "".into(), server: server.into(), scratch: scratch.path().into() };
    let world = World::new(programs);
    // Plain HTTP; the certificate is only there to be pinned by the invitation.
    let proxy = Proxy::new(&world.path("."));
    let certificate = proxy.certificate.to_str().expect("a path that is text");
    let server = world.server_with("server", &["--behind-proxy", "--tls-cert", certificate]);
    let account = Account::make(server.address, &server.invite(&[]));
    let document = account.document(&scratch.path().join("openapi.json"));
    let url = format!("http://{}", server.address);
    let mut good = true;
    for (who, token) in &account.tokens {
        println!("-- {who}");
        let mut command = Command::new(&st);
        command.current_dir(scratch.path()).arg("--no-color").arg("run").arg(&document);
        command.args(["--url", &url]).args(&options);
        if let Some(token) = token {
            command.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        good &= command.status().expect("schemathesis runs").success();
    }
    // Whatever was sent: it still answers.
    let (status, _) = ask(server.address, &endpoint::DESCRIBE, ("", None), &[]);
    assert_eq!(status, 200);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An account with something in it.
struct Account {
    pack: PackNumber,
    snapshot: String,
    tokens: Vec<(&'static str, Option<String>)>,
}

impl Account {
    fn make(server: SocketAddr, invite: &str) -> Self {
        let invite: ServerAddress = invite.parse().expect("an invitation");
        let Target::Invite(secret) = &invite.target else { panic!("no invitation") };
        let identity = invite.pin.identity;
        let owner = Owner::new(1);
        let now = SystemClock.now();
        let body = AccountBody::from(owner.account_at(now, identity, secret));
        let (status, answer) = ask(server, &endpoint::CREATE_ACCOUNT, ("", None), &json(&body));
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));

        let machine = &owner.machine;
        let token = |principal, key: &SigningKey| {
            let body = json(&ChallengeBody { account: owner.vault, principal });
            let (_, answer) = ask(server, &endpoint::CHALLENGE, ("", None), &body);
            let challenge: ChallengeAnswer = serde_json::from_slice(&answer).expect("a challenge");
            let (host, nonce) = ("127.0.0.1", challenge.nonce);
            let message = login_message(&identity, host, owner.vault, principal, &challenge.into());
            let signature = Base64N(key.sign(&message).to_bytes());
            let login = LoginBody { account: owner.vault, principal, nonce, signature };
            let (_, answer) = ask(server, &endpoint::SESSION, ("", None), &json(&login));
            serde_json::from_slice::<TokenAnswer>(&answer).expect("a token").token
        };
        let device = token(Principal::Device(machine.id), &machine.login);
        let root = token(Principal::Owner, &owner.login);
        let key = Hash::of(owner.slots_key.verifying_key().as_bytes());
        let code = token(Principal::Slots(key), &owner.slots_key);

        let pack = machine.small_pack(1);
        let path = format!("{}?footer={}", pack.id, pack.footer_len);
        let (status, _) = ask(server, &endpoint::PUT_PACK, (&path, Some(&device)), &pack.bytes);
        assert_eq!(status, 200);
        let (_, log) = ask(server, &endpoint::LOG, ("", Some(&device)), &[]);
        let log: LogBody = serde_json::from_slice(&log).expect("a log");
        let last = Record::from(log.records.last().cloned().expect("a record"));
        let number = PackNumber(0);
        let head = Head::after(owner.vault, &last);
        let request = machine.snapshot(&head, b"manifest", &[(number, pack)]);
        let snapshot = unseen_server::testkit::snapshot_id(b"manifest").to_string();
        let body = json(&CommitBody::from(request));
        let (status, answer) = ask(server, &endpoint::COMMIT, ("", Some(&device)), &body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        Self {
            pack: number,
            snapshot,
            tokens: vec![
                ("nobody", None),
                ("a device", Some(device)),
                ("the owner", Some(root)),
                ("who knows the recovery code", Some(code)),
            ],
        }
    }

    /// The API document with examples of what is in this account.
    fn document(&self, path: &Path) -> std::path::PathBuf {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        let text = std::fs::read(original).expect("the API document");
        let mut document: Value = serde_json::from_slice(&text).expect("JSON");
        let paths = document["paths"].as_object_mut().expect("paths");
        for (path, item) in paths {
            let parameters = item.pointer_mut("/get/parameters").and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                match parameter["name"].as_str() {
                    Some("pack") => parameter["example"] = self.pack.0.into(),
                    Some("snapshot") => parameter["example"] = self.snapshot.clone().into(),
                    Some("Range") => parameter["example"] = "bytes=0-4095".into(),
                    Some(_) => {}
                    None => panic!("a parameter of {path} has no name"),
                }
            }
        }
        std::fs::write(path, document.to_string()).expect("it can be written");
        path.into()
    }
}

fn json(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("it can be written")
}

/// Asks a route; `id` goes into its path.
fn ask(
    server: SocketAddr,
    endpoint: &Endpoint,
    (id, token): (&str, Option<&str>),
    body: &[u8],
) -> (u16, Vec<u8>) {
    let (method, path) = (endpoint.method.as_str(), endpoint.path_to(&id));
    let kind = match endpoint.takes {
        endpoint::Takes::Octets => "application/octet-stream",
        endpoint::Takes::Json | endpoint::Takes::Nothing => "application/json",
    };
    let token = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n{token}\
         Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(server).expect("the server is there");
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read");
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    let status = std::str::from_utf8(&answer[9..12]).expect("a status");
    (status.parse().expect("a status"), body)
}
