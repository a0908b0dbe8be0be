//! Changes of a policy, and the words for one. Pure.

use unseen_common::disclosure::Level;
use unseen_common::id::SetTag;
use unseen_common::log::fold::{Change, Pending, State};
use unseen_common::log::policy::{KeepRules, Policy, SetRules};
use unseen_common::time::{SECONDS_A_DAY, Timestamp};

/// What is to change; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// Keep rules of the vault, or of one set alone.
    pub keep: Option<KeepChange>,
    /// Days of grace.
    pub grace_days: Option<u32>,
    /// Days of the floor.
    pub floor_days: Option<u32>,
    /// More snapshots of a device in an hour are a burst.
    pub burst_per_hour: Option<u32>,
    /// Days that a burst stops expiry.
    pub burst_pause_days: Option<u32>,
    /// Days of silence after which a device is reported.
    pub silent_days: Option<u32>,
    /// What snapshots disclose.
    pub disclosure: Option<Level>,
}

/// Other keep rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepChange {
    /// For all sets without rules of their own.
    All(KeepRules),
    /// For one set.
    Set(SetTag, KeepRules),
    /// One set has none of its own any more.
    LikeOthers(SetTag),
}

impl PolicyChange {
    /// The policy with these changes.
    pub fn apply(&self, base: &Policy) -> Policy {
        let mut policy = base.clone();
        match self.keep {
            Some(KeepChange::All(keep)) => policy.keep = keep,
            Some(KeepChange::Set(set, keep)) => {
                policy.sets.retain(|row| row.set != set);
                policy.sets.push(SetRules { set, keep });
                policy.sets.sort_by_key(|row| row.set);
            }
            Some(KeepChange::LikeOthers(set)) => policy.sets.retain(|row| row.set != set),
            None => {}
        }
        let take = |into: &mut u32, wanted: Option<u32>| *into = wanted.unwrap_or(*into);
        take(&mut policy.grace_days, self.grace_days);
        take(&mut policy.floor_days, self.floor_days);
        take(&mut policy.burst_per_hour, self.burst_per_hour);
        take(&mut policy.burst_pause_days, self.burst_pause_days);
        take(&mut policy.silent_days, self.silent_days);
        policy.disclosure = self.disclosure.unwrap_or(policy.disclosure);
        policy
    }
}

/// A policy that waits for its day.
pub fn waiting(state: &State, now: Timestamp) -> Option<(&Pending, &Policy)> {
    state.pending.iter().filter(|pending| now < pending.effective).find_map(
        |pending| match &pending.change {
            Change::Policy(policy) => Some((pending, policy)),
            Change::Erase => None,
        },
    )
}

/// The last word of the owner: the policy that waits, else the one in force.
pub fn last_word(state: &State, now: Timestamp) -> &Policy {
    waiting(state, now).map_or_else(|| state.policy_at(now), |(_, policy)| policy)
}

/// A policy line by line: what it is about, and what it says. `name` tells what a set is called.
pub fn lines(policy: &Policy, name: &dyn Fn(SetTag) -> String) -> Vec<(String, String)> {
    let mut lines = vec![("keep".to_owned(), keep_words(&policy.keep))];
    for row in &policy.sets {
        lines.push((format!("keep of set {}", name(row.set)), keep_words(&row.keep)));
    }
    let silent = match policy.silent_days {
        0 => "never".to_owned(),
        days => format!("after {}", days_words(days)),
    };
    let level = match policy.disclosure {
        Level::None => "times and status",
        Level::Summary => "times, status, number of files and bytes",
        Level::Types => "times, status, number of files and bytes, also by kind",
    };
    lines.extend([
        ("grace".to_owned(), days_words(policy.grace_days)),
        ("floor".to_owned(), days_words(policy.floor_days)),
        ("burst".to_owned(), burst_words(policy)),
        ("report silent devices".to_owned(), silent),
        ("disclosed".to_owned(), level.to_owned()),
    ]);
    lines
}

