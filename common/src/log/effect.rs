//! What an entry that was permitted does to the state.

use std::collections::VecDeque;

use super::entry::{Author, Body, Compact, DeviceAdd, Entry, Snapshot as NewSnapshot, SnapshotIds};
use super::policy::Policy;
use super::state::{BURST_SPAN, Burst, Change, Device, Gone, Leave, Pending, Snapshot, State};
use crate::id::{DeviceId, SnapshotId};
use crate::time::Timestamp;

/// Days in which the owner can cancel an erase.
const ERASE_DAYS: u32 = 7;

impl State {
    pub(super) fn take(&mut self, entry: &Entry, received: Timestamp) {
        self.settle(received);
        if let Author::Device(id) = entry.author
            && let Some(device) = self.devices.get_mut(&id)
        {
            device.last_entry = Some(entry.seq);
        }
        match &entry.body {
            Body::Genesis(_) | Body::AcceptRollback(_) => {}
            Body::DeviceAdd(add) => self.take_device(add, entry.seq),
            Body::DeviceLabel(label) => {
                self.on_device(label.device, |d| d.label = Some(label.sealed.clone()));
            }
            Body::DeviceRevoke(revoke) => self.on_device(revoke.device, |device| {
                device.revoked = Some(revoke.last_valid);
                device.burst = None;
                device.recent = VecDeque::new();
            }),
            Body::Audit(audit) => self.on_device(audit.device, |d| d.audited = Some(entry.seq)),
            Body::Slots(slots) => self.slots = slots.clone(),
            Body::Policy(policy) => self.take_policy(policy, entry.seq, received),
            Body::Snapshot(snapshot) => self.take_snapshot(snapshot, entry, received),
            Body::Forget(ids) => self.leave(ids, Leave::Forgotten, (entry.seq, received)),
            Body::Expire(ids) => self.leave(ids, Leave::Expired, (entry.seq, received)),
            Body::RestoreForgotten(body) => self.bring_back(&body.snapshots),
            Body::Pin(ids) => self.mark(ids, |s| s.pinned = true),
            Body::Unpin(ids) => self.mark(ids, |s| s.pinned = false),
            Body::Hold(ids) => self.mark(ids, |s| s.held = true),
            Body::LiftHold(ids) => self.mark(ids, |s| s.held = false),
            Body::Compact(compact) => self.take_compact(compact, entry.seq),
            Body::Fold(_) => self.last_fold = Some(entry.seq),
            Body::Erase => {
                let effective = received.plus_days(ERASE_DAYS);
                let change = Change::Erase;
                self.pending.push(Pending { seq: entry.seq, received, effective, change });
            }
            Body::Cancel { seq } => {
                self.pending.retain(|p| p.seq != *seq);
                for device in self.devices.values_mut() {
                    device.burst = device.burst.filter(|burst| burst.seq != *seq);
                }
            }
        }
    }

    /// What has come about by the time alone.
    fn settle(&mut self, now: Timestamp) {
        let due = |p: &Pending| p.effective <= now && matches!(p.change, Change::Policy(_));
        if self.pending.iter().any(due) {
            self.policy = self.policy_at(now).clone();
            self.pending.retain(|p| !due(p));
        }
        while let Some((until, id)) = self.leaving.first().copied()
            && until <= now
        {
            self.leaving.pop_first();
            self.gone.remove(&id);
        }
    }

    fn on_device(&mut self, id: DeviceId, change: impl FnOnce(&mut Device)) {
        if let Some(device) = self.devices.get_mut(&id) {
            change(device);
        }
    }

    fn take_device(&mut self, add: &DeviceAdd, seq: u64) {
        let device = Device {
            add: add.clone(),
            added: seq,
            label: None,
            last_entry: None,
            revoked: None,
            audited: None,
            burst: None,
            recent: VecDeque::new(),
        };
        self.devices.insert(add.device, device);
    }

    /// A newer policy takes the place of one that waits.
    fn take_policy(&mut self, policy: &Policy, seq: u64, received: Timestamp) {
        self.pending.retain(|p| !matches!(p.change, Change::Policy(_)));
        if policy.weakens(&self.policy) {
            let effective = received.plus_days(self.policy.grace_days);
            let change = Change::Policy(policy.clone());
            self.pending.push(Pending { seq, received, effective, change });
        } else {
            self.policy = policy.clone();
        }
    }

    fn take_snapshot(&mut self, new: &NewSnapshot, entry: &Entry, received: Timestamp) {
        let Author::Device(device) = entry.author else {
            return;
        };
        let snapshot = Snapshot {
            seq: entry.seq,
            device,
            set: new.set,
            status: new.status,
            time: entry.time,
            received,
            packset_hash: new.packset_hash,
            packed: entry.seq,
            pinned: false,
            held: false,
            disclosure: new.disclosure.clone(),
        };
        self.put(new.manifest, snapshot);
        let cap = usize::try_from(self.policy.burst_per_hour).unwrap_or(usize::MAX);
        self.on_device(device, |d| d.count(cap, Burst { seq: entry.seq, received }));
    }

    fn put(&mut self, id: SnapshotId, snapshot: Snapshot) {
        self.groups.put(id, &snapshot);
        self.snapshots.insert(id, snapshot);
    }

    fn leave(&mut self, ids: &SnapshotIds, why: Leave, (by, received): (u64, Timestamp)) {
        let until = received.plus_days(self.policy.grace_days);
        for id in ids.iter() {
            if let Some(snapshot) = self.snapshots.remove(&id) {
                self.groups.remove(&snapshot);
                self.gone.insert(id, Gone { snapshot, why, by, received, until });
                self.leaving.insert((until, id));
            }
        }
    }

    /// They come back pinned: else the rules that took them would take them again at once.
    fn bring_back(&mut self, ids: &SnapshotIds) {
        for id in ids.iter() {
            if let Some(gone) = self.gone.remove(&id) {
                self.leaving.remove(&(gone.until, id));
                self.put(id, Snapshot { pinned: true, ..gone.snapshot });
            }
        }
    }

    fn mark(&mut self, ids: &SnapshotIds, change: impl Fn(&mut Snapshot)) {
        for id in ids.iter() {
            if let Some(snapshot) = self.snapshots.get_mut(&id) {
                change(snapshot);
                self.groups.put(id, snapshot);
            }
        }
    }

    fn take_compact(&mut self, compact: &Compact, seq: u64) {
        for (id, packs) in &compact.snapshots {
            if let Some(snapshot) = self.snapshots.get_mut(id) {
                snapshot.packset_hash = *packs;
                snapshot.packed = seq;
            }
        }
    }
}

impl Device {
    /// Counts a snapshot. Expired ones stay counted, so that expiry cannot hide a burst.
    fn count(&mut self, cap: usize, snapshot: Burst) {
        self.recent.push_back(snapshot.received);
        while self.recent.len() > cap.saturating_add(1)
            || self.recent.front().is_some_and(|t| snapshot.received.since(*t) >= BURST_SPAN)
        {
            self.recent.pop_front();
        }
        if self.recent.len() > cap {
            self.burst = Some(snapshot);
        }
    }
}
