//! One after the other: what another run holds is waited for, and the daemon's makes way.

use std::time::{Duration, Instant};

use super::cmd_daemon::{call, daemon_status};
use super::context::{Context, Setup};
use super::exit::{CliError, Exit};
use crate::daemon::control::{Answer, Call, CallError, Request};

/// Most of the daemon's runs are over before that.
const SHORT: Duration = Duration::from_secs(3);
/// A run that is stopped saves what it has read.
const LONG: Duration = Duration::from_secs(120);
/// How long the daemon begins nothing, so that whoever asked comes first.
const MAKE_WAY: u64 = 30;
const EVERY: Duration = Duration::from_millis(100);

/// Tries something that fails with [`Exit::Busy`] while another run holds the vault or the state.
/// A short run of the daemon is waited for; a long one makes way, and goes on later. Anybody
/// else's is not waited for.
pub(super) fn in_turn<T>(
    ctx: &Context<'_>,
    setup: &Setup,
    mut attempt: impl FnMut() -> Result<T, CliError>,
) -> Result<T, CliError> {
    let (begun, mut patience, mut asked) = (Instant::now(), SHORT, false);
    loop {
        let busy = match attempt() {
            Err(error) if error.code() == Exit::Busy => error,
            done => return done,
        };
        let waited = begun.elapsed();
        if waited < EVERY && !daemon_runs(setup) {
            return Err(busy);
        }
        if waited >= patience {
            if asked {
                return Err(busy);
            }
            asked = true;
            match make_way(setup) {
                Ok(true) => {
                    ctx.ui.status("the daemon's backup makes way; it goes on later");
                    patience = LONG;
                }
                // Somebody else holds it, or nobody any more.
                Ok(false) => return attempt(),
                Err(error) => return Err(error.into()),
            }
        }
        // Nothing tells when a lock is free, but trying it.
        std::thread::park_timeout(EVERY);
    }
}

/// Whether a daemon is there that backs up now, or did so until a moment ago.
fn daemon_runs(setup: &Setup) -> bool {
    matches!(daemon_status(&setup.places), Ok(Some(_)))
}

/// Whether a run of the daemon ends now.
fn make_way(setup: &Setup) -> Result<bool, CallError> {
    let request = Request::MakeWay { seconds: MAKE_WAY };
    match call(&setup.places, &request).and_then(Call::only) {
        Ok(Answer::Done { sets }) => Ok(!sets.is_empty()),
        Ok(_) | Err(CallError::NotRunning) => Ok(false),
        Err(error) => Err(error),
    }
}
