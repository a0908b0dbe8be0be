//! The verdict on each snapshot.

use super::reason::{Decision, Kept, Verdict};
use super::series::Series;
use crate::id::{DeviceId, SetTag, SnapshotId};
use crate::limits::MAX_ENTRY_SNAPSHOTS;
use crate::log::entry::{SnapshotIds, Status};
use crate::log::groups::{Group, Member};
use crate::log::policy::{KeepRules, Policy};
use crate::log::state::{BURST_SPAN, Device, State};
use crate::time::{SECONDS_A_DAY, Timestamp};

/// The verdict on every live snapshot at `now`, under the rules in force then; in log order.
pub fn decide(state: &State, now: Timestamp) -> Vec<Decision> {
    decide_with(state, state.policy_at(now), now)
}

/// The same under rules that are not in force: what they would do.
pub fn decide_with(state: &State, policy: &Policy, now: Timestamp) -> Vec<Decision> {
    decide_with_among((state, policy, now), &|_| true)
}

/// The same as if only the snapshots were there that `among` takes.
pub(super) fn decide_with_among(
    (state, policy, now): (&State, &Policy, Timestamp),
    among: &dyn Fn(&SnapshotId) -> bool,
) -> Vec<Decision> {
    collect((state, policy, Some(now)), among)
}

/// The verdict of `policy` on every live snapshot when the owner asks: neither floor nor pause
/// nor the first hour stand in the way of whoever signs a `forget`. In log order.
pub fn decide_for_owner(state: &State, policy: &Policy) -> Vec<Decision> {
    decide_for_owner_among(state, policy, &|_| true)
}

/// The same as if only the snapshots were there that `among` takes.
pub fn decide_for_owner_among(
    state: &State,
    policy: &Policy,
    among: &dyn Fn(&SnapshotId) -> bool,
) -> Vec<Decision> {
    collect((state, policy, None), among)
}

fn collect(
    asked: (&State, &Policy, Option<Timestamp>),
    among: &dyn Fn(&SnapshotId) -> bool,
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    judge(asked, among, |decision| decisions.push(decision));
    decisions.sort_unstable_by_key(|decision| decision.seq);
    decisions
}

/// The snapshots that the rules in force at `now` keep no longer, in log order.
pub fn expired(state: &State, now: Timestamp) -> Vec<SnapshotId> {
    let mut gone = Vec::new();
    judge((state, state.policy_at(now), Some(now)), &|_| true, |decision| {
        if !decision.stays() {
            gone.push((decision.seq, decision.snapshot));
        }
    });
    gone.sort_unstable();
    gone.into_iter().map(|(_, snapshot)| snapshot).collect()
}

/// What the server's next `expire` record names if it is received at `now`: all that have expired,
/// or the oldest of them if they are more than one record holds. The fold takes no other.
pub fn next_expire(state: &State, now: Timestamp) -> Option<SnapshotIds> {
    SnapshotIds::one(expired(state, now).into_iter().take(MAX_ENTRY_SNAPSHOTS))
}

/// What is the same for all snapshots of one set on one device.
struct Scene<'a> {
    key: (DeviceId, SetTag),
    device: &'a Device,
    rules: &'a KeepRules,
    guard: Option<Guard>,
}

/// What protects from the device itself, where the owner is not the one who asks.
struct Guard {
    now: Timestamp,
    floor_days: u32,
    paused: Option<Timestamp>,
}

fn judge(
    (state, policy, now): (&State, &Policy, Option<Timestamp>),
    among: &dyn Fn(&SnapshotId) -> bool,
    mut tell: impl FnMut(Decision),
) {
    for (key, group) in state.groups.iter() {
        let Some(device) = state.devices.get(&key.0) else {
            continue;
        };
        let guard = now.map(|now| Guard {
            now,
            floor_days: policy.floor_days,
            paused: device.paused_until(policy).filter(|until| now < *until),
        });
        let scene = Scene { key: *key, device, rules: policy.keep_of(key.1), guard };
        scene.judge((group, among), &mut tell);
    }
}

impl Guard {
    /// Whether a snapshot counts nowhere yet. Before it does, a burst has been noticed.
    const fn is_fresh(&self, member: &Member) -> bool {
        self.now.since(member.received) < BURST_SPAN
    }

    fn floor(&self, member: &Member) -> Option<Timestamp> {
        let within = self.now.since(member.received) < u64::from(self.floor_days) * SECONDS_A_DAY;
        within.then(|| member.received.plus_days(self.floor_days))
    }
}

impl Scene<'_> {
    fn judge(
        &self,
        (group, among): (&Group, &dyn Fn(&SnapshotId) -> bool),
        tell: &mut impl FnMut(Decision),
    ) {
        let mut complete = Series::new(self.rules);
        let mut both = Series::new(self.rules);
        let mut later_complete = false;
        for (seq, member) in group.iter().rev().filter(|(_, member)| among(&member.id)) {
            let trusted = self.device.trusts(*seq);
            let fresh = self.guard.as_ref().is_some_and(|guard| guard.is_fresh(member));
            let counts = trusted && !fresh;
            let mut kept = match member.status {
                _ if !counts => Kept { untrusted: !trusted, fresh, ..Kept::default() },
                Status::Checkpoint => Kept { checkpoint: !later_complete, ..Kept::default() },
                Status::Partial => both.pick(member.received),
                Status::Complete => {
                    both.pick(member.received);
                    Kept { newest: !later_complete, ..complete.pick(member.received) }
                }
            };
            later_complete |= counts && member.status == Status::Complete;
            kept.no_rule = counts && member.status != Status::Checkpoint && self.rules.is_none();
            self.add_marks(&mut kept, member);
            tell(self.decision(*seq, member, kept));
        }
    }

    /// What keeps a snapshot whatever the rules say.
    fn add_marks(&self, kept: &mut Kept, member: &Member) {
        kept.pinned = member.pinned;
        kept.held = member.held;
        if let Some(guard) = &self.guard {
            kept.paused = guard.paused;
            kept.floor = guard.floor(member);
        }
    }

    fn decision(&self, seq: u64, member: &Member, kept: Kept) -> Decision {
        Decision {
            snapshot: member.id,
            seq,
            device: self.key.0,
            set: self.key.1,
            status: member.status,
            received: member.received,
            verdict: Verdict::of(kept, member.status),
        }
    }
}
