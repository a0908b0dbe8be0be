//! The routes.

/// How a route is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes.
    Post,
    /// Stores under a name.
    Put,
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// None is read.
    Nothing,
    /// `application/json`.
    Json,
    /// `application/octet-stream`.
    Octets,
}

/// A route: what client and server must agree on to meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// How it is asked.
    pub method: Method,
    /// Its path; at most one part in braces stands for an identifier.
    pub path: &'static str,
    /// What its body is.
    pub takes: Takes,
    /// Longest body that is accepted, in bytes.
    pub body_cap: usize,
    /// Longest answer that a client reads, in bytes.
    pub answer_cap: usize,
}

impl Method {
    /// As HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

impl Endpoint {
    const fn get(path: &'static str, answer_cap: usize) -> Self {
        Self { method: Method::Get, path, takes: Takes::Nothing, body_cap: 0, answer_cap }
    }

    const fn post(path: &'static str, body_cap: usize, answer_cap: usize) -> Self {
        Self { method: Method::Post, path, takes: Takes::Json, body_cap, answer_cap }
    }

    const fn put(path: &'static str, body_cap: usize, answer_cap: usize) -> Self {
        Self { method: Method::Put, path, takes: Takes::Json, body_cap, answer_cap }
    }

    const fn octets(self) -> Self {
        Self { takes: Takes::Octets, ..self }
    }

    /// The path with its part in braces replaced. Identifiers need no escaping.
    pub fn path_to(&self, id: &impl std::fmt::Display) -> String {
        match (self.path.split_once('{'), self.path.split_once('}')) {
            (Some((before, _)), Some((_, after))) => format!("{before}{id}{after}"),
            _ => self.path.to_owned(),
        }
    }
}

const SMALL: usize = 16 * 1024;
const ENTRIES: usize = 2 * 1024 * 1024;
/// Answers that may carry a page of log records, as conflicts do.
const RECORDS: usize = 16 * 1024 * 1024;
const MANIFEST: usize = crate::limits::MAX_MANIFEST;
const PACKSET: usize = crate::limits::MAX_PACKSET;
const PACK: usize = 16 * 1024 * 1024;

/// Longest problem document that a client reads, in bytes. One may carry log records or a packset.
pub const PROBLEM_CAP: usize = 96 * 1024 * 1024;

/// Anyone: what the server is.
pub const DESCRIBE: Endpoint = Endpoint::get("/v1/server", 64 * 1024);
/// Anyone: the API document.
pub const OPENAPI: Endpoint = Endpoint::get("/v1/openapi.json", RECORDS);
/// By invite: makes an account.
pub const CREATE_ACCOUNT: Endpoint = Endpoint::post("/v1/accounts", ENTRIES, SMALL);
/// Anyone: what to sign.
pub const CHALLENGE: Endpoint = Endpoint::post("/v1/auth/challenge", SMALL, SMALL);
/// Anyone: a signed challenge for a token.
pub const SESSION: Endpoint = Endpoint::post("/v1/auth/session", SMALL, SMALL);
/// The unlock slots.
pub const SLOTS: Endpoint = Endpoint::get("/v1/slots", 64 * 1024);
/// Replaces them.
pub const PUT_SLOTS: Endpoint = Endpoint::put("/v1/slots", 256 * 1024, RECORDS);
/// A page of the log.
pub const LOG: Endpoint = Endpoint::get("/v1/log", RECORDS);
/// Extends the log.
pub const APPEND: Endpoint = Endpoint::post("/v1/log", 256 * 1024, RECORDS);
/// Stores a pack by its id.
pub const PUT_PACK: Endpoint = Endpoint::put("/v1/packs/{pack}", PACK, SMALL).octets();
/// Reads a pack by its number.
pub const GET_PACK: Endpoint = Endpoint::get("/v1/packs/{pack}", PACK);
/// The packs that are there and whole.
pub const LIVE_PACKS: Endpoint = Endpoint::get("/v1/packs/live", PACKSET);
/// The packs that are damaged.
pub const DAMAGED_PACKS: Endpoint = Endpoint::get("/v1/packs/damaged", PACKSET);
/// Looks whether the files of packs are there.
pub const SURVEY: Endpoint = Endpoint::post("/v1/packs/survey", SMALL, ENTRIES);
/// Reads packs again.
pub const VERIFY: Endpoint = Endpoint::post("/v1/packs/verify", SMALL, SMALL);
/// A page of footers.
pub const FOOTERS: Endpoint = Endpoint::get("/v1/footers", 32 * 1024 * 1024);
/// Makes a snapshot.
pub const COMMIT: Endpoint = Endpoint::post("/v1/snapshots", 96 * 1024 * 1024, RECORDS);
/// Gives snapshots other packs.
pub const COMPACT: Endpoint = Endpoint::post("/v1/compactions", 96 * 1024 * 1024, RECORDS);
/// A sealed manifest.
pub const MANIFEST_OF: Endpoint = Endpoint::get("/v1/snapshots/{snapshot}", MANIFEST);
/// The packs that a snapshot needs.
pub const PACKS_OF: Endpoint = Endpoint::get("/v1/snapshots/{snapshot}/packs", PACKSET);
/// Everything that is held about the account.
pub const PRIVACY: Endpoint = Endpoint::get("/v1/privacy", 64 * 1024);
/// What whoever runs the server did with the account.
pub const ACCESS: Endpoint = Endpoint::get("/v1/access", 128 * 1024);
/// The files that are kept for the account.
pub const OBJECTS: Endpoint = Endpoint::get("/v1/objects", RECORDS);
/// Anyone who knows its id: the receipt for an account that was erased.
pub const ERASED: Endpoint = Endpoint::get("/v1/erased/{account}", SMALL);

/// All of them.
pub const ALL: [&Endpoint; 24] = [
    &DESCRIBE,
    &OPENAPI,
    &CREATE_ACCOUNT,
    &CHALLENGE,
    &SESSION,
    &SLOTS,
    &PUT_SLOTS,
    &LOG,
    &APPEND,
    &PUT_PACK,
    &GET_PACK,
    &LIVE_PACKS,
    &DAMAGED_PACKS,
    &SURVEY,
    &VERIFY,
    &FOOTERS,
    &COMMIT,
    &COMPACT,
    &MANIFEST_OF,
    &PACKS_OF,
    &PRIVACY,
    &ACCESS,
    &OBJECTS,
    &ERASED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_filled_in() {
        assert_eq!(GET_PACK.path_to(&7), "/v1/packs/7");
        assert_eq!(PACKS_OF.path_to(&"ab"), "/v1/snapshots/ab/packs");
        assert_eq!(LOG.path_to(&7), "/v1/log");
    }

    #[test]
    fn every_route_is_its_own_and_gets_send_nothing() {
        for (at, one) in ALL.iter().enumerate() {
            assert!(one.path.starts_with("/v1/"));
            assert_eq!(one.method == Method::Get, one.body_cap == 0);
            assert_eq!(one.body_cap == 0, one.takes == Takes::Nothing);
            for other in &ALL[at + 1..] {
                assert_ne!((one.method, one.path), (other.method, other.path));
            }
        }
    }
}
