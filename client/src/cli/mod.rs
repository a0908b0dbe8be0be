//! The command line. One file a command; `output.rs` is the only one that prints.

pub mod args;
pub mod bars;
pub mod cmd_check;
pub mod cmd_compact;
pub mod cmd_connect;
pub mod cmd_daemon;
pub mod cmd_dump;
pub mod cmd_forget;
pub mod cmd_init;
pub mod cmd_ls;
pub mod cmd_moved;
pub mod cmd_pin;
pub mod cmd_policy;
pub mod cmd_privacy;
pub mod cmd_restore;
pub mod cmd_run;
pub mod cmd_set;
pub mod cmd_snapshots;
pub mod cmd_status;
pub mod cmd_undelete;
pub mod cmd_version;
pub mod cmd_why;
pub mod config;
pub mod context;
pub mod deciding;
pub mod env;
pub mod escape;
pub mod exit;
pub mod failure;
pub mod interrupt;
pub mod other_names;
pub mod output;
pub mod places;
pub mod process;
pub mod reading;
pub mod secrets;
mod silence;
mod turns;
pub mod units;
pub mod vault;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use args::{Cli, Command};
use context::Context;
use env::{ProcessEnv, Tty};
use exit::{CliError, Exit};
use output::{Ui, Voice};

/// Runs the program `args[0]` with its arguments, on this process's environment and terminal.
pub fn main(args: &[OsString]) -> ExitCode {
    let env = ProcessEnv;
    match Cli::try_parse_from(args) {
        Ok(cli) => {
            let ui = Arc::new(Ui::new(cli.global.voice(), &env));
            let terminal = Tty(&ui);
            let context = Context { ui: &ui, global: &cli.global, env: &env, terminal: &terminal };
            let result = dispatch(&context, &cli.command);
            conclude(&ui, result).into()
        }
        Err(error) => {
            let voice = Voice { json: wants_json(args), level: 0 };
            let ui = Ui::new(voice, &env);
            let result = refuse(&ui, &error);
            conclude(&ui, result).into()
        }
    }
}

fn dispatch(context: &Context<'_>, command: &Command) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => cmd_init::run(context, args),
        Command::Connect(args) => cmd_connect::run(context, args),
        Command::Run(args) => cmd_run::run(context, args),
        Command::Status(args) => cmd_status::run(context, args),
        Command::Daemon(args) => cmd_daemon::run(context, args),
        Command::Set(args) => cmd_set::run(context, args),
        Command::Why(args) => cmd_why::run(context, args),
        Command::Snapshots(args) => cmd_snapshots::run(context, args),
        Command::Ls(args) => cmd_ls::run(context, args),
        Command::Dump(args) => cmd_dump::run(context, args),
        Command::Restore(args) => cmd_restore::run(context, args),
        Command::Check(args) => cmd_check::run(context, args),
        Command::Forget(args) => cmd_forget::run(context, args),
        Command::Compact(args) => cmd_compact::run(context, args),
        Command::Policy(args) => cmd_policy::run(context, args),
        Command::Undelete(args) => cmd_undelete::run(context, args),
        Command::Pin(args) => cmd_pin::pin(context, args),
        Command::Unpin(args) => cmd_pin::unpin(context, args),
        Command::Privacy(args) => cmd_privacy::run(context, args),
        Command::Version(args) => cmd_version::run(context, args),
    }
}

/// Shows an error if there is one. A result that did not get out is a failure, too.
fn conclude(ui: &Ui, result: Result<Exit, CliError>) -> Exit {
    let shown = |error: &CliError| {
        ui.error(error);
        error.code()
    };
    match (result, ui.finish()) {
        (Err(error), _) | (Ok(Exit::Done), Err(error)) => shown(&error),
        (Ok(exit), _) => exit,
    }
}

/// What clap refused, or help and version, which clap hands over in the same way.
fn refuse(ui: &Ui, error: &clap::Error) -> Result<Exit, CliError> {
    if !error.use_stderr() {
        ui.usage(error);
        return Ok(Exit::Done);
    }
    if let Some(typed) = unknown_command(error)
        && let Some(hint) = other_names::hint(typed)
    {
        return Err(CliError::usage(format!("there is no command `{typed}`")).hint(hint));
    }
    if ui.is_json() {
        let text = error.render().to_string();
        let line = text.lines().next().unwrap_or_default();
        let line = line.strip_prefix("error: ").unwrap_or(line);
        return Err(CliError::usage(line));
    }
    ui.usage(error);
    Ok(Exit::Usage)
}

fn unknown_command(error: &clap::Error) -> Option<&str> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(typed)) => Some(typed),
        _ => None,
    }
}

/// Before the command line is understood.
fn wants_json(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}

#[cfg(test)]
mod tests;
