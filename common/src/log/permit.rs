//! Who may say what, and when.

use super::entry::{
    AcceptRollback, Author, Body, Compact, DeviceAdd, DeviceRevoke, Entry, SnapshotIds,
};
use super::error::FoldError;
use super::fold::Proof;
use super::policy::Policy;
use super::state::{Change, Snapshot, State};
use crate::disclosure::{Disclosure, Level};
use crate::id::{DeviceId, SnapshotId};
use crate::limits::MAX_DEVICES;
use crate::retention;
use crate::time::Timestamp;

impl Author {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Root => "the owner",
            Self::Device(_) => "a device",
            Self::Server => "the server",
        }
    }

    /// Devices make snapshots and hold, the server expires, the owner does the rest.
    const fn may_write(self, body: &Body) -> bool {
        match body {
            Body::Snapshot(_) => matches!(self, Self::Device(_)),
            Body::Hold(_) => matches!(self, Self::Device(_) | Self::Root),
            Body::Expire(_) => matches!(self, Self::Server),
            _ => matches!(self, Self::Root),
        }
    }
}

impl State {
    pub(super) fn permit(
        &self,
        entry: &Entry,
        received: Timestamp,
        proof: Proof,
    ) -> Result<(), FoldError> {
        if let Some(erase) = self.erased_at(received) {
            return Err(FoldError::Erased(erase.seq));
        }
        if !entry.author.may_write(&entry.body) {
            return Err(FoldError::Forbidden { author: entry.author.name() });
        }
        match &entry.body {
            Body::Genesis(_) => conflict("a log has one genesis entry"),
            Body::DeviceAdd(add) => self.permit_device(add),
            Body::DeviceLabel(label) => self.known_device(label.device),
            Body::Audit(audit) => self.known_device(audit.device),
            Body::DeviceRevoke(revoke) => self.permit_revoke(revoke, entry.seq),
            Body::Policy(policy) => self.permit_policy(policy, received),
            Body::Snapshot(s) => {
                if self.snapshots.contains_key(&s.manifest) {
                    return conflict("this snapshot is already in the log");
                }
                if self.restorable(&s.manifest, received).is_some() {
                    return Err(FoldError::Gone(s.manifest));
                }
                permit_disclosure(&s.disclosure, self.policy_at(received))
            }
            Body::Forget(ids) => self.permit_forget(ids, received),
            Body::RestoreForgotten(body) => self.permit_restore(&body.snapshots, received),
            Body::Pin(ids) => self.each(ids, received, |_, _| Ok(())),
            Body::Unpin(ids) => self.each(ids, received, |_, s| {
                if s.pinned { Ok(()) } else { conflict("a snapshot to unpin is not pinned") }
            }),
            Body::LiftHold(ids) => self.each(ids, received, |_, s| {
                if s.held { Ok(()) } else { conflict("a snapshot to let go is not held") }
            }),
            Body::Hold(ids) => self.each(ids, received, |_, s| match entry.author {
                Author::Device(id) if id != s.device => {
                    conflict("a device holds snapshots of its own alone")
                }
                _ => Ok(()),
            }),
            Body::Compact(compact) => self.permit_compact(compact, received),
            Body::Fold(hash) if *hash != self.hash() => {
                conflict("the hash is not the one of the state before this entry")
            }
            Body::AcceptRollback(accept) => self.permit_rollback(accept),
            Body::Erase if self.pending.iter().any(|p| p.change == Change::Erase) => {
                conflict("the vault is already to be erased")
            }
            Body::Cancel { seq } => self.permit_cancel(*seq, received),
            Body::Expire(ids)
                if proof == Proof::Check
                    && retention::next_expire(self, received).as_ref() != Some(ids) =>
            {
                Err(FoldError::NotExpired(entry.seq))
            }
            Body::Slots(_) | Body::Fold(_) | Body::Erase | Body::Expire(_) => Ok(()),
        }
    }

    fn permit_device(&self, add: &DeviceAdd) -> Result<(), FoldError> {
        if self.devices.len() >= MAX_DEVICES {
            return conflict("a vault has at most 4096 devices");
        }
        if self.devices.contains_key(&add.device) {
            return conflict("this device is already enrolled");
        }
        add.replaces.map_or(Ok(()), |old| self.known_device(old))
    }

