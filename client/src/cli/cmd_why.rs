//! `backup why`: whether a path is backed up, by which rule not, and when it was last.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cmd_daemon::call;
use super::context::{Context, Setup};
use super::escape::{escape_for_terminal, insert_name};
use super::exit::{CliError, Exit};
use super::reading::{local_time, machine_time};
use super::vault;
use crate::backup::plan::absolute;
use crate::daemon::control::{Answer, Call, Request};
use crate::daemon::core::Why;
use crate::sets::Job;
use crate::sets::job::Origin;
use crate::sets::saved::{Last, Saved, last, saved};
use crate::sets::why::{Cause, Verdict, judge};
use crate::state::db::{StateDb, StateError};
use crate::state::own_snapshots::OwnSnapshots;

/// What `why` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Asks the sets of config.toml, the folder itself, what this machine remembers and the daemon if it
runs; no server and no secret. The exit code is 0 if a set has the path or a run has saved it, and 1 if not.

Example:
  backup why ~/Documents/letter.odt")]
pub struct WhyArgs {
    /// The path
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// What is known of a path in one set.
struct About {
    set: String,
    /// Nothing for a set that is not in config.toml: its rules were on a command line.
    verdict: Option<Verdict>,
    /// What is remembered, as far as it could be asked.
    saved: Option<(Saved, Option<Last>)>,
}

impl About {
    fn is_in(&self) -> bool {
        match &self.verdict {
            Some(Verdict::Out(_)) => false,
            Some(Verdict::In | Verdict::Above) => true,
            None => self.saved.as_ref().is_some_and(|(saved, _)| *saved != Saved::NotYet),
        }
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
    let about = about(ctx, &setup, state.as_ref(), &path)?;
    let included = about.iter().any(About::is_in);
    // The daemon goes by directories: it knows nothing of what leaves out a file alone.
    let watched = if included { watched_by(&setup, &path) } else { None };
    if ctx.ui.is_json() {
        ctx.ui.json(&json_of(&path, &about, watched.as_ref()));
    } else {
        tell(ctx, &path, &about, watched.as_ref());
    }
    Ok(if included { Exit::Done } else { Exit::Failed })
}

/// What the daemon says of a path that is in one of its sets: nothing if there is no daemon.
fn watched_by(setup: &Setup, path: &Path) -> Option<Why> {
    let request = Request::Why { path: path.to_path_buf() };
    let answer = call(&setup.places, &request).and_then(Call::only);
    match answer {
        Ok(Answer::Why(why)) if why.set.is_some() && !why.left_out => Some(why),
        _ => None,
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
) -> Result<Vec<About>, CliError> {
    let own = OwnSnapshots::open(&vault::folders(&setup.places).own_snapshots());
    let remembered = |set: &str| -> Result<_, CliError> {
        let Some(state) = state else {
            return Ok(None);
        };
        let last = last(state, &own, set)?;
        Ok(Some((saved(state, last.as_ref(), path)?, last)))
    };
    let mut all = Vec::new();
    for set in &setup.sets {
        let job = Job::of(set, setup.home.as_deref())?;
        let Some(verdict) = judge(&job, own_folders(ctx, setup), path) else {
            continue;
        };
        // What is left out, or only on the way, is not looked up: it may be another set's.
        let saved = if verdict == Verdict::In { remembered(&set.name)? } else { None };
        all.push(About { set: set.name.clone(), verdict: Some(verdict), saved });
    }
    let sets = state.map(StateDb::sets).transpose()?.unwrap_or_default();
    for set in sets.into_iter().filter(|name| setup.sets.iter().all(|set| set.name != *name)) {
        let Some((found, Some(last))) = remembered(&set)? else {
            continue;
        };
        let covers = last.manifest.as_ref().is_some_and(|manifest| {
            let mut paths = manifest.paths.iter();
            paths.any(|source| path.starts_with(Path::new(std::ffi::OsStr::from_bytes(source))))
        });
        if covers {
            all.push(About { set, verdict: None, saved: Some((found, Some(last))) });
        }
    }
    Ok(all)
}

/// The program's own folders, as far as they are known without opening the vault.
fn own_folders(ctx: &Context<'_>, setup: &Setup) -> Vec<PathBuf> {
    let mut own = setup.places.own();
    let address = setup.vault.as_deref().and_then(|vault| vault::parse(vault).ok());
    own.extend(address.and_then(|address| vault::folder_of(&address)));
    own.extend(super::cmd_init::default_kit(ctx, setup));
    own
}

fn tell(ctx: &Context<'_>, path: &Path, about: &[About], watched: Option<&Why>) {
    let shown = escape_for_terminal(path.as_os_str().as_bytes()).into_owned();
    if path.symlink_metadata().is_err() {
        ctx.ui.status(&format!("{shown} is not there, or cannot be looked at"));
    }
    if about.is_empty() {
        ctx.ui.line(&format!("{shown} is in no set, and no run is known to have saved it"));
        ctx.ui.status("`backup set list` lists the sets; `backup run PATH…` saves anything");
    }
    for one in about {
        match &one.verdict {
            Some(Verdict::In) => ctx.ui.line(&format!("{shown} is in the set {}", one.set)),
            Some(Verdict::Above) => ctx.ui.line(&format!(
                "{shown} is on the way to the set {}: of it only the folder is saved",
                one.set
            )),
            Some(Verdict::Out(cause)) => {
                ctx.ui.line(&format!("{shown} is left out of the set {}", one.set));
                ctx.ui.line(&format!("  {}", cause_words(cause, path)));
            }
            None => ctx.ui.line(&format!(
                "{shown} is beneath what `backup run` saved as the set {}, which is not in config.toml",
                one.set
            )),
        }
        if let Some((saved, last)) = &one.saved {
            ctx.ui.line(&format!("  {}", saved_words(*saved, last.as_ref())));
        }
    }
    if let Some(watched) = watched {
        ctx.ui.line(&match &watched.why {
            _ if watched.watched => "  the daemon notices changes at once".to_owned(),
            Some(why) => format!("  the daemon finds changes by its next scan: {why}"),
            None => "  the daemon finds changes by its next scan".to_owned(),
        });
    }
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

fn saved_words(saved: Saved, last: Option<&Last>) -> String {
    let snapshot = last.map_or_else(String::new, |last| {
        let when = last.manifest.as_ref().map(|manifest| local_time(manifest.start));
        let when = when.map(|when| format!(" of {when}")).unwrap_or_default();
        format!("snapshot {}{when}", last.id.short())
    });
    match saved {
        Saved::AsItIs => format!("as it is now, it is in {snapshot}"),
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

fn json_of(path: &Path, about: &[About], watched: Option<&Why>) -> Value {
    let mut object = serde_json::Map::new();
    insert_name(&mut object, "path", path.as_os_str().as_bytes());
    object.insert("included".into(), about.iter().any(About::is_in).into());
    let watched = watched.map(|by| json!({ "set": by.set, "at_once": by.watched, "why": by.why }));
    object.insert("watched".into(), watched.unwrap_or(Value::Null));
    object.insert("sets".into(), about.iter().map(set_json).collect());
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
    let saved = about.saved.as_ref().map(|(saved, last)| {
        let manifest = last.as_ref().and_then(|last| last.manifest.as_ref());
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
            "snapshot": last.as_ref().map(|last| last.id.to_string()),
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
