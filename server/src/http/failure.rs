//! Errors become problem documents here and nowhere else.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use unseen_common::vault::VaultError;
use unseen_common::wire::PROBLEM_JSON;
use unseen_common::wire::problem::{self, Kind, Problem};

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure(Box<Problem>);

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self(Box::new(Problem::of(error)))
    }
}

impl Failure {
    /// Of a kind, with nothing more to say.
    pub(super) fn of(kind: &Kind) -> Self {
        Self(Box::new(Problem::new(kind)))
    }

    /// Of a kind, with what happened to which thing.
    pub(super) fn detailed(kind: &Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(kind).detailed(detail.into())))
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::detailed(&problem::INVALID, detail)
    }

    /// So many seconds too early.
    pub(super) fn too_many(wait: u64) -> Self {
        Self(Box::new(Problem { wait: Some(wait), ..Problem::new(&problem::TOO_MANY) }))
    }

    pub(super) fn too_large(cap: usize) -> Self {
        Self::detailed(&problem::TOO_LARGE, format!("at most {cap} bytes are accepted here"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status);
        let text = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = self.0.wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        if self.0.status == problem::UNAUTHORIZED.status {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
