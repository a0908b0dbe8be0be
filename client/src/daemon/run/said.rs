//! A run in the words of the log.

use crate::daemon::job::{RunResult, Summary};
use crate::daemon::live::Run;
use crate::progress::{Level, Problem};

/// Problems of a run that the log names.
const LOGGED: usize = 10;

/// How it ended.
pub(super) fn ended(set: &str, result: &RunResult) -> String {
    match result {
        Ok(summary) => match summary.snapshot {
            Some(id) if summary.interrupted => format!("{set}: checkpoint {} saved", id.short()),
            Some(id) if summary.left_out > 0 => {
                format!("{set}: checkpoint {} saved; the rest comes later", id.short())
            }
            Some(id) => format!("{set}: snapshot {} saved", id.short()),
            None => format!("{set}: nothing has changed"),
        },
        Err(trouble) => format!("{set}: {}", trouble.message),
    }
}

/// What went wrong on the way: nobody may have followed it.
pub(super) fn troubles(run: &Run, result: &RunResult) -> Vec<String> {
    let set = &run.set;
    let notes = run.notes(0).into_iter().filter(|note| note.level == Level::Warning);
    let mut lines: Vec<String> = notes.map(|note| format!("{set}: {}", note.text)).collect();
    let problems = run.problems(0);
    for Problem { path, what, .. } in problems.iter().take(LOGGED) {
        let path = String::from_utf8_lossy(path).escape_debug().to_string();
        lines.push(format!("{set}: cannot read {path}: {what}"));
    }
    if let Some(more) = problems.len().checked_sub(LOGGED).filter(|more| *more > 0) {
        lines.push(format!("{set}: and {more} more; `backup run` names them"));
    }
    if let Ok(Summary { after: Some(trouble), .. }) = result {
        lines.push(trouble.message.clone());
    }
    lines
}
