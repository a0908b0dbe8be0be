//! Three clocks beside each other tell of sleep and of a clock that was set.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use unseen_common::time::{Clock, Timestamp};

/// Less than this is no sleep: clocks are read one after the other.
const SLEEP: Duration = Duration::from_secs(2);
/// Less than this is no jump: clocks are steered, too.
const JUMP: i64 = 10;

/// One moment, by three clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the machine started, sleep included.
    pub boot: Duration,
    /// Since the machine started, sleep left out.
    pub awake: Duration,
    /// What the clock on the wall says.
    pub wall: Timestamp,
}

/// Where the three come from.
pub trait Clocks: Send + Sync + std::fmt::Debug {
    /// What they say.
    fn read(&self) -> Now;
}

/// The machine's, with the one on the wall that everything else goes by.
#[derive(Debug, Clone, Copy)]
pub struct MachineClocks<C>(pub C);

impl<C: Clock> Clocks for MachineClocks<C> {
    fn read(&self) -> Now {
        #[cfg(target_os = "linux")]
        let with_sleep = ClockId::Boottime;
        // Elsewhere sleep cannot be told from a clock that was set; both ask for a scan.
        #[cfg(not(target_os = "linux"))]
        let with_sleep = ClockId::Monotonic;
        let since = |clock| {
            let time = clock_gettime(clock);
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
        };
        let awake = since(ClockId::Monotonic);
        // After it, so that it is never the smaller one.
        let boot = since(with_sleep);
        Now { boot, awake, wall: self.0.now() }
    }
}

/// What lies between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// All of it.
    pub time: Duration,
    /// What the machine was awake.
    pub awake: Duration,
    /// What it slept: nothing, or at least two seconds.
    pub slept: Duration,
    /// Seconds by which the clock on the wall was set, back if negative: nothing, or at least
    /// ten. The time a clock is off after a long sleep counts as well.
    pub jumped: i64,
}

/// What lies between two moments of one start of the machine, the earlier first.
pub fn between(before: &Now, after: &Now) -> Passed {
    let time = after.boot.saturating_sub(before.boot);
    let awake = after.awake.saturating_sub(before.awake).min(time);
    let slept = time.saturating_sub(awake);
    let wall = i128::from(after.wall.0) - i128::from(before.wall.0);
    let jumped = i64::try_from(wall - i128::from(time.as_secs())).unwrap_or(i64::MAX);
    Passed {
        time,
        awake,
        slept: if slept < SLEEP { Duration::ZERO } else { slept },
        jumped: if jumped.saturating_abs() < JUMP { 0 } else { jumped },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp(1_800_000_000)
        }
    }

    fn now(boot: u64, awake: u64, wall: u64) -> Now {
        let (boot, awake) = (Duration::from_secs(boot), Duration::from_secs(awake));
        Now { boot, awake, wall: Timestamp(wall) }
    }

    #[test]
    fn sleep_and_a_clock_that_was_set_are_told_apart() {
        let start = now(100, 90, 1000);
        let quiet = between(&start, &now(160, 150, 1061));
        assert_eq!((quiet.slept, quiet.jumped, quiet.awake.as_secs()), (Duration::ZERO, 0, 60));
        let slept = between(&start, &now(3760, 150, 4660));
        assert_eq!((slept.slept.as_secs(), slept.jumped, slept.time.as_secs()), (3600, 0, 3660));
        let forward = between(&start, &now(160, 150, 1060 + 86_400));
        assert_eq!((forward.slept, forward.jumped), (Duration::ZERO, 86_400));
        let back = between(&start, &now(160, 150, 10));
        assert_eq!((back.slept, back.jumped), (Duration::ZERO, -1050));
        let both = between(&start, &now(3760, 150, 4660 - 500));
        assert_eq!((both.slept.as_secs(), both.jumped), (3600, -500));
    }

    #[test]
    fn the_machine_has_clocks_that_agree() {
        let clocks = MachineClocks(Noon);
        let (first, second) = (clocks.read(), clocks.read());
        let passed = between(&first, &second);
        assert_eq!((passed.slept, passed.jumped), (Duration::ZERO, 0));
        assert!(first.boot >= first.awake, "{first:?}");
        assert_eq!(first.wall, Noon.now());
    }

    proptest! {
        #[test]
        fn no_clocks_make_it_fail(a in any::<[u64; 3]>(), b in any::<[u64; 3]>()) {
            let passed = between(&now(a[0], a[1], a[2]), &now(b[0], b[1], b[2]));
            prop_assert!(passed.slept + passed.awake <= passed.time);
        }
    }
}
