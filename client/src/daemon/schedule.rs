//! When each set is backed up: a state machine. Neither clock nor chance is in it, both come in
//! with every call.
//!
//! A change is saved after a time without another one ([`Pace::quiet`]), at the latest so long
//! after the first ([`Pace::max_wait`]), and not before so long after the end of the last run
//! ([`Pace::min_interval`]). Whatever was not noticed is found by full scans: at the beginning,
//! after sleep, when events were lost, and from time to time ([`Pace::rescan`]).

mod busy;
mod item;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeMap;
use std::time::Duration;

pub use busy::Busy;
pub use item::Ended;
pub use waiting::{Wait, Waiting};

use item::Item;

/// A moment: the time since some fixed one, with the time in it that the machine slept.
pub type At = Duration;

/// How often a set is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// This long nothing must have changed.
    pub quiet: Duration,
    /// No longer than this after the first change.
    pub max_wait: Duration,
    /// Between the end of a run and the next.
    pub min_interval: Duration,
    /// Between scans of everything, a quarter more or less.
    pub rescan: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(30),
            max_wait: Duration::from_secs(600),
            min_interval: Duration::from_secs(300),
            rescan: Duration::from_secs(3600),
        }
    }
}

/// What makes a set due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Changes of files.
    Watched,
    /// Time alone: every [`Pace::rescan`].
    Timed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This set is backed up now.
    Run {
        /// Its name.
        set: String,
        /// Everything is looked at, not only what is known to have changed.
        full: bool,
        /// Somebody asked for it.
        wanted: bool,
    },
    /// Nothing before this moment, unless something happens; with `None`, until something does.
    Wait(Option<At>),
}

/// When each set is backed up.
#[derive(Debug)]
pub struct Schedule {
    items: BTreeMap<String, Item>,
    paused: Option<At>,
    held: bool,
    /// Somebody else comes first until then.
    after_others: At,
}

impl Schedule {
    /// Of no set.
    pub fn new() -> Self {
        Self { items: BTreeMap::new(), paused: None, held: false, after_others: At::ZERO }
    }

    /// Takes in a set. A watched one is scanned as soon as possible. `last` is when it was last
    /// backed up, if that is known: a timed one waits for the rest of its time.
    pub fn add(
        &mut self,
        set: &str,
        (kind, pace): (Kind, Pace),
        (now, since): (At, Option<Duration>),
    ) {
        let item = Item::new(kind, pace, now, since);
        self.items.insert(set.to_owned(), item);
    }

    /// Changes how often a set is backed up.
    pub fn set_pace(&mut self, set: &str, pace: Pace) {
        if let Some(item) = self.items.get_mut(set) {
            item.pace = pace;
        }
    }

    /// Forgets a set.
    pub fn remove(&mut self, set: &str) {
        self.items.remove(set);
    }

    /// The names of all sets.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        self.items.keys().map(String::as_str)
    }

    /// Something in a set has changed.
    pub fn changed(&mut self, set: &str, now: At) {
        if let Some(item) = self.items.get_mut(set) {
            item.changed(now);
        }
    }

    /// Something has changed in a place that changes all the time, which waits until `due`.
    pub fn changed_again(&mut self, set: &str, due: At) {
        if let Some(item) = self.items.get_mut(set) {
            item.changed_again(due);
        }
    }

    /// Changes of a set may have gone unnoticed.
    pub fn lost(&mut self, set: &str, now: At) {
        if let Some(item) = self.items.get_mut(set) {
            item.lost(now);
        }
    }

    /// A set saves something else now.
    pub fn other(&mut self, set: &str, now: At) {
        if let Some(item) = self.items.get_mut(set) {
            item.other(now);
        }
    }

    /// The machine was asleep: what happened meanwhile is not known, and what failed may work now.
    pub fn woke(&mut self, now: At) {
        for item in self.items.values_mut() {
            item.woke(now);
        }
    }

    /// The vault can be reached again, as far as can be told: what failed is tried at once.
    pub fn try_again(&mut self) {
        self.try_again_if(|_| true);
    }

    /// As [`Self::try_again`], of some sets.
    pub fn try_again_if(&mut self, which: impl Fn(&str) -> bool) {
        for (_, item) in self.items.iter_mut().filter(|(set, _)| which(set)) {
            item.try_again();
        }
    }

    /// Somebody asks for a backup of a set now, with a look at everything or without. False if
    /// there is no such set.
    pub fn want(&mut self, set: &str, full: bool, now: At) -> bool {
        let item = self.items.get_mut(set);
        item.map(|item| item.want(full, now)).is_some()
    }

    /// Nothing begins by itself before that moment.
    pub fn pause(&mut self, until: At) {
        self.paused = Some(until);
    }

    /// The pause is over.
    pub fn resume(&mut self) {
        self.paused = None;
    }

    /// The end of the pause, if there is one.
    pub fn paused(&self, now: At) -> Option<At> {
        self.paused.filter(|until| *until > now)
    }

    /// Nothing begins before that moment, whoever asked for it: somebody else comes first.
    pub fn make_way(&mut self, until: At) {
        self.after_others = until;
    }

    /// Nothing begins by itself as long as this holds: battery low, connection costs money.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// A run of a set, as [`next`](Self::next) asked for, has begun.
    pub fn begun(&mut self, set: &str, now: At) {
        if let Some(item) = self.items.get_mut(set) {
            item.begun(now);
        }
    }

    /// The run has ended. `chance` is any number, evenly spread.
    pub fn ended(&mut self, set: &str, how: Ended, (now, chance): (At, u32)) {
        if let Some(item) = self.items.get_mut(set) {
            item.ended(how, now, chance);
        }
    }

    /// When a set is due by itself, pauses aside; none if it is being backed up.
    pub fn due(&self, set: &str) -> Option<At> {
        self.items.get(set).and_then(Item::due)
    }

    /// What is to be done.
    pub fn next(&self, now: At) -> Next {
        if self.items.values().any(Item::is_running) {
            return Next::Wait(None);
        }
        let wanted = self.items.iter().filter_map(|(set, item)| Some((item.wanted()?, set)));
        if let Some((_, set)) = wanted.min() {
            if self.after_others > now {
                return Next::Wait(Some(self.after_others));
            }
            let full = self.items.get(set).is_some_and(|item| item.is_full(now));
            return Next::Run { set: set.clone(), full, wanted: true };
        }
        if self.held {
            return Next::Wait(None);
        }
        let due = self.items.iter().filter_map(|(set, item)| Some((item.due()?, set)));
        let Some((due, set)) = due.min() else {
            return Next::Wait(None);
        };
        let due = self.paused(now).map_or(due, |until| due.max(until)).max(self.after_others);
        if due > now {
            return Next::Wait(Some(due));
        }
        let full = self.items.get(set).is_some_and(|item| item.is_full(now));
        Next::Run { set: set.clone(), full, wanted: false }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::new()
    }
}
