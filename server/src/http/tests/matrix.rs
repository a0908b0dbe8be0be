//! Every route with every kind of principal, own and foreign ids, odd ids and wrong methods. The
//! routes come from the table that is served: one without an expectation here fails.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use unseen_common::id::{DeviceId, Hash, PackNumber, VaultId};
use unseen_common::log::entry::{Body, Policy};
use unseen_common::log::fold::DEFAULT_POLICY;
use unseen_common::pack_map::PackMap;
use unseen_common::packset::PackSet;
use unseen_common::vault::Principal;
use unseen_common::wire::body::{
    AccountBody, ChallengeBody, CommitBody, CompactBody, EntryBody, LoginBody, PutSlotsBody,
    TokenAnswer,
};
use unseen_common::wire::endpoint::{self as e, Endpoint, Takes};
use unseen_common::wire::problem::Problem;
use unseen_common::wire::survey::{SurveyBody, VerifyBody};
use unseen_common::wire::{JSON, OCTET_STREAM};

use super::super::handlers::REFUSED_AFTER;
use super::super::routes;
use super::{Answer, Limits, Running, exchange, session_body, start};
use crate::testkit::{Head, Machine, Owner, snapshot_id};

/// Who asks, in the order of the columns below.
const WHO: [&str; 10] = [
    "nobody",
    "garbage token",
    "expired token",
    "slots key",
    "device",
    "backup-only device",
    "revoked device",
    "owner",
    "device of another account",
    "owner of another account",
];

const ALL_OK: [u16; 10] = [200; 10];
const MADE: [u16; 10] = [201; 10];
const NEVER: [u16; 10] = [401; 10];

/// What each of [`WHO`] is answered when it asks for what belongs to the first account.
const EXPECTED: &[(&Endpoint, [u16; 10])] = &[
    (&e::DESCRIBE, ALL_OK),
    (&e::OPENAPI, ALL_OK),
    // The same account again is no error; it tells nothing and makes nothing.
    (&e::CREATE_ACCOUNT, MADE),
    (&e::CHALLENGE, ALL_OK),
    // With a nonce that is none of ours.
    (&e::SESSION, NEVER),
    (&e::SLOTS, [401, 401, 401, 200, 200, 403, 403, 200, 200, 200]),
    (&e::PUT_SLOTS, [401, 401, 401, 403, 403, 403, 403, 200, 403, 400]),
    (&e::LOG, [401, 401, 401, 403, 200, 200, 403, 200, 200, 200]),
    (&e::APPEND, [401, 401, 401, 403, 403, 403, 403, 200, 403, 400]),
    // An owner puts packs of any device of its own account; this one is of another.
    (&e::PUT_PACK, [401, 401, 401, 403, 200, 403, 403, 200, 403, 403]),
    (&e::GET_PACK, [401, 401, 401, 403, 403, 403, 403, 200, 403, 404]),
    (&e::LIVE_PACKS, [401, 401, 401, 403, 200, 200, 403, 200, 200, 200]),
    (&e::DAMAGED_PACKS, [401, 401, 401, 403, 200, 200, 403, 200, 200, 200]),
    (&e::SURVEY, [401, 401, 401, 403, 200, 200, 403, 200, 200, 200]),
    (&e::VERIFY, [401, 401, 401, 403, 403, 403, 403, 200, 403, 200]),
    // An owner may ask for any device of its own account; here it has none of this name.
    (&e::FOOTERS, [401, 401, 401, 403, 200, 403, 403, 200, 403, 200]),
    (&e::COMMIT, [401, 401, 401, 403, 200, 403, 403, 403, 403, 403]),
    // No compaction, so that nothing changes: 400 says that its sender may make one.
    (&e::COMPACT, [401, 401, 401, 403, 403, 403, 403, 400, 403, 400]),
    (&e::MANIFEST_OF, [401, 401, 401, 403, 403, 403, 403, 200, 403, 404]),
    (&e::PACKS_OF, [401, 401, 401, 403, 200, 404, 403, 200, 404, 404]),
    (&e::PRIVACY, [401, 401, 401, 403, 200, 200, 403, 200, 200, 200]),
    (&e::ACCESS, [401, 401, 401, 403, 200, 200, 403, 200, 200, 200]),
    (&e::OBJECTS, [401, 401, 401, 403, 403, 403, 403, 200, 403, 200]),
    // There is no receipt for an account that is there.
    (&e::ERASED, [404; 10]),
];

