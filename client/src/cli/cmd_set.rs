//! `backup set`: what is backed up together, under a name, in config.toml.

mod apply;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use toml_edit::Value;

use super::args::values::{Compression, TagList};
use super::cmd_daemon::call;
use super::cmd_run::ExcludeArgs;
use super::cmd_run::links::link_warnings;
use super::config::{self, Config};
use super::context::{Context, Setup};
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::reading::set_name;
use super::units::{Align, Table};
use crate::daemon::control::{Call, CallError, Request};
use crate::sets::edit::{added, changed, keys, removed, section};
use crate::sets::named::SetPath;
use crate::sets::values::Span;
use crate::sets::{NamedSet, SetSource, defaults};

/// What `set` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Sets stand in config.toml, which can be changed by hand as well; docs/CONFIG.md has every key.

Example:
  backup set add home ~ -e ~/Downloads
  backup set add shop --stdin-filename shop.sql --stdin-from-command -- pg_dump shop
  backup run")]
pub struct SetArgs {
    /// What to do [default: list]
    #[command(subcommand)]
    pub command: Option<SetCommand>,
}

/// What can be done with sets.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SetCommand {
    /// List the sets of the profile
    List,
    /// Make a set
    Add(Box<AddArgs>),
    /// Change a set
    Edit(Box<EditArgs>),
    /// Take a set out of config.toml; its snapshots stay
    Remove(RemoveArgs),
}

/// What `set add` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Caches, trash and build output are left out by default; docs/CONFIG.md has the list. Commands run by
`sh -c`, with what happened in their environment: UNSEEN_SET, UNSEEN_STATUS, UNSEEN_SNAPSHOT,
UNSEEN_ERROR, UNSEEN_EXIT_CODE and more.

Example:
  backup set add home ~ -e ~/Downloads --failed 'echo \"$UNSEEN_ERROR\" | mail -s backup me'
  backup set add shop --stdin-filename shop.sql --stdin-from-command -- pg_dump shop")]
pub struct AddArgs {
    /// What it is called
    pub name: String,
    /// What is backed up; with --stdin-from-command, the command and its arguments
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<OsString>,
    /// Leave out only what is said here
    #[arg(long)]
    pub no_default_excludes: bool,
    /// The rest.
    #[command(flatten)]
    pub options: SetOptions,
}

/// What `set edit` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
What is given is added to lists, and takes the place of all else. --unset empties first.

Example:
  backup set edit home ~/Music -e '*.iso'
  backup set edit home --unset exclude,tags --no-default-excludes")]
pub struct EditArgs {
    /// Which one
    pub name: String,
    /// What is backed up besides; with --stdin-from-command, the new command and its arguments
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Take these keys of config.toml out first
    #[arg(long, value_name = "KEY[,KEY]…", value_delimiter = ',')]
    pub unset: Vec<String>,
    /// Leave out caches, trash and build output
    #[arg(long, conflicts_with = "no_default_excludes")]
    pub default_excludes: bool,
    /// Do not leave them out
    #[arg(long)]
    pub no_default_excludes: bool,
    /// The rest.
    #[command(flatten)]
    pub options: SetOptions,
}

/// What `set remove` takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RemoveArgs {
    /// Which one
    pub name: String,
}

