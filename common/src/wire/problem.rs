//! Errors on the wire: problem documents with a stable code.

use serde::{Deserialize, Serialize};

use super::base64::Base64;
use super::body::RecordBody;
use crate::packset::PackSet;
use crate::vault::VaultError;

/// A problem document. Members that are not known are ignored, as RFC 9457 wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Names the kind: `urn:unseen:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// In words, the same for every problem of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What happened to which thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// `conflict`: the records missed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordBody>,
    /// `missing-packs`: which, as [`PackSet::to_bytes`] writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packs: Option<Base64>,
    /// `damaged`: what to do next, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// `busy`, `too-many`: seconds to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
}

/// A kind of problem. The table of all is [`KINDS`]; docs/PROTOCOL.md shows it to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The HTTP status.
    pub status: u16,
    /// The stable code; it never changes.
    pub code: &'static str,
    /// In words.
    pub title: &'static str,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $code:literal, $title:literal;)*) => {
        $($(#[$doc])* pub const $name: Kind = Kind { status: $status, code: $code, title: $title };)*

        /// All kinds of problems that a server tells of.
        pub const KINDS: &[Kind] = &[$($name),*];
    };
}

kinds! {
    /// The request cannot be right, whoever sends it.
    INVALID = 400, "invalid", "The request is wrong.";
    /// The body ended before its stated length, or went on after it.
    CUT_OFF = 400, "cut-off", "The body is not as long as stated.";
    /// No token, or one that has ended.
    UNAUTHORIZED = 401, "unauthorized", "Log in again.";
    /// Not for this principal.
    FORBIDDEN = 403, "forbidden", "This login may not do this.";
    /// Not for an account that whoever runs the server has suspended.
    SUSPENDED = 403, "suspended", "This account is suspended.";
    /// No such account, pack, snapshot or invite.
    NOT_FOUND = 404, "not-found", "No such thing.";
    /// No such path.
    NO_SUCH_ROUTE = 404, "no-such-route", "There is no such route.";
    /// The path is there, the method is not; `Allow` lists those that are.
    WRONG_METHOD = 405, "wrong-method", "This route is asked in another way.";
    /// The body came too slowly.
    TOO_SLOW = 408, "too-slow", "The body came too slowly.";
    /// The head of the log is not the one that the entry follows.
    CONFLICT = 409, "conflict", "The log has moved on.";
    /// A commit names packs that are not there.
    MISSING_PACKS = 409, "missing-packs", "Packs are missing.";
    /// A commit's numbers name other packs.
    STALE_INDEX = 409, "stale-index", "Pack numbers are stale.";
    /// A body without `Content-Length`.
    LENGTH_REQUIRED = 411, "length-required", "Content-Length is required.";
    /// A body above the cap of its route.
    TOO_LARGE = 413, "too-large", "The body is longer than this route accepts.";
    /// A body of another type.
    WRONG_TYPE = 415, "wrong-type", "The body has another type than this route accepts.";
    /// Too many requests of this account or address.
    TOO_MANY = 429, "too-many", "Too many requests.";
    /// Anything that is the server's fault.
    SERVER = 500, "server", "The server failed.";
    /// Something that is kept besides packs; asking again is of no use.
    DAMAGED = 500, "damaged", "What is stored is damaged.";
    /// Too much at a time.
    BUSY = 503, "busy", "Try again later.";
    /// The account's quota.
    QUOTA = 507, "quota", "The quota is used up.";
    /// The server's disk.
    DISK_FULL = 507, "disk-full", "The server's disk is full.";
}

impl Problem {
    /// A problem of this kind, with nothing more to say.
    pub fn new(kind: &Kind) -> Self {
        Self {
            kind: format!("urn:unseen:problem:{}", kind.code),
            title: kind.title.to_owned(),
            status: kind.status,
            code: kind.code.to_owned(),
            detail: None,
            records: Vec::new(),
            packs: None,
            next: None,
            wait: None,
        }
    }

    /// With what happened to which thing.
    #[must_use]
    pub fn detailed(self, detail: String) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// What is sent for an error. Errors that only a client can have are sent as `server`.
    pub fn of(error: VaultError) -> Self {
        match error {
            VaultError::Unauthorized => Self::new(&UNAUTHORIZED),
            VaultError::Forbidden(what) => Self::new(&FORBIDDEN).detailed(what),
            VaultError::Suspended(what) => Self::new(&SUSPENDED).detailed(what),
            VaultError::NotFound(what) => Self::new(&NOT_FOUND).detailed(what),
            VaultError::Invalid(what) => Self::new(&INVALID).detailed(what),
            VaultError::Conflict(records) => Self {
                records: records.into_iter().map(Into::into).collect(),
                ..Self::new(&CONFLICT)
            },
            VaultError::MissingPacks(packs) => {
                Self { packs: Some(packs.to_bytes().into()), ..Self::new(&MISSING_PACKS) }
            }
            VaultError::StaleIndex => Self::new(&STALE_INDEX),
            VaultError::Quota(what) => Self::new(&QUOTA).detailed(what),
            VaultError::DiskFull | VaultError::ServerFull => Self::new(&DISK_FULL),
            VaultError::Busy(seconds) => Self { wait: Some(seconds), ..Self::new(&BUSY) },
            VaultError::Damaged { what, next } => {
                let next = Some(next).filter(|next| !next.is_empty());
                Self { next, ..Self::new(&DAMAGED).detailed(what) }
            }
            VaultError::Server(what)
            | VaultError::Unreachable(what)
            | VaultError::WrongServer(what)
            | VaultError::BadAnswer(what) => Self::new(&SERVER).detailed(what),
        }
    }

