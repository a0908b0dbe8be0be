//! Notices on the desktop, and whether there is one.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::env::Environment;
use crate::daemon::alerts::{Alert, Outcome};
use crate::sets::command::for_others;

/// What shows a notice.
const PROGRAM: &str = if cfg!(target_os = "macos") { "osascript" } else { "notify-send" };
/// How long that may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(100);

/// The desktop, as far as the environment tells of one.
#[derive(Debug, Clone)]
pub(super) struct Desktop {
    /// Where programs are.
    path: OsString,
    /// There is a session bus or a display.
    session: bool,
}

impl Desktop {
    pub(super) fn of(env: &dyn Environment) -> Self {
        let set = |name| env.var(name).is_some_and(|value| !value.is_empty());
        let bus =
            env.var("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).join("bus").exists());
        let named = ["DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY"];
        Self {
            path: env.var("PATH").unwrap_or_default(),
            session: cfg!(target_os = "macos") || bus || named.into_iter().any(set),
        }
    }

    /// Why nothing can be shown on it, if that is known.
    pub(super) fn trouble(&self) -> Option<String> {
        if !std::env::split_paths(&self.path).any(|dir| dir.join(PROGRAM).is_file()) {
            return Some(format!("there is no {PROGRAM} on this machine"));
        }
        (!self.session).then(|| {
            "there is neither a session bus (DBUS_SESSION_BUS_ADDRESS) nor a display".to_owned()
        })
    }

    /// Shows a notice, and tells how that went, by a thread of its own.
    pub(super) fn show(&self, alert: &Alert, done: impl FnOnce(Outcome) + Clone + Send + 'static) {
        if let Some(why) = self.trouble() {
            return done(Outcome::Failed(why));
        }
        let mut command = notice(alert);
        for_others(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                return done(Outcome::Failed(format!("{PROGRAM} cannot be started: {error}")));
            }
        };
        let no_thread = done.clone();
        let thread = std::thread::Builder::new().name("alert".to_owned());
        if let Err(error) = thread.spawn(move || done(wait(child))) {
            no_thread(Outcome::Failed(format!("cannot start a thread: {error}")));
        }
    }
}

fn wait(mut child: Child) -> Outcome {
    let end = Instant::now() + LIMIT;
    let why = loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Outcome::Told,
            Ok(Some(status)) => break format!("{PROGRAM} failed ({status})"),
            Ok(None) if Instant::now() < end => std::thread::park_timeout(LOOK),
            Ok(None) => break format!("{PROGRAM} took longer than {} s", LIMIT.as_secs()),
            Err(error) => break format!("{PROGRAM} cannot be waited for: {error}"),
        }
    };
    // One that has ended takes no harm.
    child.kill().and_then(|()| child.wait()).ok();
    Outcome::Failed(why)
}

#[cfg(target_os = "macos")]
fn notice(alert: &Alert) -> Command {
    let mut command = Command::new(PROGRAM);
    let script =
        "on run argv\ndisplay notification (item 1 of argv) with title \"Backup\"\nend run";
    command.args(["-e", script, &alert.text]);
    command
}

#[cfg(not(target_os = "macos"))]
fn notice(alert: &Alert) -> Command {
    let mut command = Command::new(PROGRAM);
    let text = format!("{}\n{}", alert.text, alert.hint);
    command.args(["--app-name=Unseen", "--urgency=critical", "--", "Backup", &text]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::env::FixedEnv;

    #[test]
    fn a_machine_without_a_desktop_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let bus = ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x");
        let of = |variables: &[(&str, &str)]| Desktop::of(&FixedEnv::new(variables)).trouble();
        let why = of(&[("PATH", path), bus]).unwrap();
        assert!(why.starts_with("there is no "), "{why}");
        std::fs::write(dir.path().join(PROGRAM), "").unwrap();
        assert_eq!(of(&[("PATH", path), bus]), None);
        assert_eq!(of(&[("PATH", path), ("DISPLAY", ":0")]), None);
        let bare = of(&[("PATH", path), ("DISPLAY", "")]);
        assert_eq!(bare.is_some(), cfg!(not(target_os = "macos")), "{bare:?}");
        std::fs::write(dir.path().join("bus"), "").unwrap();
        assert_eq!(of(&[("PATH", path), ("XDG_RUNTIME_DIR", path)]), None);
    }

    #[test]
    fn it_has_arrived_if_the_program_says_so() {
        let run = |line: &str| wait(Command::new("sh").args(["-c", line]).spawn().unwrap());
        assert_eq!(run("exit 0"), Outcome::Told);
        let Outcome::Failed(why) = run("exit 3") else { panic!("it failed") };
        assert!(why.contains("exit status: 3"), "{why}");
    }
}
