//! The alarm of an unusual change, from its first wave until the owner ends it: what is held for
//! it, what is said, and when it is over.

use unseen_common::id::SnapshotId;
use unseen_common::time::{SECONDS_A_DAY, Timestamp};

use super::{Alert, Level, MASS_KEY};
use crate::daemon::alerts::Mass;
use crate::daemon::book::{Book, SetBook};
use crate::daemon::job::{Job, Summary};

/// What comes so soon after an unusual change is another wave of it.
const WAVES: u64 = 14 * SECONDS_A_DAY;
/// So many seconds the snapshots from before have to be held before the user is told, so that what
/// is told says that they are.
const HOLDING: u64 = 600;

impl SetBook {
    /// Something unusual has changed; these are the last snapshots from before it. Those that were
    /// made between two waves hold what the first one left: they are not held.
    pub(in crate::daemon) fn raise(&mut self, mass: Mass, good: Vec<SnapshotId>, now: Timestamp) {
        let first = self.mass.filter(|(at, _)| now.since(*at) < WAVES);
        self.mass = Some((now, first.map_or(mass, |(_, first)| first.and(&mass))));
        if first.is_none() {
            self.refused = None;
            let known = |id: &SnapshotId| self.hold.contains(id) || self.holds.contains(id);
            let new: Vec<SnapshotId> = good.into_iter().filter(|id| !known(id)).collect();
            self.hold.extend(new);
        }
    }

    /// A run has held what it was to hold, and has seen what is held.
    fn took(&mut self, job: &Job, summary: &Summary) {
        let all = std::mem::take(&mut self.hold).into_iter();
        let (asked, left): (Vec<_>, Vec<_>) = all.partition(|id| job.hold.contains(id));
        self.hold = left;
        if !asked.is_empty() {
            self.refused.clone_from(&summary.refused);
        }
        if self.refused.is_none() {
            self.holds.extend(&asked);
        }
        if let Some(held) = &summary.held {
            let before = self.holds.len();
            self.holds.retain(|id| held.contains(id));
            if asked.is_empty() && before > self.holds.len() {
                self.end_if_nothing_is_held();
            }
        }
    }

    fn end_if_nothing_is_held(&mut self) {
        if self.holds.is_empty() && self.hold.is_empty() {
            (self.mass, self.refused) = (None, None);
        }
    }
}

impl Book {
    /// Forgets sets that are no longer there, but not that somebody encrypted or deleted them.
    pub fn keep_only(&mut self, is_there: impl Fn(&str) -> bool) {
        for (name, set) in std::mem::take(&mut self.sets) {
            if is_there(&name) {
                self.sets.insert(name, set);
            } else if set.mass.is_some() {
                let SetBook { mass, hold, holds, refused, .. } = set;
                let alarm = SetBook { mass, hold, holds, refused, ..SetBook::default() };
                self.removed.insert(name, alarm);
            }
        }
    }

    /// All that is still to be held when a set is backed up: its own, and those of sets that are
    /// backed up no more.
    pub fn to_hold(&self, set: &str) -> Vec<SnapshotId> {
        let removed = self.removed.values();
        self.sets.get(set).into_iter().chain(removed).flat_map(|set| &set.hold).copied().collect()
    }

    /// A run has held what it was to hold, and has seen what is held.
    pub(in crate::daemon) fn took(&mut self, job: &Job, summary: &Summary) {
        let all = self.sets.values_mut().chain(self.removed.values_mut());
        all.for_each(|set| set.took(job, summary));
        self.removed.retain(|_, set| set.mass.is_some());
    }

    /// The owner has ended the hold of these snapshots, or with none of all: alarms for which
    /// nothing is held any more are over. Tells the names of their sets.
    pub fn lifted(&mut self, ids: Option<&[SnapshotId]>) -> Vec<String> {
        let mut over = Vec::new();
        let all = self.sets.iter_mut().chain(self.removed.iter_mut());
        for (name, set) in all.filter(|(_, set)| set.mass.is_some()) {
            let stays = |id: &SnapshotId| ids.is_some_and(|ids| !ids.contains(id));
            let before = set.hold.len() + set.holds.len();
            set.hold.retain(stays);
            set.holds.retain(stays);
            if ids.is_none() || before > set.hold.len() + set.holds.len() {
                set.end_if_nothing_is_held();
            }
            if set.mass.is_none() {
                over.push(name.clone());
            }
        }
        self.removed.retain(|_, set| set.mass.is_some());
        over
    }
}

