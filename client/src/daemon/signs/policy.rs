//! Whether now is a good time. Pure.

use std::fmt;

use super::{Power, Signs};

/// What a user wants to be spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// On a battery with less than this nothing is sent. 0: it is no matter.
    pub least_percent: u8,
    /// Whether nothing is sent where it costs money.
    pub spare_metered: bool,
    /// After so many days in use without a backup something is sent all the same.
    pub overdue_days: u32,
    /// So many bytes of it.
    pub overdue_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { least_percent: 30, spare_metered: true, overdue_days: 3, overdue_bytes: 50_000_000 }
    }
}

/// Whether now is a good time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Go,
    /// It is not, but too much time has passed: the smallest and newest files, at most so many
    /// bytes in one day, of all sets.
    Only {
        /// That many.
        at_most: u64,
        /// Why not more.
        why: Why,
    },
    /// It is not.
    Wait {
        /// Why.
        why: Why,
    },
}

/// Why now is no good time. As text: the end of a sentence that begins with "waiting".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no way to anywhere.
    NoNetwork,
    /// The battery is low.
    Battery {
        /// How full it is.
        percent: u8,
    },
    /// The connection costs money.
    Metered,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNetwork => write!(f, "for a network"),
            Self::Battery { percent } => write!(f, "for power: the battery is at {percent} %"),
            Self::Metered => write!(f, "for a connection that is not metered"),
        }
    }
}

impl Policy {
    /// Whether a backup may run now, when there was none on so many days in use. `remote`:
    /// whether it goes over the network at all.
    pub fn may_run(&self, signs: &Signs, remote: bool, overdue: u32) -> Verdict {
        if remote && signs.network == Some(false) {
            return Verdict::Wait { why: Why::NoNetwork };
        }
        let low = match signs.power {
            Power::Battery { percent: Some(percent) } if percent < self.least_percent => {
                Some(Why::Battery { percent })
            }
            _ => None,
        };
        let metered = remote && self.spare_metered && signs.metered == Some(true);
        match low.or(metered.then_some(Why::Metered)) {
            None => Verdict::Go,
            Some(why) if overdue >= self.overdue_days && self.overdue_bytes > 0 => {
                Verdict::Only { at_most: self.overdue_bytes, why }
            }
            Some(why) => Verdict::Wait { why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(power: Power, metered: Option<bool>, network: Option<bool>) -> Signs {
        Signs { power, metered, network }
    }

    fn battery(percent: u8) -> Power {
        Power::Battery { percent: Some(percent) }
    }

    #[test]
    fn what_is_not_known_stops_nothing() {
        let policy = Policy::default();
        assert_eq!(policy.may_run(&Signs::default(), true, 0), Verdict::Go);
        let unknown = on(Power::Battery { percent: None }, None, None);
        assert_eq!(policy.may_run(&unknown, true, 0), Verdict::Go);
    }

    #[test]
    fn a_low_battery_waits_until_too_much_time_has_passed() {
        let policy = Policy::default();
        let wait = Verdict::Wait { why: Why::Battery { percent: 29 } };
        let only = Verdict::Only { at_most: 50_000_000, why: Why::Battery { percent: 29 } };
        for (percent, overdue, verdict) in [
            (30, 0, Verdict::Go),
            (29, 0, wait),
            (29, 2, wait),
            (29, 3, only),
            (30, 9, Verdict::Go),
        ] {
            let signs = on(battery(percent), Some(false), Some(true));
            assert_eq!(policy.may_run(&signs, true, overdue), verdict, "{percent} {overdue}");
            assert_eq!(
                policy.may_run(&signs, false, overdue),
                verdict,
                "a local vault needs power"
            );
        }
    }

    #[test]
    fn a_metered_connection_matters_only_to_what_goes_over_it() {
        let policy = Policy::default();
        let signs = on(Power::Mains, Some(true), Some(true));
        let why = Why::Metered;
        assert_eq!(policy.may_run(&signs, true, 0), Verdict::Wait { why });
        assert_eq!(policy.may_run(&signs, true, 3), Verdict::Only { at_most: 50_000_000, why });
        assert_eq!(policy.may_run(&signs, false, 0), Verdict::Go);
        let free = Policy { spare_metered: false, ..policy };
        assert_eq!(free.may_run(&signs, true, 0), Verdict::Go);
    }

    #[test]
    fn without_a_network_nothing_helps() {
        let signs = on(Power::Mains, None, Some(false));
        let policy = Policy::default();
        assert_eq!(policy.may_run(&signs, true, 99), Verdict::Wait { why: Why::NoNetwork });
        assert_eq!(policy.may_run(&signs, false, 0), Verdict::Go);
    }

    #[test]
    fn each_part_can_be_set() {
        let never = Policy { least_percent: 0, ..Policy::default() };
        let signs = on(battery(1), Some(true), None);
        assert_eq!(never.may_run(&signs, true, 0), Verdict::Wait { why: Why::Metered });
        assert_eq!(never.may_run(&signs, false, 0), Verdict::Go);
        let strict = Policy { overdue_bytes: 0, ..Policy::default() };
        let why = Why::Battery { percent: 1 };
        assert_eq!(strict.may_run(&signs, true, 99), Verdict::Wait { why });
        assert_eq!(why.to_string(), "for power: the battery is at 1 %");
    }
}
