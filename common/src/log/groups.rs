//! The live snapshots by device and set, in log order: what retention walks over.

use std::collections::BTreeMap;

use super::entry::Status;
use super::state::Snapshot;
use crate::id::{DeviceId, SetTag, SnapshotId};
use crate::time::Timestamp;

/// What retention needs of a live snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: SnapshotId,
    pub(crate) received: Timestamp,
    pub(crate) status: Status,
    pub(crate) pinned: bool,
    pub(crate) held: bool,
}

/// Snapshots of one set of one device by their entry's number.
pub(crate) type Group = BTreeMap<u64, Member>;

/// All groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Groups(BTreeMap<(DeviceId, SetTag), Group>);

impl Groups {
    /// Adds a snapshot, or takes over its marks.
    pub(crate) fn put(&mut self, id: SnapshotId, snapshot: &Snapshot) {
        let member = Member {
            id,
            received: snapshot.received,
            status: snapshot.status,
            pinned: snapshot.pinned,
            held: snapshot.held,
        };
        let key = (snapshot.device, snapshot.set);
        self.0.entry(key).or_default().insert(snapshot.seq, member);
    }

    pub(crate) fn remove(&mut self, snapshot: &Snapshot) {
        let key = (snapshot.device, snapshot.set);
        if let Some(group) = self.0.get_mut(&key) {
            group.remove(&snapshot.seq);
            if group.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&(DeviceId, SetTag), &Group)> {
        self.0.iter()
    }
}