/// What is said of it.
pub(super) fn alert(name: &str, set: &SetBook, now: Timestamp) -> Option<Alert> {
    let (at, mass) = set.mass?;
    let waits = !set.hold.is_empty();
    let listed = |ids: &[SnapshotId]| {
        let ids: Vec<String> = ids.iter().map(SnapshotId::short).collect();
        ids.join(", ")
    };
    // That they cannot be held, or not yet, is news.
    let (before, news) = if let Some(why) = &set.refused {
        let text = format!("The snapshots from before are not held, and may expire: {why}.");
        (text, " not held")
    } else if waits {
        let ids = listed(&set.hold);
        let text =
            format!("The snapshots from before are not held yet; the next run does it: {ids}.");
        (text, " not held yet")
    } else if set.holds.is_empty() {
        ("There is no snapshot from before that could be held.".to_owned(), "")
    } else {
        let ids = listed(&set.holds);
        (format!("The snapshots from before are held and do not expire: {ids}."), "")
    };
    let restore = match set.holds.last().or(set.hold.last()) {
        Some(id) => format!("`backup restore {} --target DIR`", id.short()),
        None => "`backup snapshots` lists what there is".to_owned(),
    };
    Some(Alert {
        key: format!("{MASS_KEY} {name}"),
        state: format!("{}{news}", at.0),
        level: if waits && now.since(at) < HOLDING { Level::Shown } else { Level::Told },
        text: format!(
            "Far more of {name} has changed {} than ever before: {}. {before}",
            mass.within.in_words(),
            mass.in_words()
        ),
        hint: format!(
            "if it was not you, take this machine off the network, change nothing on it, and \
             restore on another one ({restore}); if it was you, `backup unpin --held` ends the \
             hold and this alarm"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::alerts::{current, due};
    use crate::daemon::core::tests::{job, summary};

    fn id(n: u8) -> SnapshotId {
        SnapshotId::from_bytes([n; 32])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_800_000_000 + seconds)
    }

    fn run(book: &mut Book, hold: Vec<SnapshotId>, held: &[SnapshotId]) {
        let one = Summary { held: Some(held.to_vec()), ..summary(None) };
        book.ended(&Job { hold, ..job() }, &Ok(one), (at(0), 0));
    }

    fn mass(changed: u64, files: u64) -> Mass {
        Mass { changed, files, scrambled: true, within: super::super::mass::Within::Once }
    }

    /// After a first wave.
    fn book() -> Book {
        let mut book = Book::default();
        book.know("a", "x", at(0));
        book.sets.get_mut("a").unwrap().raise(mass(40, 62), vec![id(1), id(2)], at(0));
        book
    }

    #[test]
    fn they_are_held_first_and_then_it_is_told_with_their_names() {
        let mut book = book();
        assert!(due(&mut book, at(1)).is_empty(), "nothing is held yet");
        assert!(current(&book, at(1))[0].text.contains("not held yet"), "but it is shown");
        assert_eq!(current(&book, at(1))[0].code(), 1);
        run(&mut book, vec![id(1), id(2)], &[id(1), id(2)]);
        let told = due(&mut book, at(2)).remove(0);
        let ids = format!("do not expire: {}, {}.", id(1).short(), id(2).short());
        assert!(told.text.ends_with(&ids), "{told:?}");
        assert!(told.hint.contains("off the network") && told.hint.contains("on another one"));
        assert!(told.hint.contains(&format!("backup restore {} ", id(2).short())), "{told:?}");
        assert!(due(&mut book, at(3)).is_empty());
    }

    #[test]
    fn what_cannot_be_held_soon_is_told_and_so_is_that_it_is_in_the_end() {
        let mut book = book();
        let told = due(&mut book, at(HOLDING)).remove(0);
        assert!(told.text.contains("not held yet; the next run does it: "), "{told:?}");
        run(&mut book, vec![id(1), id(2)], &[id(1), id(2)]);
        let told = due(&mut book, at(HOLDING + 1)).remove(0);
        assert!(told.text.contains("are held and do not expire: "), "{told:?}");
    }

    #[test]
    fn waves_add_up_and_what_lies_between_them_is_not_from_before() {
        let mut book = book();
        run(&mut book, vec![id(1), id(2)], &[id(1), id(2)]);
        assert_eq!(due(&mut book, at(1)).len(), 1);
        let set = book.sets.get_mut("a").unwrap();
        set.raise(mass(20, 63), vec![id(3)], at(600));
        assert!(set.hold.is_empty() && set.holds == [id(1), id(2)]);
        let told = due(&mut book, at(601)).remove(0);
        assert!(told.text.contains("in several waves than ever before: 60 of 63"), "{told:?}");
        let set = book.sets.get_mut("a").unwrap();
        set.raise(mass(50, 63), Vec::new(), at(700));
        assert_eq!(set.mass.unwrap().1.changed, 63, "no more than all");
        // Long after, it is another change, and the last snapshots before it are held, too.
        set.raise(mass(30, 63), vec![id(2), id(9)], at(700 + WAVES));
        assert_eq!((set.mass.unwrap().1.changed, set.hold.as_slice()), (30, &[id(9)][..]));
    }

    #[test]
    fn it_lasts_until_its_snapshots_are_not_held_any_more() {
        let mut book = book();
        run(&mut book, vec![id(1), id(2)], &[id(1), id(2), id(7)]);
        assert_eq!(current(&book, at(100 * SECONDS_A_DAY)).len(), 1);
        run(&mut book, Vec::new(), &[id(2)]);
        let shown = current(&book, at(1)).remove(0);
        assert!(shown.text.ends_with(&format!("do not expire: {}.", id(2).short())), "{shown:?}");
        // The owner has ended the hold, somewhere.
        run(&mut book, Vec::new(), &[]);
        assert!(current(&book, at(1)).is_empty());
    }

    #[test]
    fn the_owner_ends_it_here() {
        let mut held = book();
        run(&mut held, vec![id(1), id(2)], &[id(1), id(2)]);
        assert!(held.lifted(Some(&[id(1), id(7)])).is_empty(), "one is held");
        assert_eq!(held.clone().lifted(Some(&[id(2)])), ["a"]);
        assert_eq!(held.lifted(None), ["a"]);
        assert!(current(&held, at(1)).is_empty() && held.lifted(None).is_empty());
        // Also if there was nothing to hold, or it is not held yet.
        let mut none = Book::default();
        none.know("a", "x", at(0));
        none.sets.get_mut("a").unwrap().raise(mass(9, 9), Vec::new(), at(0));
        assert!(none.lifted(Some(&[id(1)])).is_empty());
        assert_eq!((none.lifted(None).len(), book().lifted(None).len()), (1, 1));
    }

    #[test]
    fn a_set_that_is_taken_out_takes_no_alarm_along() {
        let mut book = book();
        book.know("b", "y", at(0));
        book.keep_only(|name| name == "b");
        assert_eq!(book.to_hold("b"), [id(1), id(2)]);
        let mut next = Job { hold: book.to_hold("b"), ..job() };
        next.set = "b".to_owned();
        let one = Summary { held: Some(vec![id(1), id(2)]), ..summary(None) };
        book.ended(&next, &Ok(one), (at(1), 0));
        for day in 0..30 {
            book.in_use(day, std::time::Duration::from_secs(600));
        }
        let shown: Vec<String> = current(&book, at(2)).into_iter().map(|one| one.key).collect();
        assert!(shown.contains(&"mass a".to_owned()) && !shown.contains(&"missed a".to_owned()));
        // It may come back.
        let mut again = book.clone();
        again.know("a", "x", at(3));
        assert!(again.removed.is_empty() && again.sets["a"].holds == [id(1), id(2)]);
        assert_eq!((book.lifted(None), book.removed.len()), (vec!["a".to_owned()], 0));
    }
}
