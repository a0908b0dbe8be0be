//! Sets that have not been saved for days, where no daemon counts the days in use: by the wall,
//! whoever was to save them, a daemon that has died or a job of cron.

use std::collections::BTreeMap;

use unseen_common::time::{SECONDS_A_DAY, Timestamp};

use super::Shown;
use crate::daemon::alerts::{Alert, Level, MISSED_KEY};

/// Days after which somebody is needed.
const DAYS: u64 = 3;

/// The alerts of sets of config.toml that nobody has saved for so long. A set that was never saved
/// is as old as it is known to be, at the least as old as the file, which was written at `config`.
pub(super) fn missed(
    sets: &BTreeMap<String, Shown>,
    config: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Alert> {
    let ours = sets.iter().filter(|(_, set)| set.configured);
    ours.filter_map(|(name, set)| {
        let made = set.snapshot.as_ref().map(|(_, at, _)| *at);
        let saved = made.max(set.book.ok);
        let known = Some(set.book.since).filter(|since| *since > Timestamp(0)).or(config);
        let days = now.since(saved.or(known)?) / SECONDS_A_DAY;
        let text = match saved {
            Some(_) => format!("{name} has not been saved for {days} days."),
            None => format!("{name} has never been saved, and is there for {days} days or more."),
        };
        (days >= DAYS).then(|| Alert {
            key: format!("{MISSED_KEY} {name}"),
            state: DAYS.to_string(),
            level: Level::Told,
            text,
            hint: "`backup run` saves it now; see why whatever was to save it did not".to_owned(),
        })
    })
    .collect()
}

/// Whether an alert says that.
pub(super) fn is_missed(alert: &Alert) -> bool {
    alert.key.strip_prefix(MISSED_KEY).is_some_and(|rest| rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use unseen_common::id::SnapshotId;

    use super::*;

    #[test]
    fn days_go_by_the_wall_where_nobody_counts_them() {
        const NOW: Timestamp = Timestamp(2_000_000_000);
        let ago = |days: u64| Timestamp(NOW.0 - days * SECONDS_A_DAY);
        let keys = |set: Shown, config: Option<u64>| {
            let sets = BTreeMap::from([("docs".to_owned(), set)]);
            let alerts = missed(&sets, config.map(ago), NOW);
            assert!(alerts.iter().all(|alert| alert.code() == 1 && is_missed(alert)));
            alerts.into_iter().map(|alert| alert.text).collect::<Vec<_>>()
        };
        let saved = |days: u64| Shown {
            configured: true,
            snapshot: Some((SnapshotId::from_bytes([1; 32]), ago(days), None)),
            ..Shown::default()
        };
        assert_eq!(keys(saved(2), Some(9)), [""; 0]);
        assert_eq!(keys(saved(3), None), ["docs has not been saved for 3 days."]);
        assert_eq!(keys(Shown { configured: false, ..saved(9) }, None), [""; 0]);
        let mut unchanged = saved(9);
        unchanged.book.ok = Some(ago(1));
        assert_eq!(keys(unchanged, None), [""; 0]);
        let new = |since: u64| {
            let mut set = Shown { configured: true, ..Shown::default() };
            set.book.since = if since == 0 { Timestamp(0) } else { ago(since) };
            set
        };
        assert_eq!(keys(new(0), None), [""; 0], "nobody knows since when");
        assert_eq!(keys(new(0), Some(2)), [""; 0]);
        assert_eq!(keys(new(1), Some(9)), [""; 0]);
        for never in [keys(new(0), Some(4)), keys(new(4), Some(1))] {
            assert_eq!(never, ["docs has never been saved, and is there for 4 days or more."]);
        }
    }
}