/// What `set add` and `set edit` share.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct SetOptions {
    /// What is left out.
    #[command(flatten)]
    pub excludes: ExcludeArgs,
    /// What the command prints is backed up as one file, if the command succeeds
    #[arg(long, requires = "paths", help_heading = "Instead of files")]
    pub stdin_from_command: bool,
    /// The name of that one file [default: stdin]
    #[arg(long, value_name = "NAME", help_heading = "Instead of files")]
    pub stdin_filename: Option<String>,
    /// Tags of its snapshots
    #[arg(long, value_name = "TAG[,TAG]…", help_heading = "About its snapshots")]
    pub tag: Vec<TagList>,
    /// The host they are of [default: the host name]
    #[arg(short = 'H', long, value_name = "NAME", help_heading = "About its snapshots")]
    pub host: Option<String>,
    /// off, fastest, auto, better, max, or a level from 1 to 19
    #[arg(long, value_name = "HOW", help_heading = "How it is done")]
    pub compression: Option<Compression>,
    /// Make no snapshot if nothing changed since the last one
    #[arg(long, help_heading = "How it is done")]
    pub skip_if_unchanged: bool,
    /// When the daemon saves it.
    #[command(flatten)]
    pub schedule: ScheduleArgs,
    /// What is run around it.
    #[command(flatten)]
    pub hooks: HookArgs,
}

/// When the daemon saves a set.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "When the daemon saves it (30s, 10m, 1h30m)")]
pub struct ScheduleArgs {
    /// So much silence after a change
    #[arg(long, value_name = "TIME")]
    pub quiet_period: Option<Span>,
    /// But never longer than this after the first one
    #[arg(long, value_name = "TIME")]
    pub max_wait: Option<Span>,
    /// At least so much between two snapshots
    #[arg(long, value_name = "TIME")]
    pub min_interval: Option<Span>,
    /// A look at everything this often
    #[arg(long, value_name = "TIME")]
    pub rescan: Option<Span>,
}

/// What is run around a set.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Shell commands around a run")]
pub struct HookArgs {
    /// Before it; if this fails, nothing is backed up
    #[arg(long, value_name = "COMMAND")]
    pub before: Option<String>,
    /// After a snapshot was made, or nothing had changed
    #[arg(long, value_name = "COMMAND")]
    pub after: Option<String>,
    /// After a run that failed or was interrupted
    #[arg(long, value_name = "COMMAND")]
    pub failed: Option<String>,
    /// How long each may take; 0s for ever [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub hook_timeout: Option<Span>,
}

/// Lists or changes.
pub fn run(ctx: &Context<'_>, args: &SetArgs) -> Result<Exit, CliError> {
    let setup = ctx.setup()?;
    match args.command.as_ref().unwrap_or(&SetCommand::List) {
        SetCommand::List => list(ctx, &setup),
        SetCommand::Add(args) => add(ctx, &setup, args)?,
        SetCommand::Edit(args) => edit(ctx, &setup, args)?,
        SetCommand::Remove(args) => remove(ctx, &setup, args)?,
    }
    Ok(Exit::Done)
}

fn add(ctx: &Context<'_>, setup: &Setup, args: &AddArgs) -> Result<(), CliError> {
    let name = set_name(&args.name)?;
    if setup.sets.iter().any(|set| set.name == name) {
        return Err(CliError::usage(format!("there is a set {name} already"))
            .hint(format!("`backup set edit {name}` changes it")));
    }
    let mut set = NamedSet::new(name, SetSource::Paths(Vec::new()));
    setup.name.as_str().clone_into(&mut set.profile);
    set.excludes.defaults = !args.no_default_excludes && !args.options.stdin_from_command;
    apply::apply(&mut set, &args.paths, &args.options)?;
    config::change_sets(&setup.places.config, |text| added(text, &set))?;
    tell(ctx, setup, (&set, "added"));
    tell_left_out(ctx, &set);
    tell_daemon(ctx, setup, Some(&set));
    warn_of_paths(ctx, setup, &set);
    advise_of_pace(ctx, setup, &set)
}

