//! Time that goes on while the machine sleeps, and cannot be set.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::schedule::At;

/// Where the daemon's time comes from, so that tests can set it.
pub trait Uptime: Send + Sync + std::fmt::Debug {
    /// Now.
    fn now(&self) -> At;
    /// How much of that time the machine has slept so far.
    fn slept(&self) -> Duration;
}

/// Of this machine, since it was started.
#[derive(Debug, Clone, Copy, Default)]
pub struct SinceBoot;

impl Uptime for SinceBoot {
    fn now(&self) -> At {
        with_sleep()
    }

    fn slept(&self) -> Duration {
        with_sleep().saturating_sub(read(ClockId::Monotonic))
    }
}

#[cfg(target_os = "linux")]
fn with_sleep() -> Duration {
    read(ClockId::Boottime)
}

#[cfg(not(target_os = "linux"))]
fn with_sleep() -> Duration {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
