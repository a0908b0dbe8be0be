//! Whether now is a good time, and how much may be saved on a day that has none.

use unseen_common::time::Timestamp;

use super::{Core, Now, Reason};
use crate::daemon::signs::active::day;
use crate::daemon::signs::{Verdict, Why};

/// When less than this part is left of what may be saved on a day, the day is over.
const WORTH: u64 = 16;

/// Why nothing begins by itself, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) reason: Reason,
    /// The end of a sentence that begins with "waiting".
    pub(super) why: String,
    /// When it ends, if that is known.
    pub(super) until: Option<Timestamp>,
}

impl Held {
    fn by(why: Why) -> Self {
        let reason = match why {
            Why::NoNetwork => Reason::Offline,
            Why::Battery { .. } => Reason::Battery,
            Why::Metered => Reason::Metered,
        };
        Self { reason, why: why.to_string(), until: None }
    }

    fn used_up(at_most: u64, why: Why, until: Option<Timestamp>) -> Self {
        let why = format!(
            "{why}, or for the next day: the {} MB that are saved a day meanwhile are used up",
            at_most / 1_000_000
        );
        Self { reason: Reason::Allowance, why, until }
    }

    fn sparing(at_most: u64, why: Why) -> Self {
        let why = format!(
            "{why}: meanwhile only the smallest and newest files are saved, {} MB a day",
            at_most / 1_000_000
        );
        Self { why, reason: Reason::InPart, until: None }
    }
}

impl Core {
    /// Whether anything may begin by itself.
    pub fn may_run(&mut self, verdict: &Verdict, now: Now) {
        let (mut sparing, mut left) = (None, None);
        let held = match verdict {
            Verdict::Go => None,
            Verdict::Only { at_most, why } => match self.left_today(*at_most, now) {
                0 => Some(Held::used_up(*at_most, *why, self.tomorrow(now))),
                bytes => {
                    (sparing, left) = (Some(Held::sparing(*at_most, *why)), Some(bytes));
                    None
                }
            },
            Verdict::Wait { why } => Some(Held::by(*why)),
        };
        match verdict {
            Verdict::Go if std::mem::take(&mut self.limited) => {
                // What was too much may be saved now.
                self.schedule.try_again();
            }
            Verdict::Only { .. } => self.limited = true,
            Verdict::Go | Verdict::Wait { .. } => {}
        }
        self.schedule.hold(held.is_some());
        (self.held, self.sparing, self.at_most) = (held, sparing, left);
    }

    /// Of so many bytes a day, how many are left; none if they are not worth a run.
    fn left_today(&self, at_most: u64, now: Now) -> u64 {
        let today = day(now.wall, &self.zone);
        let spent = self.book.spent.filter(|(day, _)| *day == today).map_or(0, |spent| spent.1);
        let left = at_most.saturating_sub(spent);
        if left > at_most / WORTH { left } else { 0 }
    }

    /// When the next day begins.
    fn tomorrow(&self, now: Now) -> Option<Timestamp> {
        let now = jiff::Timestamp::from_second(i64::try_from(now.wall.0).ok()?).ok()?;
        let next = now.to_zoned(self.zone.clone()).tomorrow().ok()?.start_of_day().ok()?;
        u64::try_from(next.timestamp().as_second()).ok().map(Timestamp)
    }

    /// A run that may have only so many bytes has read or sent that many.
    pub fn spent(&mut self, bytes: u64, now: Now) {
        let today = day(now.wall, &self.zone);
        let spent = self.book.spent.filter(|(day, _)| *day == today).map_or(0, |spent| spent.1);
        self.book.spent = Some((today, spent.saturating_add(bytes)));
    }

    /// Days in use on which some set was not saved, the day of its last backup not counted.
    pub fn overdue(&self) -> u32 {
        self.book.sets.values().map(|set| set.days.missed()).max().unwrap_or(0)
    }
}
