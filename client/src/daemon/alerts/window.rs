//! The last day and the last week, each looked at as if it were one snapshot: who changes
//! everything in small steps stays below what is unusual in each of them. It takes the same room
//! however much changes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unseen_common::id::SnapshotId;
use unseen_common::time::{SECONDS_A_DAY, Timestamp};

use super::kinds::{Kinds, Look, Looks};
use super::mass::{self, Amounts, Mass, Within};
use super::sketch::Sketch;
use crate::progress::{Change, Item};

/// The day is looked at in pieces of this length.
const SLOT: u64 = 4 * 3600;
/// So many of them are a day.
const SLOTS: u64 = SECONDS_A_DAY / SLOT;
/// Days of a week.
const DAYS: u64 = 7;
/// Days before that, of which only the numbers are kept: five weeks in which something changed.
const PAST: usize = 35;
/// Snapshots that are held after an unusual change.
pub const GOOD: usize = 3;

/// Which files a run found different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Those that were there before.
    pub changed: Sketch,
    /// Those that were not.
    pub new: Sketch,
    /// What some of them look like.
    pub looks: Looks,
}

impl Touched {
    /// Nothing yet; this was known before.
    pub fn after(known: Arc<Kinds>) -> Self {
        Self { looks: Looks::after(known), ..Self::default() }
    }

    /// Takes in what became of a file; `look` looks at one.
    pub fn done(&mut self, item: &Item<'_>, look: impl FnOnce(&[u8]) -> Option<Look>) {
        self.looks.done(item, look);
        match item.change {
            Change::New if !item.is_dir => self.new.add(item.path),
            Change::Changed if !item.is_dir => self.changed.add(item.path),
            _ => {}
        }
    }
}

/// What a run found.
#[derive(Debug)]
pub struct Found<'a> {
    /// When.
    pub at: Timestamp,
    /// Files in the set before it, and after it.
    pub files: (u64, u64),
    /// Files that are gone.
    pub gone: u64,
    /// About how many files made sense before and look like noise now.
    pub turned: u64,
    /// Bytes of new data, and what became of them when they were compressed.
    pub stored: (u64, u64),
    /// Which files.
    pub touched: &'a Touched,
    /// The last good snapshot before it.
    pub before: Option<SnapshotId>,
}

/// What changed of late.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// The last day, in pieces in which something changed.
    slots: Vec<Span>,
    /// The days of a week before that.
    days: Vec<Span>,
    /// Those before, in numbers.
    past: Vec<Amounts>,
}

/// What changed in a piece of a day, or on a day.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Span {
    /// Which one, counted from 1970.
    at: u64,
    /// The last good snapshot before it.
    before: Option<SnapshotId>,
    /// Files at its begin, and at its end.
    files: (u64, u64),
    changed: Sketch,
    new: Sketch,
    gone: u64,
    turned: u64,
    /// What runs found whose data could not be compressed.
    dense: Sketch,
    dense_raw: u64,
    raw: u64,
    packed: u64,
    /// The most in a piece of it.
    peak: u64,
}

impl Span {
    /// What came later belongs to it.
    fn merge(&mut self, later: &Self) {
        let add = |to: &mut u64, n: u64| *to = to.saturating_add(n);
        self.files.1 = later.files.1;
        self.changed.merge(&later.changed);
        self.new.merge(&later.new);
        self.dense.merge(&later.dense);
        add(&mut self.gone, later.gone);
        add(&mut self.turned, later.turned);
        add(&mut self.dense_raw, later.dense_raw);
        add(&mut self.raw, later.raw);
        add(&mut self.packed, later.packed);
        self.peak = self.peak.max(later.peak);
    }

    /// In numbers. What goes and comes again, as build output does, counts once, and so does what
    /// goes under one name and comes under another.
    fn amounts(&self) -> Amounts {
        let (begin, end) = self.files;
        let mut both = self.changed;
        both.merge(&self.new);
        let replaced = self.changed.count().saturating_add(self.gone).min(both.count());
        Amounts {
            files: begin.max(end),
            touched: replaced.max(begin.saturating_sub(end)),
            turned: self.turned,
            dense: self.dense.count(),
            dense_raw: self.dense_raw,
            raw: self.raw,
            packed: self.packed,
            peak: self.peak,
        }
    }
}

