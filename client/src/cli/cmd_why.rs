//! `backup why`: whether a path is backed up, by which rule not, and when it was last.

mod stream;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cmd_daemon::call;
use super::context::{Context, Setup};
use super::escape::{escape_for_terminal, insert_name};
use super::exit::{CliError, Exit};
use super::reading::{local_time, machine_time};
use super::units::plural;
use super::vault;
use crate::backup::plan::absolute;
use crate::daemon::control::{Answer, Call, CallError, Request};
use crate::daemon::core::Why;
use crate::repo::log::{Keeping, Log};
use crate::sets::Job;
use crate::sets::job::Origin;
use crate::sets::saved::{Made, Saved, saved, that_cover, whole};
use crate::sets::there::{There, there};
use crate::sets::why::{Cause, Verdict, judge};
use crate::state::db::{StateDb, StateError};
use crate::state::own_snapshots::OwnSnapshots;
use crate::tree::manifest::Manifest;

/// What `why` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Asks the sets of config.toml, the folder itself, what this machine remembers and the daemon if it
runs; no server and no secret. Of what is gone it knows the snapshot until the next run has come by;
after that it names those that may have it, and `backup ls` tells, with a secret.

The exit code is 0 if a set of config.toml has the path, so that a run saves it, or is known to have
saved it before it was gone. Else it is 1: no set has it, it cannot be read, or it is gone and no
snapshot is known to have it.

Example:
  backup why ~/Documents/letter.odt")]
pub struct WhyArgs {
    /// The path
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// Snapshots that are named one by one.
const NAMED: usize = 10;

/// What is known of a path in one set.
struct About {
    set: String,
    /// Nothing for a set that is not in config.toml: its rules were on a command line.
    verdict: Option<Verdict>,
    /// What is remembered, as far as it could be asked.
    /// The same for all sets that have it.
    saved: Option<(Saved, Option<Made>)>,
}

impl About {
    /// The set has it, whether it is there or not.
    fn is_in(&self) -> bool {
        match &self.verdict {
            Some(Verdict::In | Verdict::Above) => true,
            // Nothing saves by itself what no set of config.toml has.
            Some(Verdict::Out(_)) | None => false,
        }
    }

