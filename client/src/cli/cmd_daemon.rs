//! `backup daemon`: back up by itself whenever something changes.

mod around;
mod ask;
mod deliver;
mod desktop;
mod follow;
mod lifted;
mod runner;
mod service;
mod settings;
mod source;
mod start;

use super::context::Context;
use super::exit::{CliError, Exit};
use super::places::Places;
use crate::daemon::control::{Answer, Call, CallError, Request};
use crate::daemon::core::Status;
use crate::sets::values::Span;

pub use follow::through;
pub use lifted::lifted;
pub use service::installed;
use service::{InstallArgs, UninstallArgs, install, uninstall};

/// What `daemon` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
The daemon watches the sets of config.toml, saves what changes a short while later, and looks at
everything from time to time. It needs no passphrase.

Example:
  backup daemon install
  backup daemon pause 2h
  backup daemon now"
)]
pub struct DaemonArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DaemonCommand,
}

/// The parts of `daemon`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum DaemonCommand {
    /// Watch the sets and back them up, until stopped
    #[command(after_help = "\
It stays in the foreground: a service manager starts it and keeps its output. SIGTERM or Ctrl-C
ends it and keeps what was done as a checkpoint; SIGHUP reads config.toml again.

Example:
  backup daemon run")]
    Run,
    /// Let the service manager start it, now and after every start
    Install(InstallArgs),
    /// Take that back
    Uninstall(UninstallArgs),
    /// See what the daemon does
    #[command(after_help = "\
Exits 1 if there is no daemon. `backup status` shows more, and needs none.

Example:
  backup daemon status --json")]
    Status,
    /// Let nothing begin by itself for a while
    #[command(after_help = "\
A backup that runs is stopped, and what it has done is kept. The pause ends by itself, also across
restarts. `daemon now` and `run` work all the same.

Example:
  backup daemon pause 2h")]
    Pause {
        /// How long: 30m, 2h, 1d
        #[arg(value_name = "DURATION")]
        time: Span,
    },
    /// End the pause
    #[command(after_help = "\
Example:
  backup daemon resume")]
    Resume,
    /// Let the daemon back up now
    #[command(after_help = "\
It does not wait for the end; `backup run` does. What is watched is not looked through: --full does
that.

Example:
  backup daemon now photos")]
    Now {
        /// Only this set
        #[arg(value_name = "SET")]
        set: Option<String>,
        /// Look at everything, also at what is watched
        #[arg(long)]
        full: bool,
    },
}

/// Does it.
pub fn run(ctx: &Context<'_>, args: &DaemonArgs) -> Result<Exit, CliError> {
    match &args.command {
        DaemonCommand::Run => start::run(ctx),
        DaemonCommand::Status => ask::status(ctx),
        DaemonCommand::Pause { time } => ask::pause(ctx, *time),
        DaemonCommand::Resume => ask::resume(ctx),
        DaemonCommand::Now { set, full } => ask::now(ctx, set.as_deref(), *full),
        DaemonCommand::Install(args) => install(ctx, args),
        DaemonCommand::Uninstall(args) => uninstall(ctx, args),
    }
}

/// Sends a request to the daemon of a profile.
pub fn call(places: &Places, request: &Request) -> Result<Call, CallError> {
    Call::to_daemon(&places.state, &places.sockets(), request)
}

/// How the daemon of a profile sees things; none if there is no daemon, or it does not answer.
pub fn daemon_status(places: &Places) -> Result<Option<Status>, CallError> {
    let call = match call(places, &Request::Status) {
        Err(CallError::NotRunning) => return Ok(None),
        call => call?,
    };
    match call.only()? {
        Answer::Status(status) => Ok(Some(*status)),
        _ => Err(CallError::BadAnswer),
    }
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotRunning => Self::from_error(Exit::Failed, error)
                .hint("`backup daemon run` starts it; `backup run` works without"),
            CallError::Refused(trouble) => runner::error_of(trouble),
            CallError::Silent { process, .. } => {
                let then = "what it has not begun of what it was asked is not done later";
                let hint = match process {
                    Some(process) => format!(
                        "if it was stopped, `kill -CONT {process}` lets it go on; if it hangs, \
                         `kill -9 {process}` ends it, and it can be started anew; {then}"
                    ),
                    None => format!(
                        "if it was stopped, `kill -CONT` with its process lets it go on; if it \
                         hangs, end it, and start it anew; {then}"
                    ),
                };
                Self::from_error(Exit::Failed, error).hint(hint)
            }
            CallError::OutOfReach { source, path } => {
                let error = Self::from_error(Exit::Failed, CallError::OutOfReach { path, source });
                error.hint("it may be starting just now; else start it anew, as this user")
            }
            error => Self::from_error(Exit::Failed, error),
        }
    }
}
