//! How things stand, on the screen and for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use unseen_common::time::Timestamp;

use super::missed::is_missed;
use super::{Mistake, Shown};
use crate::cli::context::Context;
use crate::cli::escape::escape_for_terminal;
use crate::cli::exit::{CliError, Exit};
use crate::cli::reading::{local_time, machine_time};
use crate::cli::units::{bytes, plural};
use crate::daemon::alerts::Alert;
use crate::daemon::book::{Book, Checked, Failing};
use crate::daemon::core::{Status, Waits};
use crate::tree::manifest::Manifest;

/// All that is shown.
pub(super) struct Screen {
    /// Where the vault is.
    pub(super) address: String,
    /// Nobody knows whether it is still there.
    pub(super) guessed: bool,
    pub(super) book: Book,
    pub(super) daemon: Option<Status>,
    /// Why the daemon cannot be asked, though there is one or should be.
    pub(super) silent: Option<CliError>,
    pub(super) sets: BTreeMap<String, Shown>,
    pub(super) alerts: Vec<Alert>,
    pub(super) mistake: Option<Mistake>,
    pub(super) now: Timestamp,
}

impl Screen {
    /// Whether something needs somebody's hand: the exit code of what is worst.
    pub(super) fn exit(&self) -> Exit {
        let bad = self.mistake.is_some() || self.silent.is_some();
        let exit = if bad { Exit::Failed } else { Exit::Done };
        // What is known of files and ways to the vault is old once there is no daemon.
        let always = |alert: &Alert| alert.stays_true() || is_missed(alert);
        let counts = |alert: &&Alert| self.daemon.is_some() || always(alert);
        let alerts = self.alerts.iter().filter(counts);
        let alerts = alerts.map(|alert| Exit::of_code(alert.code()).unwrap_or(Exit::Failed));
        // How the last run of a set ended that is not saved any more is of no interest.
        let sets = self.sets.values().filter(|set| set.configured);
        sets.map(exit_of).chain(alerts).fold(exit, Exit::worse)
    }

    pub(super) fn json(&self, exit: Exit) -> Value {
        let book = &self.book;
        json!({
            "vault": self.address,
            "config": self.mistake,
            "contact": book.contact.map(machine_time),
            "checked": book.checked.as_ref().map(|checked| {
                json!({
                    "time": machine_time(checked.at),
                    "trouble": checked.trouble,
                    "looked": checked.looked,
                })
            }),
            "daemon": self.daemon.as_ref().map(daemon_json),
            "daemon_error": self.silent.as_ref().map(CliError::report),
            "sets": self.sets.iter().map(|(name, set)| set_json(name, set, self.now))
                .collect::<Vec<_>>(),
            "alerts": self.alerts,
            "exit_code": exit.code(),
        })
    }

    pub(super) fn show(&self, ctx: &Context<'_>) {
        let (book, now, silent) = (&self.book, self.now, self.silent.as_ref());
        let contact = book
            .contact
            .map_or(String::new(), |at| format!(", last answered {}", ago(now.since(at))));
        let guess = if self.guessed {
            " (as it was set up: config.toml may name another place)"
        } else {
            ""
        };
        row(ctx, "Vault", &format!("{}{guess}{contact}", self.address));
        row(ctx, "Daemon", &daemon_words(self.daemon.as_ref(), silent));
        if let Some(hint) = silent.and_then(CliError::hint_text) {
            row(ctx, "", hint);
        }
        if let Some(checked) = &book.checked {
            row(ctx, "Checked", &format!("{}: {}", ago(now.since(checked.at)), how(checked)));
        }
        if self.sets.is_empty() {
            row(ctx, "Sets", "none yet: `backup run PATH…` saves something");
        }
        for (name, set) in self.sets.iter().filter(|(_, set)| set.configured) {
            show(ctx, (name, ""), set, now);
        }
        // With a mistake in it nobody knows what config.toml has.
        let note = if self.mistake.is_some() { "" } else { "not in config.toml" };
        for (name, set) in self.sets.iter().filter(|(_, set)| !set.configured) {
            show(ctx, (name, note), set, now);
        }
        // They are part of what was asked for: a report that is mailed has them.
        for alert in &self.alerts {
            row(ctx, "Warning", &alert.text);
            row(ctx, "", &alert.hint);
        }
        if let Some(mistake) = &self.mistake {
            row(ctx, "Warning", &mistake.text);
        }
    }
}

/// How the last run of a set ended, if that is still of interest.
fn exit_of(set: &Shown) -> Exit {
    let code = |failing: &Failing| Exit::of_code(failing.trouble.code).unwrap_or(Exit::Failed);
    set.failing().map_or(Exit::Done, code)
}

fn daemon_words(daemon: Option<&Status>, silent: Option<&CliError>) -> String {
    let Some(daemon) = daemon else {
        let none = || "not running: nothing is saved by itself".to_owned();
        return silent.map_or_else(none, CliError::report);
    };
    if let Some(running) = &daemon.running {
        return format!("backing up {}", running.set);
    }
    if let Some(until) = daemon.paused_until {
        return format!("paused until {}", local_time(until));
    }
    match &daemon.held {
        Some(held) => format!("waiting {held}"),
        None => format!("watching since {}", local_time(daemon.since)),
    }
}

/// What a look at the vault has found, and what was looked at.
fn how(checked: &Checked) -> String {
    match (&checked.trouble, &checked.looked) {
        (Some(trouble), _) => trouble.clone(),
        (None, Some(looked)) => {
            let packs = plural(looked.packs, "pack is", "packs are");
            let of = plural(looked.snapshots, "snapshot", "snapshots");
            let by = if looked.files { "the files in full length" } else { "by the vault's list" };
            format!("{packs} there of the last {of}, {by}")
        }
        (None, None) => "all well".to_owned(),
    }
}