impl Window {
    /// Takes in a run.
    pub fn take(&mut self, found: &Found<'_>) {
        let now = found.at.0 / SLOT;
        self.advance(now);
        let (raw, packed) = found.stored;
        let Touched { changed, new, .. } = found.touched;
        if raw == 0 && found.turned == 0 && found.gone == 0 && changed.is_empty() && new.is_empty()
        {
            return;
        }
        let mut span = Span {
            at: now,
            before: found.before,
            files: found.files,
            changed: *changed,
            new: *new,
            gone: found.gone,
            turned: found.turned,
            raw,
            packed,
            ..Span::default()
        };
        if raw > 0 && mass::is_dense(packed, raw) {
            (span.dense, span.dense_raw) = (*changed, raw);
            // They stand in place of others.
            if found.gone > 0 && found.gone >= new.count() / 2 {
                span.dense.merge(new);
            }
        }
        match self.slots.last_mut() {
            Some(last) if last.at == now => last.merge(&span),
            _ => self.slots.push(span),
        }
        if let Some(last) = self.slots.last_mut() {
            last.peak = last.amounts().touched;
        }
    }

    /// Whether the day or the week stands out from those before it: then what, and the last
    /// snapshots from before that began, the newest last.
    pub fn unusual(&self) -> Option<(Mass, Vec<SnapshotId>)> {
        let day = together(&self.slots)?;
        let mut usual: Vec<Amounts> = self.past.clone();
        usual.extend(self.days.iter().map(Span::amounts));
        let most = |all: &[Amounts], of: fn(&Amounts) -> u64| all.iter().map(of).max();
        if let Some(mass) = mass::far_more(&day, &usual, Within::Day) {
            let piece = most(&usual, |day| day.peak).unwrap_or(0);
            return Some((mass, self.good(self.days.len(), (&mass, piece))));
        }
        let both: Vec<Span> = self.days.iter().chain(&self.slots).cloned().collect();
        let week = together(&both)?;
        let length = usize::try_from(DAYS).unwrap_or(usize::MAX);
        let weeks: Vec<Amounts> = self.past.windows(length).map(|week| week.iter().sum()).collect();
        let mass = mass::far_more(&week, &weeks, Within::Week)?;
        let a_day = most(&self.past, |day| day.touched).unwrap_or(0);
        Some((mass, self.good(0, (&mass, a_day))))
    }

    /// What was unusual has been told: from now on it is the past.
    pub fn settle(&mut self) {
        let spans = std::mem::take(&mut self.days);
        let slots = std::mem::take(&mut self.slots);
        self.past.extend(spans.iter().map(Span::amounts));
        self.past.extend(together(&slots));
        self.forget();
    }

    /// The last snapshots from before the first span, from the given one on, in which files became
    /// noise if that is what is unusual, else in which more than so much changed. If there is none,
    /// the change has been going on all the time.
    fn good(&self, from: usize, (mass, usual): (&Mass, u64)) -> Vec<SnapshotId> {
        let all: Vec<&Span> = self.days.iter().chain(&self.slots).collect();
        let noise = mass.scrambled && all.iter().skip(from).any(|span| span.turned > 0);
        let more = |span: &&Span| {
            if noise { span.turned > 0 } else { span.amounts().touched > usual }
        };
        let begin = all.iter().skip(from).position(more).unwrap_or(0) + from;
        let mut good: Vec<SnapshotId> =
            all.iter().take(begin + 1).filter_map(|span| span.before).collect();
        good.dedup();
        good.split_off(good.len().saturating_sub(GOOD))
    }

    /// What is older than a day, or a week, moves on. A clock that was set back makes nothing
    /// older.
    fn advance(&mut self, now: u64) {
        let today = now / SLOTS;
        move_back(&mut self.slots, now);
        move_back(&mut self.days, today);
        let fresh = self.slots.iter().position(|slot| slot.at + SLOTS > now);
        for mut slot in self.slots.drain(..fresh.unwrap_or(self.slots.len())) {
            slot.at /= SLOTS;
            match self.days.last_mut() {
                Some(day) if day.at >= slot.at => day.merge(&slot),
                _ => self.days.push(slot),
            }
        }
        let fresh = self.days.iter().position(|day| day.at + DAYS > today);
        let old = self.days.drain(..fresh.unwrap_or(self.days.len()));
        self.past.extend(old.map(|day| day.amounts()));
        self.forget();
    }

    fn forget(&mut self) {
        let over = self.past.len().saturating_sub(PAST);
        self.past.drain(..over);
    }
}

/// What lies in the future is of now.
fn move_back(spans: &mut Vec<Span>, now: u64) {
    let Some(first) = spans.iter().position(|span| span.at > now) else { return };
    let late: Vec<Span> = spans.drain(first..).collect();
    for mut span in late {
        span.at = now;
        match spans.last_mut() {
            Some(last) if last.at == now => last.merge(&span),
            _ => spans.push(span),
        }
    }
}

/// Spans as one, the oldest first.
fn together(spans: &[Span]) -> Option<Amounts> {
    let (first, rest) = spans.split_first()?;
    let mut all = first.clone();
    for span in rest {
        all.merge(span);
    }
    Some(all.amounts())
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
