//! A command's side.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, MAX_ANSWER, Request, noted, socket};
use crate::daemon::job::Trouble;
use crate::daemon::lock;

/// Several times the daemon's own pulse: silence for so long means that it hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same once it has spoken: the machine may have much to do.
const FOLLOWING: Duration = Duration::from_secs(20);

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
    /// It takes what it is asked, and says nothing.
    #[error("the daemon{} has not answered for {} s", process_words(*.process), .waited.as_secs())]
    Silent {
        /// Its process, if that is known.
        process: Option<u32>,
        /// How long it was waited for.
        waited: Duration,
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
    patience: Duration,
    /// It has answered something.
    spoken: bool,
}

impl Call {
    /// Sends a request to the first of these sockets at which somebody of this user listens.
    pub fn send(sockets: &[PathBuf], request: &Request) -> Result<Self, CallError> {
        Self::send_within(sockets, request, PATIENCE)
    }

    pub(super) fn send_within(
        sockets: &[PathBuf],
        request: &Request,
        patience: Duration,
    ) -> Result<Self, CallError> {
        let mut first = CallError::NotRunning;
        for path in sockets {
            match socket::connect(path, patience) {
                Ok(stream) => return Self::over(stream, path, (request, patience)),
                Err(error) if is_nobody(&error) => {}
                Err(error) if is_silence(&error) => {
                    return Err(CallError::Silent { process: None, waited: patience });
                }
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

    pub(super) fn over(
        stream: UnixStream,
        path: &Path,
        (request, patience): (&Request, Duration),
    ) -> Result<Self, CallError> {
        let mut call = Self {
            lines: BufReader::new(stream),
            path: path.to_path_buf(),
            patience,
            spoken: false,
        };
        let sent = call.wait_up_to(patience).and_then(|()| {
            let mut line = serde_json::to_vec(request)?;
            line.push(b'\n');
            call.lines.get_mut().write_all(&line)
        });
        match sent {
            // Whoever refuses a client hangs up before it has spoken: the answer says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            sent => sent.map_err(|error| call.failed(error))?,
        }
        Ok(call)
    }

    fn wait_up_to(&mut self, patience: Duration) -> io::Result<()> {
        self.patience = patience;
        let stream = self.lines.get_ref();
        stream.set_write_timeout(Some(patience))?;
        stream.set_read_timeout(Some(patience))
    }

    fn failed(&self, source: io::Error) -> CallError {
        if is_silence(&source) {
            let process = socket::process(self.lines.get_ref());
            return CallError::Silent { process, waited: self.patience };
        }
        if is_its_end(&source) && self.is_gone() {
            return CallError::NotRunning;
        }
        CallError::Io { path: self.path.clone(), source }
    }

    /// Whether it ended before it said anything: then nobody listens there any longer. One that
    /// only hung up does.
    fn is_gone(&self) -> bool {
        !self.spoken
            && socket::connect(&self.path, self.patience).is_err_and(|error| is_nobody(&error))
    }

    /// The next answer; none at the end.
    pub fn answer(&mut self) -> Result<Option<Answer>, CallError> {
        let mut line = Vec::new();
        let read = (&mut self.lines).take(MAX_ANSWER).read_until(b'\n', &mut line);
        read.map_err(|error| self.failed(error))?;
        if line.is_empty() {
            return if self.is_gone() { Err(CallError::NotRunning) } else { Ok(None) };
        }
        self.spoken = true;
        if self.patience < FOLLOWING {
            self.wait_up_to(FOLLOWING).map_err(|error| self.failed(error))?;
        }
        match serde_json::from_slice(&line) {
            Ok(Answer::Refused(trouble)) => Err(CallError::Refused(trouble)),
            Ok(answer) => Ok(Some(answer)),
            Err(_) => Err(CallError::BadAnswer),
        }
    }

    /// The only answer.
    pub fn only(mut self) -> Result<Answer, CallError> {
        loop {
            match self.answer()? {
                // It does something else first.
                Some(Answer::Waiting) => {}
                answer => return answer.ok_or(CallError::BadAnswer),
            }
        }
    }
}

fn process_words(process: Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" (process {process})"))
}

/// A socket that was waited for in vain says that it would have to be waited for.
fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Whoever was there took the connection along when it ended.
fn is_its_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Nobody listens there, or nobody any longer.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
