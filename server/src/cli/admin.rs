//! Commands to a server that runs: one JSON line each way over a socket in the data folder that
//! only its owner can open.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::error::CliError;
use super::invite::Order;
use super::manage::Manage;
use super::place::Place;
use crate::vault::Core;

/// Longest line, in bytes.
const LINE: u64 = 16 * 1024;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// Removing many files takes its time.
const PATIENCE_TO_DELETE: Duration = Duration::from_secs(30 * 60);
/// Longest answer, in bytes.
const ANSWER: u64 = 64 * 1024 * 1024;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Ask {
    /// An invite.
    Invite(Order),
    /// What is done with accounts and invites that are there.
    Manage(Manage),
}

impl Ask {
    /// How long the answer may take.
    const fn patience(&self) -> Duration {
        match self {
            Self::Manage(Manage::Erase { .. } | Manage::Gc { .. }) => PATIENCE_TO_DELETE,
            _ => PATIENCE,
        }
    }
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Answer {
    /// The result.
    Done(String),
    /// What went wrong.
    Failed(String),
}

fn path(data: &Path) -> PathBuf {
    data.join("admin.sock")
}

/// Asks the server that runs on this folder; `None` if none does.
pub(super) fn ask(data: &Path, ask: &Ask) -> Result<Option<String>, CliError> {
    let path = path(data);
    let stream = match StdStream::connect(&path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(source) => return Err(CliError::Io { path, source }),
    };
    let answer = exchange(stream, ask).map_err(|source| CliError::Io { path, source })?;
    match answer {
        Answer::Done(text) => Ok(Some(text)),
        Answer::Failed(text) => Err(CliError::Running(text)),
    }
}

fn exchange(mut stream: StdStream, ask: &Ask) -> io::Result<Answer> {
    stream.set_read_timeout(Some(ask.patience()))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// Listens for commands. The folder is ours alone while the core is open.
pub(super) fn listen(data: &Path) -> Result<UnixListener, CliError> {
    let path = path(data);
    let bound = remove_stale(&path).and_then(|()| UnixListener::bind(&path)).and_then(|listener| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    bound.map_err(|source| CliError::Io { path, source })
}

/// Removes the socket.
pub(super) fn close(data: &Path) {
    if let Err(error) = remove_stale(&path(data)) {
        tracing::debug!(kind = ?error.kind(), "removing the admin socket");
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Answers commands for as long as it is polled.
pub(super) async fn serve(listener: UnixListener, core: Core, place: Place) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Side by side: an account may take long to erase.
                let (core, place) = (core.clone(), place.clone());
                tokio::spawn(async move { answer(stream, &core, &place).await });
            }
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), "admin socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, core: &Core, place: &Place) {
    let mut line = String::new();
    let (reader, mut writer) = stream.split();
    let mut reader = tokio::io::BufReader::new(reader.take(LINE));
    let read = timeout(PATIENCE, reader.read_line(&mut line)).await;
    let (core, place) = (core.clone(), place.clone());
    let answer = match (read, serde_json::from_str(&line)) {
        (Ok(Ok(_)), Ok(Ask::Invite(order))) => work(move || order.fulfil(&core, Some(place))).await,
        (Ok(Ok(_)), Ok(Ask::Manage(manage))) => work(move || manage.fulfil(&core)).await,
        _ => Answer::Failed("the command is not understood".to_owned()),
    };
    let mut text = serde_json::to_vec(&answer).unwrap_or_default();
    text.push(b'\n');
    if let Err(error) = writer.write_all(&text).await {
        tracing::debug!(kind = ?error.kind(), "admin answer");
    }
}

async fn work(command: impl FnOnce() -> Result<String, CliError> + Send + 'static) -> Answer {
    match tokio::task::spawn_blocking(command).await {
        Ok(Ok(line)) => Answer::Done(line),
        Ok(Err(error)) => Answer::Failed(error.to_string()),
        Err(_broken) => Answer::Failed("the command broke off".to_owned()),
    }
}
