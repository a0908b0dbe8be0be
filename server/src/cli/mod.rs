//! The command line of `backup-server`.

mod account;
mod admin;
mod config;
mod copy;
mod error;
mod gc;
mod health;
mod invite;
mod manage;
mod output;
mod pinned;
mod place;
mod rebuild;
mod reload;
mod scrub;
mod scrubs;
mod serve;
mod stats;
mod units;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use config::Settings;
use config::file::{self, File};
use config::flags::{self, Flags};
use config::keys;
use error::CliError;

/// Self-hosted storage for Unseen backups: it sees only ciphertext.
#[derive(Debug, Parser)]
#[command(name = "backup-server", bin_name = "backup-server", version, about, max_term_width = 100)]
struct Arguments {
    /// Settings, one TOML file; /etc/unseen/server.toml if it is there
    // Looked for before the rest is understood, hence only shown here.
    #[arg(long, global = true, value_name = "FILE", env = file::VARIABLE)]
    config: Option<PathBuf>,
    #[command(flatten)]
    everywhere: Flags<true>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Invite(invite::Invite),
    Account(account::Account),
    Gc(gc::Gc),
    Scrub(scrub::Scrub),
    Stats(stats::StatsArgs),
    Rebuild(rebuild::Rebuild),
    Copy(copy::Copy),
    Config(config::check::Config),
    Health(health::Health),
}

/// Runs the command line; the exit code is as docs/OPERATING.md lists.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let (file, wrong) = match file::find(&arguments, std::env::var_os(file::VARIABLE)) {
        Ok(file) => (file, None),
        Err(error) => (File::default(), Some(error)),
    };
    let parsed = flags::with_data_of(&file, Arguments::command())
        .try_get_matches_from(arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let parsed = match (parsed, wrong) {
        // Help is no error, and clap knows where it belongs.
        (Err(help), _) if !help.use_stderr() => {
            drop(help.print());
            return ExitCode::SUCCESS;
        }
        // Without the file, the command line may look wrong and be right.
        (_, Some(wrong)) => return failed(&wrong.into()),
        (Err(error), None) => {
            drop(error.print());
            return ExitCode::from(2);
        }
        (Ok(parsed), None) => parsed,
    };
    start_log(&Settings::new(&file, &parsed.everywhere, &Flags::default()));
    let done = match parsed.command {
        Command::Serve(command) => serve::run(&command, &file, &parsed.everywhere),
        Command::Invite(command) => invite::run(command),
        Command::Account(command) => account::run(command),
        Command::Gc(command) => gc::run(&command),
        Command::Scrub(command) => scrub::run(&command),
        Command::Stats(command) => stats::run(&command),
        Command::Rebuild(command) => rebuild::run(&command),
        Command::Copy(command) => copy::run(&command),
        Command::Config(command) => config::check::run(&command, &file, &parsed.everywhere),
        Command::Health(command) => health::run(&command, &file, &parsed.everywhere),
    };
    done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn failed(error: &CliError) -> ExitCode {
    output::error(error);
    ExitCode::from(error.exit_code())
}

fn start_log(settings: &Settings) {
    let filter = settings.get(&keys::LOG_LEVEL).unwrap_or("info");
    // It was checked where it was read.
    let filter = EnvFilter::from_str(filter).unwrap_or_default();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A line that cannot be written, as on a full disk, is lost. Told by `eprintln!`, that would
        // be a panic of whoever had something to say.
        .log_internal_errors(false)
        .with_target(false);
    // Only the first of a process counts, as in tests.
    drop(match settings.get(&keys::LOG_FORMAT) {
        Some("json") => log.json().try_init(),
        _ => log.with_ansi(false).try_init(),
    });
}

#[cfg(test)]
pub(crate) use place::tests::stored as stored_place;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
