//! A machine: a home folder, an environment, and `backup` on it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::trees;

/// The passphrase of every vault here, unless a test says otherwise.
pub const PASSPHRASE: &str = "seven lanterns drift past the quiet harbour";

/// One machine.
#[derive(Debug, Clone)]
pub struct Machine {
    program: PathBuf,
    /// Its home folder.
    pub home: PathBuf,
    env: BTreeMap<String, OsString>,
}

/// What the recovery kit says.
#[derive(Debug, Clone)]
pub struct Kit {
    /// Where the vault is.
    pub address: String,
    /// The recovery code.
    pub code: String,
}

/// A program that ended.
#[derive(Debug)]
pub struct Ran {
    /// What was run.
    pub line: String,
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: String,
}

impl Machine {
    /// With an empty environment but for `HOME` and the passphrase.
    pub fn new(program: PathBuf, home: PathBuf) -> Self {
        let env = BTreeMap::from([("BACKUP_PASSPHRASE".to_owned(), PASSPHRASE.into())]);
        Self { program, home, env }
    }

    /// The same machine with a variable set.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.to_owned(), value.as_ref().to_owned());
        self
    }

    /// The same machine, to whose programs nobody tells a secret.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.env.remove("BACKUP_PASSPHRASE");
        self.env.remove("BACKUP_RECOVERY_CODE");
        self
    }

    /// The same machine, which is told the passphrase alone.
    #[must_use]
    pub fn by_passphrase(self) -> Self {
        self.without_secrets().with("BACKUP_PASSPHRASE", PASSPHRASE)
    }

    /// `backup` with these arguments, not started.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().current_dir(&self.home);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.env("HOME", &self.home).env("RUST_BACKTRACE", "1");
        command.envs(&self.env).stdin(Stdio::null());
        command
    }

    /// A shell that runs this script, in which `backup` is the program.
    pub fn shell(&self, script: &str) -> Command {
        let link = self.home.join(".local/bin/backup");
        if !link.is_symlink() {
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&self.program, &link).unwrap();
        }
        let mut path = link.parent().unwrap().as_os_str().to_owned();
        if let Some(others) = std::env::var_os("PATH") {
            path.push(":");
            path.push(others);
        }
        let mut command = Command::new("sh");
        command.args(["-ec", script]).env_clear().current_dir(&self.home);
        command.env("HOME", &self.home).env("PATH", path).env("RUST_BACKTRACE", "1");
        command.env("SHELL", "/bin/sh").envs(&self.env).stdin(Stdio::null());
        command
    }

    /// Runs this line in a shell; it must succeed.
    pub fn types(&self, line: &str) -> Ran {
        Ran::of(line.to_owned(), self.shell(line).output().unwrap()).check(0)
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran::of(line("backup", arguments), output)
    }

    /// Runs it; it must succeed.
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        self.exits(0, arguments)
    }

    /// Runs it; it must end with this code, and never with a panic.
    pub fn exits<S: AsRef<OsStr>>(&self, code: i32, arguments: &[S]) -> Ran {
        self.run(arguments).check(code)
    }

    /// Starts it with both outputs piped.
    pub fn spawn<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Makes a local vault in this folder.
    pub fn init_local(&self, vault: &Path) -> Kit {
        let kit = self.home.join("kit.txt");
        let words = [
            "init".as_ref(),
            "--local".as_ref(),
            vault.as_os_str(),
            "--kit".as_ref(),
            kit.as_os_str(),
        ];
        self.ok(&words);
        Kit::read(&kit)
    }

    /// Accepts an invitation.
    pub fn init_remote(&self, invite: &str) -> Kit {
        let kit = self.home.join("kit.txt");
        let words = ["init".as_ref(), invite.as_ref(), "--kit".as_ref(), kit.as_os_str()];
        self.ok(&words);
        Kit::read(&kit)
    }

    /// Backs up this path with these options; it must succeed. Gives the summary.
    pub fn back_up(&self, source: &Path, options: &[&str]) -> Summary {
        self.back_up_exits(0, source, options)
    }

    /// The same; it must end with this code.
    pub fn back_up_exits(&self, code: i32, source: &Path, options: &[&str]) -> Summary {
        let mut words: Vec<&OsStr> = vec!["run".as_ref(), "--json".as_ref()];
        words.extend(options.iter().map(OsStr::new));
        words.push(source.as_os_str());
        Summary::of(&self.exits(code, &words))
    }

    /// Restores into this folder; it must succeed.
    pub fn restore(&self, snapshot: &str, target: &Path, options: &[&str]) -> Ran {
        let mut words: Vec<&OsStr> = vec!["restore".as_ref(), snapshot.as_ref()];
        words.extend(["--target".as_ref(), target.as_os_str()]);
        words.extend(options.iter().map(OsStr::new));
        self.ok(&words)
    }

    /// Restores a snapshot into a new folder and compares it with what is known about its source.
    pub fn restores_to(&self, snapshot: &str, source: &Path, wanted: &trees::Tree) {
        let target = tempfile::tempdir_in(&self.home).unwrap();
        self.restore(snapshot, target.path(), &[]);
        let restored = trees::capture(&trees::beneath(target.path(), source));
        trees::assert_same(wanted, &restored);
    }

    /// The folder with the device's keys.
    pub fn data(&self) -> PathBuf {
        self.home.join(".local/share/unseen/default")
    }

    /// The folder of the state.
    pub fn state(&self) -> PathBuf {
        self.home.join(".local/state/unseen/default")
    }

    /// The folder of the cache.
    pub fn cache(&self) -> PathBuf {
        self.home.join(".cache/unseen/default")
    }
}