/// What is asked for: a path with its query, and a body.
type Request = (String, Vec<u8>);

struct Scene {
    running: Running,
    owner: Owner,
    other: Owner,
    /// Of [`WHO`], but for the first.
    tokens: Vec<Option<String>>,
    slots: PutSlotsBody,
    policy: EntryBody,
    commit: CommitBody,
}

async fn token(running: &Running, account: VaultId, who: (Principal, &SigningKey)) -> String {
    let body = session_body(running, account, who, "nas.home").await;
    let answer = exchange(running, ("POST", e::SESSION.path), None, (JSON, &body)).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    serde_json::from_slice::<TokenAnswer>(&answer.body).unwrap().token
}

async fn scene() -> Scene {
    let running = start(Limits::default()).await;
    let owner = running.bench.owner(1).await;
    let other = running.bench.owner(2).await;
    let service = &*running.bench.service;
    let root = owner.log_in(service).await.unwrap();
    let [blind, gone] = [3, 4].map(|seed| Machine { backup_only: seed == 3, ..Machine::new(seed) });
    for machine in [&blind, &gone] {
        let head = Head::of(owner.vault, &*root).await;
        root.append(owner.sign(&head, machine.add())).await.unwrap();
    }
    let device = owner.log_in_device(service, &owner.machine).await.unwrap();
    device.put_pack(owner.machine.small_pack(0)).await.unwrap();
    let pack = owner.machine.small_pack(1);
    let number = device.put_pack(pack.clone()).await.unwrap();
    assert_eq!(number.0, 1);
    let theirs = other.log_in_device(service, &other.machine).await.unwrap();
    theirs.put_pack(other.machine.small_pack(0)).await.unwrap();

    let head = Head::of(owner.vault, &*root).await;
    let commit = owner.machine.snapshot(&head, b"manifest", &[(number, pack)]);
    device.commit(commit.clone()).await.unwrap();
    let head = Head::of(owner.vault, &*root).await;
    let policy = owner.sign(&head, Body::Policy(Policy { grace_days: 40, ..DEFAULT_POLICY }));
    root.append(policy.clone()).await.unwrap();
    let head = Head::of(owner.vault, &*root).await;
    let slots = vec![vec![9; 300]];
    let entry = owner.sign(&head, Body::Slots(owner.slots_body(&slots)));
    root.put_slots(slots.iter().map(|s| s.clone().into()).collect(), entry.clone()).await.unwrap();

    let of = |machine: &Machine| Principal::Device(machine.id);
    let expired = token(&running, owner.vault, (Principal::Owner, &owner.login)).await;
    running.bench.clock.advance(3601);
    let key = Principal::Slots(Hash::of(owner.slots_key.verifying_key().as_bytes()));
    let mut tokens = vec![None, Some("A".repeat(43)), Some(expired)];
    for (owner, principal, key) in [
        (&owner, key, &owner.slots_key),
        (&owner, of(&owner.machine), &owner.machine.login),
        (&owner, of(&blind), &blind.login),
        (&owner, of(&gone), &gone.login),
        (&owner, Principal::Owner, &owner.login),
        (&other, of(&other.machine), &other.machine.login),
        (&other, Principal::Owner, &other.login),
    ] {
        tokens.push(Some(token(&running, owner.vault, (principal, key)).await));
    }
    // After it logged in: its token is there, and worth nothing from now on.
    let log = (e::LOG.method.as_str(), e::LOG.path);
    let before = exchange(&running, log, tokens[6].as_deref(), (JSON, b"")).await;
    assert_eq!(before.status, 200);
    let head = Head::of(owner.vault, &*root).await;
    root.append(owner.revoke(&head, gone.id)).await.unwrap();
    let slots =
        PutSlotsBody { slots: slots.into_iter().map(Into::into).collect(), entry: entry.into() };
    Scene { running, owner, other, tokens, slots, policy: policy.into(), commit: commit.into() }
}

