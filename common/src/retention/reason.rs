//! Verdicts, and the words for them.

use std::fmt;

use super::calendar::{Date, iso_week};
use crate::id::{DeviceId, SetTag, SnapshotId};
use crate::log::entry::Status;
use crate::time::Timestamp;

/// What becomes of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its entry.
    pub seq: u64,
    /// Who made it.
    pub device: DeviceId,
    /// Its set.
    pub set: SetTag,
    /// How whole it is.
    pub status: Status,
    /// When the server received it.
    pub received: Timestamp,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// Stay or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for at least one reason.
    Kept(Kept),
    /// It goes.
    Expired(Why),
}

/// Why a snapshot goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No rule keeps it.
    NoRuleKeepsIt,
    /// A checkpoint, and a complete snapshot of its set came after it.
    Superseded,
}

impl Verdict {
    /// On a snapshot of this status, for which so much speaks.
    pub(super) fn of(kept: Kept, status: Status) -> Self {
        if kept.any() {
            Self::Kept(kept)
        } else if status == Status::Checkpoint {
            Self::Expired(Why::Superseded)
        } else {
            Self::Expired(Why::NoRuleKeepsIt)
        }
    }
}

/// All reasons for which a snapshot stays.
#[expect(clippy::struct_excessive_bools, reason = "a list of independent facts, not a state")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// There is no rule, so everything stays.
    pub no_rule: bool,
    /// Its place among the newest, from 1, if `last` keeps it.
    pub last: Option<u32>,
    /// It is the newest of its hour, day, week, month, year, where such a rule keeps it.
    pub every: [bool; 5],
    /// `within` keeps it.
    pub within: bool,
    /// It is the newest complete one of its set on its device.
    pub newest: bool,
    /// A checkpoint, and no complete snapshot of its set came after it.
    pub checkpoint: bool,
    /// It is pinned.
    pub pinned: bool,
    /// It is held.
    pub held: bool,
    /// Its device was revoked and this came after its last trusted entry: the owner decides.
    pub untrusted: bool,
    /// It is younger than an hour, and counts nowhere yet.
    pub fresh: bool,
    /// The end of the floor.
    pub floor: Option<Timestamp>,
    /// The end of the pause after a burst.
    pub paused: Option<Timestamp>,
}

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, Monday to Sunday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Every {
    /// All, shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];
}

/// One reason for which a snapshot stays. `Display` gives the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is no rule.
    NoRule,
    /// One of the newest: its place, from 1.
    Last(u32),
    /// The newest of its hour, day, week, month or year, in which this moment lies.
    Newest(Every, Timestamp),
    /// Within the time that the rules name.
    Within,
    /// The newest complete one of its set.
    NewestComplete,
    /// A checkpoint newer than any complete snapshot.
    Checkpoint,
    /// Pinned.
    Pinned,
    /// Held.
    Held,
    /// By a device after its last trusted entry.
    Untrusted,
    /// Younger than an hour.
    Fresh,
    /// The floor, until then.
    Floor(Timestamp),
    /// The pause after a burst, until then.
    Paused(Timestamp),
}

impl Kept {
    /// Whether there is any reason.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

impl Decision {
    /// Whether it stays.
    pub const fn stays(&self) -> bool {
        matches!(self.verdict, Verdict::Kept(_))
    }

    /// The same without the pin.
    #[must_use]
    pub fn unpinned(self) -> Self {
        self.but(|kept| Kept { pinned: false, ..kept })
    }

    /// The same without the hold.
    #[must_use]
    pub fn lifted(self) -> Self {
        self.but(|kept| Kept { held: false, ..kept })
    }

    /// A mark takes no other snapshot's place: nothing else changes without it.
    fn but(self, change: impl FnOnce(Kept) -> Kept) -> Self {
        match self.verdict {
            Verdict::Kept(kept) => Self { verdict: Verdict::of(change(kept), self.status), ..self },
            Verdict::Expired(_) => self,
        }
    }

    /// The reasons for which it stays; none if it goes.
    pub fn reasons(&self) -> Vec<Reason> {
        let Verdict::Kept(kept) = self.verdict else {
            return Vec::new();
        };
        let every = Every::ALL.into_iter().zip(kept.every).filter(|(_, keeps)| *keeps);
        let flags = [
            (kept.no_rule, Reason::NoRule),
            (kept.within, Reason::Within),
            (kept.newest, Reason::NewestComplete),
            (kept.checkpoint, Reason::Checkpoint),
            (kept.pinned, Reason::Pinned),
            (kept.held, Reason::Held),
            (kept.untrusted, Reason::Untrusted),
            (kept.fresh, Reason::Fresh),
        ];
        let mut reasons: Vec<Reason> = kept.last.map(Reason::Last).into_iter().collect();
        reasons.extend(every.map(|(every, _)| Reason::Newest(every, self.received)));
        reasons.extend(flags.into_iter().filter(|(keeps, _)| *keeps).map(|(_, reason)| reason));
        reasons.extend(kept.floor.map(Reason::Floor));
        reasons.extend(kept.paused.map(Reason::Paused));
        reasons
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no keep rule: everything stays"),
            Self::Last(place) => write!(f, "last {place}"),
            Self::Newest(every, moment) => write_every(*every, *moment, f),
            Self::Within => f.write_str("within"),
            Self::NewestComplete => f.write_str("newest complete"),
            Self::Checkpoint => f.write_str("checkpoint newer than any complete"),
            Self::Pinned => f.write_str("pinned"),
            Self::Held => f.write_str("held"),
            Self::Untrusted => f.write_str("not trusted: the owner decides"),
            Self::Fresh => f.write_str("younger than an hour"),
            Self::Floor(until) => write!(f, "floor until {}", Date::of(*until)),
            Self::Paused(until) => write!(f, "burst pause until {}", Date::of(*until)),
        }
    }
}

fn write_every(every: Every, moment: Timestamp, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let date = Date::of(moment);
    match every {
        Every::Hour => write!(f, "hourly {date} {:02}:00", moment.0 / 3600 % 24),
        Every::Day => write!(f, "daily {date}"),
        Every::Week => {
            let (year, week) = iso_week(moment);
            write!(f, "weekly {year:04}-W{week:02}")
        }
        Every::Month => write!(f, "monthly {:04}-{:02}", date.year, date.month),
        Every::Year => write!(f, "yearly {:04}", date.year),
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRuleKeepsIt => "no rule keeps it",
            Self::Superseded => "checkpoint superseded by a complete snapshot",
        })
    }
}
