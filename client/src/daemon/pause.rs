//! A pause, as it is kept from one start of the daemon to the next. It never lasts longer than
//! somebody said, whatever becomes of the clock on the wall: three measures of what is left of it
//! are kept, and the shortest counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use unseen_common::time::Timestamp;

use super::dirty::Moment;

/// What is left is noted in steps of so many seconds: the book is not written all the time.
const STEP: u64 = 300;

/// When a pause ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// By the clock on the wall. It may be set meanwhile, or be wrong.
    until: Timestamp,
    /// Seconds that are left at most, whatever clocks say.
    left: u64,
    /// In seconds since the machine started. Once it starts anew this is later than it should be,
    /// never earlier: since then less time has gone by than since the pause began.
    ends: u64,
}

impl Pause {
    /// From now on, for so long.
    pub fn new(time: Duration, now: Moment) -> Self {
        let left = in_seconds(time);
        let until = Timestamp(now.wall.0.saturating_add(left));
        Self { until, left, ends: in_seconds(now.at.saturating_add(time)) }
    }

    /// What is left of it, for one who knows nothing else of it.
    pub fn left(&self, now: Moment) -> Duration {
        let by_wall = Duration::from_secs(self.until.since(now.wall));
        let by_machine = Duration::from_secs(self.ends).saturating_sub(now.at);
        by_wall.min(by_machine).min(Duration::from_secs(self.left))
    }

    /// There is another daemon, maybe since the machine started anew: what is left by its clock.
    pub fn begins_again(&mut self, now: Moment) -> Duration {
        let left = self.left(now);
        (self.left, self.ends) = (in_seconds(left), in_seconds(now.at.saturating_add(left)));
        left
    }

    /// Takes in that so much is left of it.
    pub fn goes_on(&mut self, left: Duration) {
        let left = in_seconds(left);
        if left.saturating_add(STEP) <= self.left {
            self.left = left;
        }
    }

    /// The clock on the wall was set, and so much is left.
    pub fn clock_was_set(&mut self, left: Duration, now: Moment) {
        self.until = Timestamp(now.wall.0.saturating_add(in_seconds(left)));
    }
}

