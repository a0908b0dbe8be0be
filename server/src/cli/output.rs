//! The only file that prints.

use std::error::Error;
use std::io::{Write, stderr, stdout};

use serde::Serialize;

use super::error::CliError;

/// One line of result. Nobody may be reading it.
pub(super) fn line(text: &str) {
    let mut out = stdout();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// A result for programs.
pub(super) fn json(value: &impl Serialize) -> Result<(), CliError> {
    line(&serde_json::to_string(value).map_err(CliError::Answer)?);
    Ok(())
}

/// One line for people who watch.
pub(super) fn note(text: &str) {
    drop(writeln!(stderr(), "{text}"));
}

/// An error with its causes.
pub(super) fn error(error: &dyn Error) {
    let mut text = format!("backup-server: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    note(&text);
}
