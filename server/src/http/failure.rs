//! Errors become problem documents here and nowhere else.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use unseen_common::vault::VaultError;
use unseen_common::wire::PROBLEM_JSON;
use unseen_common::wire::problem::Problem;

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure(Box<Problem>);

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self(Box::new(Problem::of(error)))
    }
}

impl Failure {
    /// Of the transport.
    pub(super) fn transport(status: StatusCode, code: &str, detail: &str) -> Self {
        Self(Box::new(Problem::transport(status.as_u16(), code, detail)))
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        VaultError::Invalid(detail.into()).into()
    }

    pub(super) fn too_large(cap: usize) -> Self {
        Self::transport(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            &format!("at most {cap} bytes are accepted here"),
        )
    }

    pub(super) fn too_slow() -> Self {
        Self::transport(StatusCode::REQUEST_TIMEOUT, "too-slow", "the body came too slowly")
    }

    pub(super) fn cut_off() -> Self {
        Self::transport(StatusCode::BAD_REQUEST, "cut-off", "the body was cut off")
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
        response
    }
}
