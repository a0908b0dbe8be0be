//! Shell commands around a run.
//!
//! A command runs by `sh -c` in a process group of its own, with nothing on its standard input,
//! no secret in its environment, and what it prints told line by line. When its time is over, or
//! the user wants to stop, the whole group is ended: first asked to, then made to.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::process::{Pid, Signal, kill_process_group};

use super::command::for_others;
use super::named::Hooks;

/// How long a command may take unless the set says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(3600);
/// Between asking a command to end and making it.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(50);
/// How long its output is waited for once it has ended: something in the background may hold it.
pub(super) const REST: Duration = Duration::from_millis(500);
/// Bytes of the longest line that is told as one.
const LINE: usize = 4096;

/// When a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before anything else.
    Before,
    /// After a run that made a snapshot, or found nothing changed.
    After,
    /// After a run that made none.
    Failed,
}

impl Moment {
    /// Its key in config.toml.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Failed => "failed",
        }
    }
}

/// How a run went, for the commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Went {
    /// `complete`, `partial`, `unchanged`, `interrupted` or `failed`.
    pub status: &'static str,
    /// The id of the snapshot, if there is one.
    pub snapshot: Option<String>,
    /// As `backup run` ends with it.
    pub exit_code: u8,
    /// What went wrong, in a line.
    pub error: Option<String>,
    /// Numbers by their names: `FILES_NEW`, `BYTES_ADDED`.
    pub numbers: Vec<(&'static str, u64)>,
}

/// Why a command did not do.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// There is no shell.
    #[error("`{command}` {}", self.how())]
    Start {
        /// The command.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// It failed.
    #[error("`{command}` {}", self.how())]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It took too long, and was ended.
    #[error("`{command}` {}", self.how())]
    TimedOut {
        /// The command.
        command: String,
        /// What it was given.
        limit: Duration,
    },
    /// The user wanted to stop, and it was ended.
    #[error("`{command}` {}", self.how())]
    Stopped {
        /// The command.
        command: String,
    },
}

impl HookError {
    /// How it went, without the command itself, which may hold a secret.
    pub fn how(&self) -> String {
        match self {
            Self::Start { .. } => "cannot be started".to_owned(),
            Self::Failed { status, .. } => ended(*status),
            Self::TimedOut { limit, .. } => {
                format!("took longer than {} s and was ended", limit.as_secs())
            }
            Self::Stopped { .. } => "was ended, as you wished".to_owned(),
        }
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "did not end well".to_owned(),
    }
}

/// The environment of a set's commands: which set, and how its run went.
pub fn environment(
    (set, profile): (&str, &str),
    moment: Moment,
    result: &Went,
) -> Vec<(String, OsString)> {
    let mut all: Vec<(String, OsString)> = Vec::new();
    let mut put = |name: &str, value: String| all.push((format!("UNSEEN_{name}"), value.into()));
    put("SET", set.to_owned());
    put("PROFILE", profile.to_owned());
    put("HOOK", moment.key().to_owned());
    if moment != Moment::Before {
        put("STATUS", result.status.to_owned());
        put("EXIT_CODE", result.exit_code.to_string());
        put("SNAPSHOT", result.snapshot.clone().unwrap_or_default());
        put("ERROR", result.error.clone().unwrap_or_default());
        for (name, value) in &result.numbers {
            put(name, value.to_string());
        }
    }
    all
}

/// Runs the command for a moment, if there is one.
///
/// `stop` ends it; `say` gets what it prints, a line at a time.
pub fn run(
    hooks: &Hooks,
    moment: Moment,
    environment: &[(String, OsString)],
    (stop, say): (&AtomicBool, &dyn Fn(&str)),
) -> Result<(), HookError> {
    let command = match moment {
        Moment::Before => &hooks.before,
        Moment::After => &hooks.after,
        Moment::Failed => &hooks.failed,
    };
    let Some(command) = command else {
        return Ok(());
    };
    let limit = hooks.timeout.map_or(TIMEOUT, |span| span.0);
    shell(command, limit, environment, (stop, say))
}

