//! What becomes of this machine's alarms once the owner has ended a hold.

use unseen_common::id::SnapshotId;

use super::super::context::Context;
use super::super::exit::CliError;
use super::super::places::Places;
use super::call;
use crate::daemon::book::Book;
use crate::daemon::control::{Answer, Call, CallError, Request};
use crate::daemon::lock;

/// The hold of these snapshots is over, or with none of all: the daemon hears of it, or if there is
/// none its book. Says which alarms are over with it.
pub fn lifted(ctx: &Context<'_>, snapshots: Option<&[SnapshotId]>) -> Result<(), CliError> {
    let places = ctx.places()?;
    let request = Request::Lifted { snapshots: snapshots.map(<[_]>::to_vec) };
    let told = match call(&places, &request).and_then(Call::only) {
        Ok(Answer::Done { sets }) => Some(sets),
        Err(CallError::NotRunning) => note(&places, snapshots),
        Ok(_) | Err(_) => None,
    };
    match told {
        Some(sets) => {
            for set in sets {
                ctx.ui.status(&format!("the alarm of {set} is over"));
            }
        }
        None => ctx.ui.warn(
            "the daemon of this machine could not be told: its alarm is over with its next run",
        ),
    }
    Ok(())
}

/// Into the book, if no daemon has it. None if that cannot be done.
fn note(places: &Places, snapshots: Option<&[SnapshotId]>) -> Option<Vec<String>> {
    let before = Book::read(&places.state);
    let mut book = before.clone();
    book.lifted(snapshots);
    if book == before {
        // A machine on which there never was a daemon gets no folder for one.
        return Some(Vec::new());
    }
    let _lock = lock::take(&places.state).ok()?;
    let mut book = Book::read(&places.state);
    let over = book.lifted(snapshots);
    book.write(&places.state).ok()?;
    Some(over)
}
