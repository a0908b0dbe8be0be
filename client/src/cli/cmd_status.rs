//! `backup status`: one screen about everything. It needs no daemon, no secret and no network.

mod missed;
mod screen;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::Serialize;
use unseen_common::id::SnapshotId;
use unseen_common::time::{Clock, Timestamp};

use super::cmd_daemon::{daemon_status, installed};
use super::config::{ConfigError, Spot};
use super::context::{Context, Setup};
use super::exit::{CliError, Exit};
use super::vault::{self, SystemClock};
use crate::crypto::device_file::DeviceKey;
use crate::daemon::alerts::{self, Alert};
use crate::daemon::book::{Book, Failing, SetBook};
use crate::daemon::core::{Status, Waits};
use crate::state::own_snapshots::OwnSnapshots;
use crate::tree::manifest::Manifest;
use screen::Screen;

pub use screen::{ago, ahead, not_watched, waits_words};

/// Sets that are not in config.toml and are shown, at most: each path of a command line is one.
const OTHERS: usize = 100;

/// What `status` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Asks neither for a secret nor the server: it shows what this machine knows.

Exits 0 if nothing needs your hand. Else it shows the same, and exits with the code of what is
worst: of the last run of a set, if that failed (24: the server cannot be reached); 20 if the vault
does not hold what it should; 3 if files cannot be read run after run; 1 if a daemon that is
installed does not run or does not answer, if a set of config.toml has not been saved for three days
(in use, as far as a daemon counts them; else by the calendar, whoever was to save it), if far more
of one has changed than ever before and the hold on its snapshots was not ended (`backup unpin
--held`), if a quota is nearly used up, a clock is wrong, or config.toml has a mistake. All of this
goes to standard output.

Example:
  backup status
  backup status > report || mail -s 'look after the backups' ann < report")]
pub struct StatusArgs {}

/// A snapshot, when it was made, and what it says of itself, unless the cache was deleted.
type Made = (SnapshotId, Timestamp, Option<Manifest>);

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
    waits: Option<Waits>,
    not_watched: Vec<String>,
}

impl Shown {
    /// Takes the last snapshot from the book, where the manifests know none so new: they are a
    /// cache.
    fn take_from_book(&mut self, is_known: impl Fn(&SnapshotId) -> bool) {
        let Some((id, at)) = self.book.snapshot.filter(|(id, _)| !is_known(id)) else {
            return;
        };
        // One of a part alone does not make the set saved.
        let is_whole = self.book.ok.is_some_and(|ok| at <= ok);
        let newer = |made: &Option<Made>| made.as_ref().is_none_or(|(_, known, _)| *known < at);
        if is_whole && newer(&self.snapshot) {
            self.snapshot = Some((id, at, None));
            self.checkpoint = self.checkpoint.take().filter(|(_, part, _)| *part > at);
        }
    }

    /// Its last run, if that failed and nobody else has saved it since.
    fn failing(&self) -> Option<&Failing> {
        let known = self.book.snapshot.map(|(id, _)| id);
        let others = self.snapshot.as_ref().filter(|(id, ..)| Some(*id) != known);
        let since = others.map(|(_, at, _)| *at);
        self.book
            .failing
            .as_ref()
            .filter(|failing| since.is_none_or(|since| since < failing.last.max(failing.since)))
    }
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
    let mut alerts = alerts_of(daemon.as_ref(), &book, (mistake.is_some(), now));
    if daemon.is_none() {
        // Nobody counts the days in use.
        alerts.retain(|alert| !missed::is_missed(alert));
        alerts.splice(..0, missed::missed(&sets, written(&setup.places.config), now));
    }
    let gone = daemon.is_none() && silent.is_none();
    let silent = if gone { installed(ctx) } else { silent };
    let guessed = mistake.is_some() && daemon.is_none() && setup.vault.is_none();
    let mistake = mistake.map(|error| Mistake::of(error, daemon.is_some()));
    let screen = Screen { address, guessed, book, daemon, silent, sets, alerts, mistake, now };
    let exit = screen.exit();
    if ctx.ui.is_json() {
        ctx.ui.json(&screen.json(exit));
    } else {
        screen.show(ctx);
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

/// When a file was written.
fn written(path: &Path) -> Option<Timestamp> {
    let at = path.metadata().ok()?.modified().ok()?;
    at.duration_since(UNIX_EPOCH).ok().map(|since| Timestamp(since.as_secs()))
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
    let names: Vec<String> = sets.keys().cloned().collect();
    for (id, manifest) in own.last_of_each(names.iter().map(String::as_str), OTHERS) {
        let set = sets.entry(manifest.set.clone()).or_default();
        // One of a time to come was made before the clock was put right.
        let ahead = |made: &Option<Made>| made.as_ref().is_some_and(|(_, at, _)| *at > now);
        let sets_right = manifest.end <= now;
        if own.is_checkpoint(&id) {
            if set.checkpoint.is_none() && set.snapshot.is_none()
                || ahead(&set.checkpoint) && sets_right
            {
                set.checkpoint = Some((id, manifest.end, Some(manifest)));
            }
        } else if set.snapshot.is_none() || ahead(&set.snapshot) && sets_right {
            set.snapshot = Some((id, manifest.end, Some(manifest)));
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
        set.waits.clone_from(&status.waits);
        set.not_watched.clone_from(&status.not_watched);
    }
    for set in sets.values_mut() {
        set.take_from_book(|id| own.get(id).is_some());
    }
    sets
}