/// Runs any command in the same way; it is ended after `limit`, unless that is zero.
pub fn shell(
    command: &str,
    limit: Duration,
    environment: &[(String, OsString)],
    (stop, say): (&AtomicBool, &dyn Fn(&str)),
) -> Result<(), HookError> {
    let command = command.to_owned();
    let mut running = match Running::start(&command, environment) {
        Ok(running) => running,
        Err(source) => return Err(HookError::Start { command, source }),
    };
    let why = running.watch((limit, stop), say);
    match why {
        Ending::Itself(status) if status.success() => Ok(()),
        Ending::Itself(status) => Err(HookError::Failed { command, status }),
        Ending::Time => Err(HookError::TimedOut { command, limit }),
        Ending::Stop => Err(HookError::Stopped { command }),
        Ending::Lost(source) => Err(HookError::Start { command, source }),
    }
}

enum Ending {
    Itself(ExitStatus),
    Time,
    Stop,
    Lost(io::Error),
}

struct Running {
    child: Child,
    lines: Receiver<String>,
    open: bool,
}

impl Running {
    fn start(command: &str, environment: &[(String, OsString)]) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).stdin(Stdio::null());
        shell.stdout(writer.try_clone()?).stderr(writer).process_group(0);
        for_others(&mut shell);
        shell.envs(environment.iter().map(|(name, value)| (name, value)));
        let child = shell.spawn()?;
        // The command holds the only writers now.
        drop(shell);
        let (sender, lines) = bounded(64);
        std::thread::Builder::new()
            .name("hook".to_owned())
            .spawn(move || read_lines(reader, |line| sender.send(line).is_ok()))?;
        Ok(Self { child, lines, open: true })
    }

    fn watch(&mut self, (limit, stop): (Duration, &AtomicBool), say: &dyn Fn(&str)) -> Ending {
        let begun = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    self.tell_until(Instant::now() + REST, say);
                    return Ending::Itself(status);
                }
                Ok(None) => {}
                Err(error) => return Ending::Lost(error),
            }
            if stop.load(Ordering::Relaxed) {
                self.end(say);
                return Ending::Stop;
            }
            if !limit.is_zero() && begun.elapsed() >= limit {
                self.end(say);
                return Ending::Time;
            }
            self.tell_until(Instant::now() + LOOK, say);
        }
    }

    /// Tells what is printed until then, or until nobody can print any more.
    fn tell_until(&mut self, end: Instant, say: &dyn Fn(&str)) {
        while self.open {
            match self.lines.recv_deadline(end) {
                Ok(line) => say(&line),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.open = false,
            }
        }
        // It runs on with its outputs closed: only time is left to wait for.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            crossbeam_channel::at(end).recv().ok();
        }
    }

    /// Ends the whole group.
    fn end(&mut self, say: &dyn Fn(&str)) {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        kill_process_group(group, Signal::TERM).ok();
        let until = Instant::now() + GRACE;
        while Instant::now() < until && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.tell_until((Instant::now() + LOOK).min(until), say);
        }
        // Also what the shell has left behind.
        kill_process_group(group, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// Tells line by line, and what is too long in pieces, until the end or until nobody listens: then
/// `tell` says false.
pub(super) fn read_lines(mut from: impl Read, mut tell: impl FnMut(String) -> bool) {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for &byte in buffer.get(..read).unwrap_or_default() {
            if byte != b'\n' {
                line.push(byte);
            }
            if (byte == b'\n' || line.len() >= LINE) && !tell(text(&mut line)) {
                return;
            }
        }
    }
    if !line.is_empty() {
        tell(text(&mut line));
    }
}

