//! A command's side.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, MAX_ANSWER, Request, noted, socket};
use crate::daemon::job::Trouble;
use crate::daemon::lock;

/// Longer than the daemon's own pulse: silence for so long means that it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the daemon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is none.
    #[error("the daemon is not running")]
    NotRunning,
    /// There is one, and nobody listens where it should.
    #[error("the daemon runs, but its socket cannot be reached at {}", path.display())]
    OutOfReach {
        /// The socket.
        path: PathBuf,
        /// Why, if not because nobody listens there.
        source: Option<io::Error>,
    },
    /// The connection failed.
    #[error("cannot talk to the daemon at {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It answered something else.
    #[error("the daemon's answer makes no sense")]
    BadAnswer,
    /// It refused.
    #[error("{}", .0.message)]
    Refused(Trouble),
}

/// A request that was sent.
#[derive(Debug)]
pub struct Call {
    lines: BufReader<UnixStream>,
    path: PathBuf,
}

impl Call {
    /// Sends a request to the first of these sockets at which somebody of this user listens.
    pub fn send(sockets: &[PathBuf], request: &Request) -> Result<Self, CallError> {
        let mut first = CallError::NotRunning;
        for path in sockets {
            match socket::connect(path) {
                Ok(stream) => return Self::over(stream, path, request),
                Err(error) if is_nobody(&error) => {}
                // A runtime folder that came with `su` is somebody else's: theirs is not meant.
                Err(source) if matches!(first, CallError::NotRunning) => {
                    first = CallError::Io { path: path.clone(), source };
                }
                Err(_) => {}
            }
        }
        Err(first)
    }

    /// Likewise, to the daemon that holds the lock in this state folder, if there is one.
    pub fn to_daemon(
        state: &Path,
        sockets: &[PathBuf],
        request: &Request,
    ) -> Result<Self, CallError> {
        let (path, source) = match Self::send(sockets, request) {
            Err(CallError::NotRunning) => (None, None),
            Err(CallError::Io { path, source }) => (Some(path), Some(source)),
            call => return call,
        };
        if !lock::is_taken(state) {
            return Err(CallError::NotRunning);
        }
        let path = noted(state).or(path).or_else(|| sockets.first().cloned());
        Err(CallError::OutOfReach { path: path.unwrap_or_default(), source })
    }

    fn over(mut stream: UnixStream, path: &Path, request: &Request) -> Result<Self, CallError> {
        let fail = |source| CallError::Io { path: path.to_path_buf(), source };
        let mut line = serde_json::to_vec(request).map_err(|error| fail(error.into()))?;
        line.push(b'\n');
        stream.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        match stream.write_all(&line) {
            // Whoever refuses a client hangs up before it has spoken: the answer says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(fail)?,
        }
        Ok(Self { lines: BufReader::new(stream), path: path.to_path_buf() })
    }

    /// The next answer; none at the end.
    pub fn answer(&mut self) -> Result<Option<Answer>, CallError> {
        let mut line = Vec::new();
        let read = (&mut self.lines).take(MAX_ANSWER).read_until(b'\n', &mut line);
        read.map_err(|source| CallError::Io { path: self.path.clone(), source })?;
        if line.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice(&line) {
            Ok(Answer::Refused(trouble)) => Err(CallError::Refused(trouble)),
            Ok(answer) => Ok(Some(answer)),
            Err(_) => Err(CallError::BadAnswer),
        }
    }

    /// The only answer.
    pub fn only(mut self) -> Result<Answer, CallError> {
        self.answer()?.ok_or(CallError::BadAnswer)
    }
}

/// Nobody listens there, or nobody any longer.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
