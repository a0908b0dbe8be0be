//! The only file that prints.
//!
//! Results go to standard output; progress, warnings and errors to standard error. With `--json`
//! a command prints one document, or lines with a `message_type` as restic has them: status and
//! results on standard output, `error`, `warning` and `exit_error` on standard error.
//!
//! Whatever is printed is escaped here once more, so no name and no server text reaches a terminal
//! raw even if a caller forgets. Nothing here fails: a closed pipe ends output silently, any other
//! failure of standard output is kept and returned by [`Ui::finish`].

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::MultiProgress;
use serde::Serialize;
use serde_json::{Value, json};

use super::env::Environment;
use super::escape::{escape_for_terminal, escape_json, escape_lines, insert_name};
use super::exit::{CliError, Exit};
use crate::progress::{Level, Note, Problem};

/// How much is said, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Voice {
    /// JSON instead of text.
    pub json: bool,
    /// How talkative: -1 for `-q`, 0, 1 for `-v`, 2 for `-vv`.
    pub level: i8,
}

/// What the two outputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// Standard output is a terminal.
    pub stdout_terminal: bool,
    /// Standard error is a terminal.
    pub stderr_terminal: bool,
    /// Colour may be used where there is a terminal.
    pub color: bool,
}

/// Where a command speaks.
pub struct Ui {
    voice: Voice,
    around: Surroundings,
    out: Mutex<Out>,
    err: Mutex<Box<dyn Write + Send>>,
    /// Bars that must step aside while a line is printed.
    bars: Mutex<Option<MultiProgress>>,
    /// What stands before each message, if anything: the time.
    stamp: OnceLock<fn() -> String>,
}

struct Out {
    to: io::BufWriter<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
}

