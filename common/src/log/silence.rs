//! Devices that have gone quiet: the same for the server, which tells whoever runs it, and for the
//! client, which tells the owner.

use std::collections::BTreeMap;

use super::state::State;
use crate::id::DeviceId;
use crate::time::Timestamp;

/// Whether a device whose newest snapshot was received then has been silent for too long. With 0
/// days none ever is.
pub fn is_silent(silent_days: u32, newest: Timestamp, now: Timestamp) -> bool {
    silent_days > 0 && newest.plus_days(silent_days) < now
}

impl State {
    /// The devices that are not revoked, and when the newest of their live snapshots was received.
    pub fn newest_snapshots(&self) -> BTreeMap<DeviceId, Option<Timestamp>> {
        let there = self.devices.iter().filter(|(_, device)| device.revoked.is_none());
        let mut newest: BTreeMap<DeviceId, Option<Timestamp>> =
            there.map(|(id, _)| (*id, None)).collect();
        for snapshot in self.snapshots.values() {
            if let Some(known) = newest.get_mut(&snapshot.device) {
                *known = (*known).max(Some(snapshot.received));
            }
        }
        newest
    }

    /// The devices that are silent at `now` by the policy in force then, and since when. One that
    /// never made a backup was not silenced.
    pub fn silent_devices(&self, now: Timestamp) -> Vec<(DeviceId, Timestamp)> {
        let days = self.policy_at(now).silent_days;
        let newest = self.newest_snapshots().into_iter();
        newest
            .filter_map(|(id, newest)| Some((id, newest?)))
            .filter(|(_, newest)| is_silent(days, *newest, now))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::entry::Status;
    use crate::log::policy::{DEFAULT_POLICY, Policy};
    use crate::log::testing::{DAY, Lab, device};

    #[test]
    fn whole_days_must_have_passed() {
        let day = 86_400;
        let newest = Timestamp(10 * day);
        assert!(!is_silent(3, newest, Timestamp(13 * day)));
        assert!(is_silent(3, newest, Timestamp(13 * day + 1)));
        assert!(!is_silent(3, newest, Timestamp(0)), "the clock was ahead");
        assert!(!is_silent(0, newest, Timestamp(u64::MAX)));
    }

    #[test]
    fn devices_are_told_that_have_stopped() {
        let mut lab = Lab::with(Policy { silent_days: 3, ..DEFAULT_POLICY });
        let since = lab.now;
        lab.complete();
        lab.wait(2 * DAY);
        lab.snap(2, 1, Status::Partial);
        lab.wait(DAY);
        assert_eq!(lab.state.silent_devices(lab.now), []);
        let later = Timestamp(lab.now.0 + 1);
        assert_eq!(lab.state.silent_devices(later), [(device(1), since)]);
        let much_later = Timestamp(lab.now.0 + 30 * DAY);
        assert_eq!(lab.state.silent_devices(much_later).len(), 2);
        lab.complete();
        assert_eq!(lab.state.silent_devices(later), []);
    }
}
