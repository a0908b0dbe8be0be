//! Options of the command line put into a set.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::super::cmd_run::ExcludeArgs;
use super::super::exit::{CliError, Exit};
use super::{HookArgs, ScheduleArgs, SetOptions, absolute_text};
use crate::sets::edit::keys;
use crate::sets::named::{Excludes, MarkerText, PatternText, SetFault, SetPath, source};
use crate::sets::{NamedSet, SetSource};

/// Puts in what was given: lists grow, all else is replaced.
pub(super) fn apply(
    set: &mut NamedSet,
    paths: &[OsString],
    options: &SetOptions,
) -> Result<(), CliError> {
    set_source(set, paths, options)?;
    excludes(&mut set.excludes, &options.excludes)?;
    set.label.tags.extend(options.tag.iter().flat_map(|list| list.0.clone()));
    replace(&mut set.label.host, options.host.as_ref());
    replace(&mut set.compression, options.compression.as_ref());
    set.skip_if_unchanged |= options.skip_if_unchanged;
    let ScheduleArgs { quiet_period, max_wait, min_interval, rescan } = &options.schedule;
    replace(&mut set.schedule.quiet, quiet_period.as_ref());
    replace(&mut set.schedule.max_wait, max_wait.as_ref());
    replace(&mut set.schedule.min_interval, min_interval.as_ref());
    replace(&mut set.schedule.rescan, rescan.as_ref());
    let HookArgs { before, after, failed, hook_timeout } = &options.hooks;
    replace(&mut set.hooks.before, before.as_ref());
    replace(&mut set.hooks.after, after.as_ref());
    replace(&mut set.hooks.failed, failed.as_ref());
    replace(&mut set.hooks.timeout, hook_timeout.as_ref());
    set.fault().map_or(Ok(()), |fault| Err(fault.into()))
}

