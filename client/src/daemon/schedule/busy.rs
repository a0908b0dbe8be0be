//! Files that change all the time: logs, images of machines. Saving them with every snapshot would
//! cost more than it is worth, so they wait longer and longer, up to the time between two full
//! scans. What is told is that something happened in a directory, mostly with the names of the
//! files. So a directory waits if nothing happened in it but to such files: a letter that lies
//! beside a log is saved as soon as any other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{At, Pace};
use crate::backup::Changes;
use crate::daemon::changes::Names;

/// Snapshots in a row that found something in a directory before it counts as busy. People pause;
/// programs do not.
const PATIENCE: u32 = 6;
/// Directories that are remembered. Beyond that none is added.
const MOST: usize = 4096;
/// Files of a directory that are remembered.
const MOST_FILES: usize = 64;

#[derive(Debug, Clone)]
struct Dir {
    /// Snapshots in a row that saved it.
    times: u32,
    saved: At,
    /// When it last changed.
    changed: At,
    /// The same of its files: snapshots in a row, and the last change.
    files: BTreeMap<OsString, (u32, At)>,
    /// What happened since a run took it.
    fresh: Names,
    /// What a run has.
    taken: Names,
}

/// What was saved lately, by directory.
#[derive(Debug, Default)]
pub struct Busy(BTreeMap<PathBuf, Dir>);

impl Busy {
    /// Takes in that these files of a directory have changed. A moment if they wait until then;
    /// none if the directory is treated as any other.
    pub fn changed(&mut self, dir: &Path, names: &Names, (pace, now): (&Pace, At)) -> Option<At> {
        let known = self.0.get_mut(dir)?;
        if now.saturating_sub(known.changed) >= pace.max_wait {
            // It was quiet for a while.
            self.0.remove(dir);
            return None;
        }
        known.changed = now;
        known.fresh.merge(names);
        for name in names.iter() {
            if let Some(file) = known.files.get_mut(name) {
                let rested = now.saturating_sub(file.1) >= pace.max_wait;
                *file = (if rested { 0 } else { file.0 }, now);
            } else if known.files.len() < MOST_FILES {
                known.files.insert(name.to_owned(), (0, now));
            }
        }
        known.due(pace)
    }

    /// The part of these changes that waits longer, if they are to be saved now.
    pub fn waiting(&self, changes: &Changes, pace: &Pace, now: At) -> Changes {
        let mut waiting = Changes::default();
        for (dir, depth) in changes.iter() {
            let due = self.0.get(dir).and_then(|known| known.due(pace));
            if due.is_some_and(|due| due > now) {
                waiting.add(dir, depth);
            }
        }
        waiting
    }

    /// When the first of these is due.
    pub fn first_due(&self, changes: &Changes, pace: &Pace) -> Option<At> {
        changes.iter().filter_map(|(dir, _)| self.0.get(dir)?.due(pace)).min()
    }

    /// A run takes all that has happened, but for what waits.
    pub fn taken(&mut self, left: &Changes) {
        for (dir, known) in &mut self.0 {
            if !left.contains(dir) {
                let fresh = std::mem::take(&mut known.fresh);
                known.taken.merge(&fresh);
            }
        }
    }

    /// It has not saved it.
    pub fn given_back(&mut self) {
        for known in self.0.values_mut() {
            let taken = std::mem::take(&mut known.taken);
            known.fresh.merge(&taken);
        }
    }

    /// Takes in that these have been saved; with none, everything.
    pub fn saved(&mut self, changes: Option<&Changes>, pace: &Pace, now: At) {
        let silent = |changed: At| now.saturating_sub(changed) >= pace.max_wait;
        self.0.retain(|_, dir| !silent(dir.changed) || !silent(dir.saved));
        for dir in self.0.values_mut() {
            let taken = std::mem::take(&mut dir.taken);
            dir.files.retain(|_, (_, changed)| !silent(*changed));
            for name in taken.iter() {
                if let Some((times, _)) = dir.files.get_mut(name) {
                    *times = times.saturating_add(1);
                }
            }
        }
        for (dir, _) in changes.into_iter().flat_map(Changes::iter) {
            if let Some(known) = self.0.get_mut(dir) {
                known.times = known.times.saturating_add(1);
                known.saved = now;
            } else if self.0.len() < MOST {
                self.0.insert(dir.to_path_buf(), Dir::new(now));
            }
        }
    }
}

impl Dir {
    fn new(now: At) -> Self {
        let (fresh, taken) = (Names::default(), Names::default());
        Self { times: 1, saved: now, changed: now, files: BTreeMap::new(), fresh, taken }
    }