    /// The error that was sent. A code that is not known counts by its status.
    pub fn into_error(self) -> VaultError {
        let detail = self.detail.unwrap_or(self.title);
        match self.code.as_str() {
            "unauthorized" => VaultError::Unauthorized,
            "forbidden" => VaultError::Forbidden(detail),
            "suspended" => VaultError::Suspended(detail),
            "not-found" => VaultError::NotFound(detail),
            "invalid" => VaultError::Invalid(detail),
            "conflict" => VaultError::Conflict(self.records.into_iter().map(Into::into).collect()),
            "missing-packs" => match self.packs.map(|packs| PackSet::from_bytes(&packs.0)) {
                Some(Ok(packs)) => VaultError::MissingPacks(packs),
                _ => VaultError::BadAnswer("missing packs without their numbers".to_owned()),
            },
            "stale-index" => VaultError::StaleIndex,
            "quota" => VaultError::Quota(detail),
            "disk-full" => VaultError::DiskFull,
            "busy" | "too-many" => VaultError::Busy(self.wait.unwrap_or(1)),
            "damaged" => VaultError::Damaged { what: detail, next: self.next.unwrap_or_default() },
            "server" => VaultError::Server(detail),
            _ => Self::by_status(self.status, detail, self.wait),
        }
    }

    /// The error that a status alone tells of, and `Retry-After` in seconds if there is one.
    pub fn by_status(status: u16, detail: String, wait: Option<u64>) -> VaultError {
        match status {
            401 => VaultError::Unauthorized,
            403 => VaultError::Forbidden(detail),
            404 => VaultError::NotFound(detail),
            408 | 429 | 503 => VaultError::Busy(wait.unwrap_or(1)),
            400..=499 => VaultError::Invalid(detail),
            507 => VaultError::DiskFull,
            500..=599 => VaultError::Server(detail),
            _ => VaultError::BadAnswer(format!("status {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PackNumber;
    use crate::log::chain::{Record, SignedEntry};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn errors() -> Vec<(VaultError, u16, &'static str)> {
        let record = Record {
            signed: SignedEntry { bytes: vec![1, 2], signature: [3; 64] },
            received: Timestamp(4),
        };
        let packs = [PackNumber(3), PackNumber(70_000)].into_iter().collect();
        let what = || "what".to_owned();
        vec![
            (VaultError::Unauthorized, 401, "unauthorized"),
            (VaultError::Forbidden(what()), 403, "forbidden"),
            (VaultError::Suspended(what()), 403, "suspended"),
            (VaultError::NotFound(what()), 404, "not-found"),
            (VaultError::Invalid(what()), 400, "invalid"),
            (VaultError::Conflict(vec![record]), 409, "conflict"),
            (VaultError::Conflict(vec![]), 409, "conflict"),
            (VaultError::MissingPacks(packs), 409, "missing-packs"),
            (VaultError::StaleIndex, 409, "stale-index"),
            (VaultError::Quota(what()), 507, "quota"),
            (VaultError::DiskFull, 507, "disk-full"),
            (VaultError::Busy(7), 503, "busy"),
            (VaultError::Damaged { what: what(), next: what() }, 500, "damaged"),
            (VaultError::Damaged { what: what(), next: String::new() }, 500, "damaged"),
            (VaultError::Server(what()), 500, "server"),
        ]
    }

    #[test]
    fn every_error_survives_the_wire() {
        for (error, status, code) in errors() {
            let shown = format!("{error:?}");
            let problem = Problem::of(error);
            assert_eq!((problem.status, problem.code.as_str()), (status, code));
            let text = serde_json::to_string(&problem).unwrap();
            let back: Problem = serde_json::from_str(&text).unwrap();
            assert_eq!(back, problem);
            assert_eq!(format!("{:?}", back.into_error()), shown);
        }
    }

    #[test]
    fn kinds_are_told_apart_and_the_documentation_lists_them() {
        let page = include_str!("../../../docs/PROTOCOL.md");
        let (_, errors) = page.split_once("\n## Errors\n").unwrap();
        let (errors, _) = errors.split_once("\n## ").unwrap();
        let rows: Vec<(u16, &str, &str)> = errors
            .lines()
            .filter_map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                let code = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
                Some((cells.next()?.parse().unwrap(), code, cells.next()?))
            })
            .collect();
        let kinds: Vec<_> = KINDS.iter().map(|k| (k.status, k.code, k.title)).collect();
        assert_eq!(rows, kinds);
        let codes: std::collections::BTreeSet<_> = KINDS.iter().map(|k| k.code).collect();
        assert_eq!(codes.len(), KINDS.len());
    }

    #[test]
    fn waits_are_told() {
        let kind = Problem { wait: Some(9), ..Problem::new(&TOO_MANY) };
        assert!(matches!(kind.into_error(), VaultError::Busy(9)));
        let proxy = Problem::by_status(503, "from a proxy".into(), Some(3));
        assert!(matches!(proxy, VaultError::Busy(3)));
    }

    #[test]
    fn what_only_clients_have_is_a_server_error_when_sent() {
        for error in [
            VaultError::Unreachable("x".into()),
            VaultError::WrongServer("x".into()),
            VaultError::BadAnswer("x".into()),
        ] {
            assert_eq!(Problem::of(error).code, "server");
        }
    }

    #[test]
    fn unknown_members_are_ignored_and_unknown_codes_count_by_status() {
        let text = r#"{"type":"x","title":"t","status":429,"code":"new","instance":"y"}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert!(matches!(problem.into_error(), VaultError::Busy(1)));
    }

    proptest! {
        #[test]
        fn any_status_is_an_error(status in any::<u16>(), code in "[a-z-]{0,14}") {
            let problem = Problem { status, code, ..Problem::new(&SERVER) };
            drop(problem.into_error());
        }
    }
}