/// The last line of a `run --json`.
#[derive(Debug, Clone)]
pub struct Summary(pub Value);

impl Summary {
    fn of(ran: &Ran) -> Self {
        let lines = ran.json_lines();
        let found = lines.into_iter().rfind(|line| line["message_type"] == "summary");
        Self(found.unwrap_or_else(|| panic!("no summary:\n{ran}")))
    }

    /// The snapshot's id.
    pub fn snapshot(&self) -> String {
        self.0["snapshot_id"].as_str().unwrap().to_owned()
    }

    /// A number of the summary.
    pub fn number(&self, key: &str) -> u64 {
        let number = self.0[key].as_u64();
        number.unwrap_or_else(|| panic!("no number {key} in {}", self.0))
    }
}

impl Kit {
    /// Reads a kit that was written as text.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = || text.lines().map(str::trim);
        let address = lines()
            .find(|line| line.starts_with("unseen://") || line.starts_with("file:///"))
            .expect("the kit holds the address on a line of its own");
        let code = lines()
            .find(|line| {
                let groups: Vec<&str> = line.split('-').collect();
                groups.len() == 8 && groups.iter().all(|group| group.len() == 5)
            })
            .expect("the kit holds the recovery code on a line of its own");
        Self { address: address.to_owned(), code: code.to_owned() }
    }
}

impl Ran {
    pub(crate) fn of(line: String, output: Output) -> Self {
        Self {
            line,
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the program ended with this code, and without a panic.
    #[must_use = "or say `drop`"]
    pub fn check(self, code: i32) -> Self {
        assert!(
            self.code == Some(code) && !self.err.contains("panicked"),
            "wanted exit code {code}\n{self}"
        );
        self
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Standard output as lines of JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self}"))
        };
        self.text().lines().map(parse).collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}\nexit code {:?}", self.line, self.code)?;
        writeln!(f, "stdout:\n{}\nstderr:\n{}", self.text(), self.err)
    }
}

pub(crate) fn line<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let mut line = program.to_owned();
    for argument in arguments {
        write!(line, " {}", argument.as_ref().to_string_lossy()).unwrap();
    }
    line
}
