//! Errors on the wire: problem documents with a stable code.

use serde::{Deserialize, Serialize};

use super::base64::Base64;
use super::body::RecordBody;
use crate::packset::PackSet;
use crate::vault::VaultError;

/// A problem document. Members that are not known are ignored, as RFC 9457 wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// `busy`: seconds to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
}

/// Statuses, codes and titles. The codes never change.
const UNAUTHORIZED: Kind = (401, "unauthorized", "Log in again.");
const FORBIDDEN: Kind = (403, "forbidden", "This login may not do this.");
const SUSPENDED: Kind = (403, "suspended", "This account is suspended.");
const NOT_FOUND: Kind = (404, "not-found", "No such thing.");
const INVALID: Kind = (400, "invalid", "The request is wrong.");
const CONFLICT: Kind = (409, "conflict", "The log has moved on.");
const MISSING_PACKS: Kind = (409, "missing-packs", "Packs are missing.");
const STALE_INDEX: Kind = (409, "stale-index", "Pack numbers are stale.");
const QUOTA: Kind = (507, "quota", "The quota is used up.");
const DISK_FULL: Kind = (507, "disk-full", "The server's disk is full.");
const BUSY: Kind = (503, "busy", "Try again later.");
const SERVER: Kind = (500, "server", "The server failed.");

type Kind = (u16, &'static str, &'static str);

impl Problem {
    fn new((status, code, title): Kind) -> Self {
        Self {
            kind: format!("urn:unseen:problem:{code}"),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: None,
            records: Vec::new(),
            packs: None,
            wait: None,
        }
    }

    /// A problem of the transport: 404, 405, 408, 411, 413 and the like.
    pub fn transport(status: u16, code: &str, detail: &str) -> Self {
        Self {
            kind: format!("urn:unseen:problem:{code}"),
            title: detail.to_owned(),
            status,
            code: code.to_owned(),
            ..Self::new(SERVER)
        }
    }

    fn detailed(self, detail: String) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// What is sent for an error. Errors that only a client can have are sent as `server`.
    pub fn of(error: VaultError) -> Self {
        match error {
            VaultError::Unauthorized => Self::new(UNAUTHORIZED),
            VaultError::Forbidden(what) => Self::new(FORBIDDEN).detailed(what),
            VaultError::Suspended(what) => Self::new(SUSPENDED).detailed(what),
            VaultError::NotFound(what) => Self::new(NOT_FOUND).detailed(what),
            VaultError::Invalid(what) => Self::new(INVALID).detailed(what),
            VaultError::Conflict(records) => Self {
                records: records.into_iter().map(Into::into).collect(),
                ..Self::new(CONFLICT)
            },
            VaultError::MissingPacks(packs) => {
                Self { packs: Some(packs.to_bytes().into()), ..Self::new(MISSING_PACKS) }
            }
            VaultError::StaleIndex => Self::new(STALE_INDEX),
            VaultError::Quota(what) => Self::new(QUOTA).detailed(what),
            VaultError::DiskFull => Self::new(DISK_FULL),
            VaultError::Busy(seconds) => Self { wait: Some(seconds), ..Self::new(BUSY) },
            VaultError::Server(what)
            | VaultError::Unreachable(what)
            | VaultError::WrongServer(what)
            | VaultError::BadAnswer(what) => Self::new(SERVER).detailed(what),
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
            "busy" => VaultError::Busy(self.wait.unwrap_or(1)),
            "server" => VaultError::Server(detail),
            _ => Self::by_status(self.status, detail),
        }
    }

    /// The error that a status alone tells of.
    pub fn by_status(status: u16, detail: String) -> VaultError {
        match status {
            401 => VaultError::Unauthorized,
            403 => VaultError::Forbidden(detail),
            404 => VaultError::NotFound(detail),
            408 | 429 => VaultError::Busy(1),
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
            let problem = Problem { status, ..Problem::transport(status, &code, "detail") };
            drop(problem.into_error());
        }
    }
}
