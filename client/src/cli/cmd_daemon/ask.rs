//! The commands that ask the daemon.

use serde_json::json;

use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::reading::{local_time, machine_time};
use super::super::units::plural;
use super::super::vault::SystemClock;
use super::daemon_status;
use crate::cli::cmd_status::ago;
use crate::daemon::control::{Answer, Call, CallError, Request};
use crate::daemon::run::MAX_PAUSE;
use crate::sets::values::Span;
use unseen_common::time::{Clock, Timestamp};

/// Shows what the daemon does.
pub(super) fn status(ctx: &Context<'_>) -> Result<Exit, CliError> {
    let Some(status) = daemon_status(&ctx.setup()?.places)? else {
        return Err(CallError::NotRunning.into());
    };
    if ctx.ui.is_json() {
        ctx.ui.json(&status);
        return Ok(Exit::Done);
    }
    let now = SystemClock.now();
    ctx.ui.line(&format!("running since {} (process {})", local_time(status.since), status.pid));
    if let Some(until) = status.paused_until {
        ctx.ui.line(&format!("paused until {}: `backup daemon resume`", local_time(until)));
    }
    if let Some(held) = &status.held {
        ctx.ui.line(&format!("waiting {held}"));
    }
    if let Some(running) = &status.running {
        ctx.ui.line(&format!("backing up {}", running.set));
    }
    for set in &status.sets {
        let saved = set
            .book
            .ok
            .map_or("not saved yet".to_owned(), |at| format!("saved {}", ago(now.since(at))));
        let pending = match set.pending {
            0 => String::new(),
            n => format!(", changes in {}", plural(n as u64, "folder", "folders")),
        };
        ctx.ui.line(&format!("{}: {saved}{pending}", set.name));
    }
    Ok(Exit::Done)
}

/// Pauses.
pub(super) fn pause(ctx: &Context<'_>, time: Span) -> Result<Exit, CliError> {
    if time.0.is_zero() || time.0 > MAX_PAUSE {
        return Err(CliError::usage("a pause is from 1s to 366d long"));
    }
    let seconds = time.0.as_secs();
    done(ctx, &Request::Pause { seconds })?;
    let until = Timestamp(SystemClock.now().0.saturating_add(seconds));
    if ctx.ui.is_json() {
        ctx.ui.json(&json!({"paused_until": machine_time(until)}));
    } else {
        ctx.ui.line(&format!("paused until {}", local_time(until)));
    }
    Ok(Exit::Done)
}

/// Ends a pause.
pub(super) fn resume(ctx: &Context<'_>) -> Result<Exit, CliError> {
    done(ctx, &Request::Resume)?;
    if ctx.ui.is_json() {
        ctx.ui.json(&json!({"paused_until": null}));
    } else {
        ctx.ui.line("watching again");
    }
    Ok(Exit::Done)
}

/// Wants backups.
pub(super) fn now(ctx: &Context<'_>, set: Option<&str>) -> Result<Exit, CliError> {
    let sets = done(ctx, &Request::Now { set: set.map(str::to_owned) })?;
    if ctx.ui.is_json() {
        ctx.ui.json(&json!({"sets": sets}));
    } else {
        ctx.ui.line(&format!("backing up {}", sets.join(", ")));
    }
    Ok(Exit::Done)
}

fn done(ctx: &Context<'_>, request: &Request) -> Result<Vec<String>, CliError> {
    match Call::send(&ctx.setup()?.places.sockets(), request)?.only()? {
        Answer::Done { sets } => Ok(sets),
        _ => Err(CallError::BadAnswer.into()),
    }
}
