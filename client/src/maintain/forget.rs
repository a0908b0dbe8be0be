//! What an owner forgets by rules that run once. Pure.

use std::collections::{BTreeMap, BTreeSet};

use unseen_common::id::SnapshotId;
use unseen_common::log::fold::State;
use unseen_common::log::policy::{KeepRules, Policy};
use unseen_common::retention::{Decision, Foreseen, Later, Verdict, decide_for_owner_among};

use crate::browse::resolve::has_tags;
use crate::browse::snapshots::Listed;

/// Rules that run once.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// What is counted.
    pub keep: KeepRules,
    /// Snapshots that have all tags of one of these lists stay, and are pinned: the server, which
    /// sees no tags, would let its own rules take them.
    pub tags: Vec<Vec<String>>,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It stays, and no rule takes it any more.
    Pin,
    /// It goes.
    Forget,
}

/// A snapshot, what becomes of it, and why.
#[derive(Debug)]
pub struct Judged {
    /// The snapshot.
    pub listed: Listed,
    /// What becomes of it.
    pub fate: Fate,
    /// When it goes although it is kept at first.
    pub later: Option<Later>,
    /// It goes by the rules in force, before a change that waits takes effect.
    pub before_change: bool,
    /// Why.
    pub reasons: Vec<String>,
}

/// Applies rules to these snapshots, as if there were no others.
pub fn by_rules(state: &State, listed: Vec<Listed>, rules: &Rules) -> Vec<Judged> {
    let among: BTreeSet<SnapshotId> = listed.iter().map(|one| one.row.id).collect();
    let policy = Policy { keep: rules.keep, sets: Vec::new(), ..state.policy.clone() };
    let decisions = decide_for_owner_among(state, &policy, &|id| among.contains(id));
    let mut judged = judged(listed, decisions);
    if !rules.tags.is_empty() {
        for one in &mut judged {
            keep_by_tag(one, &rules.tags);
        }
    }
    judged
}

/// Puts together snapshots and the verdicts on them. A snapshot without a verdict stays.
fn judged(listed: Vec<Listed>, decisions: Vec<Decision>) -> Vec<Judged> {
    let mut decisions: BTreeMap<SnapshotId, Decision> =
        decisions.into_iter().map(|decision| (decision.snapshot, decision)).collect();
    let judge = |listed: Listed| {
        let (fate, reasons) = match decisions.remove(&listed.row.id) {
            Some(Decision { verdict: Verdict::Expired(why), .. }) => {
                (Fate::Forget, vec![why.to_string()])
            }
            Some(kept) => (Fate::Keep, kept.reasons().iter().map(ToString::to_string).collect()),
            None => (Fate::Keep, Vec::new()),
        };
        Judged { listed, fate, later: None, before_change: false, reasons }
    };
    listed.into_iter().map(judge).collect()
}

/// Puts together snapshots and what is foreseen of them. One of which nothing is stays.
pub fn foretold(listed: Vec<Listed>, foreseen: &[Foreseen]) -> Vec<Judged> {
    let by_id: BTreeMap<SnapshotId, &Foreseen> =
        foreseen.iter().map(|one| (one.now.snapshot, one)).collect();
    let judge = |listed: Listed| {
        let one = by_id.get(&listed.row.id);
        let goes = one.is_some_and(|one| !one.now.stays() && one.later.is_none());
        Judged {
            listed,
            fate: if goes { Fate::Forget } else { Fate::Keep },
            later: one.and_then(|one| one.later),
            before_change: one.is_some_and(|one| one.before_change),
            reasons: one.map(|one| one.reasons()).unwrap_or_default(),
        }
    };
    listed.into_iter().map(judge).collect()
}

fn keep_by_tag(one: &mut Judged, lists: &[Vec<String>]) {
    let Ok(manifest) = &one.listed.manifest else {
        if one.fate == Fate::Forget {
            one.fate = Fate::Keep;
            one.reasons = vec!["its tags cannot be read".to_owned()];
        }
        return;
    };
    let Some(tags) = lists.iter().find(|tags| has_tags(manifest, tags)) else {
        return;
    };
    if one.fate == Fate::Forget {
        one.reasons.clear();
    }
    one.reasons.push(format!("tag {}", tags.join(",")));
    one.fate = if one.listed.row.pinned { Fate::Keep } else { Fate::Pin };
}

/// The ids of the snapshots with this fate.
pub fn with_fate(judged: &[Judged], fate: Fate) -> BTreeSet<SnapshotId> {
    judged.iter().filter(|one| one.fate == fate).map(|one| one.listed.row.id).collect()
}

#[cfg(test)]
mod tests;
