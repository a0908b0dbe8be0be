//! The machine's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use unseen_common::time::{Clock, Timestamp};

/// Seconds that the clock may be ahead of the last stamp before nothing expires and nothing is
/// deleted until the operator has confirmed the time.
pub const MAX_JUMP: u64 = 24 * 60 * 60;

/// Whether the clock has jumped forward since the last stamp, as far as can be told: a server that
/// rested for more than a day looks the same. A clock that went back has not: stamps wait for it.
pub const fn has_jumped(last: Timestamp, now: Timestamp) -> bool {
    now.since(last) > MAX_JUMP
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_more_than_a_day_forward() {
        let ten_years = 10 * 365 * MAX_JUMP;
        let last = Timestamp(1_800_000_000);
        let after = |seconds| Timestamp(last.0 + seconds);
        assert!(!has_jumped(last, last));
        assert!(!has_jumped(last, after(MAX_JUMP)));
        assert!(has_jumped(last, after(MAX_JUMP + 1)));
        assert!(has_jumped(last, after(ten_years)));
        assert!(!has_jumped(last, Timestamp(last.0 - ten_years)));
    }
}
