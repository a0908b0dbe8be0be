//! Clocks that are set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use unseen_common::time::{Clock, Timestamp};

/// A clock that only moves when told, on the wall and beside it.
#[derive(Debug)]
pub(crate) struct SetClock {
    wall: AtomicU64,
    steady: AtomicU64,
}

impl SetClock {
    pub(super) fn new(start: Timestamp) -> Self {
        Self { wall: AtomicU64::new(start.0), steady: AtomicU64::new(0) }
    }

    /// So much time passes.
    pub(crate) fn advance(&self, seconds: u64) {
        self.wall.fetch_add(seconds, Ordering::Relaxed);
        self.steady.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Somebody sets the clock on the wall. No time passes.
    pub(crate) fn set(&self, to: Timestamp) {
        self.wall.store(to.0, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Relaxed))
    }

    fn steady(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.steady.load(Ordering::Relaxed)))
    }
}

/// The server's clock: that of the machines, and so many seconds more or less.
#[derive(Debug)]
pub(crate) struct ServerClock {
    machines: Arc<SetClock>,
    off: AtomicI64,
}

impl ServerClock {
    pub(super) fn new(machines: Arc<SetClock>) -> Self {
        Self { machines, off: AtomicI64::new(0) }
    }

    /// From now on it is off by so many seconds.
    pub(crate) fn off_by(&self, seconds: i64) {
        self.off.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.machines.now().0.saturating_add_signed(self.off.load(Ordering::Relaxed)))
    }

    fn steady(&self) -> Option<Duration> {
        self.machines.steady()
    }
}
