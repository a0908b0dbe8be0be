//! `backup status`: one screen about everything. It needs no daemon, no secret and no network.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use unseen_common::id::SnapshotId;
use unseen_common::time::{Clock, Timestamp};

use super::cmd_daemon::daemon_status;
use super::config::{ConfigError, Spot};
use super::context::{Context, Setup};
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::reading::{local_time, machine_time};
use super::units::{bytes, plural};
use super::vault::{self, SystemClock};
use crate::crypto::device_file::DeviceKey;
use crate::daemon::alerts::{self, Alert};
use crate::daemon::book::{Book, Checked, SetBook};
use crate::daemon::core::Status;
use crate::state::own_snapshots::OwnSnapshots;
use crate::tree::manifest::Manifest;

/// Snapshots that are looked through for the last of each set.
const LOOK_BACK: usize = 500;

/// What `status` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Asks neither for a secret nor the server: it shows what this machine knows. Exits 1 if config.toml
has a mistake, and shows the rest all the same.

Example:
  backup status")]
pub struct StatusArgs {}

/// A snapshot, and when it was made.
type Made = (SnapshotId, Timestamp, Manifest);

/// A set, as it is shown.
#[derive(Debug, Default)]
struct Shown {
    /// config.toml has it.
    configured: bool,
    /// The last whole snapshot that this machine made.
    snapshot: Option<Made>,
    /// The last one of a part alone, if that is newer.
    checkpoint: Option<Made>,
    book: SetBook,
    /// Folders with changes, as far as a daemon watches.
    pending: Option<usize>,
    next: Option<Timestamp>,
    not_watched: Vec<String>,
}

/// Shows how things stand.
pub fn run(ctx: &Context<'_>, _args: &StatusArgs) -> Result<Exit, CliError> {
    let (setup, mistake) = ctx.setup_as_far()?;
    let key = vault::device_key(&setup);
    let (daemon, silent) = match daemon_status(&setup.places) {
        Ok(daemon) => (daemon, None),
        Err(error) => (None, Some(CliError::from(error))),
    };
    let now = SystemClock.now();
    let mut book = Book::read(&setup.places.state);
    if let Some(daemon) = &daemon {
        book.contact = daemon.contact;
        book.checked.clone_from(&daemon.checked);
    }
    let sets = gather(&setup, &book, (daemon.as_ref(), mistake.is_some()), now);
    let known = book != Book::default() || silent.is_some();
    let address = address(&setup, key, (daemon.as_ref(), known, mistake.is_some()))?;
    let alerts = alerts_of(daemon.as_ref(), &book, (mistake.is_some(), now));
    let bad = mistake.is_some() || alerts.iter().any(|alert| alert.key == alerts::CONFIG);
    let exit = if bad { Exit::Failed } else { Exit::Done };
    let mistake = mistake.map(|error| Mistake::of(error, daemon.is_some()));
    if ctx.ui.is_json() {
        ctx.ui.json(&json!({
            "vault": address,
            "config": mistake,
            "contact": book.contact.map(machine_time),
            "checked": book.checked.as_ref().map(|checked| {
                json!({
                    "time": machine_time(checked.at),
                    "trouble": checked.trouble,
                    "looked": checked.looked,
                })
            }),
            "daemon": daemon.as_ref().map(daemon_json),
            "daemon_error": silent.as_ref().map(CliError::report),
            "sets": sets.iter().map(|(name, set)| set_json(name, set, now)).collect::<Vec<_>>(),
            "alerts": alerts,
        }));
        return Ok(exit);
    }
    let contact =
        book.contact.map_or(String::new(), |at| format!(", last answered {}", ago(now.since(at))));
    let guess = if mistake.is_some() && daemon.is_none() && setup.vault.is_none() {
        " (as it was set up: config.toml may name another place)"
    } else {
        ""
    };
    row(ctx, "Vault", &format!("{address}{guess}{contact}"));
    row(ctx, "Daemon", &daemon_words(daemon.as_ref(), silent.as_ref()));
    if let Some(hint) = silent.as_ref().and_then(CliError::hint_text) {
        row(ctx, "", hint);
    }
    if let Some(checked) = &book.checked {
        row(ctx, "Checked", &format!("{}: {}", ago(now.since(checked.at)), how(checked)));
    }
    if sets.is_empty() {
        row(ctx, "Sets", "none yet: `backup run PATH…` saves something");
    }
    for (name, set) in &sets {
        show(ctx, name, set, now);
    }
    for alert in &alerts {
        ctx.ui.advise(&alert.text, Some(&alert.hint));
    }
    if let Some(mistake) = &mistake {
        ctx.ui.warn(&mistake.text);
    }
    Ok(exit)
}