fn text(line: &mut Vec<u8>) -> String {
    let text = String::from_utf8_lossy(line).into_owned();
    line.clear();
    text
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::sets::values::Span;

    fn hooks(before: &str, timeout: Duration) -> Hooks {
        let timeout = Some(Span(timeout));
        Hooks { before: Some(before.to_owned()), timeout, ..Hooks::default() }
    }

    fn go(hooks: &Hooks, stop: &AtomicBool) -> (Result<(), HookError>, Vec<String>) {
        let said = RefCell::new(Vec::new());
        let environment = environment(("home", "default"), Moment::Before, &Went::default());
        let say = |line: &str| said.borrow_mut().push(line.to_owned());
        let result = run(hooks, Moment::Before, &environment, (stop, &say));
        (result, said.into_inner())
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn what_it_prints_is_told_and_how_it_ended() {
        let stop = AtomicBool::new(false);
        let (result, said) =
            go(&hooks("echo \"$UNSEEN_SET $UNSEEN_HOOK\"; printf 'no end' >&2", LONG), &stop);
        assert!(result.is_ok());
        assert_eq!(said, ["home before", "no end"]);
        let (result, _) = go(&hooks("exit 7", LONG), &stop);
        assert_eq!(result.unwrap_err().to_string(), "`exit 7` ended with exit code 7");
        let (result, _) = go(&hooks("kill -9 $$", LONG), &stop);
        assert!(result.unwrap_err().to_string().ends_with("was ended by signal 9"));
        let none = Hooks::default();
        assert!(run(&none, Moment::After, &[], (&stop, &|_: &str| ())).is_ok());
    }

    #[test]
    fn nothing_is_read() {
        let stop = AtomicBool::new(false);
        let (result, said) = go(&hooks("cat; echo '<>'", LONG), &stop);
        assert!(result.is_ok());
        assert_eq!(said, ["<>"]);
    }

    #[test]
    fn a_group_is_ended_when_its_time_is_over_or_the_user_wants_to_stop() {
        let stop = AtomicBool::new(false);
        // Both the shell and what it waits for.
        let hook = hooks("echo begun; sleep 1000 & wait", Duration::from_millis(200));
        let (result, said) = go(&hook, &stop);
        assert!(matches!(result.unwrap_err(), HookError::TimedOut { .. }));
        assert_eq!(said, ["begun"]);
        let stubborn = "trap '' TERM; echo begun; while :; do sleep 1000; done";
        stop.store(true, Ordering::Relaxed);
        let (result, _) = go(&hooks(stubborn, LONG), &stop);
        assert!(matches!(result.unwrap_err(), HookError::Stopped { .. }));
    }

    #[test]
    fn long_lines_come_in_pieces_and_outputs_may_be_closed() {
        let stop = AtomicBool::new(false);
        let (result, said) = go(&hooks("printf '%05000d' 7", LONG), &stop);
        assert!(result.is_ok());
        assert_eq!(said.iter().map(String::len).collect::<Vec<_>>(), [LINE, 5000 - LINE]);
        let (result, said) = go(&hooks("exec >&- 2>&-; sleep 0.2; exit 3", LONG), &stop);
        assert!(result.unwrap_err().to_string().ends_with("exit code 3"));
        assert!(said.is_empty());
    }

    #[test]
    fn results_are_in_the_environment() {
        let result = Went {
            status: "partial",
            snapshot: Some("ab".into()),
            exit_code: 3,
            error: None,
            numbers: vec![("FILES_NEW", 7)],
        };
        let all = environment(("s", "p"), Moment::After, &result);
        let get =
            |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_str().unwrap());
        for (name, value) in [
            ("UNSEEN_SET", "s"),
            ("UNSEEN_PROFILE", "p"),
            ("UNSEEN_HOOK", "after"),
            ("UNSEEN_STATUS", "partial"),
            ("UNSEEN_SNAPSHOT", "ab"),
            ("UNSEEN_EXIT_CODE", "3"),
            ("UNSEEN_ERROR", ""),
            ("UNSEEN_FILES_NEW", "7"),
        ] {
            assert_eq!(get(name), Some(value), "{name}");
        }
    }
}