fn edit(ctx: &Context<'_>, setup: &Setup, args: &EditArgs) -> Result<(), CliError> {
    let old = find(setup, &args.name)?;
    let mut new = old.clone();
    for key in &args.unset {
        apply::unset(&mut new, key)?;
    }
    if args.default_excludes || args.no_default_excludes {
        new.excludes.defaults = args.default_excludes;
    }
    apply::apply(&mut new, &args.paths, &args.options)?;
    if new == *old {
        return Err(CliError::usage("nothing says what to change")
            .hint("`backup set edit --help` lists what can be changed"));
    }
    config::change_sets(&setup.places.config, |text| changed(text, old, &new))?;
    tell(ctx, setup, (&new, "changed"));
    if new.excludes.defaults && !old.excludes.defaults {
        tell_left_out(ctx, &new);
    }
    tell_daemon(ctx, setup, Some(&new));
    warn_of_paths(ctx, setup, &new);
    advise_of_pace(ctx, setup, &new)
}

fn remove(ctx: &Context<'_>, setup: &Setup, args: &RemoveArgs) -> Result<(), CliError> {
    let set = find(setup, &args.name)?;
    config::change_sets(&setup.places.config, |text| removed(text, set))?;
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({ "message_type": "set_removed", "name": set.name }));
    } else {
        ctx.ui.summary(&format!("removed the set {}; its snapshots stay", set.name));
    }
    tell_daemon(ctx, setup, None);
    Ok(())
}

fn find<'s>(setup: &'s Setup, name: &str) -> Result<&'s NamedSet, CliError> {
    let name = set_name(name)?;
    setup.sets.iter().find(|set| set.name == name).ok_or_else(|| {
        CliError::usage(format!("there is no set {name} in config.toml"))
            .hint("`backup set list` lists them")
    })
}

fn list(ctx: &Context<'_>, setup: &Setup) {
    if ctx.ui.is_json() {
        ctx.ui.json(&setup.sets.iter().map(json_of).collect::<Vec<_>>());
        return;
    }
    if setup.sets.is_empty() {
        ctx.ui.status("there is no set yet: `backup set add NAME PATH…` makes one");
        return;
    }
    let mut table =
        Table::new(&[("Name", Align::Left), ("Saves", Align::Left), ("With", Align::Left)]);
    for set in &setup.sets {
        let saves = escape_for_terminal(saves(set).as_bytes()).into_owned();
        table.row([set.name.clone(), saves, with(set)]);
    }
    for line in table.lines() {
        ctx.ui.line(&line);
    }
}

/// What it reads, in a line.
fn saves(set: &NamedSet) -> String {
    match &set.source {
        SetSource::Paths(paths) => paths.iter().map(SetPath::text).collect::<Vec<_>>().join(", "),
        SetSource::Command { argv, file } => {
            format!("`{}` as {}", argv.join(" "), String::from_utf8_lossy(file.as_bytes()))
        }
    }
}

/// The other keys that it has.
fn with(set: &NamedSet) -> String {
    const SHOWN: [&str; 5] = ["name", "profile", "paths", "stdin_from_command", "stdin_filename"];
    let given = keys(set).into_iter().filter(|(_, value)| value.is_some()).map(|(key, _)| key);
    given.filter(|key| !SHOWN.contains(key)).collect::<Vec<_>>().join(", ")
}

fn json_of(set: &NamedSet) -> serde_json::Value {
    let given = keys(set).into_iter().filter_map(|(key, value)| Some((key, json_value(&value?))));
    given.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.value().as_str().into(),
        Value::Boolean(flag) => (*flag.value()).into(),
        Value::Array(all) => all.iter().map(json_value).collect(),
        // A set has no others.
        other => other.to_string().into(),
    }
}

fn tell(ctx: &Context<'_>, setup: &Setup, (set, what): (&NamedSet, &str)) {
    if ctx.ui.is_json() {
        let message = format!("set_{what}");
        ctx.ui.json(&serde_json::json!({ "message_type": message, "set": json_of(set) }));
        return;
    }
    let file = setup.places.config.display();
    ctx.ui.summary(&format!("{what} the set {} in {file}:", set.name));
    for line in section(set).lines() {
        ctx.ui.summary(&format!("  {line}"));
    }
}

