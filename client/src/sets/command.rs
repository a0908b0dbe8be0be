//! Commands whose output is saved, and what commands of a set may not see.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use super::hooks::{REST, read_lines};

/// Characters of a command's last words that are told.
const LAST: usize = 300;

/// Variables that hold secrets or lead to them.
const SECRET_VARIABLES: [&str; 8] = [
    "BACKUP_PASSPHRASE",
    "BACKUP_PASSPHRASE_FILE",
    "BACKUP_PASSPHRASE_COMMAND",
    "BACKUP_PASSPHRASE_FD",
    "BACKUP_RECOVERY_CODE",
    "BACKUP_RECOVERY_CODE_FILE",
    "BACKUP_RECOVERY_CODE_COMMAND",
    "BACKUP_RECOVERY_CODE_FD",
];

/// By these the service manager and this process alone talk: other programs answer, too.
const MANAGER_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// Takes from a command's environment what is meant for this process alone.
pub fn for_others(command: &mut Command) -> &mut Command {
    for variable in SECRET_VARIABLES.iter().chain(&MANAGER_VARIABLES) {
        command.env_remove(variable);
    }
    command
}

/// The output of a command, which fails at its end if the command failed: half a dump is no backup.
#[derive(Debug)]
pub struct Piped {
    child: Child,
    name: String,
    aside: Option<Aside>,
    done: bool,
    /// Once this is raised nobody waits for the command any more.
    stop: Arc<AtomicBool>,
}

/// What it says beside its output.
#[derive(Debug)]
struct Aside {
    /// The last line that is not empty.
    last: Arc<Mutex<String>>,
    /// Ends with the thread that listens. Nothing is sent.
    end: Receiver<()>,
}

impl Aside {
    /// Passes on line by line.
    fn listen(from: ChildStderr, to: Sender<String>) -> io::Result<Self> {
        let (over, end) = bounded::<()>(0);
        let last = Arc::<Mutex<String>>::default();
        let kept = Arc::clone(&last);
        let tell = move |line: String| {
            if !line.trim().is_empty() {
                kept.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&line);
            }
            to.send(line).is_ok()
        };
        let thread = std::thread::Builder::new().name("aside".to_owned());
        thread.spawn(move || {
            let _over = over;
            read_lines(from, tell);
        })?;
        Ok(Self { last, end })
    }

    /// The last words of a command that has ended; none if it said nothing.
    fn last_words(&self) -> Option<String> {
        // Something in the background may hold on to it.
        self.end.recv_timeout(REST).ok();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut words = String::new();
        for c in last.trim().chars().take(LAST) {
            if c.is_control() {
                words.extend(c.escape_default());
            } else {
                words.push(c);
            }
        }
        if last.trim().chars().nth(LAST).is_some() {
            words.push('…');
        }
        (!words.is_empty()).then_some(words)
    }
}

/// How often a wait for a silent command looks whether it is still wanted.
const LOOK_UP: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

impl Piped {
    /// Starts a program with its arguments, in a process group of its own. Its standard error goes
    /// to `aside`, line by line, or is this process's. Once `stop` is raised, reading fails.
    pub fn start(
        argv: &[OsString],
        (stop, aside): (&Arc<AtomicBool>, Option<Sender<String>>),
    ) -> io::Result<Self> {
        let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut start = Command::new(program);
        start.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        if aside.is_some() {
            start.stderr(Stdio::piped());
        }
        for_others(&mut start);
        let name = program.to_string_lossy().into_owned();
        let child = start.spawn()?;
        let stop = Arc::clone(stop);
        let mut piped = Self { child, name, aside: None, done: false, stop };
        if let (Some(to), Some(from)) = (aside, piped.child.stderr.take()) {
            piped.aside = Some(Aside::listen(from, to)?);
        }
        Ok(piped)
    }
}

/// What a command says beside its output is told while `work` is done, and for a moment after:
/// something in the background may hold on to it.
pub fn listening<T>(
    say: &(dyn Fn(&str) + Sync),
    work: impl FnOnce(Sender<String>) -> T,
) -> io::Result<T> {
    let (to, lines) = bounded::<String>(64);
    let (over, ended) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let tell = move || {
            loop {
                select! {
                    recv(lines) -> line => match line {
                        Ok(line) => say(&line),
                        Err(_) => return,
                    },
                    recv(ended) -> _ => break,
                }
            }
            let end = Instant::now() + REST;
            while let Ok(line) = lines.recv_deadline(end) {
                say(&line);
            }
        };
        std::thread::Builder::new().name("aside".to_owned()).spawn_scoped(scope, tell)?;
        let done = work(to);
        drop(over);
        Ok(done)
    })
}

/// Waits until there is something to read, or its end. Fails once `stop` is raised.
fn wait(from: impl AsFd, stop: &AtomicBool) -> io::Result<()> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("it was stopped"));
        }
        match poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&LOOK_UP)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What comes from a file, a pipe or a terminal, for as long as somebody wants it: nobody waits for
/// more once `stop` is raised.
#[derive(Debug)]
pub struct Patient<F> {
    from: F,
    stop: Arc<AtomicBool>,
}

impl<F: AsFd> Patient<F> {
    /// Reads from here. Nothing of it may have been read ahead by somebody else.
    pub fn new(from: F, stop: &Arc<AtomicBool>) -> Self {
        Self { from, stop: Arc::clone(stop) }
    }
}

