//! How things stand, for whoever asks.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use unseen_common::time::Timestamp;

use super::{Core, Now, Set, Waits, scanned};
use crate::daemon::alerts::Alert;
use crate::daemon::book::{Checked, SetBook};
use crate::daemon::changes::Coverage;
use crate::progress::Counts;

/// How things stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The process.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    /// Where it saves to.
    #[serde(default)]
    pub vault: String,
    /// Since when it runs.
    pub since: Timestamp,
    /// Nothing begins by itself until then.
    pub paused_until: Option<Timestamp>,
    /// Why nothing begins by itself.
    pub held: Option<String>,
    /// What is being backed up now.
    pub running: Option<Running>,
    /// The sets.
    pub sets: Vec<SetStatus>,
    /// When the vault last answered.
    pub contact: Option<Timestamp>,
    /// The last look at what is stored.
    pub checked: Option<Checked>,
    /// What the user should know.
    pub alerts: Vec<Alert>,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Its number.
    pub run: u64,
    /// The set.
    pub set: String,
    /// Seconds so far.
    pub seconds: u64,
    /// What was counted so far.
    pub counts: Counts,
}

/// How a set stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetStatus {
    /// Its name.
    pub name: String,
    /// Its paths.
    pub paths: Vec<String>,
    /// Directories that have changed and are not saved yet.
    pub pending: usize,
    /// When it is due by itself, as far as is known now.
    pub next: Option<Timestamp>,
    /// What was remembered.
    pub book: SetBook,
    /// What it waits for, though there is something to save.
    #[serde(default)]
    pub waits: Option<Waits>,
    /// What is not watched, and why, in words.
    pub not_watched: Vec<String>,
}

/// Whether a path is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The set that it is in; none if it is in none.
    pub set: Option<String>,
    /// The set leaves it out.
    pub left_out: bool,
    /// Changes are noticed at once.
    pub watched: bool,
    /// If not: why, in words.
    pub why: Option<String>,
    /// The daemon cannot read it: why, in words.
    #[serde(default)]
    pub unreadable: Option<String>,
}

impl Core {
    /// How things stand. The vault, what runs, and the alerts are filled in by the caller.
    pub fn status(&self, now: Now) -> Status {
        let wall = |at: super::At| {
            Timestamp(now.wall.0.saturating_add(at.saturating_sub(now.at).as_secs()))
        };
        let sets = self.sets.iter().map(|(name, set)| SetStatus {
            name: name.clone(),
            paths: set.filter.roots().iter().map(|path| path.display().to_string()).collect(),
            pending: self.marks.count(name),
            next: self.schedule.due(name).map(wall),
            book: self.book.sets.get(name).map(SetBook::in_short).unwrap_or_default(),
            waits: self.waits(name, now),
            not_watched: not_watched(set),
        });
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            vault: String::new(),
            since: self.since,
            paused_until: self.schedule.paused(now.at).map(wall),
            held: self.held.as_ref().map(|held| held.why.clone()),
            running: None,
            sets: sets.collect(),
            contact: self.book.contact,
            checked: self.book.checked.clone(),
            alerts: Vec::new(),
        }
    }

    /// Whether a path is watched.
    pub fn why(&self, path: &Path) -> Why {
        let within = |set: &&Set| set.filter.roots().iter().any(|root| path.starts_with(root));
        let mut in_sets = self.sets.iter().filter(|(_, set)| within(set)).peekable();
        let Some((first, _)) = in_sets.peek() else {
            return Why { set: None, left_out: false, watched: false, why: None, unreadable: None };
        };
        let first = (*first).clone();
        // What lies in the path decides if it is a directory, else what lies beside it.
        let dir = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let Some((name, set)) = in_sets.find(|(_, set)| set.filter.touched(dir).next().is_some())
        else {
            return Why {
                set: Some(first),
                left_out: true,
                watched: false,
                why: None,
                unreadable: None,
            };
        };
        let unwatched = set.coverage.iter().find_map(|(_, how)| {
            let here = scanned(how).any(|root| path.starts_with(root));
            here.then(|| in_words(how)).flatten()
        });
        let watched = unwatched.is_none() && !set.coverage.is_empty();
        Why { set: Some(name.clone()), left_out: false, watched, why: unwatched, unreadable: None }
    }
}

fn not_watched(set: &Set) -> Vec<String> {
    let line = |(root, how): &(PathBuf, Coverage)| {
        let why = in_words(how)?;
        let places: Vec<&Path> = scanned(how).collect();
        Some(match places[..] {
            [one] => format!("{}: {why}", one.display()),
            _ => format!("{} places in {}: {why}", places.len(), root.display()),
        })
    };
    set.coverage.iter().filter_map(line).collect()
}

fn in_words(coverage: &Coverage) -> Option<String> {
    let Coverage::Scanned { why, .. } = coverage else {
        return None;
    };
    Some(why.to_string())
}