/// What is wrong; of config.toml only what the daemon alone knows.
fn alerts_of(
    daemon: Option<&Status>,
    book: &Book,
    (mistaken, now): (bool, Timestamp),
) -> Vec<Alert> {
    let mut alerts = match daemon {
        Some(daemon) => daemon.alerts.clone(),
        None => alerts::current(book, now),
    };
    if daemon.is_none() || mistaken {
        // It is told as it is now, and nobody goes on with what was before.
        alerts.retain(|alert| alert.key != alerts::CONFIG);
    }
    alerts
}

/// Where the vault is. The key may be handed to the service alone: then it is told as far as it is
/// known, if anything is.
fn address(
    setup: &Setup,
    key: Result<DeviceKey, CliError>,
    (daemon, known, mistaken): (Option<&Status>, bool, bool),
) -> Result<String, CliError> {
    match (daemon, key) {
        // What the configuration says is not known, what the daemon took from it is.
        (Some(daemon), _) if mistaken => Ok(daemon.vault.clone()),
        (_, Ok(key)) => Ok(setup.vault.clone().unwrap_or(key.server)),
        (Some(daemon), Err(_)) => Ok(daemon.vault.clone()),
        (None, Err(error)) if known => Ok(setup.vault.clone().unwrap_or_else(|| error.report())),
        (None, Err(error)) => Err(error),
    }
}

/// What is wrong with config.toml.
#[derive(Debug, Serialize)]
struct Mistake {
    #[serde(flatten)]
    at: Option<Spot>,
    text: String,
}

impl Mistake {
    fn of(error: ConfigError, daemon: bool) -> Self {
        let at = if let ConfigError::Content { at, .. } = &error { *at } else { None };
        let then = if daemon {
            "The daemon goes on with the settings it read before, and takes the new ones as soon \
             as that is mended."
        } else {
            "Nothing is backed up until that is mended; what is shown is from before."
        };
        Self { at, text: format!("{}. {then}", CliError::from(error).report()) }
    }
}

/// The sets, as config.toml has them, or if it has a mistake as they were.
fn gather(
    setup: &Setup,
    book: &Book,
    (daemon, mistaken): (Option<&Status>, bool),
    now: Timestamp,
) -> BTreeMap<String, Shown> {
    let mut sets: BTreeMap<String, Shown> = BTreeMap::new();
    let before = book.sets.keys().filter(|_| mistaken);
    for name in setup.sets.iter().map(|set| &set.name).chain(before) {
        sets.entry(name.clone()).or_default().configured = true;
    }
    let folders = vault::folders(&setup.places);
    let own = OwnSnapshots::open(&folders.own_snapshots());
    for (id, manifest) in own.newest(LOOK_BACK) {
        let set = sets.entry(manifest.set.clone()).or_default();
        // One of a time to come was made before the clock was put right.
        let ahead = |made: &Option<Made>| made.as_ref().is_some_and(|(_, at, _)| *at > now);
        let sets_right = manifest.end <= now;
        if own.is_checkpoint(&id) {
            if set.checkpoint.is_none() && set.snapshot.is_none()
                || ahead(&set.checkpoint) && sets_right
            {
                set.checkpoint = Some((id, manifest.end, manifest));
            }
        } else if set.snapshot.is_none() || ahead(&set.snapshot) && sets_right {
            set.snapshot = Some((id, manifest.end, manifest));
        }
    }
    for (name, known) in &book.sets {
        if let Some(set) = sets.get_mut(name) {
            set.book = known.clone();
        }
    }
    for status in daemon.iter().flat_map(|daemon| &daemon.sets) {
        let set = sets.entry(status.name.clone()).or_default();
        set.book = status.book.clone();
        set.pending = Some(status.pending);
        set.next = status.next;
        set.not_watched.clone_from(&status.not_watched);
    }
    sets
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

fn show(ctx: &Context<'_>, name: &str, set: &Shown, now: Timestamp) {
    let mut words = Vec::new();
    match &set.snapshot {
        Some((id, at, manifest)) => {
            words.push(format!("saved {}, snapshot {}", ago(now.since(*at)), id.short()));
            words.push(sum_of(manifest));
        }
        None if set.checkpoint.is_some() => words.push("not saved as a whole yet".to_owned()),
        None => words.push("never saved".to_owned()),
    }
    if let Some(ok) = set.book.ok.filter(|ok| found_unchanged(set, *ok)) {
        words.push(format!("nothing had changed {}", ago(now.since(ok))));
    }
    match set.pending {
        Some(0) | None => {}
        Some(n) => words.push(format!("changes in {}", plural(n as u64, "folder", "folders"))),
    }
    row(ctx, &escape_for_terminal(name.as_bytes()), &words.join("; "));
    if let Some((id, at, manifest)) = &set.checkpoint {
        let part = format!("a part of it {}, checkpoint {}", ago(now.since(*at)), id.short());
        row(ctx, "", &format!("{part}; {}", sum_of(manifest)));
    }
    if let Some(failing) = &set.book.failing {
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
    complete.is_some_and(|at| at < ok) && made.is_none_or(|over| over < ok)
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
        "unreadable": set.book.problems,
        "failing": set.book.failing,
        "not_watched": set.not_watched,
    })
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