/// A part of a second counts as one.
fn in_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::daemon::book::Book;
    use crate::daemon::core::{Core, Step};
    use crate::daemon::marks::InMemory;

    const HOUR: u64 = 3600;
    const YEAR: i64 = 365 * 24 * 3600;

    /// A machine and its daemon, with clocks that are set and a machine that starts anew.
    struct Machine {
        core: Core,
        /// Seconds since it started, and what the clock on the wall says.
        up: u64,
        wall: u64,
        /// Seconds that went by, on or off.
        ran: u64,
    }

    impl Machine {
        fn new() -> Self {
            let (up, wall) = (50_000, 1_800_000_000);
            let now = Moment { at: Duration::from_secs(up), wall: Timestamp(wall) };
            let core = Core::new(Box::new(InMemory::default()), Book::default(), now);
            Self { core, up, wall, ran: 0 }
        }

        fn now(&self) -> Moment {
            Moment { at: Duration::from_secs(self.up), wall: Timestamp(self.wall) }
        }

        /// Time goes by, and the daemon looks now and then.
        fn wait(&mut self, seconds: u64) {
            for part in [seconds / 2, seconds - seconds / 2] {
                (self.up, self.wall) = (self.up + part, self.wall + part);
                self.ran += part;
                assert_eq!(self.core.step(self.now()), Step::Wait(None));
            }
        }

        /// The clock on the wall is set while nobody looks, or before the daemon does.
        fn turn(&mut self, by: i64) {
            self.wall = self.wall.saturating_add_signed(by);
        }

        fn set(&mut self, by: i64) {
            self.turn(by);
            self.core.clock_was_set(by, self.now());
        }

        /// The daemon ends, and after a while there is another one; the machine may start anew in
        /// between.
        fn restart(&mut self, away: u64, anew: bool) {
            let kept = serde_json::to_vec(&self.core.book).unwrap();
            (self.up, self.wall) = (self.up + away, self.wall + away);
            self.ran += away;
            if anew {
                self.up = away / 2;
            }
            let book = serde_json::from_slice(&kept).unwrap();
            self.core = Core::new(Box::new(InMemory::default()), book, self.now());
        }

        fn paused(&self) -> bool {
            self.core.status(self.now()).paused_until.is_some()
        }
    }

    #[test]
    fn a_clock_that_is_set_back_by_a_year_makes_no_pause_longer() {
        for (restarts, anew) in [(0, false), (1, false), (1, true), (3, true)] {
            for by in [-YEAR, YEAR, -YEAR] {
                let mut machine = Machine::new();
                machine.core.pause(Duration::from_secs(2 * HOUR), machine.now());
                machine.set(by);
                for _ in 0..restarts {
                    machine.wait(600);
                    machine.restart(120, anew);
                    machine.set(by);
                }
                assert!(machine.paused() || by > 0, "by {by}, {restarts} restarts");
                // Of what goes by while the machine is off nobody knows by a clock that was set.
                let off = if anew { restarts * (120 + STEP) } else { 0 };
                machine.wait(2 * HOUR - machine.ran + off);
                assert!(!machine.paused(), "by {by}, {restarts} restarts");
                // Nothing of it comes back.
                machine.set(-YEAR);
                machine.restart(1, anew);
                assert!(!machine.paused() && machine.core.book.pause.is_none());
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_back_while_no_daemon_runs_makes_no_pause_longer() {
        let mut machine = Machine::new();
        machine.core.pause(Duration::from_secs(2 * HOUR), machine.now());
        machine.wait(HOUR);
        machine.turn(-YEAR);
        // The machine counts on: it is known exactly.
        machine.restart(HOUR / 2, false);
        assert!(machine.paused());
        machine.wait(HOUR / 2 - 1);
        assert!(machine.paused());
        machine.wait(1);
        assert!(!machine.paused());
    }

    /// Something that happens in a pause.
    #[derive(Debug, Clone)]
    enum Input {
        Wait(u64),
        Set(i64),
        Turn(i64),
        Restart(u64, bool),
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            4 => (0..3 * HOUR).prop_map(Input::Wait),
            1 => (-2 * YEAR..2 * YEAR).prop_map(Input::Set),
            1 => (-2 * YEAR..2 * YEAR).prop_map(Input::Turn),
            2 => (0..HOUR, any::<bool>()).prop_map(|(away, anew)| Input::Restart(away, anew)),
        ]
    }

    proptest! {
        /// Whatever happens, a pause is over when it has lasted as long as was said. Only what
        /// goes by while the machine is off is not known to one whose clock was set: then what was
        /// left at the end counts, to the step.
        #[test]
        fn no_pause_is_longer_than_was_said(
            length in 1..10 * HOUR,
            inputs in prop::collection::vec(input(), 0..20),
        ) {
            let mut machine = Machine::new();
            machine.core.pause(Duration::from_secs(length), machine.now());
            let (mut lost, mut honest) = (0, true);
            for input in inputs {
                match input {
                    Input::Wait(time) => machine.wait(time),
                    Input::Set(by) => machine.set(by),
                    Input::Turn(by) => machine.turn(by),
                    Input::Restart(away, anew) => {
                        machine.restart(away, anew);
                        lost += if anew { away + STEP } else { 0 };
                    }
                }
                honest &= !matches!(input, Input::Set(_) | Input::Turn(_));
                let over = machine.ran >= length;
                prop_assert!(!machine.paused() || machine.ran < length + lost);
                // And with clocks that are right it is neither shorter nor longer.
                prop_assert!(!honest || machine.paused() != over, "{} of {length}", machine.ran);
            }
        }

        #[test]
        fn what_is_kept_may_be_anything(numbers in any::<[u64; 6]>()) {
            let [until, left, ends, at, wall, more] = numbers;
            let mut pause = Pause { until: Timestamp(until), left, ends };
            let now = Moment { at: Duration::from_secs(at), wall: Timestamp(wall) };
            prop_assert!(pause.left(now) <= Duration::from_secs(left));
            pause.goes_on(Duration::from_secs(more));
            prop_assert!(pause.left <= left);
            pause.clock_was_set(pause.left(now), now);
            prop_assert!(pause.left(now) <= Duration::from_secs(left));
        }
    }
}