    fn due(&self, pace: &Pace) -> Option<At> {
        let over = self.times.checked_sub(PATIENCE)?;
        let rare = |name| self.files.get(name).is_none_or(|(times, _)| *times < PATIENCE - 1);
        // Of many, some are new or written seldom, as far as can be told. Something of which the
        // name is not known takes nothing away from those that are known.
        if self.fresh.is_many() || self.fresh.iter().any(rare) {
            return None;
        }
        let wait = pace.max_wait.saturating_mul(1 << over.min(10));
        Some(self.saved + wait.min(pace.rescan.max(pace.max_wait)))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::backup::Depth;

    fn marks(dir: &str) -> Changes {
        let mut changes = Changes::default();
        changes.add(Path::new(dir), Depth::Listing);
        changes
    }

    fn minutes(n: u64) -> At {
        Duration::from_secs(n * 60)
    }

    fn file(name: &str) -> Names {
        let mut names = Names::default();
        names.add(OsStr::new(name));
        names
    }

    /// More files than are told apart.
    fn many() -> Names {
        let mut names = Names::default();
        (0..100).for_each(|n| names.add(OsStr::new(&n.to_string())));
        assert!(names.is_many());
        names
    }

    /// A run that saves this directory.
    fn save(busy: &mut Busy, dir: &str, at: At) {
        busy.taken(&Changes::default());
        busy.saved(Some(&marks(dir)), &Pace::default(), at);
    }

    #[test]
    fn what_never_rests_waits_longer_and_longer() {
        for names in [Names::any(), file("log")] {
            let (mut busy, pace, log) = (Busy::default(), Pace::default(), Path::new("/log"));
            let mut at = minutes(0);
            let mut waits = Vec::new();
            for _ in 0..10 {
                // It changes every minute until it is saved.
                let mut due = at + minutes(5);
                let mut now = at;
                while now < due {
                    now += minutes(1);
                    if let Some(later) = busy.changed(log, &names, (&pace, now)) {
                        due = later;
                    }
                }
                waits.push(now.saturating_sub(at).as_secs() / 60);
                at = now;
                assert!(busy.waiting(&marks("/log"), &pace, at).is_empty());
                save(&mut busy, "/log", at);
            }
            assert_eq!(waits, [5, 5, 5, 5, 5, 5, 10, 20, 40, 60]);
            assert_eq!(busy.first_due(&marks("/log"), &pace), Some(at + minutes(60)));
            assert!(!busy.waiting(&marks("/log"), &pace, at + minutes(59)).is_empty());
            assert!(busy.waiting(&marks("/other"), &pace, at).is_empty());
        }
    }

    #[test]
    fn a_letter_beside_a_log_does_not_wait_and_the_log_still_does() {
        let (mut busy, pace, dir) = (Busy::default(), Pace::default(), Path::new("/d"));
        let mut at = minutes(0);
        for _ in 0..8 {
            busy.changed(dir, &file("log"), (&pace, at));
            save(&mut busy, "/d", at);
            at += minutes(5);
        }
        assert!(busy.changed(dir, &file("log"), (&pace, at)).is_some());
        assert_eq!(busy.changed(dir, &file("letter"), (&pace, at)), None);
        assert_eq!(busy.changed(dir, &file("log"), (&pace, at)), None, "it is still unsaved");
        assert!(busy.waiting(&marks("/d"), &pace, at).is_empty());
        // A run that fails has not saved it.
        busy.taken(&Changes::default());
        assert!(busy.changed(dir, &file("log"), (&pace, at)).is_some());
        busy.given_back();
        assert!(busy.waiting(&marks("/d"), &pace, at).is_empty());
        // What happens during a run waits for the next.
        busy.taken(&Changes::default());
        busy.changed(dir, &file("letter"), (&pace, at));
        busy.saved(Some(&marks("/d")), &pace, at);
        assert!(busy.waiting(&marks("/d"), &pace, at).is_empty());
        save(&mut busy, "/d", at);
        assert!(busy.changed(dir, &file("log"), (&pace, at + minutes(1))).is_some());
        // So many at once are no log.
        assert_eq!(busy.changed(dir, &many(), (&pace, at + minutes(1))), None);
        assert!(busy.waiting(&marks("/d"), &pace, at).is_empty());
        save(&mut busy, "/d", at + minutes(1));
        // What no run knows the name of is judged by the directory, and hides no name.
        assert!(busy.changed(dir, &Names::any(), (&pace, at + minutes(2))).is_some());
        assert_eq!(busy.changed(dir, &file("second letter"), (&pace, at + minutes(2))), None);
        assert_eq!(busy.changed(dir, &Names::any(), (&pace, at + minutes(2))), None);
        assert!(busy.waiting(&marks("/d"), &pace, at + minutes(2)).is_empty());
    }

    #[test]
    fn a_rest_makes_it_one_of_many_again() {
        let (mut busy, pace, dir) = (Busy::default(), Pace::default(), Path::new("/d"));
        let any = Names::any();
        let mut at = minutes(0);
        for _ in 0..20 {
            busy.changed(dir, &any, (&pace, at));
            save(&mut busy, "/d", at);
            at += minutes(5);
        }
        assert!(busy.changed(dir, &any, (&pace, at)).is_some());
        assert_eq!(busy.changed(dir, &any, (&pace, at + minutes(10))), None);
        assert_eq!(busy.changed(dir, &any, (&pace, at + minutes(11))), None);
    }

    #[test]
    fn it_stays_small() {
        let (mut busy, pace) = (Busy::default(), Pace::default());
        for n in 0..MOST + 100 {
            save(&mut busy, &format!("/{n}"), minutes(0));
        }
        assert_eq!(busy.0.len(), MOST);
        for n in 0..1000 {
            busy.changed(Path::new("/1"), &file(&n.to_string()), (&pace, minutes(1)));
        }
        assert_eq!(busy.0[Path::new("/1")].files.len(), MOST_FILES);
        save(&mut busy, "/new", minutes(30));
        assert_eq!(busy.0.len(), 1);
    }

    /// Something that happens in a directory.
    #[derive(Debug, Clone, Copy)]
    enum Input {
        Log,
        Letter,
        /// Something of which the name is not told, such as other attributes of the directory.
        Any,
        Begin,
        Saved,
        Failed,
        /// The log again, and a run that saves it.
        Round,
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            2 => Just(Input::Log),
            2 => Just(Input::Letter),
            2 => Just(Input::Any),
            3 => Just(Input::Begin),
            2 => Just(Input::Saved),
            2 => Just(Input::Failed),
            9 => Just(Input::Round),
        ]
    }