impl Scene {
    /// A request for what belongs to the first account, as its owner or device would send it.
    fn request(&self, endpoint: &Endpoint) -> Request {
        let json = |body: serde_json::Result<Vec<u8>>| body.unwrap();
        let pack = self.owner.machine.small_pack(1);
        let snapshot = snapshot_id(b"manifest");
        let path = endpoint.path.to_owned();
        match (endpoint.method.as_str(), endpoint.path) {
            ("POST", "/v1/accounts") => {
                let again = self.owner.account(self.running.bench.core.identity(), b"");
                (path, json(serde_json::to_vec(&AccountBody::from(again))))
            }
            ("POST", "/v1/auth/challenge") => {
                let body = ChallengeBody { account: self.owner.vault, principal: Principal::Owner };
                (path, json(serde_json::to_vec(&body)))
            }
            ("POST", "/v1/auth/session") => {
                let (nonce, signature) = ([7; 32], [7; 64]);
                let account = self.owner.vault;
                let request = unseen_common::vault::LoginRequest {
                    account,
                    principal: Principal::Owner,
                    nonce,
                    signature,
                };
                (path, json(serde_json::to_vec(&LoginBody::from(request))))
            }
            ("PUT", "/v1/slots") => (path, json(serde_json::to_vec(&self.slots))),
            ("POST", "/v1/log") => (path, json(serde_json::to_vec(&self.policy))),
            ("POST", "/v1/compactions") => {
                let map = PackMap::default().to_bytes().into();
                let body = CompactBody { map, packs: Vec::new(), entry: self.policy.clone() };
                (path, json(serde_json::to_vec(&body)))
            }
            ("POST", "/v1/packs/survey") => {
                (path, json(serde_json::to_vec(&SurveyBody { after: None })))
            }
            ("POST", "/v1/packs/verify") => {
                let packs = [0, 1].map(PackNumber).into_iter().collect::<PackSet>();
                let body = VerifyBody { packs: packs.to_bytes().into() };
                (path, json(serde_json::to_vec(&body)))
            }
            ("POST", "/v1/snapshots") => (path, json(serde_json::to_vec(&self.commit))),
            ("PUT", "/v1/packs/{pack}") => {
                let path = endpoint.path_to(&format!("{}?footer={}", pack.id, pack.footer_len));
                (path, pack.bytes.to_vec())
            }
            ("GET", "/v1/packs/{pack}") => (endpoint.path_to(&1), Vec::new()),
            ("GET", "/v1/footers") => {
                (format!("{path}?device={}", self.owner.machine.id), Vec::new())
            }
            ("GET", "/v1/erased/{account}") => (endpoint.path_to(&self.owner.vault), Vec::new()),
            ("GET", _) => (endpoint.path_to(&snapshot), Vec::new()),
            (method, path) => panic!("no request for {method} {path}"),
        }
    }

    async fn ask(&self, endpoint: &Endpoint, path: &str, who: usize, body: &[u8]) -> Answer {
        let kind = if endpoint.takes == Takes::Octets { OCTET_STREAM } else { JSON };
        let token = self.tokens[who].as_deref();
        exchange(&self.running, (endpoint.method.as_str(), path), token, (kind, body)).await
    }
}

fn expected(endpoint: &Endpoint) -> &'static [u16; 10] {
    let same = |e: &Endpoint| (e.method, e.path) == (endpoint.method, endpoint.path);
    let found = EXPECTED.iter().find(|(e, _)| same(e));
    let (_, expected) = found.unwrap_or_else(|| {
        panic!("no expectation for {} {}", endpoint.method.as_str(), endpoint.path)
    });
    expected
}

