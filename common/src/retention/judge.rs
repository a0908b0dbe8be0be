//! The verdict on each snapshot.

use super::reason::{Decision, Kept, Verdict, Why};
use super::series::Series;
use crate::id::{DeviceId, SetTag, SnapshotId};
use crate::limits::MAX_ENTRY_SNAPSHOTS;
use crate::log::entry::{SnapshotIds, Status};
use crate::log::groups::{Group, Member};
use crate::log::policy::{KeepRules, Policy};
use crate::log::state::{Device, State};
use crate::time::{SECONDS_A_DAY, Timestamp};

/// The verdict on every live snapshot at `now`, under the rules in force then; in log order.
pub fn decide(state: &State, now: Timestamp) -> Vec<Decision> {
    decide_with(state, state.policy_at(now), now)
}

/// The same under rules that are not in force: what they would do.
pub fn decide_with(state: &State, policy: &Policy, now: Timestamp) -> Vec<Decision> {
    let mut decisions = Vec::with_capacity(state.snapshots.len());
    judge(state, policy, now, |decision| decisions.push(decision));
    decisions.sort_unstable_by_key(|decision| decision.seq);
    decisions
}

/// The snapshots that the rules in force at `now` keep no longer, in log order.
pub fn expired(state: &State, now: Timestamp) -> Vec<SnapshotId> {
    let mut gone = Vec::new();
    judge(state, state.policy_at(now), now, |decision| {
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
    paused: Option<Timestamp>,
    floor_days: u32,
    now: Timestamp,
}

fn judge(state: &State, policy: &Policy, now: Timestamp, mut tell: impl FnMut(Decision)) {
    for (key, group) in state.groups.iter() {
        let Some(device) = state.devices.get(&key.0) else {
            continue;
        };
        let scene = Scene {
            key: *key,
            device,
            rules: policy.keep_of(key.1),
            paused: device.paused_until(policy).filter(|until| now < *until),
            floor_days: policy.floor_days,
            now,
        };
        scene.judge(group, &mut tell);
    }
}

impl Scene<'_> {
    fn judge(&self, group: &Group, tell: &mut impl FnMut(Decision)) {
        let mut complete = Series::new(self.rules);
        let mut both = Series::new(self.rules);
        let mut later_complete = false;
        for (seq, member) in group.iter().rev() {
            let trusted = self.device.trusts(*seq);
            let mut kept = match member.status {
                _ if !trusted => Kept { untrusted: true, ..Kept::default() },
                Status::Checkpoint => Kept { checkpoint: !later_complete, ..Kept::default() },
                Status::Partial => both.pick(member.received),
                Status::Complete => {
                    both.pick(member.received);
                    Kept { newest: !later_complete, ..complete.pick(member.received) }
                }
            };
            later_complete |= trusted && member.status == Status::Complete;
            kept.no_rule = trusted && member.status != Status::Checkpoint && self.rules.is_none();
            self.add_marks(&mut kept, member);
            tell(self.decision(*seq, member, kept));
        }
    }

    /// What keeps a snapshot whatever the rules say.
    fn add_marks(&self, kept: &mut Kept, member: &Member) {
        kept.pinned = member.pinned;
        kept.held = member.held;
        kept.paused = self.paused;
        let age = self.now.since(member.received);
        if age < u64::from(self.floor_days) * SECONDS_A_DAY {
            kept.floor = Some(member.received.plus_days(self.floor_days));
        }
    }

    fn decision(&self, seq: u64, member: &Member, kept: Kept) -> Decision {
        let verdict = if kept.any() {
            Verdict::Kept(kept)
        } else if member.status == Status::Checkpoint {
            Verdict::Expired(Why::Superseded)
        } else {
            Verdict::Expired(Why::NoRuleKeepsIt)
        };
        Decision {
            snapshot: member.id,
            seq,
            device: self.key.0,
            set: self.key.1,
            status: member.status,
            received: member.received,
            verdict,
        }
    }
}
