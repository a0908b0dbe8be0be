//! Alerts on their way to the user. What does not arrive is tried again, more and more rarely, as
//! long as there is that trouble, and across restarts. A state machine: whoever owns it does the
//! telling, and brings the clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use unseen_common::time::{SECONDS_A_DAY, Timestamp};

use super::Alert;

/// Alerts on their way at the same time.
const MOST: usize = 64;
/// How long one is tried to be told.
const KEEP: u64 = 7 * SECONDS_A_DAY;
/// Seconds until the second try; each further wait is twice as long.
const FIRST_RETRY: u64 = 5;
/// The longest wait between two tries, in seconds.
const LAST_RETRY: u64 = 3600;

/// How somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// A notification.
    Desktop,
    /// A command of the user.
    Command,
    /// A message to an address.
    Webhook,
}

impl Way {
    /// Every way there is.
    pub const ALL: [Self; 3] = [Self::Desktop, Self::Command, Self::Webhook];

    /// As part of a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Desktop => "the desktop",
            Self::Command => "the command of [daemon.alerts]",
            Self::Webhook => "the webhook of [daemon.alerts]",
        }
    }
}

/// How telling went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has arrived, as far as can be told.
    Told,
    /// Nobody wants to be told in that way.
    Unwanted,
    /// Why it has not.
    Failed(String),
}

/// What became of one alert by one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What the alert is about.
    pub key: String,
    /// How bad it was.
    pub state: String,
    /// The way.
    pub way: Way,
    /// How it went.
    pub outcome: Outcome,
}

/// An alert that has not arrived by every way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Letter {
    alert: Alert,
    since: Timestamp,
    tries: u32,
    next: Timestamp,
    left: BTreeSet<Way>,
    /// By these it is being told now. A process that ended tells nothing any more.
    #[serde(skip)]
    going: BTreeSet<Way>,
    /// Why it has not arrived.
    #[serde(default)]
    why: BTreeMap<Way, String>,
}

/// All alerts on their way, by what they are about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outbox(BTreeMap<String, Letter>);

impl Outbox {
    /// Whether one more finds room; one that takes another's place always does.
    pub fn has_room(&self, key: &str) -> bool {
        self.0.len() < MOST || self.0.contains_key(key)
    }

    /// An alert is to be told, by every way. It takes the place of an earlier one of that trouble.
    pub fn add(&mut self, alert: Alert, now: Timestamp) {
        let letter = Letter {
            since: now,
            tries: 0,
            next: now,
            left: Way::ALL.into(),
            going: BTreeSet::new(),
            why: BTreeMap::new(),
            alert,
        };
        self.0.insert(letter.alert.key.clone(), letter);
    }

    /// What is no trouble any more is not told, and the rest as it is now.
    pub fn keep(&mut self, current: &[Alert]) {
        self.0.retain(|key, letter| {
            let mut same = current.iter();
            let now = same.find(|alert| alert.key == *key && alert.state == letter.alert.state);
            if let Some(alert) = now {
                alert.clone_into(&mut letter.alert);
            }
            now.is_some()
        });
    }

    /// What is to be told now, and by which ways. It counts as on its way.
    pub fn due(&mut self, now: Timestamp) -> Vec<(Alert, Way)> {
        let mut due = Vec::new();
        for letter in self.0.values_mut().filter(|letter| letter.next <= now) {
            let ways: Vec<Way> = letter.left.difference(&letter.going).copied().collect();
            letter.next = Timestamp(now.0.saturating_add(retry(letter.tries)));
            if ways.is_empty() {
                continue;
            }
            letter.tries = letter.tries.saturating_add(1);
            letter.going.extend(&ways);
            due.extend(ways.into_iter().map(|way| (letter.alert.clone(), way)));
        }
        due
    }

    /// What has been tried for too long, which ends here.
    pub fn give_up(&mut self, now: Timestamp) -> Vec<Alert> {
        let old = |letter: &Letter| now.since(letter.since) >= KEEP;
        let gone = self.0.values().filter(|letter| old(letter));
        let gone = gone.map(|letter| letter.alert.clone()).collect();
        self.0.retain(|_, letter| !old(letter));
        gone
    }

