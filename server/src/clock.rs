//! The machine's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use unseen_common::time::{Clock, Timestamp};

/// The time of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
        let now = SystemTime::now();
        Timestamp(now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}