/// Says that something is left out without anybody having asked for it.
fn tell_left_out(ctx: &Context<'_>, set: &NamedSet) {
    if !set.excludes.defaults || ctx.ui.is_json() {
        return;
    }
    ctx.ui.status(&format!(
        "caches, trash and build output are left out by default, by {} rules: `backup why PATH` \
         tells whether a path is, `backup set edit {} --no-default-excludes` ends that",
        defaults::count(),
        set.name
    ));
}

/// The output of a command is saved no more often than anything else.
fn advise_of_pace(ctx: &Context<'_>, setup: &Setup, set: &NamedSet) -> Result<(), CliError> {
    let pace = Config::load(&setup.places.config)?.daemon.pace(&set.schedule);
    let timed = matches!(set.source, SetSource::Command { .. });
    if timed && pace.rescan < pace.min_interval {
        let (often, least) = (Span(pace.rescan), Span(pace.min_interval));
        let text = format!(
            "the daemon saves {} every {least}, not every {often}: rescan is less than \
             min_interval, the time between two backups",
            set.name
        );
        let hint = format!("`backup set edit {} --min-interval {often}` allows it", set.name);
        ctx.ui.advise(&text, Some(&hint));
    }
    Ok(())
}

/// The daemon goes by it at once. `saved` is what it is to save.
fn tell_daemon(ctx: &Context<'_>, setup: &Setup, saved: Option<&NamedSet>) {
    let told = call(&setup.places, &Request::Reload).and_then(Call::only);
    match (told, saved) {
        (Ok(_), Some(set)) => ctx.ui.status(&format!("the daemon saves {} by itself", set.name)),
        (Ok(_), None) => ctx.ui.status("the daemon goes by it"),
        (Err(CallError::NotRunning), Some(set)) => ctx.ui.status(&format!(
            "`backup run --set {}` backs it up; `backup daemon install` lets that be done by itself",
            set.name
        )),
        (Err(CallError::NotRunning), None) => {}
        (Err(error), _) => {
            let error = CliError::from(error);
            ctx.ui.advise(&error.report(), error.hint_text());
        }
    }
}

fn warn_of_paths(ctx: &Context<'_>, setup: &Setup, set: &NamedSet) {
    let paths = set.paths(setup.home.as_deref()).unwrap_or_default();
    for path in paths.iter().filter(|path| path.symlink_metadata().is_err()) {
        let shown = escape_for_terminal(path.as_os_str().as_bytes());
        ctx.ui.warn(&format!("{shown} is not there, or cannot be looked at"));
    }
    for warning in link_warnings(&paths) {
        ctx.ui.warn(&format!("{warning} (`backup set edit {}`)", set.name));
    }
}

/// The path made absolute, as config.toml can hold it. One that begins with the home folder, as it
/// comes from between quotes, stays as it is: config.toml knows it, too.
fn absolute_text(path: &Path) -> Result<String, CliError> {
    if let Some(text) = path.to_str()
        && (text == "~" || text.starts_with("~/"))
    {
        return Ok(text.to_owned());
    }
    let current = std::env::current_dir().map_err(|error| {
        CliError::new(Exit::Failed, "the current folder is gone").because(error)
    })?;
    let absolute: PathBuf = crate::backup::plan::absolute(path, &current);
    absolute.into_os_string().into_string().map_err(|path| {
        CliError::usage(format!("{} is not UTF-8, and config.toml is", path.display()))
            .hint("`backup run --files-from` takes any path")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_folder_is_meant_also_between_quotes() {
        for text in ["~", "~/x"] {
            assert_eq!(absolute_text(Path::new(text)).unwrap(), text);
        }
        let here = std::env::current_dir().unwrap();
        for (text, path) in [("x", "x"), ("./~", "~"), ("~ann", "~ann")] {
            let expected = here.join(path).to_str().unwrap().to_owned();
            assert_eq!(absolute_text(Path::new(text)).unwrap(), expected);
        }
    }
}