    fn known_device(&self, id: DeviceId) -> Result<(), FoldError> {
        self.devices.get(&id).map(drop).ok_or(FoldError::UnknownDevice(id))
    }

    fn permit_revoke(&self, revoke: &DeviceRevoke, seq: u64) -> Result<(), FoldError> {
        self.active_device(revoke.device)?;
        if revoke.last_valid >= seq {
            return conflict("the last valid entry lies in the future");
        }
        Ok(())
    }

    fn permit_policy(&self, policy: &Policy, received: Timestamp) -> Result<(), FoldError> {
        if let Some(fault) = policy.fault() {
            return conflict(fault);
        }
        if policy.format_floor < self.policy_at(received).format_floor {
            return conflict("the oldest format that is accepted never falls");
        }
        Ok(())
    }

    /// Every one must be live and pass.
    fn each(
        &self,
        ids: &SnapshotIds,
        received: Timestamp,
        test: impl Fn(SnapshotId, &Snapshot) -> Result<(), FoldError>,
    ) -> Result<(), FoldError> {
        ids.iter().try_for_each(|id| test(id, self.live(id, received)?))
    }

    fn live(&self, id: SnapshotId, received: Timestamp) -> Result<&Snapshot, FoldError> {
        self.snapshots.get(&id).ok_or_else(|| match self.restorable(&id, received) {
            Some(_) => FoldError::Gone(id),
            None => FoldError::UnknownSnapshot(id),
        })
    }

    fn permit_forget(&self, ids: &SnapshotIds, received: Timestamp) -> Result<(), FoldError> {
        self.each(ids, received, |id, snapshot| {
            if snapshot.held {
                return Err(FoldError::Held(id));
            }
            if snapshot.pinned { Err(FoldError::Pinned(id)) } else { Ok(()) }
        })
    }

    fn permit_restore(&self, ids: &SnapshotIds, received: Timestamp) -> Result<(), FoldError> {
        ids.iter().try_for_each(|id| {
            if self.snapshots.contains_key(&id) {
                return conflict("a snapshot to bring back is there");
            }
            self.restorable(&id, received).map(drop).ok_or(FoldError::UnknownSnapshot(id))
        })
    }

    fn permit_compact(&self, compact: &Compact, received: Timestamp) -> Result<(), FoldError> {
        let planned = compact.planned_at;
        if planned > self.head_seq || planned == self.head_seq && compact.planned_head != self.head
        {
            return conflict("the compaction was planned at another history");
        }
        compact.snapshots.iter().try_for_each(|(id, _)| {
            if self.live(*id, received)?.packed > planned {
                return conflict("a snapshot is newer than the plan of the compaction");
            }
            Ok(())
        })
    }

    /// The common record is the head, or an earlier one if other machines wrote since.
    fn permit_rollback(&self, accept: &AcceptRollback) -> Result<(), FoldError> {
        let head = accept.seq == self.head_seq;
        if accept.seq > self.head_seq || head && accept.hash != self.head {
            return conflict("the common record is not part of this history");
        }
        Ok(())
    }

    fn permit_cancel(&self, seq: u64, received: Timestamp) -> Result<(), FoldError> {
        let waits = self.pending.iter().any(|p| p.seq == seq && received < p.effective);
        let burst = self.devices.values().any(|d| d.burst.is_some_and(|b| b.seq == seq));
        if waits || burst { Ok(()) } else { conflict("nothing waits that could be cancelled") }
    }
}

fn permit_disclosure(disclosure: &Disclosure, policy: &Policy) -> Result<(), FoldError> {
    let told = if !disclosure.types.is_empty() {
        Level::Types
    } else if disclosure.totals.is_some() {
        Level::Summary
    } else {
        Level::None
    };
    if told > policy.disclosure {
        return conflict("the snapshot discloses more than the policy allows");
    }
    Ok(())
}

const fn conflict<T>(what: &'static str) -> Result<T, FoldError> {
    Err(FoldError::Conflict(what))
}