fn show(ctx: &Context<'_>, (name, note): (&str, &str), set: &Shown, now: Timestamp) {
    let mut words = Vec::new();
    match &set.snapshot {
        Some((id, at, manifest)) => {
            words.push(format!("saved {}, snapshot {}", ago(now.since(*at)), id.short()));
            words.extend(manifest.as_ref().map(sum_of));
        }
        None if set.checkpoint.is_some() => words.push("not saved as a whole yet".to_owned()),
        None if set.book.ok.is_some() => words.push("saved, by which snapshot is lost".to_owned()),
        None => words.push("never saved".to_owned()),
    }
    if let Some(ok) = set.book.ok.filter(|ok| found_unchanged(set, *ok)) {
        words.push(format!("nothing had changed {}", ago(now.since(ok))));
    }
    match set.pending {
        Some(n) if n > 0 => {
            words.push(format!("changes in {}", plural(n as u64, "folder", "folders")));
        }
        Some(_) if set.waits.is_some() => words.push("a look at everything is due".to_owned()),
        Some(_) | None => {}
    }
    if set.book.left_out > 0 {
        words.push(format!("{} still to be saved", plural(set.book.left_out, "file", "files")));
    }
    if !note.is_empty() {
        words.push(note.to_owned());
    }
    row(ctx, &escape_for_terminal(name.as_bytes()), &words.join("; "));
    if let Some((id, at, manifest)) = &set.checkpoint {
        let part = format!("a part of it {}, checkpoint {}", ago(now.since(*at)), id.short());
        let sum = manifest.as_ref().map(|manifest| format!("; {}", sum_of(manifest)));
        row(ctx, "", &format!("{part}{}", sum.unwrap_or_default()));
    }
    if let Some(waits) = &set.waits {
        row(ctx, "", &waits_words(waits, now));
    }
    if let Some(failing) = set.failing() {
        row(
            ctx,
            "",
            &format!("failing since {}: {}", local_time(failing.since), failing.trouble.message),
        );
        if let Some(hint) = &failing.trouble.hint {
            row(ctx, "", hint);
        }
    }
    if set.book.problems > 0 {
        let what = plural(set.book.problems, "file or folder", "files or folders");
        row(ctx, "", &format!("{what} could not be read"));
    }
    for line in &set.not_watched {
        row(ctx, "", &not_watched(line));
    }
}

fn sum_of(manifest: &Manifest) -> String {
    let files = plural(manifest.totals.files, "file", "files");
    format!("{files}, {}", bytes(manifest.totals.bytes))
}

/// Whether it was a later run than the one of the last snapshot that found all of it saved.
fn found_unchanged(set: &Shown, ok: Timestamp) -> bool {
    // A snapshot says when it was complete, the book when its run was over, a moment later.
    let made = set.book.snapshot.map(|(_, over)| over);
    let complete = set.snapshot.as_ref().map(|(_, at, _)| *at);
    complete.is_none_or(|at| at < ok) && made.is_none_or(|over| over < ok)
}

fn row(ctx: &Context<'_>, label: &str, text: &str) {
    // A set may be called after its paths.
    let gap = if label.chars().count() < 12 { "" } else { "  " };
    ctx.ui.row(format!("{label:<12}{gap}{text}").trim_end());
}

fn daemon_json(daemon: &Status) -> Value {
    json!({
        "pid": daemon.pid,
        "since": machine_time(daemon.since),
        "paused_until": daemon.paused_until.map(machine_time),
        "held": daemon.held,
        "running": daemon.running.as_ref().map(|running| &running.set),
    })
}

fn set_json(name: &str, set: &Shown, now: Timestamp) -> Value {
    json!({
        "name": name,
        "configured": set.configured,
        "snapshot_id": set.snapshot.as_ref().map(|(id, ..)| id.to_string()),
        "time": set.snapshot.as_ref().map(|(_, at, _)| machine_time(*at)),
        "age_seconds": set.snapshot.as_ref().map(|(_, at, _)| now.since(*at)),
        "checkpoint_id": set.checkpoint.as_ref().map(|(id, ..)| id.to_string()),
        "checkpoint_time": set.checkpoint.as_ref().map(|(_, at, _)| machine_time(*at)),
        "last_ok": set.book.ok.map(machine_time),
        "pending": set.pending,
        "next": set.next.map(machine_time),
        "waits": set.waits.as_ref().map(|waits| json!({
            "since": machine_time(waits.since),
            "reason": waits.reason,
            "why": waits.why,
            "next": waits.next.map(machine_time),
        })),
        "left_out": set.book.left_out,
        "unreadable": set.book.problems,
        "failing": set.failing(),
        "not_watched": set.not_watched,
    })
}

/// What a set waits for, since when, and when it is tried next.
pub fn waits_words(waits: &Waits, now: Timestamp) -> String {
    let since = local_time(waits.since);
    let next = match waits.next {
        Some(at) => ahead(at.since(now)),
        None => "as soon as that is so".to_owned(),
    };
    format!("waiting since {since} {}; next try {next}", waits.why)
}

/// How soon something is.
pub fn ahead(seconds: u64) -> String {
    match seconds {
        0..60 => "in a moment".to_owned(),
        60..5400 => format!("in {} min", seconds.div_ceil(60)),
        _ => format!("in {}", plural(seconds.div_ceil(3600), "hour", "hours")),
    }
}

/// What is not watched, and why.
pub fn not_watched(line: &str) -> String {
    format!("scanned now and then: {line}")
}

/// How long ago something was.
pub fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} ago", plural(seconds / 3600, "hour", "hours")),
        _ => format!("{} ago", plural(seconds / 86_400, "day", "days")),
    }
}