impl Ui {
    /// On the process's own outputs. Colour unless `NO_COLOR` is set or `TERM` is `dumb`.
    pub fn new(voice: Voice, env: &dyn Environment) -> Self {
        let plain = env.var("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env.var("TERM").is_some_and(|value| value == "dumb");
        let around = Surroundings {
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal: io::stderr().is_terminal(),
            color: !plain,
        };
        Self::with(voice, around, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// On any two outputs.
    pub fn with(
        voice: Voice,
        around: Surroundings,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        let to = io::BufWriter::with_capacity(32 * 1024, out);
        Self {
            voice,
            around,
            out: Mutex::new(Out { to, failed: None }),
            err: Mutex::new(err),
            bars: Mutex::new(None),
            stamp: OnceLock::new(),
        }
    }

    /// Into memory, for tests.
    pub fn captured(voice: Voice) -> (Self, Captured) {
        let captured = Captured::default();
        let ui = Self::with(
            voice,
            Surroundings::default(),
            Box::new(captured.out.clone()),
            Box::new(captured.err.clone()),
        );
        (ui, captured)
    }

    /// Whether results are JSON.
    pub fn is_json(&self) -> bool {
        self.voice.json
    }

    /// Whether `-q` was given.
    pub fn is_quiet(&self) -> bool {
        self.voice.level < 0
    }

    /// Whether `-v` was given at least `times` times.
    pub fn is_verbose(&self, times: i8) -> bool {
        self.voice.level >= times
    }

    /// What the outputs are.
    pub fn surroundings(&self) -> Surroundings {
        self.around
    }

    /// From now on each message on standard error begins with what `now` says, unless it is JSON:
    /// for a log that nobody else stamps.
    pub fn stamp_messages(&self, now: fn() -> String) {
        // Whoever came first has said it.
        self.stamp.set(now).ok();
    }

    /// A line of the result, on standard output. Not for `--json`: see [`Self::json`].
    pub fn line(&self, text: &str) {
        let text = escape_lines(text);
        self.to_out(&[text.as_bytes(), b"\n"], self.around.stdout_terminal);
    }

    /// The same for text that is one line whatever is in it: a line break in a name is shown as
    /// `\n`.
    pub fn row(&self, text: &str) {
        self.line(&escape_for_terminal(text.as_bytes()));
    }

    /// A closing line, such as the totals of a run: on standard output unless `-q`.
    pub fn summary(&self, text: &str) {
        if !self.is_quiet() && !self.is_json() {
            self.line(text);
        }
    }

    /// One JSON document on a line of its own, on standard output.
    pub fn json(&self, value: &impl Serialize) {
        if let Some(line) = json_line(value) {
            self.to_out(&[line.as_bytes()], self.around.stdout_terminal);
        }
    }

    /// The same, shown at once: status lines that somebody follows.
    pub fn json_now(&self, value: &impl Serialize) {
        if let Some(line) = json_line(value) {
            self.to_out(&[line.as_bytes()], true);
        }
    }

    /// Standard output for the very bytes of a file.
    pub fn stdout(&self) -> Stdout<'_> {
        Stdout(self)
    }

    /// Whether standard output takes no more: a long listing may stop.
    pub fn is_closed(&self) -> bool {
        self.locked_out().failed.is_some()
    }

    /// Says what is going on, on standard error; not with `-q` or `--json`.
    pub fn status(&self, text: &str) {
        if !self.is_quiet() && !self.is_json() {
            self.to_err("", "", text);
        }
    }

    /// Detail for `-v` (1) and `-vv` (2), on standard error. The text is made only if it is shown.
    pub fn detail(&self, times: i8, text: impl FnOnce() -> String) {
        if self.is_verbose(times) && !self.is_json() {
            self.to_err("", "", &text());
        }
    }

    /// Something the user should know, on standard error, also with `-q`.
    pub fn warn(&self, text: &str) {
        if self.is_json() {
            self.err_json(&json!({"message_type": "warning", "message": text}));
        } else {
            self.to_err("warning: ", YELLOW, text);
        }
    }

    /// The same, and what to do about it.
    pub fn advise(&self, text: &str, hint: Option<&str>) {
        let Some(hint) = hint else {
            return self.warn(text);
        };
        if self.is_json() {
            self.err_json(&json!({"message_type": "warning", "message": text, "hint": hint}));
        } else {
            self.to_err("warning: ", YELLOW, text);
            self.to_err("hint: ", CYAN, hint);
        }
    }

    /// A file that could not be read or restored.
    pub fn problem(&self, problem: &Problem) {
        if self.is_json() {
            let mut object = serde_json::Map::new();
            object.insert("message_type".into(), "error".into());
            object.insert("error".into(), json!({"message": problem.what}));
            object.insert("during".into(), problem.during.as_str().into());
            insert_name(&mut object, "item", &problem.path);
            self.err_json(&Value::Object(object));
        } else {
            let text = format!("{}: {}", escape_for_terminal(&problem.path), problem.what);
            self.to_err("error: ", RED, &text);
        }
    }

    /// A note from an engine, by its level.
    pub fn note(&self, note: &Note) {
        match note.level {
            Level::Warning => self.warn(&note.text),
            Level::Info => self.status(&note.text),
            Level::Detail => self.detail(1, || note.text.clone()),
        }
    }

    /// The error that ends a command: one line, and what to do next.
    pub fn error(&self, error: &CliError) {
        if self.is_json() {
            self.err_json(&error.to_json());
            return;
        }
        self.to_err("error: ", RED, &error.report());
        if let Some(hint) = error.hint_text() {
            self.to_err("hint: ", CYAN, hint);
        }
    }

    /// The help text of a command or an error of the command line, as clap rendered it.
    pub fn usage(&self, error: &clap::Error) {
        let styled = error.render();
        let (terminal, to_stderr) = if error.use_stderr() {
            (self.around.stderr_terminal, true)
        } else {
            (self.around.stdout_terminal, false)
        };
        let text = if terminal && self.around.color {
            styled.ansi().to_string()
        } else {
            escape_lines(&styled.to_string()).into_owned()
        };
        if to_stderr {
            self.write_err(text.as_bytes());
        } else {
            self.to_out(&[text.as_bytes()], terminal);
        }
    }

    /// A question, on standard error, without a line end.
    pub fn prompt(&self, text: &str) {
        self.flush();
        self.write_err(escape_lines(text).as_bytes());
    }

    /// Bars to be stepped around from now on, or none.
    pub fn set_bars(&self, bars: Option<MultiProgress>) {
        *self.bars.lock().unwrap_or_else(PoisonError::into_inner) = bars;
    }

    /// Sends what is buffered.
    pub fn flush(&self) {
        self.locked_out().attempt(Write::flush);
    }

    /// The end of a command: sends what is buffered. An error if standard output did not take the
    /// result; a reader that left early, such as `head`, is none.
    pub fn finish(&self) -> Result<(), CliError> {
        let mut out = self.locked_out();
        out.attempt(Write::flush);
        match out.failed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(CliError::new(Exit::Failed, "cannot write the result to standard output")
                    .because(error))
            }
            _ => Ok(()),
        }
    }

