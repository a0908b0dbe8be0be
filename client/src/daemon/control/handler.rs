//! One client: its request, and the answers.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::server::{Ask, Post, Turn};
use super::{Answer, MAX_REQUEST, Request};
use crate::daemon::job::Trouble;
use crate::daemon::live::{Live, Run};
use crate::progress::Level;

/// How long a client may take to send its request, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the daemon may take until it comes to a request.
const TURN: Duration = Duration::from_secs(10);
/// How often progress is told.
const EVERY: Duration = Duration::from_millis(500);
/// How often somebody who waits hears that all is well; it shows who has gone.
const PULSE: Duration = Duration::from_secs(1);

/// A connected client.
#[derive(Debug)]
pub(super) struct Client(UnixStream);

impl Client {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Sends one line, in limited time.
    pub(super) fn tell(&mut self, answer: &Answer) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        let end = Instant::now() + PATIENCE;
        let mut rest = &line[..];
        while !rest.is_empty() {
            self.0.set_write_timeout(Some(left(end)?))?;
            match self.0.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The request: one line of limited length, in limited time.
    fn request(&mut self) -> io::Result<Result<Request, Trouble>> {
        let end = Instant::now() + PATIENCE;
        let cap = usize::try_from(MAX_REQUEST).unwrap_or(usize::MAX);
        let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
        while !line.contains(&b'\n') {
            if line.len() > cap {
                return Ok(Err(Trouble::new(Trouble::FAILED, "the request is too long")));
            }
            self.0.set_read_timeout(Some(left(end)?))?;
            match self.0.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => line.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
        Ok(Request::read(line).map_err(|why| Trouble {
            code: Trouble::FAILED,
            message: format!("the daemon does not understand the request: {why}"),
            hint: Some("after an update, start the daemon anew".to_owned()),
        }))
    }

    /// The answer to what the daemon was asked, however long it takes once it has begun.
    fn await_answer(&mut self, answer: &Receiver<Answer>, turn: &Turn) -> io::Result<Answer> {
        let end = Instant::now() + TURN;
        let mut begun = false;
        loop {
            match answer.recv_timeout(PULSE) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Ok(Answer::Refused(stopping())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !begun && Instant::now() >= end {
                if turn.is_mine() {
                    return Ok(Answer::Refused(busy()));
                }
                begun = true;
            }
            self.tell(&Answer::Waiting)?;
        }
    }
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Serves a client to its end.
pub(super) fn serve(client: &mut Client, live: &Arc<Live>, post: &Post) -> io::Result<()> {
    let request = match client.request()? {
        Ok(request) => request,
        Err(trouble) => return client.tell(&Answer::Refused(trouble)),
    };
    let after = live.begun();
    let follow = match &request {
        Request::Run { set } => Some(Some(set.clone())),
        Request::Progress => return follow_all(client, live),
        _ => None,
    };
    let (reply, answer) = crossbeam_channel::bounded(1);
    let turn = Arc::new(Turn::default());
    let asked = post(Ask::new(request, reply, (Arc::clone(&turn), client.0.try_clone()?)));
    let answer =
        if asked { client.await_answer(&answer, &turn)? } else { Answer::Refused(stopping()) };
    let accepted = matches!(answer, Answer::Done { .. });
    client.tell(&answer)?;
    match follow {
        Some(set) if accepted => follow_one(client, live, (after, set.as_deref())),
        _ => Ok(()),
    }
}

fn stopping() -> Trouble {
    Trouble::new(Trouble::STOPPED, "the daemon is being stopped")
}

fn busy() -> Trouble {
    let text = format!(
        "the daemon does something else first, such as placing watches, and has not come to it \
         within {} s: nothing was done",
        TURN.as_secs()
    );
    Trouble { hint: Some("try again in a minute".to_owned()), ..Trouble::new(Trouble::BUSY, text) }
}

/// The next run of a set, from its beginning to its end.
fn follow_one(client: &mut Client, live: &Live, which: (u64, Option<&str>)) -> io::Result<()> {
    let run = loop {
        if let Some(run) = live.wait(PULSE, || live.after(which.0, which.1)) {
            break run;
        }
        if live.is_closing() {
            return client.tell(&Answer::Refused(stopping()));
        }
        client.tell(&Answer::Waiting)?;
    };
    follow_run(client, live, &run)
}

/// Every run there is, for as long as the client listens.
fn follow_all(client: &mut Client, live: &Live) -> io::Result<()> {
    let mut after = live.begun();
    if let Some(run) = live.current() {
        after = run.number;
        follow_run(client, live, &run)?;
    }
    client.tell(&Answer::Waiting)?;
    while !live.is_closing() {
        match live.wait(PULSE, || live.after(after, None)) {
            Some(run) => {
                after = run.number;
                follow_run(client, live, &run)?;
            }
            None => client.tell(&Answer::Waiting)?,
        }
    }
    Ok(())
}

fn follow_run(client: &mut Client, live: &Live, run: &Run) -> io::Result<()> {
    client.tell(&Answer::Begun { run: run.number, set: run.set.clone() })?;
    let (mut problems, mut notes) = (0, 0);
    loop {
        let result = live.wait(EVERY, || run.result());
        for problem in run.problems(problems) {
            problems += 1;
            client.tell(&Answer::Problem {
                run: run.number,
                path: String::from_utf8_lossy(&problem.path).into_owned(),
                during: problem.during.as_str().to_owned(),
                what: problem.what,
            })?;
        }
        for note in run.notes(notes) {
            notes += 1;
            let warning = note.level == Level::Warning;
            client.tell(&Answer::Note { run: run.number, warning, text: note.text })?;
        }
        let current = String::from_utf8_lossy(&run.current()).into_owned();
        client.tell(&Answer::Progress { run: run.number, counts: run.counts(), current })?;
        if let Some(result) = result {
            let set = run.set.clone();
            return client.tell(&Answer::Ended { run: run.number, set, result: Box::new(result) });
        }
        if live.is_closing() && run.result().is_none() {
            // It still saves a checkpoint; the pulse goes on until it has.
            std::thread::park_timeout(EVERY);
        }
    }
}
