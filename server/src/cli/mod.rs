//! The command line of `backup-server`.

mod account;
mod admin;
mod error;
mod gc;
mod invite;
mod manage;
mod output;
mod place;
mod serve;
mod units;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Self-hosted storage for Unseen backups: it sees only ciphertext.
#[derive(Debug, Parser)]
#[command(name = "backup-server", bin_name = "backup-server", version, about, max_term_width = 100)]
struct Arguments {
    /// How log lines on stderr look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Invite(invite::Invite),
    Account(account::Account),
    Gc(gc::Gc),
}

/// Runs the command line; the exit code is as docs/OPERATING.md lists.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help is no error, and clap knows where it belongs.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    start_log(arguments.log_format);
    let done = match arguments.command {
        Command::Serve(command) => serve::run(&command),
        Command::Invite(command) => invite::run(command),
        Command::Account(command) => account::run(command),
        Command::Gc(command) => gc::run(&command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("UNSEEN_LOG").unwrap_or_else(|_e| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Only the first of a process counts, as in tests.
    drop(match format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    });
}

#[cfg(test)]
pub(crate) use place::tests::stored as stored_place;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