    fn was_saved(&self) -> bool {
        self.saved.as_ref().is_some_and(|(saved, _)| *saved != Saved::NotYet)
    }
}

/// What is known of a path.
struct Known {
    path: PathBuf,
    about: Vec<About>,
    /// Snapshots that may have what is in none that is known to have it.
    perhaps: Vec<Made>,
    /// What the daemon says of it.
    watched: Option<Why>,
    missing: bool,
    /// Why it cannot be read, as far as that is of interest.
    unreadable: Option<String>,
}

impl Known {
    /// It is in the next snapshot, or was in the last one before it was gone.
    fn is_safe(&self) -> bool {
        let safe = |one: &About| one.is_in() && (!self.missing || one.was_saved());
        self.unreadable.is_none() && self.about.iter().any(safe)
    }
}

/// Tells.
pub fn run(ctx: &Context<'_>, args: &WhyArgs) -> Result<Exit, CliError> {
    let setup = ctx.setup()?;
    let current = std::env::current_dir().map_err(|error| {
        CliError::new(Exit::Failed, "the current folder is gone").because(error)
    })?;
    let path = absolute(&args.path, &current);
    let state = open_state(ctx, &setup)?;
    let (about, perhaps) = about(ctx, &setup, state.as_ref(), &path)?;
    let mut known = look(ctx, &setup, path, about);
    // Of what is there and will be saved nobody needs to look for an older state.
    if known.missing || !known.about.iter().any(About::is_in) {
        known.perhaps = perhaps;
    }
    if known.about.is_empty() && known.missing && stream::tell(ctx, &setup, &args.path) {
        return Ok(Exit::Done);
    }
    if ctx.ui.is_json() {
        ctx.ui.json(&json_of(&known));
    } else {
        tell(ctx, &known);
    }
    Ok(if known.is_safe() { Exit::Done } else { Exit::Failed })
}

/// Looks at the path itself, and asks the daemon.
fn look(ctx: &Context<'_>, setup: &Setup, path: PathBuf, about: Vec<About>) -> Known {
    let included = about.iter().any(About::is_in);
    // The daemon goes by directories: it knows nothing of what leaves out a file alone.
    let watched = if included { watched_by(ctx, setup, &path) } else { None };
    let paths = setup.sets.iter().filter_map(|set| set.paths(setup.home.as_deref()).ok());
    let sources: Vec<PathBuf> = paths.flatten().collect();
    let found = there(&sources, &path);
    let unreadable = match &watched {
        // It may read more than whoever asks, or less.
        Some(by) => by.unreadable.clone(),
        None => found.trouble(&path).filter(|_| included),
    };
    let missing = matches!(found, There::Missing);
    Known { path, about, perhaps: Vec::new(), watched, missing, unreadable }
}

/// What the daemon says of a path that is in one of its sets: nothing if there is no daemon.
fn watched_by(ctx: &Context<'_>, setup: &Setup, path: &Path) -> Option<Why> {
    let request = Request::Why { path: path.to_path_buf() };
    match call(&setup.places, &request).and_then(Call::only) {
        Ok(Answer::Why(why)) if why.set.is_some() && !why.left_out => Some(why),
        Ok(_) | Err(CallError::NotRunning) => None,
        Err(error) => {
            let error = CliError::from(error);
            ctx.ui.advise(&error.report(), error.hint_text());
            None
        }
    }
}

/// What runs have left behind, if there were any and none is under way.
fn open_state(ctx: &Context<'_>, setup: &Setup) -> Result<Option<StateDb>, CliError> {
    let folder = vault::folders(&setup.places).state;
    if !folder.join("db").exists() {
        return Ok(None);
    }
    match StateDb::open(&folder) {
        Ok(state) => Ok(Some(state)),
        Err(StateError::Busy) => {
            ctx.ui.warn("a backup is running: what was saved cannot be told until it is done");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn about(
    ctx: &Context<'_>,
    setup: &Setup,
    state: Option<&StateDb>,
    path: &Path,
) -> Result<(Vec<About>, Vec<Made>), CliError> {
    let mut all = Vec::new();
    for set in &setup.sets {
        let job = Job::of(set, setup.home.as_deref())?;
        if let Some(verdict) = judge(&job, own_folders(ctx, setup), path) {
            all.push(About { set: set.name.clone(), verdict: Some(verdict), saved: None });
        }
    }
    let folders = vault::folders(&setup.places);
    let own = OwnSnapshots::open(&folders.own_snapshots());
    let log = Log::known(&Keeping::new(&folders, None));
    let is_known = |name: &str| setup.sets.iter().any(|set| set.name == name);
    let has = |one: &About| one.verdict == Some(Verdict::In);
    // What is left out, or only on the way, is not looked up: it may be another set's. What a set
    // of a command line has left out is not known, nor what it has saved without a manifest.
    let may_have = |set: &str, manifest: Option<&Manifest>| {
        let known = all.iter().any(|one| one.set == set && has(one));
        known || !is_known(set) && manifest.is_some()
    };
    let mut perhaps = that_cover(&own, log.as_ref(), (path, &may_have));
    let Some(state) = state else {
        return Ok((all, perhaps));
    };
    let whole = whole(state, &own, (&perhaps, &may_have))?;
    let (found, made) = saved(state, &whole, path)?;
    if found == Saved::NotYet {
        perhaps.retain(|one| made.as_ref().is_none_or(|lacks| lacks.id != one.id));
    } else {
        perhaps.clear();
    }
    let by_hand = made.as_ref().filter(|made| !is_known(&made.set)).map(|made| made.set.clone());
    for one in all.iter_mut().filter(|one| has(one)) {
        one.saved = Some((found, made.clone()));
    }
    if let Some(set) = by_hand.filter(|_| found != Saved::NotYet && !all.iter().any(has)) {
        all.push(About { set, verdict: None, saved: Some((found, made)) });
    }
    Ok((all, perhaps))
}

/// The program's own folders, as far as they are known without opening the vault.
fn own_folders(ctx: &Context<'_>, setup: &Setup) -> Vec<PathBuf> {
    let mut own = setup.places.own();
    let address = setup.vault.as_deref().and_then(|vault| vault::parse(vault).ok());
    own.extend(address.and_then(|address| vault::folder_of(&address)));
    own.extend(super::cmd_init::default_kit(ctx, setup));
    own
}

fn tell(ctx: &Context<'_>, known: &Known) {
    let Known { path, about, perhaps, watched, missing, unreadable } = known;
    let shown = escape_for_terminal(path.as_os_str().as_bytes()).into_owned();
    if about.is_empty() {
        if *missing {
            ctx.ui.status(&format!("{shown} is not there"));
        }
        let none = if perhaps.is_empty() { ", and no run is known to have saved it" } else { "" };
        ctx.ui.line(&format!("{shown} is in no set{none}"));
        ctx.ui.status("`backup set list` lists the sets; `backup run PATH…` saves anything");
    }
    if *missing && !about.is_empty() {
        let saved = about.iter().any(About::was_saved);
        let before = if saved { String::new() } else { never(about, perhaps) };
        ctx.ui.line(&format!("{shown} is not there{before}"));
    }
    if let Some(why) = unreadable {
        ctx.ui.row(&format!("{shown} cannot be read, so it is not saved: {why}"));
    }
    let mut told = false;
    for one in about {
        match &one.verdict {
            Some(Verdict::In) if *missing => {
                ctx.ui.line(&format!("  the set {} would save it", one.set));
            }
            Some(Verdict::In) => ctx.ui.line(&format!("{shown} is in the set {}", one.set)),
            Some(Verdict::Above) => ctx.ui.line(&format!(
                "{shown} is on the way to the set {}: of it only the folder is saved",
                one.set
            )),
            Some(Verdict::Out(cause)) => {
                ctx.ui.line(&format!("{shown} is left out of the set {}", one.set));
                ctx.ui.line(&format!("  {}", cause_words(cause, path)));
            }
            None => {
                ctx.ui.line(&format!(
                    "{shown} is beneath what was saved as the set {}, which is not in config.toml",
                    one.set
                ));
                ctx.ui.line("  no run saves it by itself: no set of config.toml has it");
            }
        }
        // Of what is not there that was said above.
        let saved = one.saved.as_ref().filter(|(saved, _)| !missing || *saved != Saved::NotYet);
        if let Some((saved, made)) = saved.filter(|_| !std::mem::replace(&mut told, true)) {
            ctx.ui.row(&format!("  {}", saved_words(*saved, (made.as_ref(), about))));
        }
    }
    tell_perhaps(ctx, &shown, perhaps);
    // Nothing is to be noticed of what cannot be saved.
    if let Some(watched) = watched.as_ref().filter(|_| unreadable.is_none() && !missing) {
        ctx.ui.row(&match &watched.why {
            _ if watched.watched => "  the daemon notices changes at once".to_owned(),
            Some(why) => format!("  the daemon finds changes by its next scan: {why}"),
            None => "  the daemon finds changes by its next scan".to_owned(),
        });
    }
}

/// What is known of the past of something that is not there, and was not at the last run.
fn never(about: &[About], perhaps: &[Made]) -> String {
    match about.iter().find_map(|one| one.saved.as_ref()) {
        Some((_, Some(newest))) => {
            format!(", nor in the newest snapshot, {}", newest.id.short())
        }
        Some((_, None)) if perhaps.is_empty() => ", and no run has saved it".to_owned(),
        Some(_) | None => String::new(),
    }
}

/// Names the snapshots that may have it, and how to find out: what is in them is sealed.
fn tell_perhaps(ctx: &Context<'_>, shown: &str, perhaps: &[Made]) {
    let Some((newest, oldest)) = perhaps.first().zip(perhaps.last()) else {
        return;
    };
    let count = plural(perhaps.len() as u64, "snapshot", "snapshots");
    ctx.ui.row(&format!("  {count} of this machine may have it:"));
    for made in perhaps.iter().take(NAMED) {
        ctx.ui.row(&format!("    {}", name_of(made, true)));
    }
    if let Some(more) = perhaps.len().checked_sub(NAMED + 1) {
        let last = format!("the oldest is {}", name_of(oldest, true));
        ctx.ui.row(&format!("    and {} more; {last}", more + 1));
    }
    let one = newest.id.short();
    ctx.ui.row(&format!("  `backup ls {one}:{shown}` tells of one of them, with a secret"));
}

/// A snapshot in words, with its set where that is not plain.
fn name_of(made: &Made, with_set: bool) -> String {
    let when = made.manifest.as_ref().map(|manifest| local_time(manifest.start));
    let when = when.map(|when| format!(" of {when}")).unwrap_or_default();
    let whose = if with_set { format!(" (set {})", made.set) } else { String::new() };
    format!("{}{when}{whose}", made.id.short())
}

fn cause_words(cause: &Cause, path: &Path) -> String {
    let rule = escape_for_terminal(&cause.rule);
    let at = if cause.at == path {
        String::new()
    } else {
        format!("{}: ", escape_for_terminal(cause.at.as_os_str().as_bytes()))
    };
    match &cause.origin {
        Some(origin) => format!("{at}{rule} ({})", origin_words(origin)),
        None => format!("{at}{rule}"),
    }
}

fn origin_words(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default_excludes of config.toml".to_owned(),
        Origin::Key(key) => format!("{key} of config.toml"),
        Origin::File(path) => escape_for_terminal(path.as_os_str().as_bytes()).into_owned(),
        Origin::CommandLine => "the command line".to_owned(),
    }
}

fn saved_words(saved: Saved, (made, about): (Option<&Made>, &[About])) -> String {
    let snapshot = made.map_or_else(String::new, |made| {
        // Which of the sets is said where it is none of those above, or one of several.
        let is_plain = matches!(about, [one] if one.set == made.set);
        format!("snapshot {}", name_of(made, !is_plain))
    });
    match saved {
        Saved::AsItIs => format!("as it is now, it is in {snapshot}"),
        Saved::Perhaps if !about.iter().any(About::is_in) => {
            format!("saved in {snapshot}; it had just changed then, and may have changed since")
        }
        Saved::Perhaps => format!(
            "saved in {snapshot}; it is read again by the next run, as it had just changed then"
        ),
        Saved::Changed => format!("changed since it was saved; the last one is {snapshot}"),
        Saved::Read => format!("read after {snapshot}, by a run that made no snapshot"),
        Saved::Folder => format!("the folder is in {snapshot}"),
        Saved::Gone => format!("it was there in {snapshot}"),
        Saved::NotYet => "not saved yet".to_owned(),
    }
}

fn json_of(known: &Known) -> Value {
    let mut object = serde_json::Map::new();
    insert_name(&mut object, "path", known.path.as_os_str().as_bytes());
    object.insert("included".into(), known.is_safe().into());
    object.insert("missing".into(), known.missing.into());
    object.insert("unreadable".into(), known.unreadable.clone().into());
    let watched = known.watched.as_ref();
    let watched = watched.map(|by| json!({ "set": by.set, "at_once": by.watched, "why": by.why }));
    object.insert("watched".into(), watched.unwrap_or(Value::Null));
    object.insert("sets".into(), known.about.iter().map(set_json).collect());
    let perhaps = known.perhaps.iter().map(|made| {
        let time = made.manifest.as_ref().map(|manifest| machine_time(manifest.start));
        json!({ "snapshot": made.id.to_string(), "set": made.set, "time": time })
    });
    object.insert("may_have".into(), perhaps.collect());
    Value::Object(object)
}

fn set_json(about: &About) -> Value {
    let verdict = match &about.verdict {
        Some(Verdict::In) => "in",
        Some(Verdict::Above) => "above",
        Some(Verdict::Out(_)) => "out",
        None => "unknown",
    };
    let cause = match &about.verdict {
        Some(Verdict::Out(cause)) => Some(json!({
            "at": escape_for_terminal(cause.at.as_os_str().as_bytes()),
            "rule": escape_for_terminal(&cause.rule),
            "origin": cause.origin.as_ref().map(origin_words),
        })),
        _ => None,
    };
    let saved = about.saved.as_ref().map(|(saved, made)| {
        let made = made.as_ref().filter(|_| *saved != Saved::NotYet);
        let manifest = made.and_then(|made| made.manifest.as_ref());
        json!({
            "state": match saved {
                Saved::AsItIs => "as_it_is",
                Saved::Perhaps => "perhaps",
                Saved::Changed => "changed",
                Saved::Read => "read",
                Saved::Folder => "folder",
                Saved::Gone => "gone",
                Saved::NotYet => "not_yet",
            },
            "snapshot": made.map(|made| made.id.to_string()),
            "set": made.map(|made| made.set.as_str()),
            "time": manifest.map(|manifest| machine_time(manifest.start)),
        })
    });
    json!({
        "set": about.set,
        "verdict": verdict,
        "excluded_by": cause,
        "saved": saved,
    })
}