/// What differs: what it is about, how it was, how it is to be.
pub fn differences(
    old: &Policy,
    new: &Policy,
    name: &dyn Fn(SetTag) -> String,
) -> Vec<(String, String, String)> {
    let (old, new) = (lines(old, name), lines(new, name));
    let about = |lines: &[(String, String)], what: &String| {
        lines.iter().find(|line| line.0 == *what).map(|line| line.1.clone())
    };
    let like_others = || "like the others".to_owned();
    let mut found = Vec::new();
    for (what, is) in &new {
        let was = about(&old, what).unwrap_or_else(like_others);
        if was != *is {
            found.push((what.clone(), was, is.clone()));
        }
    }
    for (what, was) in old.into_iter().filter(|line| about(&new, &line.0).is_none()) {
        found.push((what, was, like_others()));
    }
    found
}

fn burst_words(policy: &Policy) -> String {
    format!(
        "more than {} snapshots of a device in an hour stop its expiry for {}",
        policy.burst_per_hour,
        days_words(policy.burst_pause_days)
    )
}

/// Keep rules in words.
pub fn keep_words(keep: &KeepRules) -> String {
    if keep.is_none() {
        return "everything".to_owned();
    }
    let counts = [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ];
    let mut words: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| match *count {
            u32::MAX => format!("{name} all"),
            count => format!("{name} {count}"),
        })
        .collect();
    if keep.within > 0 {
        words.push(format!("within {}", span_words(keep.within)));
    }
    words.join(", ")
}

fn span_words(seconds: u64) -> String {
    let (days, hours) = (seconds / SECONDS_A_DAY, seconds % SECONDS_A_DAY / 3600);
    match (days, hours) {
        (0, hours) => format!("{hours} hours"),
        (days, 0) => format!("{days} days"),
        (days, hours) => format!("{days} days and {hours} hours"),
    }
}

fn days_words(days: u32) -> String {
    match days {
        0 => "none".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unseen_common::log::policy::DEFAULT_POLICY;

    const SET: SetTag = SetTag::from_bytes([7; 16]);

    fn keep(daily: u32) -> KeepRules {
        KeepRules { daily, ..KeepRules::NONE }
    }

    fn told(old: &Policy, new: &Policy) -> Vec<String> {
        let found = differences(old, new, &|_| "photos".to_owned());
        found.into_iter().map(|(what, was, is)| format!("{what}: {was} -> {is}")).collect()
    }

    #[test]
    fn what_is_not_named_stays() {
        let none = PolicyChange::default();
        assert_eq!(none.apply(&DEFAULT_POLICY), DEFAULT_POLICY);
        assert_eq!(told(&DEFAULT_POLICY, &DEFAULT_POLICY), [""; 0]);
        let change = PolicyChange {
            keep: Some(KeepChange::All(keep(14))),
            floor_days: Some(3),
            ..PolicyChange::default()
        };
        let new = change.apply(&DEFAULT_POLICY);
        assert_eq!(new.grace_days, DEFAULT_POLICY.grace_days);
        let lines = told(&DEFAULT_POLICY, &new);
        assert_eq!(lines, ["keep: everything -> daily 14", "floor: none -> 3 days"]);
    }

    #[test]
    fn sets_have_rules_of_their_own_and_lose_them() {
        let with = |keep| PolicyChange { keep: Some(keep), ..PolicyChange::default() };
        let one = with(KeepChange::Set(SET, keep(2))).apply(&DEFAULT_POLICY);
        let two = with(KeepChange::Set(SET, keep(3))).apply(&one);
        assert_eq!(two.sets, [SetRules { set: SET, keep: keep(3) }]);
        assert_eq!(told(&DEFAULT_POLICY, &one), ["keep of set photos: like the others -> daily 2"]);
        assert_eq!(told(&one, &two), ["keep of set photos: daily 2 -> daily 3"]);
        let back = with(KeepChange::LikeOthers(SET)).apply(&two);
        assert_eq!(back, DEFAULT_POLICY);
        assert_eq!(told(&two, &back), ["keep of set photos: daily 3 -> like the others"]);
        let first = SetTag::from_bytes([1; 16]);
        let both = with(KeepChange::Set(first, keep(9))).apply(&two);
        assert_eq!(both.sets.iter().map(|row| row.set).collect::<Vec<_>>(), [first, SET]);
    }

    #[test]
    fn rules_in_words() {
        assert_eq!(keep_words(&KeepRules::NONE), "everything");
        let all = KeepRules {
            last: 3,
            monthly: u32::MAX,
            within: 2 * SECONDS_A_DAY + 5 * 3600,
            ..KeepRules::NONE
        };
        assert_eq!(keep_words(&all), "last 3, monthly all, within 2 days and 5 hours");
    }
}
