//! `[daemon]` of config.toml.

use serde::Deserialize;

use super::schedule::Pace;
use super::signs::Policy;
use crate::sets::named::Schedule;
use crate::sets::values::{BadValue, Size, Span};

/// What is said about all sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonConfig {
    /// Wait for so much silence after a change.
    pub quiet: Option<Span>,
    /// But never longer than this after the first one.
    pub max_wait: Option<Span>,
    /// Between two snapshots of a set.
    pub min_interval: Option<Span>,
    /// Between two looks at everything.
    pub rescan: Option<Span>,
    /// What is done on a connection that costs money.
    pub metered: OrNot,
    /// What is done on a battery that is low.
    pub battery: OrNot,
    /// With less than this it is low.
    pub battery_percent: Option<Percent>,
    /// After so many days in use without a backup some is saved all the same.
    pub overdue_days: Option<u32>,
    /// So much in one day.
    pub overdue_bytes: Option<Size>,
    /// How the user is told of trouble.
    pub alerts: AlertConfig,
}

/// Whether something is waited out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrNot {
    /// It is.
    #[default]
    Wait,
    /// It is no matter.
    Go,
}

/// How full a battery is: from 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Percent(u8);

impl TryFrom<i64> for Percent {
    type Error = BadValue;

    fn try_from(number: i64) -> Result<Self, BadValue> {
        let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
        percent.map(Self).ok_or_else(|| {
            BadValue::new("not from 1 to 100; battery = \"go\" saves however low it is")
        })
    }
}

/// `[daemon.alerts]`: how the user is told of trouble.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertConfig {
    /// On the desktop.
    pub desktop: bool,
    /// A shell command, with the text in `UNSEEN_ALERT`.
    pub command: Option<String>,
    /// An address to which the text is posted.
    pub webhook: Option<String>,
}

impl AlertConfig {
    /// There is no other way than the desktop.
    pub fn is_alone(&self) -> bool {
        self.command.is_none() && self.webhook.is_none()
    }

    /// What is said if nobody is told of trouble in any way; `no_desktop` is why nothing can be
    /// shown on the desktop, if so.
    pub fn told_by_nothing(&self, no_desktop: Option<&str>) -> Option<String> {
        let why = match no_desktop {
            _ if !self.is_alone() => return None,
            None if self.desktop => return None,
            Some(why) if self.desktop => {
                format!("{why}, and [daemon.alerts] of config.toml has neither command nor webhook")
            }
            _ => "[daemon.alerts] of config.toml sets none of desktop, command and webhook"
                .to_owned(),
        };
        Some(format!(
            "nobody is told of trouble unasked: {why}; `backup status` shows it to whoever asks"
        ))
    }
}

impl Default for AlertConfig {
    fn default() -> Self {
        Self { desktop: true, command: None, webhook: None }
    }
}

impl DaemonConfig {
    /// How often a set is saved that says this about itself.
    pub fn pace(&self, set: &Schedule) -> Pace {
        let usual = Pace::default();
        let one = |set: Option<Span>, all: Option<Span>, usual| set.or(all).map_or(usual, |s| s.0);
        Pace {
            quiet: one(set.quiet, self.quiet, usual.quiet),
            max_wait: one(set.max_wait, self.max_wait, usual.max_wait),
            min_interval: one(set.min_interval, self.min_interval, usual.min_interval),
            rescan: one(set.rescan, self.rescan, usual.rescan),
        }
    }

    /// When nothing begins by itself.
    pub fn policy(&self) -> Policy {
        let usual = Policy::default();
        let percent = self.battery_percent.map_or(usual.least_percent, |percent| percent.0);
        Policy {
            least_percent: if self.battery == OrNot::Go { 0 } else { percent },
            spare_metered: self.metered == OrNot::Wait,
            overdue_days: self.overdue_days.unwrap_or(usual.overdue_days),
            overdue_bytes: self.overdue_bytes.map_or(usual.overdue_bytes, |size| size.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_set_goes_before_all_sets() {
        let text = "quiet = '1s'\nrescan = '2h'\n[alerts]\ncommand = 'x'\n";
        let config: DaemonConfig = toml::from_str(text).unwrap();
        let set = Schedule { rescan: Some(Span(Duration::from_secs(7))), ..Schedule::default() };
        let pace = config.pace(&set);
        assert_eq!((pace.quiet.as_secs(), pace.rescan.as_secs()), (1, 7));
        assert_eq!(pace.max_wait, Pace::default().max_wait);
        assert!(config.alerts.desktop && config.alerts.command.is_some());
        assert_eq!(config.alerts.told_by_nothing(Some("no screen")), None);
        let mut quiet = AlertConfig { desktop: false, ..AlertConfig::default() };
        for (config, why, said) in [
            (&quiet, None, Some("sets none of desktop")),
            (&quiet, Some("no screen"), Some("sets none of desktop")),
            (&AlertConfig::default(), None, None),
            (&AlertConfig::default(), Some("no screen"), Some("unasked: no screen, and")),
        ] {
            let told = config.told_by_nothing(why);
            assert_eq!(told.is_some(), said.is_some(), "{told:?}");
            assert!(told.iter().zip(said).all(|(told, said)| told.contains(said)), "{told:?}");
        }
        quiet.webhook = Some("https://host/".to_owned());
        assert_eq!(quiet.told_by_nothing(None), None);
        for wrong in ["quit = '1s'", "quiet = 1", "[alerts]\nmail = 'x'"] {
            assert!(toml::from_str::<DaemonConfig>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_machine_is_spared_can_be_said() {
        let policy = |text: &str| toml::from_str::<DaemonConfig>(text).map(|read| read.policy());
        let usual = Policy::default();
        assert_eq!(policy("").unwrap(), usual);
        assert_eq!(policy("metered = 'wait'\nbattery = 'wait'").unwrap(), usual);
        assert_eq!(policy("metered = 'go'").unwrap(), Policy { spare_metered: false, ..usual });
        for text in ["battery = 'go'", "battery = 'go'\nbattery_percent = 50"] {
            assert_eq!(policy(text).unwrap(), Policy { least_percent: 0, ..usual });
        }
        let all = policy("battery_percent = 15\noverdue_days = 0\noverdue_bytes = '1M'").unwrap();
        let expected = Policy { overdue_days: 0, overdue_bytes: 1 << 20, ..usual };
        assert_eq!(all, Policy { least_percent: 15, ..expected });
        for wrong in [
            "metered = true",
            "metered = 'no'",
            "battery = 'Go'",
            "battery = 30",
            "battery_percent = 0",
            "battery_percent = 101",
            "battery_percent = '30'",
            "overdue_days = -1",
            "overdue_bytes = 'much'",
        ] {
            assert!(policy(wrong).is_err(), "{wrong}");
        }
        let why = policy("battery_percent = 300").unwrap_err().to_string();
        assert!(why.contains("from 1 to 100"), "{why}");
    }
}
