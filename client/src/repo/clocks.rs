//! Two clocks beside each other: the one that stamps what a vault receives, and this machine's.
//!
//! What a challenge says of its end is what the stamping clock says, and a signature covers it, so
//! no page of a proxy and no header is asked. Nothing is decided by this machine's clock but
//! whether it writes: a wrong stamp stays in the log for ever, and a later try costs nothing.

use unseen_common::id::VaultId;
use unseen_common::log::state::State;
use unseen_common::time::{Clock, SECONDS_A_DAY, Timestamp};
use unseen_common::vault::{Principal, Service, VaultError};

/// Clocks that are further apart are told of, in seconds.
const ALARM: u64 = 5 * 60;
/// Nothing is written while clocks are further apart, in seconds.
const MOST: u64 = SECONDS_A_DAY;

/// One moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The one that stamps.
    pub server: Timestamp,
    /// This machine's.
    pub own: Timestamp,
    /// The vault is a folder, and has the time from this machine.
    pub local: bool,
}

impl Clocks {
    /// Asks the server.
    pub async fn read(
        service: &dyn Service,
        (account, principal): (VaultId, Principal),
        clock: &dyn Clock,
    ) -> Result<Self, VaultError> {
        let before = clock.now();
        let server = service.challenge(account, principal).await?.made();
        // An answer may take its time: it was made somewhen in between.
        let own = server.max(before).min(clock.now().max(before));
        Ok(Self { server, own, local: service.host().is_empty() })
    }

    /// Refuses clocks that are so far apart that nothing is to be stamped.
    pub fn check(self) -> Result<(), ClocksApart> {
        if self.apart() > MOST { Err(ClocksApart(self)) } else { Ok(()) }
    }

    /// What is to be told of them, if anything is.
    pub fn warning(&self) -> Option<String> {
        (self.apart() > ALARM).then(|| format!("{}; {}", self.words(), self.advice()))
    }

    const fn apart(&self) -> u64 {
        self.server.0.abs_diff(self.own.0)
    }

    /// Which clock says what.
    fn words(&self) -> String {
        let Self { server, own, local } = *self;
        let apart = span(self.apart());
        if local && own > server {
            return format!(
                "this machine's clock says {own}, which is {apart} later than this vault was last \
                 used"
            );
        }
        let way = if server > own { "ahead of" } else { "behind" };
        format!(
            "the server's clock is {apart} {way} this machine's: the server says {server}, this \
             machine {own}"
        )
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        if self.local {
            "if that is right, say so: `backup-server gc --confirm-clock --data DIR`, with the \
             folder of the vault; if not, put the clock right"
        } else {
            "compare both with a clock that you trust, and put the wrong one right. If it is the \
             server's: whoever runs it sets its clock, or says that it is right, if the server's \
             log asks for that: `backup-server gc --confirm-clock`"
        }
    }
}

/// The clocks are too far apart to write anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing was written: {}", .0.words())]
pub struct ClocksApart(pub Clocks);

/// What is to be told of a log whose newest record is stamped with a time that has not come yet,
/// by a server whose clock says `now`.
pub fn stamped_ahead(state: &State, now: Timestamp) -> Option<String> {
    let stamp = state.head_received;
    (stamp.since(now) > MOST).then(|| {
        format!(
            "the newest record of this vault's log is stamped {stamp}, which has not come yet: a \
             clock was wrong when it was written. Until then new snapshots bear the same \
             stamp, and nothing of this vault expires, is deleted or comes due; backups and \
             restores go on"
        )
    })
}

fn span(seconds: u64) -> String {
    match seconds {
        0..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / SECONDS_A_DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn off(by: i64, local: bool) -> Clocks {
        Clocks { server: Timestamp(NOW.0.saturating_add_signed(by)), own: NOW, local }
    }

    #[test]
    fn it_is_said_which_clock_says_what() {
        let ahead = off(3 * 3600, false);
        assert_eq!(ahead.check(), Ok(()));
        assert!(ahead.warning().unwrap().starts_with(
            "the server's clock is 3 hours ahead of this machine's: the server says 2027-01-15 \
             11:00 UTC, this machine 2027-01-15 08:00 UTC; compare both"
        ));
        let behind = ClocksApart(off(-3650 * 86_400, false));
        assert_eq!(
            behind.to_string(),
            "nothing was written: the server's clock is 3650 days behind this machine's: the \
             server says 2017-01-17 08:00 UTC, this machine 2027-01-15 08:00 UTC"
        );
        // A folder has its time from this machine: it can only be left behind.
        let rested = ClocksApart(off(-500 * 86_400, true));
        assert_eq!(
            rested.to_string(),
            "nothing was written: this machine's clock says 2027-01-15 08:00 UTC, which is 500 \
             days later than this vault was last used"
        );
        assert!(rested.0.advice().contains("backup-server gc --confirm-clock"));
    }

    #[test]
    fn five_minutes_are_nothing_and_a_day_is_too_much() {
        for way in [1, -1] {
            assert_eq!(off(way * 300, false).warning(), None);
            assert!(off(way * 301, false).warning().is_some());
            assert_eq!(off(way * 86_400, false).check(), Ok(()));
            let apart = off(way * 86_401, false);
            assert_eq!(apart.check(), Err(ClocksApart(apart)));
        }
    }
}