#[tokio::test]
async fn every_route_with_every_principal() {
    let scene = scene().await;
    let mut wrong = Vec::new();
    for route in routes::table() {
        let endpoint = route.endpoint;
        let expected = expected(endpoint);
        let documented: BTreeSet<u16> = route.problems().iter().map(|kind| kind.status).collect();
        let (path, body) = scene.request(endpoint);
        for (who, wanted) in expected.iter().enumerate() {
            let answer = scene.ask(endpoint, &path, who, &body).await;
            let got = answer.status;
            if got != *wanted {
                wrong.push(format!("{endpoint:?} {}: {got}, not {wanted}", WHO[who]));
            }
            assert!(got < 300 || documented.contains(&got), "{endpoint:?}: {got} undocumented");
            if got == 401 {
                assert!(answer.head.contains("www-authenticate: Bearer"), "{}", answer.head);
            }
            assert_eq!(got >= 300, answer.is_problem(), "{}", answer.head);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(EXPECTED.len(), routes::table().len());
}

/// Everything can be read; nothing is written, not even again.
#[tokio::test]
async fn suspended_accounts_are_read_alone() {
    let scene = scene().await;
    scene.running.bench.core.account_suspend(&scene.owner.vault.short()).unwrap();
    for route in routes::table().into_iter().filter(|route| route.guarded) {
        let endpoint = route.endpoint;
        let expected = expected(endpoint);
        let (path, body) = scene.request(endpoint);
        // Device and owner.
        for who in [4, 7] {
            let answer = scene.ask(endpoint, &path, who, &body).await;
            let looks = [&e::SURVEY, &e::VERIFY].contains(&endpoint);
            let writes = endpoint.takes != Takes::Nothing && !looks;
            if !writes || ![200, 400].contains(&expected[who]) {
                assert_eq!(answer.status, expected[who], "{endpoint:?} {}", WHO[who]);
                continue;
            }
            assert_eq!(answer.status, 403, "{endpoint:?} {}", WHO[who]);
            let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(problem.code, "suspended", "{endpoint:?} {}", WHO[who]);
            assert!(route.problems().iter().any(|kind| kind.code == "suspended"), "{endpoint:?}");
        }
    }
}

/// Ids that are none, in all ways in which a path can hide something.
fn odd_ids() -> Vec<String> {
    let good = "ab".repeat(32);
    let mut odd: Vec<String> = [
        "%2f",
        "..%2f",
        "..%2f..%2fidentity.key",
        "%252f",
        "..%252f..%252f",
        "%00",
        "1%00",
        "%2e%2e",
        "..",
        ".",
        "%ff",
        "%c0%af",
        "%5c..%5c",
        "-1",
        "4294967296",
        "1e1",
        "0x1",
        "+1",
        "%31%20",
        "live%00",
        "*",
        "~",
        "%0d%0aX:1",
        "%e2%80%ae",
    ]
    .map(str::to_owned)
    .into();
    odd.push(good.to_uppercase());
    odd.push(format!("{good}%2f"));
    odd.push(format!("{good}ab"));
    odd.push("ab".repeat(31));
    odd.push("a".repeat(8000));
    odd.push("%61".repeat(4000));
    odd
}

#[tokio::test]
async fn odd_ids_name_nothing() {
    let scene = scene().await;
    for route in routes::table() {
        let endpoint = route.endpoint;
        if !endpoint.path.contains('{') {
            continue;
        }
        for id in odd_ids() {
            // Device and owner.
            for who in [4, 7] {
                let path = endpoint.path_to(&id);
                let path = if endpoint.takes == Takes::Octets {
                    format!("{path}?footer=4096")
                } else {
                    path
                };
                let answer = scene.ask(endpoint, &path, who, b"").await;
                assert!(answer.is_problem(), "{}", answer.head);
                assert_eq!(answer.status, 400, "{} {path}", endpoint.method.as_str());
            }
        }
    }
}

/// Ids of the right form that belong to nobody, or to somebody else.
#[tokio::test]
async fn foreign_ids_are_not_found() {
    let scene = scene().await;
    let owner = 7;
    let nobodys = "ab".repeat(32);
    for endpoint in [&e::MANIFEST_OF, &e::PACKS_OF] {
        let answer = scene.ask(endpoint, &endpoint.path_to(&nobodys), owner, b"").await;
        assert_eq!(answer.status, 404);
    }
    let answer = scene.ask(&e::GET_PACK, "/v1/packs/4294967295", owner, b"").await;
    assert_eq!(answer.status, 404);
    let theirs: DeviceId = scene.other.machine.id;
    let path = format!("/v1/footers?device={theirs}");
    assert_eq!(scene.ask(&e::FOOTERS, &path, 4, b"").await.status, 403);
    let page = scene.ask(&e::FOOTERS, &path, owner, b"").await;
    assert_eq!((page.status, page.body.as_slice()), (200, &[0][..]), "an empty page");
    for odd in
        ["?device=..%2f", "?device=", "?after=-1", "?after=1&after=2", "?other=1", "?after=%00"]
    {
        let path = format!("/v1/footers{odd}");
        assert_eq!(scene.ask(&e::FOOTERS, &path, owner, b"").await.status, 400, "{odd}");
    }
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let scene = scene().await;
    let paths: BTreeSet<&str> = routes::table().iter().map(|route| route.endpoint.path).collect();
    for path in paths {
        let mut right: BTreeSet<&str> = routes::table()
            .iter()
            .filter(|route| route.endpoint.path == path)
            .map(|route| route.endpoint.method.as_str())
            .collect();
        if right.contains("GET") {
            right.insert("HEAD");
        }
        let target = path
            .replace("{pack}", "1")
            .replace("{snapshot}", &"ab".repeat(32))
            .replace("{account}", &"ab".repeat(16));
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            if right.contains(method) {
                continue;
            }
            let asked = (method, target.as_str());
            let answer =
                exchange(&scene.running, asked, scene.tokens[7].as_deref(), (JSON, b"")).await;
            assert_eq!(answer.status, 405, "{method} {target}");
            assert!(answer.is_problem());
            let allow = answer.header("allow").unwrap();
            assert_eq!(allow.split(',').collect::<BTreeSet<_>>(), right, "{target}");
        }
    }
    for nowhere in
        ["/", "/v1", "/v1/", "/v1/log/", "//v1/log", "/v1/%6cog", "/v2/log", "/v1/log/x", "*"]
    {
        let answer = exchange(&scene.running, ("GET", nowhere), None, (JSON, b"")).await;
        assert_eq!((answer.status, answer.is_problem()), (404, true), "{nowhere}");
    }
}

/// Somebody who is not there is answered like somebody who is, to the byte.
#[tokio::test]
async fn unknown_accounts_look_like_known_ones() {
    let scene = scene().await;
    let running = &scene.running;
    let stranger = SigningKey::from_bytes(&[77; 32]);
    let known = (scene.owner.vault, Principal::Device(scene.owner.machine.id));
    let no_account = (VaultId::from_bytes([0xee; 16]), known.1);
    let no_device = (known.0, Principal::Device(DeviceId::from_bytes([0xee; 16])));
    let no_key = (known.0, Principal::Slots(Hash::from_bytes([0xee; 32])));
    let mut shapes = BTreeSet::new();
    for (account, principal) in [known, no_account, no_device, no_key] {
        let body = serde_json::to_vec(&ChallengeBody { account, principal }).unwrap();
        let challenge = exchange(running, ("POST", e::CHALLENGE.path), None, (JSON, &body)).await;
        let login = session_body(running, account, (principal, &stranger), "nas.home").await;
        let begun = std::time::Instant::now();
        let refused = exchange(running, ("POST", e::SESSION.path), None, (JSON, &login)).await;
        assert!(begun.elapsed() >= REFUSED_AFTER, "told before the others");
        assert_eq!((challenge.status, refused.status), (200, 403));
        let names = challenge.head.to_ascii_lowercase();
        let names = names.lines().filter(|line| !line.starts_with("date:")).collect::<String>();
        let refusal = String::from_utf8(refused.body.clone()).unwrap();
        shapes.insert((names, challenge.body.len(), refused.shape(), refusal));
    }
    assert_eq!(shapes.len(), 1, "{shapes:#?}");
}
