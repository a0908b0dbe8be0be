//! The environment and the terminal behind small traits, so that tests can stand in for them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal};

use zeroize::Zeroizing;

use super::output::Ui;

mod hidden;

/// Environment variables.
pub trait Environment: fmt::Debug {
    /// The value of a variable, if it is set.
    fn var(&self, name: &str) -> Option<OsString>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Environment for ProcessEnv {
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }
}

/// Variables given as a list, for tests.
#[derive(Debug, Clone, Default)]
pub struct FixedEnv(BTreeMap<String, OsString>);

impl FixedEnv {
    /// These and no others.
    pub fn new(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.into()));
        Self(variables.collect())
    }
}

impl Environment for FixedEnv {
    fn var(&self, name: &str) -> Option<OsString> {
        self.0.get(name).cloned()
    }
}

/// Somebody who can be asked.
pub trait Terminal {
    /// Whether there is anybody.
    fn is_present(&self) -> bool;
    /// Asks without showing what is typed.
    fn ask_hidden(&self, prompt: &str) -> io::Result<Zeroizing<String>>;
    /// Asks; the answer comes without its line end.
    fn ask(&self, prompt: &str) -> io::Result<Zeroizing<String>>;
}

/// The terminal this process runs in. Present only if standard input is one: a script that pipes
/// something in is never asked.
#[derive(Debug)]
pub struct Tty<'a>(pub &'a Ui);

impl Terminal for Tty<'_> {
    fn is_present(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn ask_hidden(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        hidden::read(|| self.0.prompt(prompt))
    }

    fn ask(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        self.0.prompt(prompt);
        let mut line = Zeroizing::new(String::with_capacity(256));
        if io::stdin().read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = line.trim_end_matches(['\r', '\n']).len();
        line.truncate(end);
        Ok(line)
    }
}

/// Answers given as a list, for tests. With no answer left, asking fails.
#[derive(Debug, Default)]
pub struct Answers {
    left: std::cell::RefCell<std::collections::VecDeque<String>>,
    asked: std::cell::RefCell<Vec<String>>,
    present: bool,
}

impl Answers {
    /// Somebody who gives these answers.
    pub fn new(answers: &[&str]) -> Self {
        Self {
            left: std::cell::RefCell::new(answers.iter().map(|&a| a.to_owned()).collect()),
            asked: std::cell::RefCell::default(),
            present: true,
        }
    }

    /// Nobody.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The prompts so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }
}

impl Terminal for Answers {
    fn is_present(&self) -> bool {
        self.present
    }

    fn ask_hidden(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        self.ask(prompt)
    }

    fn ask(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        self.asked.borrow_mut().push(prompt.to_owned());
        let answer = self.left.borrow_mut().pop_front();
        answer.map(Zeroizing::new).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