    fn to_out(&self, parts: &[&[u8]], flush: bool) {
        self.aside(self.around.stdout_terminal, || {
            let mut out = self.locked_out();
            for part in parts {
                out.attempt(|to| to.write_all(part));
            }
            if flush {
                out.attempt(Write::flush);
            }
        });
    }

    /// One message, however many lines it has, in one write.
    fn to_err(&self, label: &str, color: &str, text: &str) {
        let text = escape_lines(text);
        let at = self.stamp.get().map(|now| now() + "  ").unwrap_or_default();
        let line = if self.around.color && self.around.stderr_terminal && !label.is_empty() {
            format!("{at}{color}{label}{RESET}{text}\n")
        } else {
            format!("{at}{label}{text}\n")
        };
        self.flush();
        self.aside(self.around.stderr_terminal, || {
            self.write_err(line.as_bytes());
        });
    }

    fn err_json(&self, value: &Value) {
        if let Some(line) = json_line(value) {
            self.write_err(line.as_bytes());
        }
    }

    fn write_err(&self, bytes: &[u8]) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere left to say that this failed.
        err.write_all(bytes).and_then(|()| err.flush()).ok();
    }

    fn aside(&self, terminal: bool, act: impl FnOnce()) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match bars.as_ref() {
            Some(bars) if terminal => bars.suspend(act),
            _ => act(),
        }
    }

    fn locked_out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Ui {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ui")
            .field("voice", &self.voice)
            .field("around", &self.around)
            .finish_non_exhaustive()
    }
}

impl Out {
    /// After the first failure nothing is written any more.
    fn attempt(
        &mut self,
        act: impl FnOnce(&mut io::BufWriter<Box<dyn Write + Send>>) -> io::Result<()>,
    ) {
        if self.failed.is_none()
            && let Err(error) = act(&mut self.to)
        {
            self.failed = Some(error);
        }
    }
}

/// Standard output as a byte stream; a failure is returned, and kept for [`Ui::finish`].
#[derive(Debug)]
pub struct Stdout<'a>(&'a Ui);

impl Write for Stdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = self.0.locked_out();
        out.attempt(|to| to.write_all(bytes));
        out.state().map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut out = self.0.locked_out();
        out.attempt(Write::flush);
        out.state()
    }
}

impl Out {
    fn state(&self) -> io::Result<()> {
        match &self.failed {
            Some(error) => Err(error.kind().into()),
            None => Ok(()),
        }
    }
}

/// What a [`Ui::captured`] printed.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    out: Shared,
    err: Shared,
}

impl Captured {
    /// Standard output so far, as far as it was flushed.
    pub fn out(&self) -> String {
        self.out.text()
    }

    /// Standard error so far.
    pub fn err(&self) -> String {
        self.err.text()
    }
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn json_line(value: &impl Serialize) -> Option<String> {
    // Serialising what commands show cannot fail: its keys are strings.
    let mut line = escape_json(serde_json::to_string(value).ok()?);
    line.push('\n');
    Some(line)
}

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests;
