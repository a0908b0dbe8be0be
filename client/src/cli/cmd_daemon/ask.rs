//! The commands that ask the daemon.

use serde_json::json;

use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::reading::{local_time, machine_time};
use super::super::units::plural;
use super::super::vault::SystemClock;
use super::{call, daemon_status};
use crate::cli::cmd_status::{ago, ahead, not_watched, waits_words};
use crate::daemon::control::{Answer, CallError, Request};
use crate::daemon::core::SetStatus;
use crate::daemon::run::MAX_PAUSE;
use crate::sets::values::Span;
use unseen_common::time::{Clock, Timestamp};

/// Shows what the daemon does.
pub(super) fn status(ctx: &Context<'_>) -> Result<Exit, CliError> {
    let Some(status) = daemon_status(&ctx.places()?)? else {
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
        ctx.ui.row(&format!("backing up {}", running.set));
    }
    let waits = status.paused_until.is_some() || status.held.is_some();
    for set in &status.sets {
        show(ctx, set, (now, waits));
    }
    for alert in &status.alerts {
        ctx.ui.advise(&alert.text, Some(&alert.hint));
    }
    Ok(Exit::Done)
}

/// A set; whether everything `waits` was said above.
fn show(ctx: &Context<'_>, set: &SetStatus, (now, waits): (Timestamp, bool)) {
    let saved = set
        .book
        .ok
        .map_or("not saved yet".to_owned(), |at| format!("saved {}", ago(now.since(at))));
    let pending = match set.pending {
        0 => String::new(),
        n => format!(", changes in {}", plural(n as u64, "folder", "folders")),
    };
    let next = match set.next {
        Some(at) if !waits && set.waits.is_none() => format!(", next {}", ahead(at.since(now))),
        _ => String::new(),
    };
    ctx.ui.row(&format!("{}: {saved}{pending}{next}", set.name));
    if let Some(waits) = &set.waits {
        ctx.ui.row(&format!("  {}", waits_words(waits, now)));
    }
    if let Some(failing) = &set.book.failing {
        let since = local_time(failing.since);
        ctx.ui.row(&format!("  failing since {since}: {}", failing.trouble.message));
        if let Some(hint) = &failing.trouble.hint {
            ctx.ui.row(&format!("  {hint}"));
        }
    }
    for line in &set.not_watched {
        ctx.ui.row(&format!("  {}", not_watched(line)));
    }
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
pub(super) fn now(ctx: &Context<'_>, set: Option<&str>, full: bool) -> Result<Exit, CliError> {
    let sets = done(ctx, &Request::Now { set: set.map(str::to_owned), full })?;
    if ctx.ui.is_json() {
        ctx.ui.json(&json!({"sets": sets}));
    } else {
        ctx.ui.line(&format!("backing up {}", sets.join(", ")));
    }
    Ok(Exit::Done)
}

fn done(ctx: &Context<'_>, request: &Request) -> Result<Vec<String>, CliError> {
    match call(&ctx.places()?, request)?.only()? {
        Answer::Done { sets } => Ok(sets),
        _ => Err(CallError::BadAnswer.into()),
    }
}
