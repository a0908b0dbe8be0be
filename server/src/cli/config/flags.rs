//! The table as arguments of the command line, with the environment below them.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::file::File;
use super::keys::{self, Key};

/// What flags and environment say: for the settings of every command, or those of serving.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Flags<const EVERYWHERE: bool>(pub(super) Vec<Given>);

/// A value that was given.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) key: &'static Key,
    pub(super) value: String,
    pub(super) by_variable: bool,
}

impl<const EVERYWHERE: bool> Args for Flags<EVERYWHERE> {
    fn augment_args(command: Command) -> Command {
        let keys = keys::ALL.iter().filter(|key| key.everywhere == EVERYWHERE);
        keys.fold(command, |command, key| command.arg(argument(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const EVERYWHERE: bool> FromArgMatches for Flags<EVERYWHERE> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in keys::ALL.iter().filter(|key| key.everywhere == EVERYWHERE) {
            let by_variable = match matches.value_source(key.name) {
                Some(ValueSource::CommandLine) => false,
                Some(ValueSource::EnvVariable) => true,
                _ => continue,
            };
            if let Some(value) = matches.get_one::<String>(key.name) {
                self.0.push(Given { key, value: value.clone(), by_variable });
            }
        }
        Ok(())
    }
}

fn argument(key: &'static Key) -> Arg {
    let argument = Arg::new(key.name)
        .long(key.name)
        .env(key.variable())
        .help(key.help)
        .global(key.everywhere)
        .value_parser(|text: &str| (key.check)(text).map(|()| text.to_owned()));
    let argument = match key.default {
        // That a switch is off by default needs no words.
        Some(default) if !key.is_switch() => argument.default_value(default),
        _ => argument,
    };
    if key.is_switch() {
        let argument = argument.value_name("true|false").num_args(0..=1).require_equals(true);
        argument.default_missing_value("true").hide_possible_values(true)
    } else {
        argument.value_name(key.value)
    }
}

/// Other commands need the data folder alone: there the file's is the default.
pub(in crate::cli) fn with_data_of(file: &File, command: Command) -> Command {
    let Some((folder, _)) = file.get(&keys::DATA) else {
        return command;
    };
    let folder = folder.to_owned();
    let names: Vec<String> =
        command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| with_data_of(file, below))
    });
    // Where the table made the argument, the file comes in with all its other values.
    let takes_it = command.get_arguments().any(|argument| argument.get_id() == keys::DATA.name);
    let by_table = command.get_arguments().any(|argument| argument.get_id() == keys::LISTEN.name);
    if takes_it && !by_table {
        command.mut_arg(keys::DATA.name, |data| data.required(false).default_value(folder))
    } else {
        command
    }
}