    /// When something is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.0.values().map(|letter| letter.next).min()
    }

    /// Takes in how it went.
    pub fn told(&mut self, told: &Told) {
        let letter = self.0.get_mut(&told.key);
        let Some(letter) = letter.filter(|letter| letter.alert.state == told.state) else {
            // There is no such trouble any more.
            return;
        };
        letter.going.remove(&told.way);
        if let Outcome::Failed(why) = &told.outcome {
            letter.why.insert(told.way, why.clone());
            return;
        }
        letter.left.remove(&told.way);
        letter.why.remove(&told.way);
        if letter.left.is_empty() {
            self.0.remove(&told.key);
        }
    }

    /// The ways by which something has not arrived, and why.
    pub fn blocked(&self) -> BTreeMap<Way, &str> {
        let why = self.0.values().flat_map(|letter| &letter.why);
        why.map(|(way, why)| (*way, why.as_str())).collect()
    }

    /// The clock on the wall was set: nothing lies in the future, where it would keep waiting.
    pub fn clock_was_set(&mut self, now: Timestamp) {
        for letter in self.0.values_mut() {
            letter.since = letter.since.min(now);
            letter.next = letter.next.min(now);
        }
    }
}

fn retry(tries: u32) -> u64 {
    FIRST_RETRY.saturating_mul(1 << tries.min(20)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Level;
    use super::*;

    fn alert(key: &str, state: &str) -> Alert {
        Alert {
            key: key.to_owned(),
            state: state.to_owned(),
            level: Level::Told,
            text: format!("{key} is {state}."),
            hint: "look".to_owned(),
        }
    }

    fn told(key: &str, state: &str, way: Way, outcome: Outcome) -> Told {
        Told { key: key.to_owned(), state: state.to_owned(), way, outcome }
    }

    fn failed() -> Outcome {
        Outcome::Failed("refused".to_owned())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_800_000_000 + seconds)
    }

    fn ways(due: &[(Alert, Way)]) -> Vec<Way> {
        due.iter().map(|(_, way)| *way).collect()
    }

    #[test]
    fn what_does_not_arrive_is_tried_again_by_that_way_alone() {
        let mut outbox = Outbox::default();
        outbox.add(alert("a", "bad"), at(0));
        assert_eq!(ways(&outbox.due(at(0))), Way::ALL);
        outbox.told(&told("a", "bad", Way::Desktop, Outcome::Told));
        outbox.told(&told("a", "bad", Way::Command, Outcome::Unwanted));
        // The third takes its time: it is not told twice at once.
        assert!(outbox.due(at(5)).is_empty());
        outbox.told(&told("a", "bad", Way::Webhook, failed()));
        assert_eq!(outbox.blocked(), BTreeMap::from([(Way::Webhook, "refused")]));
        let mut tries = Vec::new();
        for second in 6..20_000 {
            if !outbox.due(at(second)).is_empty() {
                tries.push(second);
                outbox.told(&told("a", "bad", Way::Webhook, failed()));
            }
        }
        let waits: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600, 3600]);
        let next = outbox.next().unwrap();
        assert_eq!(ways(&outbox.due(next)), [Way::Webhook]);
        outbox.told(&told("a", "bad", Way::Webhook, Outcome::Told));
        assert_eq!(outbox, Outbox::default());
    }

    #[test]
    fn trouble_that_is_over_is_told_no_more_and_worse_comes_in_its_place() {
        let mut outbox = Outbox::default();
        outbox.add(alert("a", "bad"), at(0));
        outbox.add(alert("b", "bad"), at(0));
        outbox.due(at(0));
        outbox.keep(&[alert("b", "bad"), alert("c", "bad")]);
        outbox.told(&told("a", "bad", Way::Webhook, failed()));
        assert_eq!(outbox.0.keys().collect::<Vec<_>>(), ["b"]);
        outbox.add(alert("b", "worse"), at(1));
        // What was said of the first says nothing of the second.
        outbox.told(&told("b", "bad", Way::Command, Outcome::Told));
        assert_eq!(ways(&outbox.due(at(1))), Way::ALL);
        outbox.keep(&[alert("b", "better")]);
        assert_eq!(outbox.next(), None);
    }

    #[test]
    fn it_is_bounded_in_time_and_number() {
        let mut outbox = Outbox::default();
        for n in 0..MOST {
            assert!(outbox.has_room(&n.to_string()));
            outbox.add(alert(&n.to_string(), "bad"), at(n as u64));
        }
        assert!(!outbox.has_room("more") && outbox.has_room("7"));
        assert!(outbox.give_up(at(KEEP - 1)).is_empty());
        assert_eq!(outbox.give_up(at(KEEP + 9)).len(), 10);
        assert!(outbox.has_room("more"));
        outbox.clock_was_set(at(0));
        assert_eq!(outbox.due(at(0)).len(), 3 * (MOST - 10));
    }

    #[test]
    fn a_restart_loses_nothing() {
        let mut outbox = Outbox::default();
        outbox.add(alert("a", "bad"), at(0));
        outbox.due(at(0));
        outbox.told(&told("a", "bad", Way::Desktop, Outcome::Told));
        outbox.told(&told("a", "bad", Way::Webhook, failed()));
        let kept = serde_json::to_string(&outbox).unwrap();
        let mut again: Outbox = serde_json::from_str(&kept).unwrap();
        assert_eq!(again.blocked().len(), 1);
        assert_eq!(ways(&again.due(at(5))), [Way::Command, Way::Webhook]);
    }

    #[derive(Debug, Clone)]
    enum Input {
        Add(u8),
        Over(u8),
        End(usize, bool),
        Later(u64),
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            (0..4_u8).prop_map(Input::Add),
            (0..4_u8).prop_map(Input::Over),
            (any::<usize>(), any::<bool>()).prop_map(|(n, ok)| Input::End(n, ok)),
            (0..5000_u64).prop_map(Input::Later),
        ]
    }

    proptest! {
        /// Whatever happens: nothing is told twice at once, and all that is trouble gets told.
        #[test]
        fn everything_arrives_once_the_way_is_free(
            inputs in prop::collection::vec(input(), 0..60),
        ) {
            let mut outbox = Outbox::default();
            let (mut there, mut going, mut now) = (BTreeSet::new(), Vec::new(), 0);
            let current = |there: &BTreeSet<u8>| -> Vec<Alert> {
                there.iter().map(|n| alert(&n.to_string(), "bad")).collect()
            };
            for input in inputs {
                match input {
                    Input::Add(n) if there.insert(n) => outbox.add(alert(&n.to_string(), "bad"), at(now)),
                    Input::Over(n) => {
                        there.remove(&n);
                        outbox.keep(&current(&there));
                        going.retain(|(key, _): &(String, Way)| *key != n.to_string());
                    }
                    Input::End(n, ok) if !going.is_empty() => {
                        let (key, way) = going.remove(n % going.len());
                        let outcome = if ok { Outcome::Told } else { failed() };
                        outbox.told(&told(&key, "bad", way, outcome));
                    }
                    Input::Add(_) | Input::End(..) => {}
                    Input::Later(seconds) => now += seconds,
                }
                for (alert, way) in outbox.due(at(now)) {
                    prop_assert!(there.contains(&alert.key.parse().unwrap()));
                    prop_assert!(!going.contains(&(alert.key.clone(), way)), "twice at once");
                    going.push((alert.key, way));
                }
            }
            for (key, way) in going {
                outbox.told(&told(&key, "bad", way, Outcome::Told));
            }
            for (alert, way) in outbox.due(at(now + LAST_RETRY)) {
                outbox.told(&told(&alert.key, "bad", way, Outcome::Told));
            }
            prop_assert_eq!(outbox, Outbox::default());
        }
    }
}