impl<F: AsFd> Read for Patient<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait(&self.from, &self.stop)?;
        Ok(rustix::io::read(&self.from, buffer)?)
    }
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done {
            return Ok(0);
        }
        if let Some(out) = &self.child.stdout {
            wait(out, &self.stop)?;
        }
        let read = match &mut self.child.stdout {
            Some(out) => out.read(buffer)?,
            None => 0,
        };
        if read == 0 && !buffer.is_empty() {
            self.done = true;
            let status = self.child.wait()?;
            if !status.success() {
                let failed = format!("{} failed: {status}", self.name);
                return Err(io::Error::other(
                    match self.aside.as_ref().and_then(Aside::last_words) {
                        Some(words) => format!("{failed}; its last words: {words}"),
                        None => failed,
                    },
                ));
            }
        }
        Ok(read)
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        if !self.done {
            // With all that it has started.
            kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
            self.child.wait().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn start(line: &str, stop: &Arc<AtomicBool>) -> Piped {
        let argv = ["sh", "-c", line].map(OsString::from);
        Piped::start(&argv, (stop, None)).unwrap()
    }

    #[test]
    fn a_command_that_says_nothing_is_not_waited_for() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut silent = start("echo begun; sleep 600 & sleep 600", &stop);
        let mut buffer = [0; 100];
        assert_eq!(silent.read(&mut buffer).unwrap(), 6);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(silent.read(&mut buffer).unwrap_err().to_string(), "it was stopped");
    }

    #[test]
    fn what_it_says_beside_its_output_is_told_line_by_line() {
        let (stop, said) = (Arc::default(), Mutex::new(Vec::new()));
        let say = |line: &str| said.lock().unwrap().push(line.to_owned());
        let all = listening(&say, |to| {
            let argv = ["sh", "-c", "echo a >&2; echo b; printf c >&2"].map(OsString::from);
            let mut all = String::new();
            let mut piped = Piped::start(&argv, (&stop, Some(to))).unwrap();
            piped.read_to_string(&mut all).unwrap();
            all
        });
        assert_eq!(
            (all.unwrap().as_str(), said.lock().unwrap().as_slice()),
            ("b\n", &["a".to_owned(), "c".to_owned()][..])
        );
    }

    #[test]
    fn the_last_words_of_a_command_that_failed_are_told() {
        let failed = |line: &str| {
            let ended = listening(&|_| (), |to| {
                let argv = ["sh", "-c", line].map(OsString::from);
                let mut piped = Piped::start(&argv, (&Arc::default(), Some(to))).unwrap();
                piped.read_to_end(&mut Vec::new()).unwrap_err().to_string()
            });
            ended.unwrap()
        };
        let silent = "sh failed: exit status: 3";
        assert_eq!(failed("exit 3"), silent);
        assert_eq!(failed("printf '\\n \\n' >&2; exit 3"), silent);
        let told = format!("{silent}; its last words: no \"shop\"\\u{{1b}}[2J");
        assert_eq!(failed("printf 'a\\nno \"shop\"\\033[2J\\n\\n' >&2; exit 3"), told);
        let long = failed("printf '%05000d' 0 >&2; exit 3");
        assert_eq!(long, format!("{silent}; its last words: {}…", "0".repeat(LAST)));
        // What stays in the background is not waited for.
        let told = format!("{silent}; its last words: b");
        assert_eq!(failed("echo b >&2; sleep 5 >/dev/null & exit 3"), told);
    }

    #[test]
    fn no_secret_and_no_service_manager_is_told_of() {
        let mut command = Command::new("sh");
        let all = SECRET_VARIABLES.iter().chain(&MANAGER_VARIABLES);
        let shown: Vec<_> = all.map(|name| format!("${{{name}-}}")).collect();
        command.args(["-c", &format!("echo \"<{}$OTHER>\"", shown.concat())]).env("OTHER", "other");
        let values = SECRET_VARIABLES.iter().chain(&MANAGER_VARIABLES).map(|name| (name, "x"));
        command.envs(values);
        assert_eq!(for_others(&mut command).output().unwrap().stdout, b"<other>\n");
    }

    #[test]
    fn a_pipe_that_says_nothing_is_not_waited_for() {
        let (from, mut to) = io::pipe().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut patient = Patient::new(from, &stop);
        to.write_all(b"begun").unwrap();
        let mut buffer = [0; 100];
        assert_eq!(patient.read(&mut buffer).unwrap(), 5);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(patient.read(&mut buffer).unwrap_err().to_string(), "it was stopped");
        stop.store(false, Ordering::Relaxed);
        to.write_all(b" and ended").unwrap();
        drop(to);
        let mut rest = String::new();
        patient.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, " and ended");
    }

    #[test]
    fn all_of_it_is_read_and_a_failure_is_told_at_the_end() {
        let stop = Arc::default();
        let mut all = String::new();
        start("echo a; echo b", &stop).read_to_string(&mut all).unwrap();
        assert_eq!(all, "a\nb\n");
        let failed = start("echo a; exit 3", &stop).read_to_string(&mut all).unwrap_err();
        assert!(failed.to_string().contains("sh failed"), "{failed}");
    }
}