fn set_source(
    set: &mut NamedSet,
    given: &[OsString],
    options: &SetOptions,
) -> Result<(), CliError> {
    let (mut paths, mut argv, mut file) = match &set.source {
        SetSource::Paths(paths) => (paths.clone(), Vec::new(), None),
        SetSource::Command { argv, file } => {
            let file = String::from_utf8_lossy(file.as_bytes()).into_owned();
            (Vec::new(), argv.clone(), Some(file))
        }
    };
    if options.stdin_from_command {
        argv = given.iter().map(|word| text(word)).collect::<Result<_, _>>()?;
    } else {
        for path in given {
            let path = SetPath::try_from(absolute_text(Path::new(path))?);
            let path = path.map_err(|error| CliError::from_error(Exit::Usage, error))?;
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    file = options.stdin_filename.clone().or(file);
    set.source = source(&set.name, paths, argv, file)?;
    Ok(())
}

fn excludes(excludes: &mut Excludes, args: &ExcludeArgs) -> Result<(), CliError> {
    for (texts, into) in
        [(&args.exclude, &mut excludes.patterns), (&args.iexclude, &mut excludes.ignoring_case)]
    {
        for pattern in texts {
            into.push(read::<PatternText>(text(pattern)?)?);
        }
    }
    for file in &args.exclude_file {
        excludes.files.push(read(absolute_text(file)?)?);
    }
    for marker in &args.exclude_if_present {
        excludes.if_present.push(read::<MarkerText>(text(marker)?)?);
    }
    excludes.caches |= args.exclude_caches;
    excludes.git_ignore |= args.git_ignore;
    excludes.one_file_system |= args.one_file_system;
    replace(&mut excludes.larger_than, args.exclude_larger_than.as_ref());
    Ok(())
}

/// Takes a key out, so that it is as it is by itself.
pub(super) fn unset(set: &mut NamedSet, key: &str) -> Result<(), CliError> {
    let key = key.trim().replace('-', "_");
    let (excludes, hooks) = (&mut set.excludes, &mut set.hooks);
    match key.as_str() {
        // Others are given with the same command; `apply` refuses if they are not.
        "paths" | "stdin_from_command" => set.source = SetSource::Paths(Vec::new()),
        "stdin_filename" => {
            if let SetSource::Command { argv, .. } = &set.source {
                set.source = source(&set.name, Vec::new(), argv.clone(), None)?;
            }
        }
        "default_excludes" => excludes.defaults = false,
        "exclude" => excludes.patterns.clear(),
        "iexclude" => excludes.ignoring_case.clear(),
        "exclude_file" => excludes.files.clear(),
        "exclude_caches" => excludes.caches = false,
        "exclude_if_present" => excludes.if_present.clear(),
        "exclude_larger_than" => excludes.larger_than = None,
        "git_ignore" => excludes.git_ignore = false,
        "one_file_system" => excludes.one_file_system = false,
        "tags" => set.label.tags.clear(),
        "host" => set.label.host = None,
        "compression" => set.compression = None,
        "skip_if_unchanged" => set.skip_if_unchanged = false,
        "quiet" => set.schedule.quiet = None,
        "max_wait" => set.schedule.max_wait = None,
        "min_interval" => set.schedule.min_interval = None,
        "rescan" => set.schedule.rescan = None,
        "before" => hooks.before = None,
        "after" => hooks.after = None,
        "failed" => hooks.failed = None,
        "hook_timeout" => hooks.timeout = None,
        _ => {
            let all: Vec<&str> = keys(set).iter().map(|(key, _)| *key).skip(2).collect();
            return Err(CliError::usage(format!("a set has no key {key} to take out"))
                .hint(format!("it is one of {}", all.join(", "))));
        }
    }
    Ok(())
}

fn replace<T: Clone>(old: &mut Option<T>, new: Option<&T>) {
    if let Some(new) = new {
        *old = Some(new.clone());
    }
}

fn text(word: &OsStr) -> Result<String, CliError> {
    word.to_str().map(str::to_owned).ok_or_else(|| {
        CliError::usage(format!("{} is not UTF-8, and config.toml is", word.display()))
    })
}

fn read<T: TryFrom<String>>(text: String) -> Result<T, CliError>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    T::try_from(text).map_err(|error| CliError::from_error(Exit::Usage, error))
}

impl From<SetFault> for CliError {
    fn from(error: SetFault) -> Self {
        Self::from_error(Exit::Usage, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> NamedSet {
        let paths = vec![SetPath::try_from("/a".to_owned()).unwrap()];
        NamedSet::new("s".into(), SetSource::Paths(paths))
    }

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn every_key_can_be_taken_out() {
        for (key, _) in keys(&set()).iter().skip(2) {
            unset(&mut set(), key).unwrap();
        }
        for bad in ["name", "profile", "x"] {
            assert_eq!(unset(&mut set(), bad).unwrap_err().code(), Exit::Usage);
        }
    }

    #[test]
    fn lists_grow_and_the_rest_is_replaced() {
        let mut set = set();
        let mut options = SetOptions { host: Some("h".into()), ..SetOptions::default() };
        options.excludes.exclude = words(&["*.a"]);
        apply(&mut set, &words(&["/b", "/a"]), &options).unwrap();
        options.excludes.exclude = words(&["*.b"]);
        options.host = None;
        apply(&mut set, &[], &options).unwrap();
        assert_eq!(super::super::saves(&set), "/a, /b");
        let patterns: Vec<&str> = set.excludes.patterns.iter().map(PatternText::text).collect();
        assert_eq!(patterns, ["*.a", "*.b"]);
        assert_eq!(set.label.host.as_deref(), Some("h"));
    }

    #[test]
    fn paths_make_room_for_a_command_only_if_they_are_taken_out() {
        let mut both = set();
        let options = SetOptions { stdin_from_command: true, ..SetOptions::default() };
        assert!(apply(&mut both, &words(&["pg_dump", "x"]), &options).is_err());
        let mut dump = set();
        unset(&mut dump, "paths").unwrap();
        apply(&mut dump, &words(&["pg_dump", "x"]), &options).unwrap();
        assert_eq!(super::super::saves(&dump), "`pg_dump x` as stdin");
        unset(&mut dump, "stdin-from-command").unwrap();
        assert!(apply(&mut dump, &[], &SetOptions::default()).is_err());
    }
}
