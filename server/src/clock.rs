//! The machine's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
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

    fn steady(&self) -> Option<Duration> {
        #[cfg(target_os = "linux")]
        let with_sleep = ClockId::Boottime;
        // Elsewhere the time that the machine sleeps is not known to have passed.
        #[cfg(not(target_os = "linux"))]
        let with_sleep = ClockId::Monotonic;
        Duration::try_from(clock_gettime(with_sleep)).ok()
    }
}
