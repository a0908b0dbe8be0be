//! How often somebody may ask. In memory alone, in a fixed number of counters: a counter knows when
//! it is free again, and nothing of who used it. Two who share a counter share its budget.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::lock;

/// Counters of each kind. Half a megabyte; two addresses meet in one with odds of 1 to 65536.
const COUNTERS: usize = 1 << 16;

/// So many at once, and one more each time this has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many may come at once after a rest.
    pub burst: u32,
    /// How long one takes to come back.
    pub every: Duration,
}

/// What is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Requests from one address.
    pub address: Rate,
    /// Requests of one account.
    pub account: Rate,
    /// Challenges and logins from one address. Not by account: whoever knows its id could lock its
    /// owner out.
    pub logins: Rate,
    /// New accounts from one address.
    pub accounts: Rate,
    /// Requests of one account that have the disk read much.
    pub looks: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            address: Rate { burst: 10_000, every: Duration::from_micros(500) },
            account: Rate { burst: 5_000, every: Duration::from_millis(1) },
            logins: Rate { burst: 300, every: Duration::from_millis(200) },
            accounts: Rate { burst: 60, every: Duration::from_secs(10) },
            // At 8 packs a request no faster than a scrub.
            looks: Rate { burst: 32, every: Duration::from_secs(4) },
        }
    }
}

/// Counters of one kind.
pub(super) struct Counters {
    rate: Rate,
    start: Instant,
    hasher: RandomState,
    /// For each counter when all that it gave out has come back, in nanoseconds from the start.
    full_at: Mutex<Box<[u64]>>,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Counters {
    pub(super) fn new(rate: Rate, start: Instant) -> Self {
        Self {
            rate,
            start,
            hasher: RandomState::new(),
            full_at: Mutex::new(vec![0; COUNTERS].into()),
        }
    }

    /// Counts one request of `who`; gives the seconds to wait, at least one, if it is one too many.
    /// One that is refused costs nothing.
    pub(super) fn take(&self, who: &impl Hash, now: Instant) -> Result<(), u64> {
        let now = nanos(now.saturating_duration_since(self.start));
        let every = nanos(self.rate.every);
        let whole = every.saturating_mul(u64::from(self.rate.burst));
        let at = usize::try_from(self.hasher.hash_one(who)).unwrap_or_default() % COUNTERS;
        let mut counters = lock(&self.full_at);
        let Some(full_at) = counters.get_mut(at) else {
            return Ok(());
        };
        let next = (*full_at).max(now).saturating_add(every);
        let ahead = next - now;
        if ahead > whole {
            return Err((ahead - whole).div_ceil(1_000_000_000).max(1));
        }
        *full_at = next;
        Ok(())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a route costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Budget {
    /// No more than any request.
    Plain,
    /// Of the logins; who is not logged in.
    Login,
    /// Of the new accounts, likewise.
    Account,
    /// Of the account's looks at the disk.
    Look,
}

/// All counters.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) address: Counters,
    pub(super) account: Counters,
    pub(super) logins: Counters,
    pub(super) accounts: Counters,
    pub(super) looks: Counters,
}

impl Meters {
    pub(super) fn new(rates: Rates, start: Instant) -> Self {
        Self {
            address: Counters::new(rates.address, start),
            account: Counters::new(rates.account, start),
            logins: Counters::new(rates.logins, start),
            accounts: Counters::new(rates.accounts, start),
            looks: Counters::new(rates.looks, start),
        }
    }

    /// Counts a request of an account.
    pub(super) fn of(&self, account: &impl Hash, budget: Budget, now: Instant) -> Result<(), u64> {
        self.account.take(account, now)?;
        if budget == Budget::Look { self.looks.take(account, now) } else { Ok(()) }
    }

    /// Counts a request from an address.
    pub(super) fn from(
        &self,
        address: &impl Hash,
        budget: Budget,
        now: Instant,
    ) -> Result<(), u64> {
        self.address.take(address, now)?;
        match budget {
            Budget::Plain | Budget::Look => Ok(()),
            Budget::Login => self.logins.take(address, now),
            Budget::Account => self.accounts.take(address, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_the_rate_and_rest_fills_up_again() {
        let start = Instant::now();
        let counters = Counters::new(Rate { burst: 3, every: 10 * SECOND }, start);
        for _ in 0..3 {
            assert_eq!(counters.take(&"a", start), Ok(()));
        }
        assert_eq!(counters.take(&"a", start), Err(10));
        assert_eq!(counters.take(&"a", start + 4 * SECOND), Err(6));
        assert_eq!(counters.take(&"a", start + 10 * SECOND), Ok(()), "refusals cost nothing");
        assert_eq!(counters.take(&"a", start + 10 * SECOND), Err(10));
        let later = start + 1000 * SECOND;
        for _ in 0..3 {
            assert_eq!(counters.take(&"a", later), Ok(()));
        }
        assert_eq!(counters.take(&"a", later), Err(10));
        let short = Counters::new(Rate { burst: 1, every: SECOND / 1000 }, start);
        short.take(&1, start).unwrap();
        assert_eq!(short.take(&1, start), Err(1), "never zero");
    }

    #[test]
    fn others_have_a_budget_of_their_own() {
        let start = Instant::now();
        let counters = Counters::new(Rate { burst: 1, every: SECOND }, start);
        counters.take(&0, start).unwrap();
        assert!(counters.take(&0, start).is_err());
        // Somebody may share the counter; not everybody.
        assert!((1..9).any(|who| counters.take(&who, start).is_ok()));
        let meters = Meters::new(
            Rates {
                logins: Rate { burst: 1, every: SECOND },
                accounts: Rate { burst: 1, every: SECOND },
                ..Rates::default()
            },
            start,
        );
        meters.from(&7, Budget::Login, start).unwrap();
        assert!(meters.from(&7, Budget::Login, start).is_err());
        meters.from(&7, Budget::Account, start).unwrap();
        assert!(meters.from(&7, Budget::Account, start).is_err());
        meters.from(&7, Budget::Plain, start).unwrap();
    }

    #[test]
    fn looks_at_the_disk_are_counted_by_account() {
        let start = Instant::now();
        let looks = Rate { burst: 1, every: SECOND };
        let meters = Meters::new(Rates { looks, ..Rates::default() }, start);
        meters.of(&7, Budget::Look, start).unwrap();
        assert_eq!(meters.of(&7, Budget::Look, start), Err(1));
        meters.of(&7, Budget::Plain, start).unwrap();
        meters.of(&7, Budget::Look, start + SECOND).unwrap();
    }

    proptest! {
        /// However requests are spread: in any time, no more pass than the burst and the rate.
        #[test]
        fn the_rate_holds(steps in prop::collection::vec(0_u64..3000, 1..200)) {
            let start = Instant::now();
            let rate = Rate { burst: 5, every: Duration::from_millis(700) };
            let counters = Counters::new(rate, start);
            let (mut at, mut passed) = (start, 0_u64);
            for step in steps {
                at += Duration::from_millis(step);
                passed += u64::from(counters.take(&"who", at).is_ok());
                let most = 5 + u64::try_from((at - start).as_millis()).unwrap() / 700;
                prop_assert!(passed <= most, "{passed} of {most}");
            }
        }
    }
}
