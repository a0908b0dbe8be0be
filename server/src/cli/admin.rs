//! Commands to a server that runs: one JSON line each way over a socket in the data folder that
//! only its owner can open.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::CliError;
use super::invite::Order;
use super::manage::Manage;
use super::place::Place;
use super::{copy, output, scrub, stats};
use crate::vault::Core;
use crate::vault::rounds::Rounds;

/// Longest question, in bytes.
const LINE: u64 = 16 * 1024;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
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
    /// A scrub, or what the last one found.
    Scrub(scrub::Order),
    /// What is stored.
    Stats,
    /// A copy of everything, into this folder.
    Copy(PathBuf),
}

impl Ask {
    /// How long the answer may take; `None` for what takes as long as there is data.
    const fn patience(&self) -> Option<Duration> {
        match self {
            Self::Manage(Manage::Erase { .. } | Manage::Gc { .. })
            | Self::Scrub(_)
            | Self::Stats
            | Self::Copy(_) => None,
            Self::Invite(_) | Self::Manage(_) => Some(PATIENCE),
        }
    }
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Answer {
    /// The result.
    Done(String),
    /// The result; it tells of damage.
    Damage(String),
    /// What went wrong, in words, and the exit code for it.
    Failed { text: String, code: u8 },
}

fn path(data: &Path) -> PathBuf {
    data.join("admin.sock")
}

/// Asks the server that runs on this folder; `None` if none does.
pub(super) fn ask(data: &Path, ask: &Ask) -> Result<Option<String>, CliError> {
    Ok(ask_for_damage(data, ask)?.map(|(text, _)| text))
}

/// The same; tells whether the answer tells of damage, too.
pub(super) fn ask_for_damage(data: &Path, ask: &Ask) -> Result<Option<(String, bool)>, CliError> {
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
        Answer::Done(text) => Ok(Some((text, false))),
        Answer::Damage(text) => Ok(Some((text, true))),
        Answer::Failed { text, code } => Err(CliError::Running { text, code }),
    }
}

fn exchange(mut stream: StdStream, ask: &Ask) -> io::Result<Answer> {
    stream.set_read_timeout(ask.patience())?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server ended before it was done",
        ));
    }
    Ok(serde_json::from_str(&answer)?)
}

/// Whether a server runs on this folder.
pub(super) fn is_running(data: &Path) -> bool {
    StdStream::connect(path(data)).is_ok()
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

/// What commands work on.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) core: Core,
    /// It changes when a certificate with a new key is taken.
    pub(super) place: watch::Receiver<Place>,
    pub(super) rounds: Arc<Rounds>,
}

/// Answers commands, side by side, for as long as it is polled.
pub(super) async fn serve(listener: UnixListener, running: Running) {
    loop {
        match listener.accept().await {
            // Side by side: an account may take long to erase, and a scrub to read.
            Ok((stream, _)) => drop(tokio::spawn(answer(stream, running.clone()))),
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), "admin socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, running: Running) {
    let mut line = String::new();
    let (reader, mut writer) = stream.split();
    let mut reader = tokio::io::BufReader::new(reader.take(LINE));
    let read = timeout(PATIENCE, reader.read_line(&mut line)).await;
    let answer = match (read, serde_json::from_str(&line)) {
        (Ok(Ok(_)), Ok(ask)) => fulfil(running, ask).await,
        _ => failed("the running server does not know this command: is it of the same version?"),
    };
    let mut text = serde_json::to_vec(&answer).unwrap_or_default();
    text.push(b'\n');
    if let Err(error) = writer.write_all(&text).await {
        tracing::debug!(kind = ?error.kind(), "admin answer");
    }
}

async fn fulfil(running: Running, ask: Ask) -> Answer {
    let Running { core, place, rounds } = running;
    let place = place.borrow().clone();
    let made = tokio::task::spawn_blocking(move || match ask {
        Ask::Invite(order) => order.fulfil(&core, Some(place)).map(|line| (line, false)),
        Ask::Manage(manage) => manage.fulfil(&core).map(|text| (text, false)),
        Ask::Scrub(order) => order.fulfil(&core, &rounds),
        Ask::Stats => stats::fulfil(&core, &rounds).map(|text| (text, false)),
        Ask::Copy(target) => copy::fulfil(&core, &target),
    });
    match made.await {
        Ok(Ok((line, false))) => Answer::Done(line),
        Ok(Ok((text, true))) => Answer::Damage(text),
        Ok(Err(error)) => {
            Answer::Failed { text: output::with_causes(&error), code: error.exit_code() }
        }
        Err(_broken) => failed("the command broke off"),
    }
}

fn failed(text: &str) -> Answer {
    Answer::Failed { text: text.to_owned(), code: 1 }
}