    /// What is known without any of the rules.
    #[derive(Default)]
    struct Model {
        letters: u32,
        unsaved: bool,
        /// The run under way, and whether it has a letter.
        run: Option<bool>,
        saves: u32,
    }

    proptest! {
        /// A letter never waits, whatever is written beside it; and nothing waits for ever. Where
        /// names are not told the directory is judged, with all that is in it.
        #[test]
        fn only_what_is_written_all_the_time_waits_and_not_for_long(
            inputs in prop::collection::vec((0..200_u64, input()), 0..120),
        ) {
            let (mut busy, pace, dir) = (Busy::default(), Pace::default(), Path::new("/d"));
            let (mut model, mut now) = (Model::default(), At::ZERO);
            let one = |(after, input)| match input {
                Input::Round => vec![(after, Input::Log), (0, Input::Begin), (0, Input::Saved)],
                input => vec![(after, input)],
            };
            for (after, input) in inputs.into_iter().flat_map(one) {
                now += Duration::from_secs(after);
                let due = match input {
                    Input::Log => busy.changed(dir, &file("log"), (&pace, now)),
                    Input::Any => busy.changed(dir, &Names::any(), (&pace, now)),
                    Input::Letter => {
                        model.letters += 1;
                        model.unsaved = true;
                        let name = format!("letter {}", model.letters);
                        let due = busy.changed(dir, &file(&name), (&pace, now));
                        prop_assert_eq!(due, None, "a letter waits");
                        None
                    }
                    Input::Begin if model.run.is_none() => {
                        let left = busy.waiting(&marks("/d"), &pace, now);
                        busy.taken(&left);
                        if left.is_empty() {
                            model.run = Some(std::mem::take(&mut model.unsaved));
                        }
                        None
                    }
                    Input::Saved if model.run.is_some() => {
                        model.run = None;
                        model.saves += 1;
                        busy.saved(Some(&marks("/d")), &pace, now);
                        None
                    }
                    Input::Failed if model.run.is_some() => {
                        model.unsaved |= model.run.take().unwrap_or_default();
                        busy.given_back();
                        None
                    }
                    Input::Begin | Input::Saved | Input::Failed | Input::Round => None,
                };
                let waits = !busy.waiting(&marks("/d"), &pace, now).is_empty();
                prop_assert!(!(waits && model.unsaved), "a letter waits");
                prop_assert!(due.is_none() && !waits || model.saves >= PATIENCE);
                let last = now + pace.rescan.max(pace.max_wait);
                prop_assert!(due.is_none_or(|due| due <= last));
                prop_assert!(busy.first_due(&marks("/d"), &pace).is_none_or(|due| due <= last));
            }
        }
    }
}
