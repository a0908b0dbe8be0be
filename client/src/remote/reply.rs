//! Reading answers: capped, in time, and turned into values or errors.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use unseen_common::vault::{Result, VaultError};
use unseen_common::wire::PROBLEM_JSON;
use unseen_common::wire::endpoint::PROBLEM_CAP;
use unseen_common::wire::problem::Problem;

/// An answer may stand still for so long.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// Turns answers that are no success into the error that they tell of.
pub(super) async fn check(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() || status.is_informational() {
        return Err(VaultError::BadAnswer(format!("status {}", status.as_u16())));
    }
    let wait = retry_after(response.headers());
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == PROBLEM_JSON.as_bytes());
    if is_problem {
        let bytes = read(response, PROBLEM_CAP).await?;
        if let Ok(problem) = serde_json::from_slice::<Problem>(&bytes) {
            return Err(elsewhere(problem.into_error()));
        }
    }
    // Not from our server: a proxy's page, at most.
    let reason = status.canonical_reason().unwrap_or("unknown status");
    Err(elsewhere(Problem::by_status(status.as_u16(), reason.to_owned(), wait)))
}

/// A full disk is not the one of this machine.
fn elsewhere(error: VaultError) -> VaultError {
    match error {
        VaultError::DiskFull => VaultError::ServerFull,
        error => error,
    }
}

/// Seconds to wait. The other form of it, a date, is nothing that a machine with a wrong clock
/// could use.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// A JSON answer of at most `cap` bytes.
pub(super) async fn json<T: DeserializeOwned>(response: Response, cap: usize) -> Result<T> {
    let bytes = read(response, cap).await?;
    serde_json::from_slice(&bytes).map_err(|error| VaultError::BadAnswer(error.to_string()))
}

/// All of an answer of at most `cap` bytes.
pub(super) async fn read(mut response: Response, cap: usize) -> Result<Bytes> {
    let too_long = || VaultError::BadAnswer(format!("an answer of more than {cap} bytes"));
    let stated = response.content_length().unwrap_or(0);
    let stated = usize::try_from(stated).map_err(|_e| too_long())?;
    if stated > cap {
        return Err(too_long());
    }
    let mut bytes = BytesMut::with_capacity(stated);
    loop {
        let chunk = timeout(IDLE, response.chunk()).await;
        let chunk = chunk.map_err(|_elapsed| unreachable("the answer stopped coming"))?;
        match chunk.map_err(|error| transport(&error))? {
            None => return Ok(bytes.freeze()),
            Some(data) if bytes.len() + data.len() > cap => return Err(too_long()),
            Some(data) => bytes.extend_from_slice(&data),
        }
    }
}

/// An error of the connection: its last cause says what happened, those before it how the layers
/// of the library are called.
pub(super) fn transport(error: &reqwest::Error) -> VaultError {
    let mut last = error.source();
    while let Some(cause) = last.and_then(Error::source) {
        last = Some(cause);
    }
    let cause = last.map_or_else(|| "the connection broke".to_owned(), ToString::to_string);
    VaultError::Unreachable(if error.is_connect() || last.is_none() {
        cause
    } else {
        format!("the connection broke: {cause}")
    })
}

pub(super) fn unreachable(what: &str) -> VaultError {
    VaultError::Unreachable(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn seconds_to_wait_are_read() {
        let of = |text| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]))
        };
        assert_eq!((of("7"), of(" 120 ")), (Some(7), Some(120)));
        for odd in ["", "-1", "1.5", "Sun, 22 Nov 2026 04:00:00 GMT"] {
            assert_eq!(of(odd), None, "{odd}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
