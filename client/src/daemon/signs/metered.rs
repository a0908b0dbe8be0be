//! Whether the connection costs money, as `NetworkManager` sees it.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::sets::command::for_others;

/// Bytes of an answer that are read.
const ANSWER: u64 = 1024;

/// Who is asked: a program that prints a property as `busctl` does.
#[derive(Debug, Clone)]
pub struct Metered {
    program: PathBuf,
    args: Vec<String>,
    at_most: Duration,
}

impl Default for Metered {
    fn default() -> Self {
        let manager = "org.freedesktop.NetworkManager";
        let args = [
            "--system",
            "--auto-start=no",
            "--timeout=1",
            "get-property",
            manager,
            "/org/freedesktop/NetworkManager",
            manager,
            "Metered",
        ];
        Self {
            program: "busctl".into(),
            args: args.map(str::to_owned).to_vec(),
            at_most: Duration::from_secs(2),
        }
    }
}

impl Metered {
    /// Asks. None: nobody knows, or nobody answers in time.
    pub fn ask(&self) -> Option<bool> {
        let mut child = for_others(&mut Command::new(&self.program))
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let out = child.stdout.take()?;
        let (told, heard) = bounded(1);
        let reader = std::thread::Builder::new().name("metered".into()).spawn(move || {
            let mut text = String::new();
            let read = out.take(ANSWER).read_to_string(&mut text);
            // Nobody listens any more when it came too late.
            told.send(read.ok().map(|_| text)).ok();
        });
        let answer = reader.ok().and_then(|_| heard.recv_timeout(self.at_most).ok());
        // Whether it has answered or not, it is not needed any more.
        child.kill().ok();
        child.wait().ok();
        parse(&answer??)
    }
}

/// Reads `u N`: 1 is yes and 3 probably, 2 is no and 4 probably.
fn parse(answer: &str) -> Option<bool> {
    match answer.trim().strip_prefix("u ")? {
        "1" | "3" => Some(true),
        "2" | "4" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(script: &str, at_most: Duration) -> Option<bool> {
        let args = vec!["-c".to_owned(), script.to_owned()];
        Metered { program: "sh".into(), args, at_most }.ask()
    }

    #[test]
    fn answers_are_understood_and_everything_else_is_unknown() {
        let soon = Duration::from_secs(60);
        assert_eq!(ask("echo u 1", soon), Some(true));
        assert_eq!(ask("echo u 3", soon), Some(true));
        assert_eq!(ask("echo u 2", soon), Some(false));
        assert_eq!(ask("echo u 4", soon), Some(false));
        assert_eq!(ask("echo u 0", soon), None);
        assert_eq!(ask("echo no such service >&2; exit 1", soon), None);
        assert_eq!(ask("head -c 100000 /dev/zero", soon), None);
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        assert_eq!(ask("exec sleep 1000", Duration::from_millis(50)), None);
        let nobody = Metered { program: "/no/such/program".into(), ..Metered::default() };
        assert_eq!(nobody.ask(), None);
    }
}
